package machine

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// TryGrant is the hot path: it hands out the token of a live shared session
// that other leases hold already. It makes no effect and moves no deadline; if
// anything else is to be decided it says no, and the reader sends an Acquire.
func (a *Account) TryGrant(w Want, now time.Time) (Grant, bool) {
	s := a.live(w, now)
	if s == nil || w.Mode != providers.Shared || w.Rejected.Session != "" || s.held() == 0 {
		return Grant{}, false
	}
	return a.grant(s), true
}

// live is the shared session that has what a reader wants, and no refresh due; nil:
// none has.
func (a *Account) live(w Want, now time.Time) *session {
	p := a.purposes[shareKey(w.Scopes, w.Params)]
	if p == nil || a.draining || a.retired() {
		return nil
	}
	s := p.current
	if s == nil || s.leaseLeft(now) < w.leaseNeeded() || a.refreshesAhead(s) && !now.Before(s.callAt) {
		return nil
	}
	return s
}

// grant adds a lease to the newest token of a session.
func (a *Account) grant(s *session) Grant {
	a.lastGrant++
	s.newest().grants.add(a.lastGrant)
	return Grant{
		ID:    GrantID{Boot: a.boot, N: a.lastGrant},
		Mode:  s.mode,
		Token: s.token,
		Until: s.token.ExpiresAt.Add(-leaseMargin),
		Stale: s.stale(),
	}
}

// stale says why the token could not be refreshed in time; empty: it is well.
func (s *session) stale() string {
	if s.trouble == nil {
		return ""
	}
	return s.trouble.cause.Message
}

// Static is a token without a lease.
type Static struct {
	Token *Token
	// RotatesAt is when the next token will be there; Period is what lies between two.
	RotatesAt time.Time
	Period    time.Duration
	// Spread is how long after that to read again. Readers who all came at the rotation
	// itself would come in one moment: each gets another part of a tenth of the life.
	Spread time.Duration
	// Stale says why the token could not be refreshed in time; empty: it is well.
	Stale string
}

// TryStatic is the hot path of static readers: it hands out the token that another
// has read without a lease before. If anything is to be decided it says no, and the
// reader sends an Acquire.
func (a *Account) TryStatic(w Want, now time.Time) (Static, bool) {
	s := a.live(w, now)
	if s == nil || !s.rotates() {
		return Static{}, false
	}
	a.staticReads++
	return Static{
		Token: s.token, RotatesAt: s.callAt, Period: s.token.Response.ExpiresIn / 2,
		Spread: s.token.Response.ExpiresIn / 10 * time.Duration(a.staticReads*spreadStep%spreadParts) / spreadParts,
		Stale:  s.stale(),
	}, true
}

// Readers one after the other get parts that are as far from each other as can be:
// the step is the golden ratio of the parts.
const (
	spreadParts = 1000
	spreadStep  = 618
)

// TryRelease is the hot path of a lease's end: it takes a grant back that is not
// the session's last. It makes no effect and moves no deadline; if anything else
// is to be decided it says no and has changed nothing.
func (a *Account) TryRelease(id SessionID, g GrantID) bool {
	s := a.sessions[id]
	if s == nil || s.phase != open || s.mode != providers.Shared || g.Boot != a.boot || s.held() < 2 {
		return false
	}
	return s.remove(g)
}

// addGeneration counts a new token in: its leases die at its horizon.
func (a *Account) addGeneration(s *session, t *Token) {
	s.token = t
	if s.via().Capabilities.ListsSessions {
		a.list.token = t
	}
	s.listRefused = false
	s.generations = append(s.generations, generation{horizon: t.ExpiresAt})
}

// newest is the generation whose token is handed out.
func (s *session) newest() *generation { return &s.generations[len(s.generations)-1] }

// held counts the leases on the session. Those from before a restart are not known
// by name and count as one, and so do all static readers.
func (s *session) held() int {
	n := s.leases()
	if s.nameless() {
		n++
	}
	if s.readStatic() {
		n++
	}
	return n
}

// leases counts the leases of this run of the engine.
func (s *session) leases() int {
	n := 0
	for i := range s.generations {
		n += s.generations[i].grants.len()
	}
	return n
}

// leased says that leases hold the session.
func (s *session) leased() bool { return s.nameless() || s.leases() > 0 }

// nameless says that leases from before the engine was started may still be
// running on the session (rule 3).
func (s *session) nameless() bool { return len(s.generations) > 0 && s.generations[0].nameless }

// readStatic says that somebody has a token of it without a lease: it is held until
// that one's horizon.
func (s *session) readStatic() bool {
	return slices.ContainsFunc(s.generations, func(g generation) bool { return g.static })
}

// rotates says that somebody has its newest token without a lease, and will come back
// for the next.
func (s *session) rotates() bool { return len(s.generations) > 0 && s.newest().static }

// remove takes a lease out of the set; false: it is not in there.
func (s *session) remove(g GrantID) bool {
	for i := range s.generations {
		if s.generations[i].grants.remove(g.N) {
			return true
		}
	}
	return false
}

