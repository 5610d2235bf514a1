package machine

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// told is an account that a test tells one event after another. What it decides is
// kept until the test answers it.
type told struct {
	t    *testing.T
	a    *Account
	now  time.Time
	left []Effect
}

func tell(t *testing.T, limits Limits) *told {
	t.Helper()
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	return &told{t: t, a: newBenchAccount(0, limits, now), now: now}
}

func (s *told) event(ev Event) {
	s.left = append(s.left, s.a.Step(ev, s.now)...)
}

func (s *told) pass(d time.Duration) {
	s.now = s.now.Add(d)
	s.event(Tick{})
}

// next takes the oldest effect of a sort that is not answered yet.
func next[T Effect](s *told) T {
	s.t.Helper()
	for i, e := range s.left {
		if found, ok := e.(T); ok {
			s.left = append(s.left[:i:i], s.left[i+1:]...)
			return found
		}
	}
	var none T
	s.t.Fatalf("no %T in %+v", none, s.left)
	return none
}

func has[T Effect](s *told) bool {
	for _, e := range s.left {
		if _, ok := e.(T); ok {
			return true
		}
	}
	return false
}

// opens answers what a reader's login needs, and returns the reader's grant.
func (s *told) opens(want Want) Reply {
	s.t.Helper()
	return s.opensWith(want, tokens("1"))
}

// opensWith is opens where the server answers the login as told.
func (s *told) opensWith(want Want, got providers.TokenResponse) Reply {
	s.t.Helper()
	s.event(LoggedIn{Session: s.logsIn(want).Session, Got: got})
	s.event(Stored{Session: next[Put](s).Record.ID})
	r := next[Reply](s)
	require.Nil(s.t, r.Err)
	return r
}

// logsIn has a reader cause a login, and returns it as it is sent.
func (s *told) logsIn(want Want) Login {
	s.t.Helper()
	s.event(Acquire{Waiter: 1, Want: want})
	s.event(Stored{Session: next[Put](s).Record.ID})
	return next[Login](s)
}

// ends releases a reader's lease, the session's last, and answers what its end needs.
func (s *told) ends(r Reply) {
	s.t.Helper()
	s.event(Release{Waiter: 2, Session: r.Session, Grant: r.Grant.ID})
	s.event(LoggedOut{Session: next[Logout](s).Session})
	s.event(Stored{Session: next[Remove](s).Session})
	require.Nil(s.t, next[Reply](s).Err)
}

// endsLater releases a reader's lease, the session's last, whose logout fails and is
// tried again.
func (s *told) endsLater(r Reply) {
	s.t.Helper()
	s.event(Release{Waiter: 2, Session: r.Session, Grant: r.Grant.ID})
	s.event(LoggedOut{Session: next[Logout](s).Session, Err: errNoConnection})
	s.event(Stored{Session: next[Put](s).Record.ID})
}

// refreshes lets half the life of a token pass, and returns the refresh that is due then.
func (s *told) refreshes() Refresh {
	s.t.Helper()
	s.pass(150 * time.Second)
	return next[Refresh](s)
}

func tokens(name string) providers.TokenResponse {
	return providers.TokenResponse{
		AccessToken: providers.NewSecret("at-" + name), RefreshToken: providers.NewSecret("rt-" + name),
		ExpiresIn: 300 * time.Second, RefreshExpiresIn: 30 * time.Minute, ServerID: "server-" + name,
	}
}

var (
	errNoConnection = &providers.Error{Kind: providers.Unavailable, Outcome: providers.DidNotHappen, Message: "no connection"}
	errNoAnswer     = &providers.Error{Kind: providers.Unavailable, Outcome: providers.Unknown, Message: "no answer"}
	reads           = Want{Mode: providers.Shared}
	listing         = Limits{RequestTimeout: 10 * time.Second, Capabilities: providers.Capabilities{Sessions: true, Logout: true, ListsSessions: true}}
)

func TestAGuardThatCouldNotBeStoredIsStoredLater(t *testing.T) {
	s := tell(t, benchLimits)
	s.event(LoggedIn{Session: s.logsIn(reads).Session, Err: &providers.Error{Kind: providers.BadCredentials, Outcome: providers.DidNotHappen}})
	closed := next[PutGuard](s)
	s.event(Stored{Session: next[Remove](s).Session})
	s.event(GuardStored{Err: errStorage})
	require.False(t, has[PutGuard](s), "at once it would fail again")

	at := s.a.NextWake()
	require.WithinRange(t, at, s.now.Add(time.Second), s.now.Add(guardFirst/2), "it is written long before the guard ends")
	s.pass(at.Sub(s.now))
	require.Equal(t, closed, next[PutGuard](s))
	s.event(GuardStored{})
	s.pass(guardFirst)
	require.False(t, has[PutGuard](s), "it is stored")
}

// A reader who wants a longer lease than the token can carry waits for a refresh. If
// the last one has just failed, it is told so, and the server is left alone.
func TestRule8InThePauseAfterAFailedRefreshAReaderIsToldWhyAndNothingIsSent(t *testing.T) {
	s := tell(t, benchLimits)
	s.opens(reads)
	s.event(Refreshed{Session: s.refreshes().Session, Err: errNoConnection})
	longer := Want{Mode: providers.Shared, MinTTL: 200 * time.Second}

	s.event(Acquire{Waiter: 2, Want: longer})
	r := next[Reply](s)
	require.NotNil(t, r.Err)
	require.Equal(t, errNoConnection, r.Err.Err)
	require.False(t, has[Refresh](s))
	require.True(t, r.Err.RetryAt.After(s.now))

	s.pass(r.Err.RetryAt.Sub(s.now)) // the background refresh is due again
	id := next[Refresh](s).Session
	s.event(Acquire{Waiter: 3, Want: longer})
	require.False(t, has[Reply](s), "it waits for that")
	s.event(Refreshed{Session: id, Got: tokens("2")})
	s.event(Stored{Session: next[Put](s).Record.ID})
	require.Equal(t, 2, next[Reply](s).Grant.Token.Ref.Generation)
}

func TestRule4ATokenServesAsLongAsALeaseOfASecondFits(t *testing.T) {
	s := tell(t, benchLimits)
	g := s.opens(reads).Grant
	require.True(t, g.Token.Response.RefreshToken.Empty(), "that is nobody's but the engine's")
	s.a.sessions[g.Token.Ref.Session].callAt = s.now.Add(time.Hour) // not what this is about

	last := g.Token.ExpiresAt.Add(-leaseMargin - minLease)
	_, ok := s.a.TryGrant(reads, last)
	require.True(t, ok, "a lease of exactly a second")
	_, ok = s.a.TryGrant(reads, last.Add(time.Millisecond))
	require.False(t, ok)
	_, ok = s.a.TryGrant(Want{Mode: providers.Shared, MinTTL: time.Minute}, last.Add(minLease-time.Minute))
	require.True(t, ok, "min_ttl exactly")
	_, ok = s.a.TryGrant(Want{Mode: providers.Shared, MinTTL: time.Minute}, last.Add(minLease-time.Minute+time.Millisecond))
	require.False(t, ok)
}

// A refresh whose answer comes after the list was asked for: the list is older than
// what the answer says of the session.
func TestRule11AListThatWasAskedForBeforeARefreshWasAnsweredEndsNothing(t *testing.T) {
	s := tell(t, listing)
	first := s.opens(reads)
	next[List](s)
	s.event(Listed{Err: errNoConnection}) // it is asked for again later
	s.pass(time.Second)
	other := s.opens(Want{Mode: providers.Shared, Scopes: []string{"others"}})
	s.pass(149 * time.Second) // the first one's refresh is due
	require.Equal(t, first.Session, next[Refresh](s).Session)
	require.Equal(t, other.Session, next[List](s).Session)
	s.event(Refreshed{Session: first.Session, Got: tokens("1")})
	s.event(Stored{Session: next[Put](s).Record.ID})
	// The list shows nothing but the session that asks.
	s.event(Listed{Sessions: []Listing{{ServerSession: providers.ServerSession{ID: "x", Current: true}, Owner: ThisMount, Attempt: other.Session}}})
	_, ok := s.a.TryGrant(reads, s.now)
	require.True(t, ok, "the session that was just refreshed is not gone")
}

// The only token that can find the session of a lost login is of a session whose
// lease ends between two searches.
func TestRule11BetweenTwoSearchesASessionIsKeptForTheListThatItsTokenAsksFor(t *testing.T) {
	s := tell(t, listing)
	first := s.opens(Want{Mode: providers.Shared})
	s.event(Acquire{Waiter: 2, Want: Want{Mode: providers.Dedicated}})
	s.event(Stored{Session: next[Put](s).Record.ID})
	lost := next[Login](s).Session
	s.event(LoggedIn{Session: lost, Err: errNoAnswer})
	own := Listing{ServerSession: providers.ServerSession{ID: "server-1", Current: true}, Owner: ThisMount, Attempt: first.Session}
	next[List](s) // after the first login
	s.event(Listed{Sessions: []Listing{own}})
	for s.pass(compareEvery); has[List](s); s.pass(compareEvery) { // the server is still at work on the login
		next[List](s)
		s.event(Listed{Sessions: []Listing{own}})
	}

	s.event(Release{Waiter: 3, Session: first.Session, Grant: first.Grant.ID})
	require.False(t, has[Logout](s), "its token is needed once more")
	s.event(Abandon{Waiter: 3})
	require.False(t, has[Put](s), "no logout was tried that could have failed")
	require.Equal(t, first.Session, next[List](s).Session)
	orphan := Listing{ServerSession: providers.ServerSession{ID: "server-2"}, Owner: ThisMount, Attempt: lost}
	s.event(Listed{Sessions: []Listing{own, orphan}})
	end := next[End](s)
	require.Equal(t, "server-2", end.ServerID)
	s.event(Ended{Session: end.Session, ServerID: end.ServerID})
	require.Equal(t, first.Session, next[Logout](s).Session)
}

func TestTheUsageOfTwoAccountsIsTheSumOfEach(t *testing.T) {
	a := Usage{Limit: 5, Open: 1, Opening: 2, Unknown: 3, Closing: 4, OtherMounts: 5, People: 6, Strays: 7}
	b := Usage{Limit: 9, Open: 10, Opening: 20, Unknown: 30, Closing: 40, OtherMounts: 50, People: 60, Strays: 70}
	require.Equal(t, Usage{Open: 11, Opening: 22, Unknown: 33, Closing: 44, OtherMounts: 55, People: 66, Strays: 77}, a.Plus(b))
	require.Equal(t, 110, a.Plus(b).Ours())
	require.Equal(t, 308, a.Plus(b).Taken())
}

func TestNothingIsBegunForARequestThatHasEnded(t *testing.T) {
	s := tell(t, benchLimits)
	own := Want{Mode: providers.Dedicated}
	s.event(Acquire{Waiter: 1, Want: own})
	s.event(Acquire{Waiter: 2, Want: own})
	s.event(Abandon{Waiter: 2})
	s.event(Stored{Session: next[Put](s).Record.ID})
	id := next[Login](s).Session
	s.event(LoggedIn{Session: id, Got: tokens("1")})
	s.event(Stored{Session: next[Put](s).Record.ID})
	require.Equal(t, WaiterID(1), next[Reply](s).Waiter)
	require.False(t, has[Put](s), "a second login is on its way for nobody")
	require.False(t, has[Reply](s))
}

func TestAReaderWhoseLoginCameTooLateIsToldSo(t *testing.T) {
	s := tell(t, benchLimits)
	id := s.logsIn(reads).Session
	s.event(LoggedIn{Session: id, TooLate: true})
	r := next[Reply](s)
	require.Equal(t, WaiterID(1), r.Waiter)
	require.Equal(t, Storage, r.Err.Reason)
	require.Equal(t, id, next[Remove](s).Session)
	require.False(t, has[Put](s), "another login would be as late")
}

func TestPurposesThatAreOverAreForgottenOnceThereAreMany(t *testing.T) {
	s := tell(t, benchLimits)
	held := s.opens(reads)
	s.event(Acquire{Waiter: 2, Want: Want{Mode: providers.Shared, Scopes: []string{"waiting"}}})
	for i := range 10 * purposesMost {
		s.a.purposeOf([]string{"over", strconv.Itoa(i)}, nil)
		require.LessOrEqual(t, len(s.a.purposes), purposesMost)
	}
	require.Same(t, s.a.sessions[held.Session].purpose, s.a.purposes[""])
	require.Contains(t, s.a.purposes, "waiting")
}

func TestRule5ARevocationThatIsGivenUpCountsAsOneThatFailed(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(Want{Mode: providers.Dedicated})
	for n := range visibleRevocations {
		s.event(Release{Waiter: 2, Session: r.Session, Grant: r.Grant.ID})
		s.event(Abandon{Waiter: 2})
		require.Equal(t, n+1, next[Put](s).Record.Logout.Revocations, "after a restart, too")
		s.event(Stored{Session: r.Session})
		require.False(t, has[Reply](s))
	}
	s.event(Release{Waiter: 3, Session: r.Session, Grant: r.Grant.ID})
	require.Equal(t, Reply{Waiter: 3}, next[Reply](s), "the logout goes on alone")
}

func TestRule5ARevocationThatIsGivenUpLeavesTheOthersWaiting(t *testing.T) {
	s := tell(t, benchLimits)
	first, second := s.opens(Want{Mode: providers.Dedicated}), s.opens(Want{Mode: providers.Dedicated})
	s.event(Release{Waiter: 2, Session: first.Session, Grant: first.Grant.ID})
	s.event(Release{Waiter: 3, Session: second.Session, Grant: second.Grant.ID})
	s.event(Release{Waiter: 4, Session: second.Session, Grant: second.Grant.ID})
	s.event(Abandon{Waiter: 3})
	require.Equal(t, second.Session, next[Put](s).Record.ID, "the revocation that failed is counted")
	require.False(t, has[Put](s))
	for _, waiting := range []struct {
		SessionID
		WaiterID
	}{{first.Session, 2}, {second.Session, 4}} {
		s.event(LoggedOut{Session: waiting.SessionID})
		require.Equal(t, Reply{Waiter: waiting.WaiterID, Session: waiting.SessionID}, next[Reply](s))
		require.False(t, has[Reply](s))
	}
}

