package machine

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

func TestTheKeptCountsAreAlwaysWhatAWalkFinds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	limits := benchLimits
	limits.MaxSessions = 5
	a := newBenchAccount(2, limits, now)
	var pending []Effect
	var grants []Reply
	counts := map[int]bool{}
	for waiter := WaiterID(1); waiter < 5000; waiter++ {
		var ev Event = Tick{}
		switch n := random.IntN(10); {
		case waiter%100 == 0:
			ev = Drain{Waiter: waiter}
		case n < 2:
			ev = Acquire{Waiter: waiter, Want: Want{Mode: []providers.Mode{providers.Dedicated, providers.Shared}[n]}}
		case n < 4 && len(grants) > 0:
			ev = Release{Waiter: waiter, Session: grants[0].Session, Grant: grants[0].Grant.ID}
			grants = grants[1:]
		case n < 9 && len(pending) > 0:
			ev = answerTo(pending[0], random.IntN(8))
			pending = pending[1:]
		case a.draining:
			ev = Configured{Limits: limits}
		default:
			now = now.Add(time.Duration(random.IntN(int(time.Minute))))
		}
		for _, e := range a.Step(ev, now) {
			if reply, ok := e.(Reply); ok && reply.Grant.Token != nil {
				grants = append(grants, reply)
			}
			if answerTo(e, 1) != nil {
				pending = append(pending, e)
			}
		}

		walked := walk(t, a)
		require.Equal(t, walked, a.counters)
		inUse := a.usageOf(&limits).Ours()
		require.LessOrEqual(t, inUse, limits.MaxSessions)
		counts[inUse] = true
	}
	require.Len(t, counts, limits.MaxSessions+1, "from none to all were in use")
}

// walk counts the sessions, and sees that each stands in its heap.
func walk(t *testing.T, a *Account) counters {
	t.Helper()
	walked := counters{closing: map[*session]struct{}{}}
	scheduled := 0
	for _, s := range a.sessions {
		walked.phases[s.phase]++
		if s.counts() {
			walked.counted[s.phase]++
		}
		if s.phase == closing {
			walked.closing[s] = struct{}{}
		}
		if s.storing {
			walked.storing++
		}
		if s.loggingOut {
			walked.loggingOut++
			if s.rec.pendingLogout().Tries == 0 {
				walked.firstLogouts++
			}
		}
		if at := a.nextDue(s); !at.IsZero() {
			scheduled++
			require.True(t, at.Equal(s.dueAt))
			require.Same(t, s, (*a.heapOf(s))[s.dueIndex])
		}
	}
	require.Equal(t, scheduled, len(a.due)+len(a.logouts))
	return walked
}

// answerTo is a server's or a storage's answer: a failure where luck is 0, of
// unknown outcome; nil: the effect wants none.
func answerTo(e Effect, luck int) Event {
	var failed error
	var err *providers.Error
	if luck == 0 {
		failed = errors.New("failed")
		err = &providers.Error{Kind: providers.Unavailable, Outcome: providers.Unknown, Message: "no answer"}
	}
	got := providers.TokenResponse{
		AccessToken: providers.NewSecret("access-token"), ExpiresIn: 5 * time.Minute,
		RefreshToken: providers.NewSecret("refresh-token"), RefreshExpiresIn: 30 * time.Minute,
	}
	switch e := e.(type) {
	case Put:
		return Stored{Session: e.Record.ID, Err: failed}
	case Remove:
		return Stored{Session: e.Session, Err: failed}
	case PutGuard:
		return GuardStored{Err: failed}
	case Login:
		return LoggedIn{Session: e.Session, Got: got, Err: err}
	case Refresh:
		return Refreshed{Session: e.Session, Connection: e.Connection, Got: got, Err: err}
	case Logout:
		return LoggedOut{Session: e.Session, Connection: e.Connection, Err: err}
	case List:
		return Listed{Err: &providers.Error{Kind: providers.NotAllowed, Outcome: providers.DidNotHappen}}
	case End:
		return Ended{Session: e.Session, ServerID: e.ServerID, Err: err}
	case DropConnection:
		if e.Stored {
			return ConnectionDropped{ID: e.ID, Err: failed}
		}
	case Reply, Note:
	}
	return nil
}