// dropExpiredGrants forgets leases past the horizon of their token: Vault has
// ended them, whether or not it could say so.
func (a *Account) dropExpiredGrants(s *session) {
	held := s.held()
	expired := 0
	for expired < len(s.generations) && !a.now.Before(s.generations[expired].horizon) {
		expired++
	}
	if expired == 0 {
		return
	}
	s.generations = slices.Delete(s.generations, 0, expired)
	if held > 0 {
		a.lingerIfLast(s)
	}
}

// drop removes one lease from a shared session; a second time changes nothing.
func (a *Account) drop(s *session, id GrantID) {
	if id.Boot == a.boot && s.remove(id) {
		a.lingerIfLast(s)
	}
}

// lingerIfLast keeps a session for a while after its last lease (rule 3), if
// readers can still find it.
func (a *Account) lingerIfLast(s *session) {
	if s.held() > 0 {
		return
	}
	s.keepUntil = a.now
	if s.purpose.current == s {
		s.keepUntil = a.now.Add(a.limits.Linger)
	}
}

// unheldUntil is when a session is closed that nobody holds: the server does not keep it
// as long as any linger.
func (s *session) unheldUntil() time.Time { return earliest(s.keepUntil, s.rec.DiesAt) }

// unheld says that nobody holds the session and nobody waits for its next token.
func (s *session) unheld() bool { return s.held() == 0 && !s.renewing() }

// grantSet is a set of grants. Most sessions are dedicated and have one for all
// their life: that needs no map.
type grantSet struct {
	one  uint64 // 0: none, grants count from 1
	more map[uint64]struct{}
}

func (g *grantSet) len() int {
	if g.one != 0 {
		return len(g.more) + 1
	}
	return len(g.more)
}

func (g *grantSet) add(id uint64) {
	if g.one == 0 {
		g.one = id
		return
	}
	if g.more == nil {
		g.more = map[uint64]struct{}{}
	}
	g.more[id] = struct{}{}
}

func (g *grantSet) remove(id uint64) bool {
	if id == 0 {
		return false
	}
	if g.one == id {
		g.one = 0
		return true
	}
	_, held := g.more[id]
	delete(g.more, id)
	return held
}

// leaseMargin is kept between the end of a lease and the expiry of its token,
// so that a request under way with it is not cut off (rule 4).
const leaseMargin = 5 * time.Second

// minLease is the shortest TTL that is ever answered: Vault takes 0 for the
// mount's default.
const minLease = time.Second

// GrantID names one hand-out of a session to one lease. Boot tells grants of
// this run of the engine from those of an earlier one.
type GrantID struct {
	Boot string
	N    uint64
}

// TokenRef names one token: a session and its generation.
type TokenRef struct {
	Session    SessionID
	Generation int
}

// Token is one access token of a session. It is immutable and shared by all
// grants on it.
type Token struct {
	Ref       TokenRef
	Response  providers.TokenResponse
	ExpiresAt time.Time

	fadesAt time.Time // when the server ends its session whatever we do; zero: not known
}

// left is the longest lease that it can carry now.
func (t *Token) left(now time.Time) time.Duration { return t.ExpiresAt.Sub(now) - leaseMargin }

// Grant is a hand-out: an entry in a set, not a count, so that releasing it
// twice changes nothing.
type Grant struct {
	ID    GrantID
	Mode  providers.Mode
	Token *Token
	// Until is the latest end of a lease on it.
	Until time.Time
	// Stale says why the token could not be refreshed in time; empty: it is well.
	Stale string
}

// Want is what a reader asks for.
type Want struct {
	Mode   providers.Mode
	Scopes []string // sorted
	Params map[string]string
	// Static: the token is read without a lease, of a shared session.
	Static bool
	// MinTTL: the lease must be able to last this long; 0: no matter.
	MinTTL time.Duration
	// OTP is a one-time code, typed by Person.
	OTP    providers.Secret
	Person string
	// Force passes the guard, for a check that an operator insists on.
	Force bool
	// Rejected is a token that an API refused (rule 12).
	Rejected TokenRef
}

// leaseNeeded is the shortest lease that will do.
func (w Want) leaseNeeded() time.Duration { return max(minLease, w.MinTTL) }

// String is how answers and leases show the token: "<session>.<generation>".
// The zero TokenRef is "".
func (r TokenRef) String() string {
	if r.Session == "" {
		return ""
	}
	return string(r.Session) + "." + strconv.Itoa(r.Generation)
}

// ParseTokenRef reads what String wrote. The error repeats nothing: it may be a token.
func ParseTokenRef(s string) (TokenRef, error) {
	id, number, found := strings.Cut(s, ".")
	generation, err := strconv.Atoi(number)
	if !found || id == "" || err != nil || generation < 1 {
		return TokenRef{}, errors.New("a session_id has the form <session>.<generation>, such as ykq25wq3rdyw7.1")
	}
	return TokenRef{Session: SessionID(id), Generation: generation}, nil
}

// String is how a lease stores the grant: "<boot>-<n>".
func (g GrantID) String() string { return g.Boot + "-" + strconv.FormatUint(g.N, 10) }

// ParseGrantID reads what String wrote.
func ParseGrantID(s string) (GrantID, error) {
	boot, number, found := strings.Cut(s, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if !found || boot == "" || err != nil {
		return GrantID{}, fmt.Errorf("%q is no grant: want <boot>-<n>", s)
	}
	return GrantID{Boot: boot, N: n}, nil
}