// A login that no reader asked for fails, for a reason that is its scopes' alone.
func TestALoginOfNobodyFailsForNobody(t *testing.T) {
	for name, begin := range map[string]func(*told){
		"a successor": func(s *told) {
			got := tokens("1")
			got.RefreshToken, got.RefreshExpiresIn = providers.Secret{}, 0
			s.event(LoggedIn{Session: s.logsIn(reads).Session, Got: got})
			s.event(Stored{Session: next[Put](s).Record.ID})
			require.Nil(s.t, next[Reply](s).Err)
			s.pass(got.ExpiresIn / 2)
		},
		"one that keeps the account alive": func(s *told) {
			limits := benchLimits
			limits.KeepAlive = time.Hour
			s.event(Configured{Limits: limits, Connection: benchConnection.ID})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := tell(t, benchLimits)
			begin(s)
			s.event(Stored{Session: next[Put](s).Record.ID})
			id := next[Login](s).Session
			s.event(Acquire{Waiter: 1, Want: Want{Mode: providers.Dedicated, Scopes: []string{"other"}}})
			s.event(LoggedIn{Session: id, Err: &providers.Error{Kind: providers.Protocol, Outcome: providers.DidNotHappen}})
			require.Equal(t, []string{"other"}, next[Put](s).Record.Scopes)
			require.False(t, has[Reply](s))
		})
	}
}

func TestPausesDoubleAndAreSpread(t *testing.T) {
	for i, want := range []int{1, 2, 4, 8, 16, 30, 30} {
		require.Equal(t, time.Duration(want)*time.Second, doubling(time.Second, 30*time.Second, i+1))
	}
	require.Equal(t, time.Hour, doubling(keepAliveFirst, time.Hour, 1_000_000))

	least, most := time.Hour, time.Duration(0)
	for i := range 1000 {
		id := SessionID(fmt.Sprint(i))
		wait := backoff(id, 1, time.Minute)
		require.Equal(t, wait, backoff(id, 1, time.Minute))
		least, most = min(least, wait), max(most, wait)
	}
	require.InDelta(t, 0.75, least.Seconds(), 0.01)
	require.InDelta(t, 1.25, most.Seconds(), 0.01)
	require.NotEqual(t, backoff("a", 7, time.Minute), backoff("a", 8, time.Minute), "a session's own tries are spread, too")
}

func TestRule11AListThatIsRefusedToASurelyGoodTokenIsNotedAndLeftForADay(t *testing.T) {
	s := tell(t, listing)
	s.opens(reads)
	next[List](s)
	s.event(Listed{Err: &providers.Error{Kind: providers.NotAllowed, Outcome: providers.DidNotHappen, Message: "the server answered 403"}})
	refusal := next[Note](s)
	for refusal.What != ListRefused {
		refusal = next[Note](s)
	}
	require.Contains(t, refusal.Detail, "the server answered 403")
	s.left = nil
	s.event(Acquire{Waiter: 2, Want: Want{Mode: providers.Dedicated}})
	require.False(t, has[List](s))
	require.Equal(t, AccessNone, s.a.Status(s.now).Listing)
}

func TestRule11AListThatIsRefusedToOneTokenIsAskedForWithAnother(t *testing.T) {
	s := tell(t, listing)
	first := s.opens(reads)
	next[List](s)
	s.event(Listed{Err: errNoConnection})
	second := s.opens(Want{Mode: providers.Shared, Scopes: []string{"others"}})
	s.pass(time.Minute)
	require.Equal(t, second.Session, next[List](s).Session, "the newest token asks")
	s.event(Listed{Err: &providers.Error{Kind: providers.NotAllowed, Outcome: providers.DidNotHappen}})
	require.False(t, has[List](s))
	s.pass(compareEvery)
	require.Equal(t, first.Session, next[List](s).Session)
}

// What lasts until a time of before the clock was set back would last too long.
func TestWhatAClockThatWasAheadHeldBackIsLetGo(t *testing.T) {
	const ahead = time.Hour
	dedicated := Want{Mode: providers.Dedicated}
	typed := Want{Mode: providers.Dedicated, OTP: providers.NewSecret("123456"), Person: "paula"}
	refused := &providers.Error{Kind: providers.BadCredentials, Outcome: providers.DidNotHappen}
	limits := benchLimits
	limits.Capabilities.OneTimeCode = true
	// begins says that a login with a code begins at once.
	begins := func(s *told, want Want) bool {
		s.event(Acquire{Waiter: 1, Want: want})
		begun := has[Put](s)
		s.left = nil
		return begun
	}
	fails := func(s *told, want Want, err *providers.Error) {
		s.event(LoggedIn{Session: s.logsIn(want).Session, Err: err})
		s.left = nil
	}
	another := typed
	another.OTP = providers.NewSecret("654321")
	for name, test := range map[string]struct {
		before func(*told)
		want   Want
	}{
		"the pause between two logins": {func(s *told) { s.a.limits.Capabilities.LoginPause = time.Second; s.opens(dedicated) }, dedicated},
		"a server that is down":        {func(s *told) { fails(s, dedicated, errNoConnection) }, dedicated},
		"scopes that it does not know": {func(s *told) { fails(s, dedicated, &providers.Error{Kind: providers.Protocol}) }, dedicated},
		"who typed a wrong code":       {func(s *told) { fails(s, typed, refused) }, another},
	} {
		t.Run(name, func(t *testing.T) {
			s := tell(t, limits)
			test.before(s)
			require.False(t, begins(s, test.want))
			s.event(Abandon{Waiter: 1})
			s.now = s.now.Add(-ahead)
			require.True(t, begins(s, test.want))
		})
	}
	t.Run("a code that was typed is used for as long as any", func(t *testing.T) {
		s := tell(t, limits)
		s.opens(typed)
		s.now = s.now.Add(-ahead)
		require.False(t, begins(s, typed))
		s.pass(codeWindow - time.Millisecond)
		require.False(t, begins(s, typed))
		s.pass(time.Millisecond)
		require.True(t, begins(s, typed))
	})
	t.Run("what was known of the server's clock is not known any more", func(t *testing.T) {
		s := tell(t, limits)
		s.event(LoggedIn{Session: s.logsIn(dedicated).Session, Err: &providers.Error{Kind: providers.Unavailable, ServerTime: s.now.Add(-ahead)}})
		require.True(t, s.a.Clock().Far())
		s.now = s.now.Add(-ahead)
		s.event(Tick{})
		require.False(t, s.a.Clock().Known)
	})
	t.Run("the server's list", func(t *testing.T) {
		s := tell(t, listing)
		s.opens(reads)
		next[List](s)
		s.event(Listed{Err: errNoConnection})
		s.now = s.now.Add(-ahead)
		s.event(Tick{})
		require.True(t, has[List](s))
	})
	t.Run("a login that keeps the account alive", func(t *testing.T) {
		s := tell(t, limits)
		alive := limits
		alive.KeepAlive = time.Hour
		s.event(Configured{Limits: alive, Connection: benchConnection.ID})
		s.event(Stored{Session: next[Put](s).Record.ID})
		s.event(LoggedIn{Session: next[Login](s).Session, Err: errNoConnection})
		s.left = nil
		s.now = s.now.Add(-ahead)
		s.event(Tick{})
		require.True(t, has[Put](s))
	})
}

// The client's secret was changed at the server and in the config: what an older
// connection is refused, the one in force may do (rule 1).
func TestRule1TheConnectionInForceStandsInOnceForEachWriteOfTheConfig(t *testing.T) {
	refused := &providers.Error{Kind: providers.BadCredentials, Outcome: providers.DidNotHappen}
	old := Connection{ID: benchConnection.ID, Capabilities: benchLimits.Capabilities, RequestTimeout: time.Second, SameClient: true}
	next1 := Connection{ID: "in force", Capabilities: benchLimits.Capabilities, RequestTimeout: time.Second, SameClient: true}
	s := tell(t, benchLimits)
	id := s.opens(reads).Session
	written := Configured{Limits: benchLimits, Connection: next1.ID, Known: []Connection{old, next1}}
	s.event(written)
	require.Equal(t, old.ID, s.refreshes().Connection)
	s.event(Refreshed{Session: id, Connection: old.ID, Err: refused})
	require.Equal(t, next1.ID, next[Refresh](s).Connection)
	s.event(Acquire{Waiter: 2, Want: Want{Mode: providers.Shared, MinTTL: 200 * time.Second}})
	require.False(t, has[Refresh](s), "one is under way")
	s.event(Refreshed{Session: id, Connection: next1.ID, Err: refused})
	require.Equal(t, refused, next[Reply](s).Err.Err)

	s.pass(s.a.NextWake().Sub(s.now))
	require.Equal(t, old.ID, next[Refresh](s).Connection)
	s.event(Refreshed{Session: id, Connection: old.ID, Err: refused})
	require.False(t, has[Refresh](s), "the one in force was refused, too")

	s.event(written)
	s.pass(s.a.NextWake().Sub(s.now))
	require.Equal(t, old.ID, next[Refresh](s).Connection)
	s.event(Refreshed{Session: id, Connection: old.ID, Err: refused})
	require.Equal(t, next1.ID, next[Refresh](s).Connection)
	s.event(Refreshed{Session: id, Connection: next1.ID, Got: tokens("2")})
	require.Equal(t, next1.ID, next[Put](s).Record.Connection, "what let it through is its own from now on")
}

func TestStopAnswersThoseWhoseAnswerIsUnderWayAndRefusesTheOthers(t *testing.T) {
	longer := Want{Mode: providers.Shared, MinTTL: 200 * time.Second}
	for name, test := range map[string]struct {
		before func(*told)
		want   Want
		under  bool
	}{
		"a login of its own":  {func(s *told) { s.event(Acquire{Waiter: 2, Want: Want{Mode: providers.Dedicated}}) }, Want{}, true},
		"the login of others": {func(s *told) { s.event(Acquire{Waiter: 9, Want: reads}) }, reads, true},
		"another login":       {func(s *told) { s.event(Acquire{Waiter: 9, Want: Want{Mode: providers.Dedicated}}) }, reads, false},
		"a dedicated one":     {func(s *told) { s.event(Acquire{Waiter: 9, Want: reads}) }, Want{Mode: providers.Dedicated}, false},
		"a refresh of others": {func(s *told) { s.opens(reads); s.pass(150 * time.Second) }, longer, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := tell(t, benchLimits)
			test.before(s)
			if test.want.Mode != "" {
				s.event(Acquire{Waiter: 2, Want: test.want})
			}
			s.left = nil
			s.event(Stop{})
			refused := false
			for has[Reply](s) {
				if r := next[Reply](s); r.Waiter == 2 {
					require.Equal(t, Canceled, r.Err.Reason)
					refused = true
				}
			}
			require.Equal(t, test.under, !refused)
		})
	}
	t.Run("a token that is there", func(t *testing.T) {
		s := tell(t, benchLimits)
		s.opens(reads)
		s.event(Stop{})
		s.event(Acquire{Waiter: 2, Want: reads})
		require.NotNil(t, next[Reply](s).Grant.Token)
	})
}

func TestACheckThatCannotListIsTold(t *testing.T) {
	s := tell(t, listing)
	s.event(Compare{Waiter: 2})
	require.Equal(t, Closed, next[Reply](s).Err.Reason, "no token is held")
	opened := s.opens(reads)
	s.event(Listed{Err: errNoConnection}) // that after the login
	s.event(Stop{})
	s.left = nil
	s.event(Compare{Waiter: 2, With: opened.Grant.Token})
	require.Equal(t, Closed, next[Reply](s).Err.Reason)
	require.False(t, has[List](s))
}

func TestACheckWhoseSessionIsClosedIsTold(t *testing.T) {
	bare := tokens("1")
	bare.RefreshToken = providers.Secret{}
	s := tell(t, benchLimits)
	s.event(RefreshNow{Waiter: 2, Session: "unknown"})
	require.Equal(t, Closed, next[Reply](s).Err.Reason)

	s.event(LoggedIn{Session: s.logsIn(Want{Mode: providers.Dedicated}).Session, Got: bare})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.event(RefreshNow{Waiter: 2, Session: next[Reply](s).Session})
	require.Equal(t, Closed, next[Reply](s).Err.Reason, "it cannot be refreshed")

	opened := s.opens(Want{Mode: providers.Dedicated})
	s.event(RefreshNow{Waiter: 2, Session: opened.Session})
	require.Equal(t, opened.Session, next[Refresh](s).Session)
	s.event(Release{Session: opened.Session, Grant: opened.Grant.ID})
	require.Equal(t, Closed, next[Reply](s).Err.Reason, "it was closed meanwhile")
	s.event(RefreshNow{Waiter: 3, Session: opened.Session})
	require.Equal(t, Closed, next[Reply](s).Err.Reason)
	require.False(t, has[Refresh](s))
}

func TestASuccessorKeepsToGuardCodesAndBudget(t *testing.T) {
	bare := tokens("1")
	bare.RefreshToken, bare.RefreshExpiresIn = providers.Secret{}, 0
	for name, prevent := range map[string]func(*told){
		"nothing":   func(*told) {},
		"the guard": func(s *told) { s.a.guard.ClosedUntil = s.now.Add(time.Hour) },
		"a code": func(s *told) {
			s.a.limits.Capabilities.GeneratesCode = true
			s.a.codes.freeAt = s.now.Add(151 * time.Second)
		},
		"the budget":       func(s *told) { s.a.limits.MaxSessions = 1 },
		"a pause":          func(s *told) { s.a.nextLogin = s.now.Add(151 * time.Second) },
		"another login":    func(s *told) { s.event(Acquire{Waiter: 2, Want: Want{Mode: providers.Dedicated}}) },
		"the mount's end":  func(s *told) { s.event(Stop{}) },
		"a deleted config": func(s *told) { s.a.draining = true },
	} {
		t.Run(name, func(t *testing.T) {
			s := tell(t, benchLimits)
			s.event(LoggedIn{Session: s.logsIn(reads).Session, Got: bare})
			s.event(Stored{Session: next[Put](s).Record.ID})
			prevent(s)
			s.left = nil
			s.pass(150 * time.Second)
			require.Equal(t, name == "nothing", has[Put](s))
		})
	}
}

func TestRule11AListedSessionOfOthersCountsAsLongAsTheServerKeepsIt(t *testing.T) {
	for name, test := range map[string]struct {
		at     func(now time.Time) providers.ServerSession
		counts time.Duration
	}{
		"since its last use": {func(now time.Time) providers.ServerSession {
			return providers.ServerSession{LastAccess: now.Add(-10 * time.Minute)}
		}, 21 * time.Minute},
		"used at a time unknown": {func(time.Time) providers.ServerSession { return providers.ServerSession{} }, 31 * time.Minute},
		"until it is too old": {func(now time.Time) providers.ServerSession {
			return providers.ServerSession{LastAccess: now, ExpiresAt: now.Add(5 * time.Minute)}
		}, 5 * time.Minute},
		"until it is left alone": {func(now time.Time) providers.ServerSession {
			return providers.ServerSession{LastAccess: now, ExpiresAt: now.Add(time.Hour)}
		}, 31 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s := tell(t, listing)
			own := s.opens(reads)
			next[List](s)
			other := test.at(s.now)
			other.ID = "other"
			s.event(Listed{Sessions: []Listing{
				{ServerSession: providers.ServerSession{ID: "server-1", Current: true}, Owner: ThisMount, Attempt: own.Session},
				{ServerSession: other, Owner: People},
			}})
			require.Equal(t, 1, s.a.Usage(s.now.Add(test.counts-time.Millisecond)).People)
			require.Zero(t, s.a.Usage(s.now.Add(test.counts)).People)
		})
	}
}

func TestARecordOfALaterVersionCountsUntilItsSessionMustBeDead(t *testing.T) {
	now := time.Now()
	a := Recover(Past{Records: []Record{{ID: "x", Stage: "of a later version", Condition: Condition{DiesAt: now.Add(time.Minute)}}}}, "boot", nil, now)
	require.Equal(t, 1, a.Usage(now).Unknown)
	effects := a.Step(Tick{}, now.Add(time.Minute))
	require.Contains(t, effects, Remove{Session: "x"})
}

// A session and its successor may both be open when the plugin is stopped.
func TestRule3AfterARestartReadersAdoptTheSharedSessionWhoseLeasesLastLongest(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	recordOf := func(id SessionID, horizon time.Duration) Record {
		return Record{ID: id, Stage: Open, Mode: providers.Shared, Connection: benchConnection.ID, Condition: Condition{
			Generation: 1, Refresh: providers.NewSecret("rt-" + string(id)), OpenedAt: now, Horizon: now.Add(horizon), Idle: time.Hour, DiesAt: now.Add(time.Hour),
		}}
	}
	older, newer := recordOf("older", time.Minute), recordOf("newer", 5*time.Minute)
	for _, records := range [][]Record{{older, newer}, {newer, older}} {
		s := &told{t: t, now: now, a: Recover(Past{
			Limits: benchLimits, Connection: benchConnection.ID, Known: []Connection{benchConnection}, Records: records,
		}, "boot", nil, now)}
		s.event(Acquire{Waiter: 1, Want: reads})
		require.Equal(t, newer.ID, next[Refresh](s).Session)
		require.False(t, has[Refresh](s))
	}
}

func TestKeepAliveWaitsADayAfterTheServersSessionLimit(t *testing.T) {
	limits := benchLimits
	limits.KeepAlive = time.Hour
	s := tell(t, benchLimits)
	s.event(Configured{Limits: limits, Connection: benchConnection.ID})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.event(LoggedIn{Session: next[Login](s).Session, Err: &providers.Error{Kind: providers.SessionLimit, Outcome: providers.DidNotHappen, Message: "too many"}})
	require.Equal(t, 1, s.notes(KeepAliveFailed))
	s.left = nil
	s.pass(23 * time.Hour)
	require.False(t, has[Put](s))
	k := s.a.KeepAlive(s.now)
	require.Contains(t, k.Problem, "too many")
	s.pass(time.Hour + limitPause)
	require.True(t, has[Put](s))
}

// notes counts what people were told and the test has not looked at.
func (s *told) notes(what Occurrence) (n int) {
	for _, e := range s.left {
		if note, ok := e.(Note); ok && note.What == what {
			n++
		}
	}
	return n
}

// listedAs is a session as the server's list has it.
func listedAs(serverID string, of SessionID, current bool) Listing {
	return Listing{ServerSession: providers.ServerSession{ID: serverID, Current: current}, Owner: ThisMount, Attempt: of}
}

func TestRule11AStrayIsToldOnce(t *testing.T) {
	s := tell(t, listing)
	own := s.opens(reads)
	next[List](s)
	again := Configured{Limits: listing, Connection: benchConnection.ID, Reopen: true}
	for _, strays := range []int{1, 1, 2} {
		list := []Listing{listedAs("server-1", own.Session, true)}
		for i := range strays {
			list = append(list, listedAs(fmt.Sprint("stray-", i), SessionID(fmt.Sprint("unknown-", i)), false))
		}
		s.event(Listed{Sessions: list})
		require.Equal(t, strays, s.notes(StrayFound))
		require.Equal(t, strays, s.a.Usage(s.now).Strays)
		s.event(again)
		next[List](s)
	}
}

// besideALostLogin has a shared session open, and a login whose answer was lost.
func besideALostLogin(t *testing.T) (s *told, own Reply, lost SessionID) {
	t.Helper()
	s = tell(t, listing)
	own = s.opens(reads)
	next[List](s)
	s.event(Listed{Sessions: []Listing{listedAs("server-1", own.Session, true)}})
	s.event(Acquire{Waiter: 2, Want: Want{Mode: providers.Dedicated}})
	s.event(Stored{Session: next[Put](s).Record.ID})
	lost = next[Login](s).Session
	s.event(LoggedIn{Session: lost, Err: errNoAnswer})
	return s, own, lost
}

func TestRule11AnOrphanThatCannotBeEndedIsToldAndLookedForAgain(t *testing.T) {
	s, own, lost := besideALostLogin(t)
	for range 2 {
		next[List](s)
		s.event(Listed{Sessions: []Listing{listedAs("server-1", own.Session, true), listedAs("server-2", lost, false)}})
		before := s.notes(CompareFailed)
		s.event(Ended{Session: lost, ServerID: next[End](s).ServerID, Err: errNoConnection})
		require.Equal(t, before+1, s.notes(CompareFailed))
		require.False(t, has[List](s))
		require.Equal(t, 1, s.a.Usage(s.now).Unknown, "it counts")
		s.pass(2 * compareEvery)
	}
}

func TestRule1ARefreshWithoutAnswerMayHaveProlongedTheSessionByItsWholeIdleTime(t *testing.T) {
	const idle = 2 * time.Hour
	s := tell(t, benchLimits)
	got := tokens("1")
	got.RefreshExpiresIn = idle
	own := s.opensWith(reads, got)
	s.event(Refreshed{Session: s.refreshes().Session, Err: errNoAnswer})
	st, _ := s.a.Session(own.Session)
	require.False(t, st.DiesAt.Before(s.now.Add(idle)), "%s", st.DiesAt)
}

func TestACheckHearsOfItsOwnRefreshOnly(t *testing.T) {
	s := tell(t, benchLimits)
	own := s.opens(reads)
	refreshed := func() {
		s.event(Refreshed{Session: next[Refresh](s).Session, Got: tokens("1")})
		s.event(Stored{Session: next[Put](s).Record.ID})
	}
	s.event(RefreshNow{Waiter: 7, Session: own.Session})
	refreshed()
	require.Equal(t, Reply{Waiter: 7, Session: own.Session}, next[Reply](s))
	s.pass(200 * time.Second)
	refreshed()
	require.False(t, has[Reply](s))
}

func TestALoginWithoutASessionAtTheServerLeavesNothingToDo(t *testing.T) {
	limits := benchLimits
	limits.Capabilities = providers.Capabilities{}
	s := tell(t, limits)
	s.event(Acquire{Waiter: 1, Want: Want{Mode: providers.Dedicated}})
	s.event(LoggedIn{Session: next[Login](s).Session, Got: tokens("1")})
	own := next[Reply](s)
	require.Zero(t, s.a.Usage(s.now).Taken())
	s.event(Release{Waiter: 2, Session: own.Session, Grant: own.Grant.ID})
	require.Zero(t, s.a.NextWake())
	require.False(t, has[Put](s) || has[Logout](s))
}

// The server may still be at work on a login whose answer was lost.
func TestRule11ALostLoginThatIsNotListedIsLookedForAgain(t *testing.T) {
	s, own, lost := besideALostLogin(t)
	next[List](s)
	s.event(Listed{Sessions: []Listing{listedAs("server-1", own.Session, true)}})
	require.False(t, has[List](s))
	s.pass(compareEvery)
	next[List](s)
	s.event(Listed{Sessions: []Listing{listedAs("server-1", own.Session, true), listedAs("server-2", lost, false)}})
	require.Equal(t, lost, next[End](s).Session)
}

func TestRule1AVerificationThatIsGivenUpWhileItsSessionIsRecordedLeavesNone(t *testing.T) {
	s := tell(t, benchLimits)
	s.event(Acquire{Waiter: 1, Want: reads, Trial: &Trial{Connection: benchConnection, Limits: benchLimits}})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.event(Acquire{Waiter: 2, Want: Want{Mode: providers.Dedicated}})
	s.event(LoggedIn{Session: next[Login](s).Session, Got: tokens("1")})
	s.event(Abandon{Waiter: 1})
	id := next[Put](s).Record.ID
	s.event(Stored{Session: id})
	require.Equal(t, id, next[Logout](s).Session)
	require.False(t, has[Reply](s), "the other reader waits for its own login")
}

func TestRule11AListWithoutTheSessionWhoseTokenAskedForItTellsNothing(t *testing.T) {
	s := tell(t, listing)
	own := s.opens(reads)
	next[List](s)
	s.event(Listed{Sessions: []Listing{listedAs("server-1", own.Session, true)}})
	s.event(Configured{Limits: listing, Connection: benchConnection.ID, Reopen: true})
	next[List](s)
	s.event(Listed{})
	require.Equal(t, 1, s.notes(CompareFailed))
	require.Zero(t, s.notes(SessionVanished))
	require.False(t, has[Logout](s))
}

func TestADedicatedSessionIsForItsReadersOnly(t *testing.T) {
	dedicated := Want{Mode: providers.Dedicated}
	for name, test := range map[string]struct {
		first, second Want
		leaves        bool
		refused       Reason
	}{
		"the reader has left, another waits for a shared one": {dedicated, reads, true, ""},
		"the reader wants a longer lease":                     {Want{Mode: providers.Dedicated, MinTTL: 400 * time.Second}, reads, false, TooShort},
	} {
		t.Run(name, func(t *testing.T) {
			s := tell(t, benchLimits)
			s.event(Acquire{Waiter: 1, Want: test.first})
			s.event(Acquire{Waiter: 2, Want: test.second})
			s.event(Stored{Session: next[Put](s).Record.ID})
			s.event(LoggedIn{Session: next[Login](s).Session, Got: tokens("1")})
			if test.leaves {
				s.event(Abandon{Waiter: 1})
			}
			id := next[Put](s).Record.ID
			s.event(Stored{Session: id})
			if test.refused != "" {
				require.Equal(t, test.refused, next[Reply](s).Err.Reason)
			}
			require.False(t, has[Reply](s))
			require.Equal(t, id, next[Logout](s).Session)
		})
	}
}

func TestRule10ADrainWaitsUntilNothingIsLeftInTheLedger(t *testing.T) {
	s := tell(t, benchLimits)
	own := s.opens(reads)
	s.event(Drain{Waiter: 2})
	s.event(LoggedOut{Session: next[Logout](s).Session})
	require.Equal(t, own.Session, next[Remove](s).Session)
	require.False(t, has[Reply](s))
	s.event(Stored{Session: own.Session})
	require.Equal(t, Reply{Waiter: 2}, next[Reply](s))
}

func TestWhatIsLearntOfTheServersIdleTime(t *testing.T) {
	for name, test := range map[string]struct{ told, before, want time.Duration }{
		"the first that is told":        {2 * time.Hour, 0, 2 * time.Hour},
		"nothing is told":               {0, 2 * time.Hour, 2 * time.Hour},
		"the same, but for rounding":    {2*time.Hour - time.Second, 2 * time.Hour, 2 * time.Hour},
		"another":                       {time.Hour, 2 * time.Hour, time.Hour},
		"Keycloak's default, as always": {defaultIdle, 0, 0},
		"Keycloak's default, at last":   {defaultIdle, 2 * time.Hour, 0},
		"less than nothing":             {-1, time.Hour, time.Hour},
		"rounded down":                  {time.Hour - rounding, time.Hour, time.Hour},
		"rounded up":                    {time.Hour + rounding, time.Hour, time.Hour},
		"more than rounded":             {time.Hour + rounding + 1, time.Hour, time.Hour + rounding + 1},
		"the default, rounded down":     {defaultIdle - rounding, time.Hour, 0},
		"the default, rounded up":       {defaultIdle + rounding, time.Hour, 0},
		"more than the default":         {defaultIdle + rounding + 1, time.Hour, defaultIdle + rounding + 1},
	} {
		require.Equal(t, test.want, learntIdle(test.told, test.before), name)
	}
}

func TestRule8ARefreshThatFailsIsNoted(t *testing.T) {
	s := tell(t, benchLimits)
	s.opens(reads)
	s.event(Refreshed{Session: s.refreshes().Session, Err: errNoConnection})
	require.Equal(t, 1, s.notes(RefreshFailed))
}

// Servers take a code for a while after its step, at least for the half of one.
func TestRule6ALoginIsSentWhileItsCodeIsTaken(t *testing.T) {
	limits := benchLimits
	limits.Capabilities.OneTimeCode, limits.Capabilities.GeneratesCode, limits.Capabilities.CodePeriod = true, true, 30*time.Second
	s := tell(t, limits)
	s.pass(25 * time.Second)
	require.Equal(t, s.now.Add(5*time.Second+15*time.Second), s.logsIn(reads).SendBefore)
}

func TestRule7EachFailureInARowDoublesThePauseOfLogins(t *testing.T) {
	s := tell(t, benchLimits)
	for _, wait := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		s.event(LoggedIn{Session: s.logsIn(reads).Session, Err: errNoConnection})
		s.event(Stored{Session: next[Remove](s).Session})
		require.NotNil(t, next[Reply](s).Err)
		s.event(Acquire{Waiter: 2, Want: reads})
		rest := next[Reply](s).Err.RetryAt.Sub(s.now)
		require.InDelta(t, wait, rest.Seconds(), 0.26*float64(wait), "and up to a quarter more or less")
		s.pass(rest)
	}
}

func TestRule11ASessionThatTheServerDoesNotListIsNotedAsVanished(t *testing.T) {
	s := tell(t, listing)
	own := s.opens(reads)
	next[List](s)
	s.event(Listed{Sessions: []Listing{listedAs("server-1", own.Session, true)}})
	other := s.opens(Want{Mode: providers.Shared, Scopes: []string{"others"}})
	s.event(Configured{Limits: listing, Connection: benchConnection.ID, Reopen: true})
	require.Equal(t, other.Session, next[List](s).Session)
	s.event(Listed{Sessions: []Listing{listedAs("server-2", other.Session, true)}})
	require.Equal(t, 1, s.notes(SessionVanished))
	require.Equal(t, own.Session, next[Logout](s).Session)
}

// An outage leaves a queue of logouts, each of which waits for its own next try.
func TestRule5ALoginThatSucceedsAfterAnOutageBringsOneLogoutForward(t *testing.T) {
	dedicated := Want{Mode: providers.Dedicated}
	s := tell(t, benchLimits)
	for range 3 {
		r := s.opens(dedicated)
		s.event(Release{Session: r.Session, Grant: r.Grant.ID})
	}
	for range 6 { // by now they wait for longer than a login does
		for has[Put](s) {
			s.event(Stored{Session: next[Put](s).Record.ID})
		}
		for has[Logout](s) {
			s.event(LoggedOut{Session: next[Logout](s).Session, Err: errNoConnection})
		}
		s.pass(time.Minute)
	}
	for has[Logout](s) {
		s.event(LoggedOut{Session: next[Logout](s).Session, Err: errNoConnection})
	}
	s.left = nil
	s.event(Acquire{Waiter: 2, Want: dedicated})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.event(LoggedIn{Session: next[Login](s).Session, Err: errNoConnection})
	s.pass(2 * time.Second)
	require.False(t, has[Logout](s))

	s.left = nil
	s.event(Acquire{Waiter: 3, Want: dedicated})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.event(LoggedIn{Session: next[Login](s).Session, Got: tokens("4")})
	next[Logout](s)
	require.False(t, has[Logout](s))
}

func TestASessionThatNothingCanLogOutIsNotedAsAgedOut(t *testing.T) {
	limits := benchLimits
	limits.Capabilities.Logout = false
	s := tell(t, limits)
	own := s.opens(Want{Mode: providers.Dedicated})
	s.event(Release{Waiter: 2, Session: own.Session, Grant: own.Grant.ID})
	require.Equal(t, Reply{Waiter: 2}, next[Reply](s))
	require.Equal(t, 1, s.notes(SessionAgedOut))
	require.Equal(t, 1, s.a.Usage(s.now).Taken(), "it counts")
}

func TestARequestThatHasEndedGetsNoAnswer(t *testing.T) {
	s := tell(t, benchLimits)
	own := s.opens(reads)
	s.event(Drain{Waiter: 2})
	s.event(CloseSession{Waiter: 3, Session: own.Session})
	s.event(Release{Waiter: 4, Session: own.Session, Grant: own.Grant.ID})
	for w := range WaiterID(3) {
		s.event(Abandon{Waiter: 2 + w})
	}
	s.event(LoggedOut{Session: next[Logout](s).Session})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.event(Stored{Session: next[Remove](s).Session})
	require.Zero(t, s.a.Usage(s.now).Taken())
	require.False(t, has[Reply](s))
}

// Vault repeats a revocation that takes long.
func TestRule11ASessionThatIsKeptForTheListStaysKeptAtASecondRevocation(t *testing.T) {
	s, own, lost := besideALostLogin(t)
	require.NotNil(t, next[Reply](s).Err, "that reader's login")
	next[List](s)
	for w := range WaiterID(2) {
		s.event(Release{Waiter: 10 + w, Session: own.Session, Grant: own.Grant.ID})
		require.False(t, has[Logout](s), "its token asks for the list")
	}
	s.event(Listed{Sessions: []Listing{listedAs("server-1", own.Session, true), listedAs("server-2", lost, false)}})
	require.False(t, has[Logout](s), "its token ends the lost session")
	s.event(Ended{Session: lost, ServerID: next[End](s).ServerID})
	s.event(LoggedOut{Session: next[Logout](s).Session})
	s.event(Stored{Session: next[Remove](s).Session})
	s.event(Stored{Session: next[Remove](s).Session})
	for w := range WaiterID(2) {
		require.Equal(t, Reply{Waiter: 10 + w, Session: own.Session}, next[Reply](s))
	}
}

// A login that an operator dropped is in the list, whose token's session ended while
// the list was on its way.
func TestRule11AnOrphanIsEndedWithATokenOfASessionThatIsThere(t *testing.T) {
	s, own, lost := besideALostLogin(t)
	next[List](s)
	s.event(Listed{Sessions: []Listing{listedAs("server-1", own.Session, true)}})
	s.event(CloseSession{Waiter: 3, Session: lost})
	s.event(Stored{Session: next[Remove](s).Session})
	s.pass(lostPause)
	s.left = nil
	other := s.opens(Want{Mode: providers.Shared, Scopes: []string{"others"}})
	s.event(Configured{Limits: listing, Connection: benchConnection.ID, Reopen: true})
	require.Equal(t, other.Session, next[List](s).Session)
	s.event(Release{Session: other.Session, Grant: other.Grant.ID})
	s.event(LoggedOut{Session: next[Logout](s).Session})
	s.event(Stored{Session: next[Remove](s).Session})
	orphan := []Listing{listedAs("server-1", own.Session, false), listedAs("server-2", lost, false)}
	s.event(Listed{Sessions: orphan})
	require.False(t, has[End](s))
	s.pass(compareEvery)
	require.Equal(t, own.Session, next[List](s).Session)
	s.event(Listed{Sessions: orphan})
	require.Equal(t, lost, next[End](s).Session)
}

func TestRule5ALogoutThatFailsWhenTheSessionMustBeDeadIsTheLast(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(Want{Mode: providers.Dedicated})
	s.event(Release{Waiter: 2, Session: r.Session, Grant: r.Grant.ID})
	s.now = s.now.Add(31 * time.Minute)
	s.event(LoggedOut{Session: r.Session, Err: errNoConnection})
	require.Equal(t, Reply{Waiter: 2, Session: r.Session}, next[Reply](s))
	require.Equal(t, r.Session, next[Remove](s).Session)
	require.Equal(t, 1, s.notes(SessionAgedOut))
}

// After a restart nothing is known of the server's clock, which ours is an hour ahead of.
func TestRule6ACodeMadeByAClockThatIsAheadDoesNotHideTheOneBefore(t *testing.T) {
	limits := benchLimits
	limits.Capabilities.GeneratesCode, limits.Capabilities.CodePeriod = true, 30*time.Second
	forced := Want{Mode: providers.Dedicated, Force: true}
	s := tell(t, limits)
	s.a.clock = Clock{Known: true, Drift: -time.Hour}
	s.opens(forced)
	s.a.clock = Clock{}
	s.event(Acquire{Waiter: 2, Want: forced})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.event(LoggedIn{Session: next[Login](s).Session, Err: &providers.Error{
		Kind: providers.BadCredentials, Outcome: providers.DidNotHappen, ServerTime: s.now.Add(-time.Hour),
	}})
	s.left = nil
	s.event(Acquire{Waiter: 3, Want: forced})
	s.pass(30*time.Second - 1)
	require.False(t, has[Put](s), "the code of this step is used")
	s.pass(1)
	require.True(t, has[Put](s))
}

func TestRule6ATypedCodeIsUsedOnceInThreeSteps(t *testing.T) {
	s := tell(t, benchLimits)
	typed := Want{Mode: providers.Dedicated, OTP: providers.NewSecret("123456"), Person: "paula"}
	at := s.now
	s.opens(typed)
	s.pass(90*time.Second - 1)
	s.event(Acquire{Waiter: 2, Want: typed})
	r := next[Reply](s)
	require.Equal(t, CodeSpent, r.Err.Reason)
	require.Equal(t, at.Add(90*time.Second), r.Err.RetryAt)
	s.pass(1)
	s.opens(typed)
}

func TestRule7ALoginThatSucceedsForgetsThePersonsRefusedCodes(t *testing.T) {
	s := tell(t, benchLimits)
	refused := &providers.Error{Kind: providers.BadCredentials, Outcome: providers.DidNotHappen}
	typed := func(code string) Want {
		return Want{Mode: providers.Dedicated, OTP: providers.NewSecret(code), Person: "paula"}
	}
	isRefused := func(code string) time.Time {
		login := s.logsIn(typed(code))
		s.event(LoggedIn{Session: login.Session, Err: refused})
		s.event(Stored{Session: login.Session})
		s.left = nil
		s.event(Acquire{Waiter: 1, Want: typed(code + "0")})
		return next[Reply](s).Err.RetryAt
	}
	require.Equal(t, s.now.Add(guardFirst), isRefused("111111"))
	s.pass(guardFirst)
	s.opens(typed("222222"))
	require.Equal(t, s.now.Add(guardFirst), isRefused("333333"), "it is the first again")
}

func TestWhatTheServerDoesNotUnderstandIsTriedAgainSoonAndThenLater(t *testing.T) {
	s := tell(t, benchLimits)
	for _, wait := range []time.Duration{lostPause, 2 * lostPause} {
		s.event(LoggedIn{Session: s.logsIn(reads).Session, Err: &providers.Error{Kind: providers.Misconfigured, Outcome: providers.DidNotHappen}})
		s.event(Stored{Session: next[Remove](s).Session})
		s.left = nil
		s.event(Acquire{Waiter: 1, Want: reads})
		require.Equal(t, s.now.Add(wait), next[Reply](s).Err.RetryAt)
		s.pass(wait)
	}
}

func TestAClosedAccountThatMakesCodesNamesAnotherMountAsACause(t *testing.T) {
	limits := benchLimits
	limits.Capabilities.GeneratesCode = true
	require.Contains(t, guardAdvice(limits.Capabilities), "Two Vault mounts")
	require.NotContains(t, guardAdvice(benchLimits.Capabilities), "Two Vault mounts")
}

func TestASessionIsFoundHoweverManyScopesAreAskedForMeanwhile(t *testing.T) {
	s := tell(t, benchLimits)
	got := tokens("1")
	got.ExpiresIn = time.Hour
	s.opensWith(reads, got)
	s.pass(relearnLife)
	for i := range 2 * purposesMost {
		s.event(Acquire{Waiter: 2, Want: Want{Mode: providers.Shared, Scopes: []string{strconv.Itoa(i)}}})
		s.event(Abandon{Waiter: 2})
	}
	_, given := s.a.TryGrant(reads, s.now)
	require.True(t, given)
	require.Less(t, len(s.a.purposes), 2*purposesMost)
}

func TestASessionIsRemovedAfterTheWriteBefore(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(reads)
	refresh := s.refreshes()
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: tokens("2")})
	refreshed := next[Put](s)
	s.event(CloseSession{Waiter: 2, Session: r.Session})
	s.event(LoggedOut{Session: next[Logout](s).Session})
	require.False(t, has[Remove](s), "the record of its refresh could come later")
	s.event(Stored{Session: refreshed.Record.ID})
	require.Equal(t, r.Session, next[Remove](s).Session)
}

func TestWhereThereIsALimitOfOneTheListIsAskedForAfterALoginToo(t *testing.T) {
	limited := listing
	limited.MaxSessions = 1
	s := tell(t, limited)
	first := s.opens(Want{Mode: providers.Dedicated})
	next[List](s)
	s.event(Listed{Sessions: []Listing{{ServerSession: providers.ServerSession{ID: "server-1", Current: true}, Owner: ThisMount, Attempt: first.Session}}})
	s.ends(first)
	s.left = nil
	s.pass(compareEvery)
	s.opensWith(Want{Mode: providers.Dedicated}, tokens("2"))
	require.True(t, has[List](s))
}

func TestATokenThatNobodyTookLeavesNothing(t *testing.T) {
	s := tell(t, Limits{RequestTimeout: time.Second}) // such as client credentials, of which nothing is stored
	s.event(Acquire{Waiter: 1, Want: reads})
	s.event(Abandon{Waiter: 1})
	s.event(LoggedIn{Session: next[Login](s).Session, Got: tokens("1")})
	s.pass(time.Minute)
	require.Empty(t, s.a.sessions)
}

func TestRule5AWriteOfTheConfigTriesPendingLogoutsAtOnce(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(Want{Mode: providers.Dedicated})
	s.endsLater(r)
	require.False(t, has[Logout](s))
	s.event(Configured{Limits: benchLimits, Connection: benchConnection.ID})
	require.True(t, has[Logout](s))
}

func TestRule8AtTheEndOfASessionARefreshThatGivesNoLongerLifeIsNotAskedFor(t *testing.T) {
	limits := benchLimits
	limits.MaxSessions = 1 // no room for a successor
	s := tell(t, limits)
	s.opens(reads)
	refresh := s.refreshes()
	last := tokens("2")
	last.ExpiresIn, last.RefreshExpiresIn = 240*time.Second, 240*time.Second
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: last})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.pass(120 * time.Second)
	require.False(t, has[Refresh](s))
	require.False(t, has[Logout](s), "its token is served to the end")
}

func TestRule12ANewTokenThatCannotBeRefreshedIsNotReplacedBefore10s(t *testing.T) {
	s := tell(t, Limits{RequestTimeout: time.Second})
	s.event(Acquire{Waiter: 1, Want: reads})
	got := tokens("1")
	got.RefreshToken = providers.Secret{}
	s.event(LoggedIn{Session: next[Login](s).Session, Got: got})
	rejected := reads
	rejected.Rejected = next[Reply](s).Grant.Token.Ref
	s.pass(10*time.Second - 1)
	s.event(Acquire{Waiter: 2, Want: rejected})
	require.Equal(t, rejected.Rejected, next[Reply](s).Grant.Token.Ref)
	s.pass(1)
	s.event(Acquire{Waiter: 3, Want: rejected})
	require.True(t, has[Login](s))
}

func TestWhoeverWaitsForALoginIsToldWhyItFailed(t *testing.T) {
	s := tell(t, benchLimits)
	s.event(Acquire{Waiter: 1, Want: reads})
	s.event(Acquire{Waiter: 2, Want: reads})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.event(LoggedIn{Session: next[Login](s).Session, Err: &providers.Error{Kind: providers.BadCredentials, Outcome: providers.DidNotHappen}})
	for range 2 {
		require.Equal(t, Upstream, next[Reply](s).Err.Reason)
	}
}

func TestASecondOfDriftIsRounding(t *testing.T) {
	for drift, want := range map[time.Duration]string{
		0: "as this machine's", time.Second: "as this machine's", -time.Second: "as this machine's",
		2 * time.Second: "2s ahead of this machine's", -2 * time.Second: "2s behind this machine's",
	} {
		require.Equal(t, "the server's clock is "+want, Clock{Known: true, Drift: drift}.String())
	}
}

func TestRule12ATokenThatIsRejectedWhileTheNextIsStoredIsReplacedByThat(t *testing.T) {
	s := tell(t, benchLimits)
	given := s.opens(reads)
	refresh := s.refreshes()
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: tokens("2")})
	rejects := reads
	rejects.Rejected = given.Grant.Token.Ref
	s.event(Acquire{Waiter: 2, Want: rejects})
	require.False(t, has[Reply](s))
	s.event(Stored{Session: refresh.Session})
	require.Equal(t, 2, next[Reply](s).Grant.Token.Ref.Generation)
}

func TestAClockThatWasSetBackByLessThanACodesWindowIsTakenForRight(t *testing.T) {
	for back, known := range map[time.Duration]bool{codeWindow: true, codeWindow + 1: false} {
		s := tell(t, benchLimits)
		s.a.clock = Clock{Known: true}
		s.pass(-back)
		require.Equal(t, known, s.a.clock.Known, back)
	}
}

func TestAListIsBelievedThatHasTheSessionOfWhoAsked(t *testing.T) {
	s := tell(t, listing)
	asker := s.opens(reads)
	token := asker.Grant.Token
	for name, test := range map[string]struct {
		listed Listing
		holds  bool
	}{
		"the one that asks": {Listing{ServerSession: providers.ServerSession{ID: "x", Current: true}}, true},
		"by its mark":       {Listing{ServerSession: providers.ServerSession{ID: "x"}, Attempt: asker.Session}, true},
		"by its id":         {Listing{ServerSession: providers.ServerSession{ID: "server-1"}}, true},
		"another":           {Listing{ServerSession: providers.ServerSession{ID: "x"}, Attempt: "another"}, false},
	} {
		require.Equal(t, test.holds, s.a.holdsAsker([]Listing{test.listed}, token), name)
	}
	require.False(t, s.a.holdsAsker(nil, token))
}

func TestADrainThatHangsAtALoginSaysSo(t *testing.T) {
	s := tell(t, benchLimits)
	s.event(Acquire{Waiter: 1, Want: reads})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.event(Drain{Waiter: 2})
	next[Reply](s) // the reader's
	s.pass(s.a.NextWake().Sub(s.now))
	require.ErrorContains(t, next[Reply](s).Err, "1 session could not be logged out")
}

func TestASuccessorIsTriedAgainAfterAQuarterOfWhatIsLeft(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for left, want := range map[time.Duration]time.Duration{0: time.Second, 40 * time.Second: 10 * time.Second, time.Hour: refreshMost} {
		s := &session{token: &Token{ExpiresAt: now.Add(left + leaseMargin)}}
		require.Equal(t, want, s.patience(now))
	}
}

func TestASessionLimitThatTheServerReportsIsNoted(t *testing.T) {
	s := tell(t, benchLimits)
	s.event(LoggedIn{Session: s.logsIn(reads).Session, Err: &providers.Error{Kind: providers.SessionLimit, Outcome: providers.DidNotHappen}})
	require.Equal(t, 1, s.notes(AccountGuarded))
}

func TestASessionThatIsKeptForTheListMakesRoomSoon(t *testing.T) {
	s := tell(t, listing)
	s.opens(reads)
	require.False(t, s.a.closingSoon())
	s.a.list.kept = []*session{s.a.opening}
	require.True(t, s.a.closingSoon())
}

func TestRule1ARefreshThatComesAfterTheCloseGivesOnlyItsRefreshToken(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(reads)
	refresh := s.refreshes()
	s.event(CloseSession{Waiter: 2, Session: r.Session})
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: tokens("2")})
	put := next[Put](s)
	require.Equal(t, Closing, put.Record.Stage)
	require.Equal(t, providers.NewSecret("rt-2"), put.Record.Refresh)
	s.event(Stored{Session: r.Session})
	require.False(t, has[Put](s), "nobody gets its token")
	require.Equal(t, providers.NewSecret("rt-2"), next[Logout](s).Tokens.Refresh)
	require.False(t, has[Logout](s))
}

func TestAnswersAboutASessionThatIsForgottenChangeNothing(t *testing.T) {
	s := tell(t, benchLimits)
	for _, late := range []Event{
		LoggedIn{Session: "gone", Got: tokens("1")},
		Refreshed{Session: "gone", Got: tokens("1")},
		LoggedOut{Session: "gone"},
		Stored{Session: "gone"},
		Stored{Session: "gone", Err: errStorage},
		ConnectionDropped{ID: "gone"},
	} {
		s.event(late)
		require.Empty(t, s.left)
		require.Empty(t, s.a.sessions)
	}
}

func TestALostLoginIsSearchedForEveryFiveMinutesInTheEnd(t *testing.T) {
	s := tell(t, listing)
	lost := &session{dueIndex: notDue}
	for range 20 {
		s.a.searchLater(lost)
	}
	require.Equal(t, s.a.now.Add(5*time.Minute), lost.trouble.at)
}

func TestWithoutAConfigAFullBudgetIsSaidAtOnce(t *testing.T) {
	limited := listing
	limited.MaxSessions = 1
	s := tell(t, limited)
	s.opens(Want{Mode: providers.Dedicated})
	next[List](s)
	s.event(Listed{Err: errNoConnection})
	s.event(Configured{Limits: limited})
	s.pass(time.Minute) // now a list could be asked for, if there was a config
	trial := Connection{ID: "on trial", Capabilities: limited.Capabilities, RequestTimeout: time.Second}
	s.event(Acquire{Waiter: 2, Want: reads, Trial: &Trial{Limits: limited, Connection: trial}})
	require.Equal(t, BudgetFull, next[Reply](s).Err.Reason)
}

func TestATokenAsksForAListAsLongAsItCouldBeLeased(t *testing.T) {
	s := tell(t, listing)
	token := s.opens(reads).Grant.Token
	s.a.now = token.ExpiresAt.Add(-leaseMargin - 1)
	require.True(t, s.a.canList(token))
	s.a.now = token.ExpiresAt.Add(-leaseMargin)
	require.False(t, s.a.canList(token))
}

func TestASessionThatWasDroppedCountsWhereItIsListedAfterAll(t *testing.T) {
	s := tell(t, listing)
	lost := s.logsIn(Want{Mode: providers.Dedicated}).Session
	s.event(LoggedIn{Session: lost, Err: errNoAnswer})
	s.event(CloseSession{Waiter: 2, Session: lost}) // as an operator drops it
	s.event(Stored{Session: next[Remove](s).Session})
	s.left = nil
	s.pass(time.Minute)
	asker := s.opens(reads)
	next[List](s)
	s.event(Listed{Sessions: []Listing{
		{ServerSession: providers.ServerSession{ID: "server-1", Current: true}, Owner: ThisMount, Attempt: asker.Session},
		{ServerSession: providers.ServerSession{ID: "server-9", LastAccess: s.now}, Owner: ThisMount, Attempt: lost},
	}})
	require.Equal(t, "server-9", next[End](s).ServerID)
	require.Equal(t, 1, s.a.usageOf(&s.a.limits).Strays, "until it has ended")
}

// twoWait has two readers wait: 2 for the refresh of a session, 3 for the login of another.
func twoWait(t *testing.T) (s *told, refresh Refresh) {
	t.Helper()
	s = tell(t, benchLimits)
	s.opens(reads)
	s.pass(150 * time.Second)
	s.event(Acquire{Waiter: 2, Want: Want{Mode: providers.Shared, MinTTL: 200 * time.Second}})
	s.event(Acquire{Waiter: 3, Want: Want{Mode: providers.Shared, Scopes: []string{"others"}, MinTTL: 200 * time.Second}})
	require.False(t, has[Reply](s))
	return s, next[Refresh](s)
}

func TestRule8ARefreshThatFailsConcernsOnlyThoseWhoWaitForIt(t *testing.T) {
	s, refresh := twoWait(t)
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Err: errNoConnection})
	require.Equal(t, WaiterID(2), next[Reply](s).Waiter)
	require.False(t, has[Reply](s))
}

func TestRule8WhoWaitsForARefreshIsToldThatItCouldNotBeStored(t *testing.T) {
	s, refresh := twoWait(t)
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: tokens("2")})
	s.event(Stored{Session: refresh.Session, Err: errStorage})
	r := next[Reply](s)
	require.Equal(t, WaiterID(2), r.Waiter)
	require.Equal(t, Storage, r.Err.Reason)
	require.False(t, has[Reply](s))
}

func TestARefreshTellsTheServersClock(t *testing.T) {
	s := tell(t, benchLimits)
	s.opens(reads)
	refresh := s.refreshes()
	got := tokens("2")
	got.ServerTime = s.now.Add(time.Minute)
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: got})
	require.True(t, s.a.clock.Known)
	require.Equal(t, time.Minute, s.a.clock.Drift.Round(time.Second))
}

func TestRule1ALoginWithoutAnAnswerCountsFromTheEndOfItsDeadline(t *testing.T) {
	taken := tokens("1")
	for name, answer := range map[string]LoggedIn{
		"lost":            {Err: errNoAnswer},
		"of no use to us": {Got: providers.TokenResponse{AccessToken: taken.AccessToken, RefreshToken: taken.RefreshToken}, Err: &providers.Error{Kind: providers.Protocol, Outcome: providers.Happened}},
	} {
		s := tell(t, benchLimits)
		answer.Session = s.logsIn(reads).Session
		s.now = s.now.Add(20 * time.Second)
		s.event(answer)
		require.Equal(t, s.now.Add(31*time.Minute), s.a.sessions[answer.Session].rec.DiesAt, name)
	}
}

func TestRule8ARefreshTokenIsKeptAlsoWhereTheRestOfTheAnswerIsOfNoUse(t *testing.T) {
	s := tell(t, benchLimits)
	s.opens(reads)
	refresh := s.refreshes()
	s.event(Refreshed{
		Session: refresh.Session, Connection: refresh.Connection, Got: providers.TokenResponse{RefreshToken: providers.NewSecret("rt-2")},
		Err: &providers.Error{Kind: providers.Protocol, Outcome: providers.Happened},
	})
	require.Equal(t, providers.NewSecret("rt-2"), next[Put](s).Record.Refresh)
}

func TestASessionIsNotKeptForAListThatAnotherTokenCanAskFor(t *testing.T) {
	limited := listing
	limited.MaxSessions = 5
	s := tell(t, limited)
	first := s.opens(reads)
	second := s.opensWith(Want{Mode: providers.Dedicated}, tokens("2"))
	listed := Listed{Sessions: []Listing{
		{ServerSession: providers.ServerSession{ID: "server-1"}, Owner: ThisMount, Attempt: first.Session},
		{ServerSession: providers.ServerSession{ID: "server-2"}, Owner: ThisMount, Attempt: second.Session},
	}}
	s.event(Acquire{Waiter: 3, Want: Want{Mode: providers.Dedicated}})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.event(LoggedIn{Session: next[Login](s).Session, Err: errNoAnswer})
	for has[List](s) { // its session is not found, and searched for ever more seldom
		s.left = nil
		s.event(listed)
		s.pass(compareEvery)
	}
	s.event(Release{Waiter: 4, Session: first.Session, Grant: first.Grant.ID})
	require.Equal(t, first.Session, next[Logout](s).Session)
}

func TestRule1AfterARestartARefreshMayHaveProlongedASessionThatHasARefreshToken(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	rec := Condition{Horizon: now.Add(time.Minute), Idle: 30 * time.Minute, DiesAt: now.Add(time.Minute)}
	require.Equal(t, now.Add(time.Minute), rec.surelyDead(now), "nothing prolongs it")
	rec.Refresh = providers.NewSecret("r")
	require.Equal(t, now.Add(31*time.Minute), rec.surelyDead(now))
}

func TestRule1ARefreshThatIsLostKeepsASessionThatIsClosedAliveForLonger(t *testing.T) {
	for want, err := range map[time.Duration]*providers.Error{31 * time.Minute: errNoAnswer, 31*time.Minute - 150*time.Second: errNoConnection} {
		s := tell(t, benchLimits)
		r := s.opens(reads)
		refresh := s.refreshes()
		s.a.sessions[r.Session].rec.DiesAt = s.now.Add(31*time.Minute - 150*time.Second) // as before the refresh was sent
		s.event(CloseSession{Waiter: 2, Session: r.Session})
		s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Err: err})
		require.Equal(t, s.now.Add(want), s.a.sessions[r.Session].rec.DiesAt)
	}
}

func TestADrainWaitsForTheWriteOfALoginThatSucceeded(t *testing.T) {
	s := tell(t, benchLimits)
	s.event(LoggedIn{Session: s.logsIn(reads).Session, Got: tokens("1")})
	s.event(Drain{Waiter: 2})
	require.Equal(t, WaiterID(1), next[Reply](s).Waiter)
	require.False(t, has[Reply](s), "its session is not logged out yet")
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.event(LoggedOut{Session: next[Logout](s).Session})
	s.event(Stored{Session: next[Remove](s).Session})
	require.Equal(t, Reply{Waiter: 2}, next[Reply](s))
}

func TestALoginThatIsClosedMeanwhileIsLoggedOut(t *testing.T) {
	s := tell(t, benchLimits)
	login := s.logsIn(reads)
	s.event(CloseSession{Waiter: 2, Session: login.Session})
	s.event(LoggedIn{Session: login.Session, Got: tokens("1")})
	s.event(Stored{Session: next[Put](s).Record.ID})
	require.Equal(t, login.Session, next[Logout](s).Session)
}

func TestNobodyGetsATokenOfAnAccountThatHasNoConfigAnyMore(t *testing.T) {
	s := tell(t, benchLimits)
	s.opens(reads)
	_, given := s.a.TryGrant(reads, s.now)
	require.True(t, given)
	s.event(Configured{Limits: benchLimits})
	_, given = s.a.TryGrant(reads, s.now)
	require.False(t, given)
}

func TestASessionIsNotKeptForAListThatWithoutAConfigNobodyAsksFor(t *testing.T) {
	s := tell(t, listing)
	held := s.opens(reads)
	own := Listing{ServerSession: providers.ServerSession{ID: "server-1", Current: true}, Owner: ThisMount, Attempt: held.Session}
	s.event(Listed{Sessions: []Listing{own}})
	s.event(Acquire{Waiter: 2, Want: Want{Mode: providers.Dedicated}})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.event(LoggedIn{Session: next[Login](s).Session, Err: errNoAnswer})
	s.pass(compareEvery)
	next[List](s)
	s.event(Configured{Limits: listing})
	s.event(Release{Waiter: 3, Session: held.Session, Grant: held.Grant.ID})
	require.Equal(t, held.Session, next[Logout](s).Session)
}

func TestAReadersFailureDoesNotPutOffTheLoginThatKeepsTheAccountAlive(t *testing.T) {
	limits := benchLimits
	limits.KeepAlive = 30 * 24 * time.Hour
	s := tell(t, limits)
	// it would do for both
	s.event(LoggedIn{Session: s.logsIn(Want{Mode: providers.Dedicated, Scopes: []string{"misspelt"}}).Session, Err: &providers.Error{Kind: providers.Misconfigured, Outcome: providers.DidNotHappen}})
	require.NotNil(t, next[Reply](s).Err)
	s.event(Stored{Session: next[Remove](s).Session})
	require.Equal(t, Opening, next[Put](s).Record.Stage, "it begins at once")
}

func TestAnAccountThatAsksForACodeIsTriedADayLater(t *testing.T) {
	limits := benchLimits
	limits.Capabilities.OneTimeCode = true
	limits.KeepAlive = 30 * 24 * time.Hour
	s := tell(t, limits)
	s.event(Tick{})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.event(LoggedIn{Session: next[Login](s).Session, Err: &providers.Error{Kind: providers.BadCredentials, Outcome: providers.DidNotHappen}})
	s.event(Stored{Session: next[Remove](s).Session})
	s.event(GuardStored{})
	s.pass(time.Hour)
	require.Equal(t, s.now.Add(24*time.Hour), s.a.NextWake())
}

func TestWhatALoginNeededIsLetGoAfterIt(t *testing.T) {
	for name, answer := range map[string]LoggedIn{"opened": {Got: tokens("1")}, "lost": {Err: errNoAnswer}} {
		s := tell(t, benchLimits)
		answer.Session = s.logsIn(Want{Mode: providers.Dedicated}).Session
		s.event(answer)
		if has[Put](s) {
			s.event(Stored{Session: next[Put](s).Record.ID})
		}
		require.Nil(t, s.a.sessions[answer.Session].attempt, name)
	}
}

func TestOnlyATokenThatMayHaveToAskForTheListIsKeptBesideItsLease(t *testing.T) {
	limited := listing
	limited.MaxSessions = 5
	for kept, limits := range map[bool]Limits{false: listing, true: limited} {
		s := tell(t, limits)
		r := s.opens(Want{Mode: providers.Dedicated})
		require.Equal(t, kept, s.a.sessions[r.Session].token != nil)
	}
}

func TestNearlyFull(t *testing.T) {
	for taken, limit := range map[int]int{4: 5, 8: 10, 9: 11} {
		require.True(t, Usage{Limit: limit, Open: taken}.NearlyFull(), taken)
	}
	for taken, limit := range map[int]int{0: 1, 1: 2, 3: 5, 7: 9, 100: 0} {
		require.False(t, Usage{Limit: limit, Open: taken}.NearlyFull(), taken)
	}
}

func TestRule6ACodeThatAClockFromAheadSpentIsHeldNoLongerThanOthers(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	ahead := now.Add(time.Hour)
	code := &SpentCode{Digest: "digest", Until: ahead.Add(time.Minute)}
	a := Recover(Past{Records: []Record{{ID: "spent", Stage: Spent, Condition: Condition{OpenedAt: ahead, DiesAt: ahead, Code: code}}}}, "boot", nil, now)
	require.Equal(t, now.Add(time.Minute), a.NextWake())
	require.Equal(t, ahead.Add(time.Minute), code.Until, "the record may be of use to others")
}

func TestAShortTokenLifeIsBelievedForAQuarterOfAnHour(t *testing.T) {
	s := tell(t, benchLimits)
	s.opens(Want{Mode: providers.Dedicated})
	longer := Acquire{Waiter: 2, Want: Want{Mode: providers.Dedicated, MinTTL: 10 * time.Minute}}
	s.pass(15*time.Minute - 1)
	s.event(longer)
	require.Equal(t, TooShort, next[Reply](s).Err.Reason)
	s.pass(1)
	s.event(longer)
	require.False(t, has[Reply](s), "a login is tried")
}

func TestRule5APendingLogoutIsTriedEveryFiveMinutesInTheEnd(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(Want{Mode: providers.Dedicated})
	s.event(Release{Waiter: 2, Session: r.Session, Grant: r.Grant.ID})
	for try := 1; try <= 11; try++ {
		s.event(LoggedOut{Session: next[Logout](s).Session, Err: errNoConnection})
		s.event(Stored{Session: next[Put](s).Record.ID})
		wait := backoff(r.Session, try, 5*time.Minute)
		require.Equal(t, s.now.Add(wait), s.a.NextWake())
		s.pass(wait)
	}
}

func TestATypedCodeIsNotKeptAfterItsLoginWasSent(t *testing.T) {
	s := tell(t, benchLimits)
	s.event(Acquire{Waiter: 1, Want: Want{Mode: providers.Dedicated, OTP: providers.NewSecret("123456"), Person: "anna"}})
	put := next[Put](s)
	s.event(Stored{Session: put.Record.ID})
	require.Equal(t, providers.NewSecret("123456"), next[Login](s).OTP)
	require.Nil(t, s.a.opening.attempt.request)
}

func TestRule1AnIntentSaysWhenItsSessionMustBeDead(t *testing.T) {
	s := tell(t, benchLimits)
	s.event(Acquire{Waiter: 1, Want: reads})
	put := next[Put](s)
	require.Equal(t, s.now.Add(30*time.Second+benchLimits.RequestTimeout+30*time.Minute+time.Minute), put.Record.DiesAt)
	s.event(Stored{Session: put.Record.ID})
	require.Equal(t, s.now.Add(30*time.Second), next[Login](s).SendBefore, "not sent later")
}

func TestCodesAreMadeForTheServersClockWhereThatIsToBeBelieved(t *testing.T) {
	for drift, want := range map[time.Duration]struct{ follow, far bool }{
		0: {}, time.Second: {}, -time.Second: {}, 2 * time.Second: {follow: true}, 10 * time.Second: {follow: true},
		11 * time.Second: {follow: true, far: true}, -11 * time.Second: {follow: true, far: true},
		time.Hour: {follow: true, far: true}, time.Hour + time.Second: {far: true},
	} {
		c := Clock{Known: true, Drift: drift}
		require.Equal(t, want.follow, c.forCodes() == c, drift)
		require.Equal(t, want.far, c.Far(), drift)
	}
	require.False(t, Clock{Drift: time.Minute}.Far())
}

func TestAConnectionIsKeptForAVerificationThatWaits(t *testing.T) {
	s := tell(t, benchLimits)
	s.event(Acquire{Waiter: 1, Want: Want{Mode: providers.Dedicated}}) // one login at a time
	trial := Connection{ID: "on trial", Capabilities: benchLimits.Capabilities, RequestTimeout: time.Second}
	s.event(Acquire{Waiter: 2, Want: reads, Trial: &Trial{Limits: benchLimits, Connection: trial}})
	require.False(t, has[DropConnection](s))
	s.event(Abandon{Waiter: 2})
	require.Equal(t, DropConnection{ID: trial.ID}, next[DropConnection](s))
}

func TestRule12WhereTheTokenIsOfNoUseToAnybodyNobodyWaitsForATurn(t *testing.T) {
	short := tokens("1")
	short.ExpiresIn = minLease + leaseMargin + 2*time.Second
	s := tell(t, benchLimits)
	s.event(LoggedIn{Session: s.logsIn(reads).Session, Got: short})
	s.event(Stored{Session: next[Put](s).Record.ID})
	longer := Want{Mode: providers.Shared, MinTTL: 2 * time.Second}
	s.pass(2 * time.Second)
	s.event(Acquire{Waiter: 2, Want: longer})
	require.False(t, has[Refresh](s), "a lease of a second still fits")
	s.pass(time.Millisecond)
	require.True(t, has[Refresh](s))
}

func TestASessionIsForgottenOnlyWhenItsRemovalIsStored(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(reads)
	refresh := s.refreshes()
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: tokens("2")})
	s.event(CloseSession{Waiter: 2, Session: r.Session})
	s.event(LoggedOut{Session: next[Logout](s).Session})
	s.event(Stored{Session: r.Session}) // of its refresh
	next[Remove](s)
	s.event(Stored{Session: r.Session, Err: errStorage})
	s.pass(2 * time.Second)
	require.Equal(t, r.Session, next[Remove](s).Session)
	s.event(Stored{Session: r.Session})
	require.Empty(t, s.a.sessions)
}

func TestAWriteThatFailedIsNoted(t *testing.T) {
	s := tell(t, benchLimits)
	s.event(Acquire{Waiter: 1, Want: reads})
	s.event(Stored{Session: next[Put](s).Record.ID, Err: errStorage})
	require.Equal(t, 1, s.notes(LedgerWriteLost))
}

func TestWhatALoginThatCouldNotBeRecordedLeavesIsWrittenOnce(t *testing.T) {
	s := tell(t, benchLimits)
	s.event(Acquire{Waiter: 1, Want: reads})
	intent := next[Put](s).Record.ID
	s.event(Stored{Session: intent, Err: errStorage})
	s.event(Stored{Session: next[Remove](s).Session})
	require.False(t, has[Remove](s))
	require.Empty(t, s.a.sessions)

	login := s.logsIn(reads)
	s.event(LoggedIn{Session: login.Session, Got: tokens("1")})
	s.event(Stored{Session: next[Put](s).Record.ID, Err: errStorage})
	next[Logout](s)
	s.pass(time.Minute)
	require.False(t, has[Put](s), "its logout is under way, which will be recorded")
}

func TestRule6OfTwoCodesThatWereMadeTheLaterCounts(t *testing.T) {
	limits := benchLimits
	limits.Capabilities.OneTimeCode, limits.Capabilities.GeneratesCode, limits.Capabilities.CodePeriod = true, true, 30*time.Second
	now := time.Date(2026, 11, 27, 12, 0, 5, 0, time.UTC)
	spent := func(id SessionID, ends time.Duration) Record {
		return Record{ID: id, Stage: Spent, Condition: Condition{
			OpenedAt: now, DiesAt: now.Add(time.Minute),
			Code: &SpentCode{Ends: now.Truncate(30 * time.Second).Add(ends), Until: now.Add(time.Minute)},
		}}
	}
	s := &told{t: t, now: now, a: Recover(Past{
		Limits: limits, Connection: benchConnection.ID, Known: []Connection{benchConnection},
		Records: []Record{spent("later", 30*time.Second), spent("earlier", 0)},
	}, "boot", func() SessionID { return "new" }, now)}
	s.event(Acquire{Waiter: 1, Want: reads})
	require.False(t, has[Put](s))
	require.Equal(t, now.Truncate(30*time.Second).Add(30*time.Second), s.a.NextWake())
}

func TestALingeringSessionIsRefreshedAheadOnceItIsReadAgain(t *testing.T) {
	limits := benchLimits
	limits.Linger = time.Hour
	s := tell(t, limits)
	r := s.opens(reads)
	s.event(Release{Waiter: 2, Session: r.Session, Grant: r.Grant.ID})
	require.Equal(t, 300*time.Second, s.a.NextWake().Sub(s.now), "nobody needs another token")
	s.event(Acquire{Waiter: 3, Want: reads})
	require.Equal(t, 150*time.Second, s.a.NextWake().Sub(s.now))
}

func TestALoginIsRememberedWhenItIsMoreThanATenthOfTheIntervalLater(t *testing.T) {
	s := tell(t, Limits{KeepAlive: 10 * time.Hour})
	s.a.guard.LastLogin = s.now
	for later, stored := range map[time.Duration]bool{time.Hour: false, time.Hour + 1: true} {
		s.a.keep.lastLogin = s.now.Add(later)
		s.a.rememberLogin(s.a.limits)
		require.Equal(t, stored, s.a.guard.LastLogin.After(s.now), later)
		s.a.guard.LastLogin = s.now
	}
}

func TestOneLogoutGoesOutHoweverLongNobodyUsedTheSession(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(Want{Mode: providers.Dedicated})
	s.pass(time.Hour)
	logout := next[Logout](s)
	require.Equal(t, r.Session, logout.Session)
	s.event(CloseSession{Waiter: 2, Session: r.Session})
	require.False(t, has[Reply](s), "the logout under way will tell")
	require.Equal(t, 1, s.a.Status(s.now).States[StateWaiting])
	s.event(LoggedOut{Session: r.Session, Err: errNoConnection})
	require.Equal(t, 1, s.notes(SessionAgedOut))
	require.False(t, has[Logout](s))
}

func TestASessionThatTheListDoesNotHaveAnyMoreNeedsNoLogout(t *testing.T) {
	s := tell(t, listing)
	closed := s.opens(Want{Mode: providers.Dedicated})
	next[List](s)
	s.event(Listed{Err: errNoConnection})
	s.endsLater(closed)
	s.event(Configured{Limits: listing, Connection: benchConnection.ID, Reopen: true}) // asks for the list anew
	next[Logout](s)
	s.event(LoggedOut{Session: closed.Session, Err: errNoConnection})
	s.event(Stored{Session: closed.Session})
	s.left = nil
	asker := s.opensWith(reads, tokens("2"))
	next[List](s)
	s.left = nil
	s.event(Listed{Sessions: []Listing{{ServerSession: providers.ServerSession{ID: "server-2", Current: true}, Owner: ThisMount, Attempt: asker.Session}}})
	require.Equal(t, closed.Session, next[Remove](s).Session)
	require.Equal(t, Note{What: SessionClosed, Session: closed.Session, Detail: "the server does not list it any more"}, next[Note](s))
}

func TestADrainTellsWhyALogoutFailed(t *testing.T) {
	s := tell(t, benchLimits)
	s.opens(reads)
	s.event(Drain{Waiter: 2})
	s.event(LoggedOut{Session: next[Logout](s).Session, Err: &providers.Error{Kind: providers.Unavailable, Outcome: providers.DidNotHappen, Message: "503, try later"}})
	s.event(Stored{Session: next[Put](s).Record.ID})
	r := next[Reply](s)
	require.ErrorContains(t, r.Err, "1 session could not be logged out")
	require.ErrorContains(t, r.Err, "503, try later")
}

func TestAConnectionThatIsUsedAgainWhileItIsRemovedIsRemovedLater(t *testing.T) {
	s := tell(t, benchLimits)
	s.ends(s.opens(Want{Mode: providers.Dedicated}))
	s.pass(connectionKept)
	require.True(t, next[DropConnection](s).Stored)
	again := s.opensWith(Want{Mode: providers.Dedicated}, tokens("2"))
	s.event(ConnectionDropped{ID: benchConnection.ID})
	s.ends(again)
	s.pass(connectionKept)
	require.True(t, next[DropConnection](s).Stored)
}

func TestAPauseThatIsOverIsNotShown(t *testing.T) {
	s := tell(t, benchLimits)
	s.event(LoggedIn{Session: s.logsIn(reads).Session, Err: &providers.Error{Kind: providers.Unavailable, Outcome: providers.DidNotHappen, Message: "busy", RetryAfter: time.Minute}})
	paused := s.a.Status(s.now)
	require.Equal(t, s.now.Add(time.Minute), paused.PausedUntil)
	require.Contains(t, paused.PauseReason, "busy")
	s.now = s.now.Add(time.Minute)
	require.Zero(t, s.a.Status(s.now).PausedUntil)
	require.Empty(t, s.a.Status(s.now).PauseReason)
}

func TestRule8ARefreshThatFailedIsNotFollowedByALogin(t *testing.T) {
	s := tell(t, benchLimits)
	s.opens(reads)
	s.pass(100 * time.Second)
	s.event(Acquire{Waiter: 2, Want: Want{Mode: providers.Shared, MinTTL: 250 * time.Second}})
	refresh := next[Refresh](s)
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Err: errNoConnection})
	require.Equal(t, Upstream, next[Reply](s).Err.Reason)
	require.False(t, has[Put](s), "of another session")
}

func TestARefreshThatSucceededStartsTheCountOfFailuresAnew(t *testing.T) {
	s := tell(t, benchLimits)
	s.opens(reads)
	fails := func(refresh Refresh) time.Duration {
		s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Err: errNoConnection})
		return s.a.NextWake().Sub(s.now)
	}
	first := fails(s.refreshes())
	s.pass(first)
	second := fails(next[Refresh](s))
	require.Greater(t, second, first)
	s.pass(second)
	refresh := next[Refresh](s)
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: tokens("2")})
	s.event(Stored{Session: refresh.Session})
	s.event(Acquire{Waiter: 2, Want: reads})
	require.Equal(t, first, fails(s.refreshes()))
}

func TestRule1ASessionThatWaitedForItsLogoutMayHaveBeenProlongedBeforeARestart(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	connection := benchConnection
	connection.Capabilities = benchLimits.Capabilities
	s := &told{t: t, now: now, a: Recover(Past{
		Limits: benchLimits, Connection: connection.ID, Known: []Connection{connection},
		Records: []Record{{ID: "x", Stage: Closing, Connection: connection.ID, Condition: Condition{
			Refresh: providers.NewSecret("r"), OpenedAt: now.Add(-40 * time.Minute), RefreshedAt: now.Add(-33 * time.Minute),
			Horizon: now.Add(-10 * time.Minute), Idle: 30 * time.Minute, DiesAt: now.Add(-2 * time.Minute),
		}}},
	}, "boot", nil, now)}
	s.event(Tick{})
	require.Equal(t, SessionID("x"), next[Logout](s).Session)
}

func TestACheckAsksForTheListWithItsOwnToken(t *testing.T) {
	s := tell(t, listing)
	checks := s.opens(reads)
	next[List](s)
	s.event(Listed{Err: errNoConnection})
	newer := s.opensWith(Want{Mode: providers.Shared, Scopes: []string{"others"}}, tokens("2"))
	for with, of := range map[*Token]SessionID{checks.Grant.Token: checks.Session, nil: newer.Session} {
		s.event(Compare{Waiter: 2, With: with})
		require.Equal(t, of, next[List](s).Session)
		s.event(Listed{Err: errNoConnection})
	}
}

func TestRule1WhatAUselessAnswerLeftIsStoredBeforeItIsLoggedOut(t *testing.T) {
	s := tell(t, benchLimits)
	login := s.logsIn(reads)
	s.event(LoggedIn{
		Session: login.Session, Got: providers.TokenResponse{RefreshToken: providers.NewSecret("rt-1")},
		Err: &providers.Error{Kind: providers.Protocol, Outcome: providers.Happened},
	})
	put := next[Put](s)
	require.Equal(t, Closing, put.Record.Stage)
	require.Equal(t, providers.NewSecret("rt-1"), put.Record.Refresh)
}

func TestAWriteThatSucceededStartsTheCountOfFailuresAnew(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(reads)
	s.event(Release{Waiter: 2, Session: r.Session, Grant: r.Grant.ID})
	s.event(LoggedOut{Session: next[Logout](s).Session, Err: errNoConnection})
	var waits []time.Duration
	for _, err := range []error{errStorage, errStorage, nil, errStorage} {
		next[Put](s)
		s.event(Stored{Session: r.Session, Err: err})
		if err != nil {
			waits = append(waits, s.a.sessions[r.Session].unsaved.at.Sub(s.now))
			s.pass(waits[len(waits)-1])
		} else {
			s.pass(logoutMost)
			s.event(LoggedOut{Session: next[Logout](s).Session, Err: errNoConnection})
		}
	}
	require.Equal(t, waits[0], waits[2])
	require.Greater(t, waits[1], waits[0])
}

func TestACheckIsToldThatItsRefreshFailed(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(reads)
	s.event(RefreshNow{Waiter: 2, Session: r.Session})
	refresh := next[Refresh](s)
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Err: errNoConnection})
	told := next[Reply](s)
	require.Equal(t, WaiterID(2), told.Waiter)
	require.Equal(t, Upstream, told.Err.Reason)
}

func TestASuccessorIsNotOpenedBesideARefresh(t *testing.T) {
	s := tell(t, benchLimits)
	got := tokens("1")
	got.RefreshExpiresIn = 310 * time.Second
	s.opensWith(reads, got)
	s.pass(150 * time.Second)
	refresh := next[Refresh](s)
	last := tokens("2")
	last.ExpiresIn, last.RefreshExpiresIn = 100*time.Second, 160*time.Second // what is left of the session's maximum age
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: last})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.pass(50 * time.Second)
	require.NotEqual(t, refresh.Session, next[Put](s).Record.ID)
	require.False(t, has[Refresh](s))
}

func TestAGrantIDIsReadAsItWasWritten(t *testing.T) {
	for _, n := range []uint64{1, 1<<64 - 1} {
		id := GrantID{Boot: "boot", N: n}
		read, err := ParseGrantID(id.String())
		require.NoError(t, err)
		require.Equal(t, id, read)
	}
}

func TestALoginThatItsReaderDidNotAwaitIsForAReaderAndNotForAVerification(t *testing.T) {
	s := tell(t, benchLimits)
	dedicated := Want{Mode: providers.Dedicated}
	login := s.logsIn(dedicated)
	s.event(Acquire{Waiter: 2, Want: dedicated, Trial: &Trial{Limits: benchLimits, Connection: benchConnection}})
	s.event(Acquire{Waiter: 3, Want: dedicated})
	s.event(Abandon{Waiter: 1})
	s.event(LoggedIn{Session: login.Session, Got: tokens("1")})
	s.event(Stored{Session: login.Session})
	given := next[Reply](s)
	require.Equal(t, WaiterID(3), given.Waiter)
	require.NotNil(t, given.Grant.Token)
}

func TestACountChangesWithWhatItCounts(t *testing.T) {
	require.Equal(t, 1, change(false, true))
	require.Equal(t, -1, change(true, false))
	require.Zero(t, change(true, true))
	require.Zero(t, change(false, false))
}

func TestAReaderForcesOneRefreshAndThenALogin(t *testing.T) {
	s := tell(t, benchLimits)
	s.opens(reads)
	refresh := s.refreshes()
	ageing := tokens("2")
	ageing.RefreshExpiresIn = 20 * time.Minute // what is left of the session's maximum age
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: ageing})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.pass(120 * time.Second)
	s.event(Acquire{Waiter: 2, Want: Want{Mode: providers.Shared, MinTTL: 200 * time.Second}})
	refresh = next[Refresh](s)
	short := tokens("3")
	short.ExpiresIn, short.RefreshExpiresIn = 60*time.Second, 18*time.Minute
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: short})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.pass(forcedEvery)
	require.False(t, has[Refresh](s))
	require.NotEqual(t, refresh.Session, next[Put](s).Record.ID)
}

func TestAnAccountWithoutAConfigIsLookedAtWhenItsPauseIsOver(t *testing.T) {
	s := tell(t, benchLimits)
	s.event(LoggedIn{Session: s.logsIn(reads).Session, Err: &providers.Error{Kind: providers.Unavailable, Outcome: providers.DidNotHappen, RetryAfter: 10 * time.Minute}})
	s.event(Stored{Session: next[Remove](s).Session})
	s.pass(connectionKept)
	s.event(ConnectionDropped{ID: next[DropConnection](s).ID})
	require.Zero(t, s.a.NextWake())
	s.event(Configured{})
	require.Equal(t, 10*time.Minute-connectionKept, s.a.NextWake().Sub(s.now))
	require.False(t, s.a.Forgettable())
	s.pass(10*time.Minute - connectionKept)
	require.True(t, s.a.Forgettable())
}

func TestADroppedSessionIsNoted(t *testing.T) {
	s := tell(t, benchLimits)
	lost := s.logsIn(reads).Session
	s.event(LoggedIn{Session: lost, Err: errNoAnswer})
	s.event(CloseSession{Waiter: 2, Session: lost})
	require.Equal(t, 1, s.notes(SessionDropped))
}

func TestALoginThatFailedIsNoted(t *testing.T) {
	for name, answer := range map[string]LoggedIn{
		"nothing happened": {Err: errNoConnection},
		"of no use":        {Got: providers.TokenResponse{RefreshToken: providers.NewSecret("rt-1")}, Err: &providers.Error{Kind: providers.Protocol, Outcome: providers.Happened}},
	} {
		s := tell(t, benchLimits)
		answer.Session = s.logsIn(reads).Session
		s.event(answer)
		require.Equal(t, 1, s.notes(LoginFailed), name)
	}
}

func TestAListIsAskedForWithATokenOfAnySessionWhereThereIsALimit(t *testing.T) {
	limited := listing
	limited.MaxSessions = 5
	s := tell(t, limited)
	first := s.opens(Want{Mode: providers.Dedicated})
	second := s.opensWith(Want{Mode: providers.Dedicated}, tokens("2"))
	limited.MaxSessions = 1
	s.event(Configured{Limits: limited, Connection: benchConnection.ID})
	s.event(Release{Waiter: 2, Session: second.Session, Grant: second.Grant.ID})
	require.Equal(t, first.Grant.Token, s.a.listToken(nil))
}

func TestACheckIsToldWhyItsSessionIsGone(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(reads)
	s.event(RefreshNow{Waiter: 2, Session: r.Session})
	refresh := next[Refresh](s)
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Err: &providers.Error{Kind: providers.SessionGone, Outcome: providers.DidNotHappen, Message: "session not active"}})
	require.ErrorContains(t, next[Reply](s).Err, "session not active")
	require.False(t, has[Reply](s))
}

func TestRule7AVerificationThatSucceedsDoesNotReopenTheAccountByItself(t *testing.T) {
	s := tell(t, benchLimits)
	s.event(LoggedIn{Session: s.logsIn(reads).Session, Err: &providers.Error{Kind: providers.BadCredentials, Outcome: providers.DidNotHappen}})
	closed := s.a.guard.Guard
	require.NotZero(t, closed.ClosedUntil)
	s.event(Stored{Session: next[Remove](s).Session})
	s.left = nil
	s.event(Acquire{Waiter: 2, Want: reads, Trial: &Trial{Limits: benchLimits, Connection: benchConnection}})
	s.event(Stored{Session: next[Put](s).Record.ID})
	s.event(LoggedIn{Session: next[Login](s).Session, Got: tokens("1")})
	require.Equal(t, closed, s.a.guard.Guard)
}

func TestWhereOthersTakePlacesTheAdviceNamesThem(t *testing.T) {
	s := tell(t, listing)
	limits := listing
	limits.MaxSessions = 1
	require.NotContains(t, s.a.budgetFull(&limits, nil).Advice, "have people log out")
	s.a.list.others = []other{{serverID: "x", owner: People, until: s.now.Add(time.Hour)}}
	require.Contains(t, s.a.budgetFull(&limits, nil).Advice, "have people log out")
}

func TestALoginThatSucceedsEndsThePausesOfItsScopes(t *testing.T) {
	s := tell(t, benchLimits)
	p := s.a.purposeOf(nil, nil)
	p.pause = pause{tries: 5, cause: errNoConnection}
	s.opens(reads)
	require.Zero(t, p.pause)
}

func TestRule1ARefreshMayKeepASessionAliveFromTheEndOfItsDeadline(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(reads)
	s.refreshes()
	require.Equal(t, s.now.Add(10*time.Second+30*time.Minute+deathMargin), s.a.sessions[r.Session].rec.DiesAt)
}

func TestADrainEnds20sAfterTheLastLogoutAndAfter75sAtTheLatest(t *testing.T) {
	s := tell(t, benchLimits)
	for range 8 {
		s.opens(Want{Mode: providers.Dedicated})
	}
	began := s.now
	s.event(Drain{Waiter: 2})
	for range 4 {
		require.Equal(t, 20*time.Second, s.a.NextWake().Sub(s.now))
		s.pass(17 * time.Second)
		s.event(LoggedOut{Session: next[Logout](s).Session})
		s.event(Stored{Session: next[Remove](s).Session})
	}
	require.Equal(t, 75*time.Second, s.a.NextWake().Sub(began))
	s.pass(7 * time.Second)
	require.ErrorContains(t, next[Reply](s).Err, "4 sessions could not be logged out")
}

func TestASessionThatEndsOfAgeIsNotedWithItsLastError(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(Want{Mode: providers.Dedicated})
	s.endsLater(r)
	s.left = nil
	s.pass(31 * time.Minute)
	require.Equal(t, Note{What: SessionAgedOut, Session: r.Session, Detail: errNoConnection.What()}, next[Note](s))
}

func TestASessionWhoseLogoutIsUnderWayIsNotEndedByAListWithoutIt(t *testing.T) {
	s := tell(t, listing)
	leaves := s.opens(Want{Mode: providers.Dedicated})
	next[List](s)
	s.event(Listed{Err: errNoConnection})
	asker := s.opensWith(reads, tokens("2"))
	s.event(Compare{Waiter: 3, With: asker.Grant.Token})
	next[List](s)
	s.event(Release{Waiter: 2, Session: leaves.Session, Grant: leaves.Grant.ID})
	next[Logout](s)
	s.event(Listed{Sessions: []Listing{listedAs("server-2", asker.Session, true)}})
	require.False(t, has[Remove](s))
	require.Equal(t, closing, s.a.sessions[leaves.Session].phase)
}

func TestWhatExpiresIsForgotten(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	var e expiring[string]
	e.add("past", now, now)
	e.add("soon", now.Add(1), now)
	require.Equal(t, expiring[string]{"soon": now.Add(1)}, e)
	e.add("later", now.Add(2), now.Add(1))
	require.Equal(t, expiring[string]{"later": now.Add(2)}, e)
}

func TestRule12ATokenThatIsRejectedSoonIsReplacedByTheLoginUnderWayForItsScopes(t *testing.T) {
	for name, test := range map[string]struct {
		opens Want
		kept  bool
	}{
		"of its scopes":         {reads, true},
		"of other scopes":       {Want{Mode: providers.Shared, Scopes: []string{"others"}}, false},
		"of a dedicated reader": {Want{Mode: providers.Dedicated}, false},
	} {
		s := tell(t, benchLimits)
		given := s.opens(reads)
		p := s.a.purposeOf(nil, nil)
		p.forcedAt = s.now
		s.a.opening = &session{mode: test.opens.Mode, purpose: s.a.purposeOf(test.opens.Scopes, nil), attempt: &attempt{}}
		rejects := reads
		rejects.Rejected = given.Grant.Token.Ref
		w := &waiter{want: rejects, purpose: p}
		s.a.reject(w)
		require.Equal(t, test.kept, w.want.Rejected == rejects.Rejected, name)
	}
}

func TestASessionThatIsKeptForTheListIsGivenToNobody(t *testing.T) {
	s := tell(t, listing)
	r := s.opens(reads)
	next[List](s)
	s.a.enter(&session{dueIndex: notDue, durable: true}, lost) // which the list may show
	require.NotNil(t, s.a.purposeOf(nil, nil).current)
	require.True(t, s.a.keepForList(s.a.sessions[r.Session]))
	require.Nil(t, s.a.purposeOf(nil, nil).current)
}

func TestASuccessorWaitsForTheReadersOfTheSessionBefore(t *testing.T) {
	for _, held := range []bool{false, true} {
		s := tell(t, benchLimits)
		r := s.opens(reads)
		old := s.a.sessions[r.Session]
		if !held {
			old.remove(r.Grant.ID)
		}
		successor := &session{purpose: old.purpose}
		s.a.supersede(successor)
		require.Equal(t, held, successor.keepUntil.Equal(old.rec.Horizon))
	}
}

func TestALeaseThatIsNotKnownIsNotReleasedAtOnce(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(reads)
	_, given := s.a.TryGrant(reads, s.now)
	require.True(t, given)
	require.False(t, s.a.TryRelease(r.Session, GrantID{Boot: "boot", N: 99}))
	require.True(t, s.a.TryRelease(r.Session, r.Grant.ID))
}

func TestAnAnswerIsNotKept(t *testing.T) {
	s := tell(t, benchLimits)
	s.opens(reads)
	for _, reply := range s.a.replies[:cap(s.a.replies)] {
		require.Nil(t, reply)
	}
}

func TestWhatARefreshLeftBehindAtAServerWithoutLogoutIsNotLoggedOut(t *testing.T) {
	limits := benchLimits
	limits.Capabilities.Logout = false
	s := tell(t, limits)
	r := s.opens(reads)
	refresh := s.refreshes()
	s.event(CloseSession{Waiter: 2, Session: r.Session})
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: tokens("2")})
	require.False(t, has[Logout](s))
}

func TestALogoutThatSucceedsAtOnceSaysNothingAboutThoseThatWait(t *testing.T) {
	s := tell(t, benchLimits)
	waits, ends := s.opens(Want{Mode: providers.Dedicated}), s.opensWith(Want{Mode: providers.Dedicated}, tokens("2"))
	s.endsLater(waits)
	due := s.a.sessions[waits.Session].callAt
	s.event(Release{Waiter: 3, Session: ends.Session, Grant: ends.Grant.ID})
	s.event(LoggedOut{Session: next[Logout](s).Session})
	require.Equal(t, due, s.a.sessions[waits.Session].callAt)
}

func TestWhatIsSharedGoesByScopesAndParameters(t *testing.T) {
	params := map[string]string{"audience": "x"}
	keys := map[string]bool{}
	for _, scopes := range [][]string{nil, {"a"}, {"a", "b"}} {
		keys[shareKey(scopes, nil)], keys[shareKey(scopes, params)] = true, true
	}
	require.Len(t, keys, 6)
}

func TestRule7CodesThatPeopleTypedAreCountedApart(t *testing.T) {
	s := tell(t, benchLimits)
	denied := &providers.Error{Kind: providers.BadCredentials, Outcome: providers.DidNotHappen}
	s.a.guard.TypedStrikes = typedMost - 1
	typed := &SpentCode{Digest: "x", person: "someone"}
	s.a.strike(&session{rec: Condition{Code: typed}}, denied)
	require.Equal(t, typedMost, s.a.guard.TypedStrikes)
	require.Equal(t, 1, s.a.guard.Strikes)
	s.a.strike(&session{rec: Condition{Code: &SpentCode{}}}, denied)
	s.a.strike(&session{}, denied)
	require.Equal(t, typedMost, s.a.guard.TypedStrikes)
	require.Equal(t, 3, s.a.guard.Strikes)
}

func TestARefreshThatIsRepeatedWithTheNewestSecretHasNotFailed(t *testing.T) {
	s := tell(t, benchLimits)
	s.opens(reads)
	next := Connection{ID: "next", Capabilities: benchLimits.Capabilities, RequestTimeout: 10 * time.Second}
	own := benchConnection
	own.Capabilities, own.SameClient = benchLimits.Capabilities, true
	s.event(Configured{Limits: benchLimits, Connection: next.ID, Known: []Connection{own, next}})
	refresh := s.refreshes()
	s.left = nil
	s.event(Refreshed{Session: refresh.Session, Connection: own.ID, Err: &providers.Error{Kind: providers.BadCredentials, Outcome: providers.DidNotHappen}})
	require.Equal(t, []Effect{Refresh{Session: refresh.Session, Connection: next.ID, Token: refresh.Token, Timeout: refresh.Timeout}}, s.left)
}

func TestASessionFadesWhenItsEndComesBeforeAFullLease(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for left, fades := range map[time.Duration]bool{time.Minute + leaseMargin - 1: true, time.Minute + leaseMargin: false} {
		s := &session{token: &Token{fadesAt: now.Add(left)}}
		require.Equal(t, fades, s.fading(now, time.Minute))
	}
	require.False(t, (&session{token: &Token{}}).fading(now, time.Minute), "its end is not known")
}

func TestARefreshThatGetsThroughAgainBringsOneLogoutForward(t *testing.T) {
	s := tell(t, benchLimits)
	s.opens(reads)
	var closed []Reply
	for range 3 {
		closed = append(closed, s.opens(Want{Mode: providers.Dedicated}))
	}
	for range 5 { // longer and longer waits
		for _, r := range closed {
			s.event(CloseSession{Waiter: 2, Session: r.Session})
			s.event(LoggedOut{Session: r.Session, Err: errNoConnection})
			s.event(Stored{Session: r.Session})
		}
	}
	s.left = nil
	refresh := Refresh{Session: s.a.purposeOf(nil, nil).current.id, Connection: benchConnection.ID}
	s.a.sessions[refresh.Session].trouble = &retry{tries: 1, at: s.now, cause: &Refusal{}}
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: tokens("2")})
	next[Logout](s)
	require.False(t, has[Logout](s))
}

func TestAStatusIsOfTheTimeThatItIsAskedFor(t *testing.T) {
	s := tell(t, listing)
	s.a.list.others = []other{{serverID: "x", owner: People, until: s.now.Add(time.Minute)}}
	require.Equal(t, 1, s.a.Status(s.now).Usage.People)
	require.Zero(t, s.a.Status(s.now.Add(time.Minute)).Usage.People)
}

func TestRule12ATokenThatWasNotGivenYetCannotBeRejected(t *testing.T) {
	s := tell(t, benchLimits)
	given := s.opens(reads)
	refresh := s.refreshes()
	guessed := Want{Mode: providers.Shared, MinTTL: 200 * time.Second, Rejected: TokenRef{Session: given.Session, Generation: 2}}
	s.event(Acquire{Waiter: 2, Want: guessed})
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: tokens("2")})
	s.event(Stored{Session: refresh.Session})
	require.Equal(t, 2, next[Reply](s).Grant.Token.Ref.Generation)
	require.False(t, has[Refresh](s))
}

func TestAPendingLogoutIsNotTriedBecauseItsRecordIsWrittenAgain(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(Want{Mode: providers.Dedicated})
	s.event(Release{Waiter: 2, Session: r.Session, Grant: r.Grant.ID})
	s.event(LoggedOut{Session: next[Logout](s).Session, Err: &providers.Error{Kind: providers.Unavailable, Outcome: providers.DidNotHappen, RetryAfter: time.Minute}})
	next[Put](s)
	s.event(Stored{Session: r.Session, Err: errStorage})
	s.pass(2 * time.Second)
	next[Put](s)
	require.False(t, has[Logout](s))
}

func TestWithoutALimitALoginAsksForNoList(t *testing.T) {
	s := tell(t, listing)
	first := s.opens(reads)
	next[List](s) // after a start
	s.event(Listed{Sessions: []Listing{listedAs("server-1", first.Session, true)}})
	s.pass(compareEvery)
	s.opensWith(Want{Mode: providers.Dedicated}, tokens("2"))
	require.False(t, has[List](s))
}

func TestASessionThatCarriesNoMarkIsKnownByItsID(t *testing.T) {
	s := tell(t, listing)
	own := s.opens(reads)
	next[List](s)
	s.event(Listed{Err: errNoConnection})
	s.event(Compare{Waiter: 2, With: own.Grant.Token})
	s.event(Listed{Sessions: []Listing{{ServerSession: providers.ServerSession{ID: "server-1", Current: true}, Owner: People}}})
	shown := next[Reply](s).Compared.Sessions
	require.Len(t, shown, 1)
	require.Equal(t, ThisMount, shown[0].Owner)
	require.Equal(t, Known, shown[0].Standing)
}

func TestRule12ReadersTakeTurnsAlsoWhereTheClockWasSetBackSinceTheLogin(t *testing.T) {
	s := tell(t, benchLimits)
	r := s.opens(reads)
	s.a.sessions[r.Session].rec.OpenedAt = s.now.Add(time.Hour)
	longest := Want{Mode: providers.Shared, MinTTL: s.a.sessions[r.Session].leaseLeft(s.now)}
	s.pass(time.Minute)
	s.event(Acquire{Waiter: 2, Want: longest})
	refresh := next[Refresh](s)
	s.event(Refreshed{Session: refresh.Session, Connection: refresh.Connection, Got: tokens("2")})
	s.event(Stored{Session: refresh.Session})
	require.Nil(t, next[Reply](s).Err)
	s.pass(forcedEvery - 1)
	s.event(Acquire{Waiter: 3, Want: longest})
	require.False(t, has[Refresh](s))
	s.pass(1)
	require.True(t, has[Refresh](s))
}
