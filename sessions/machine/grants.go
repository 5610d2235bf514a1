package machine

import (
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// TryGrant is the hot path: it hands out the token of a live shared session
// that other leases hold already. It makes no effect and moves no deadline; if
// anything else is to be decided it says no, and the reader sends an Acquire.
func (a *Account) TryGrant(w Want, now time.Time) (Grant, bool) {
	if w.Mode != providers.Shared || w.Rejected.Session != "" || a.draining || a.limits.Retired {
		return Grant{}, false
	}
	s := a.current[scopesKey(w.Scopes)]
	if s == nil || s.token == nil || len(s.grants) == 0 || s.token.left(now) < w.leaseNeeded() {
		return Grant{}, false
	}
	if a.refreshesAhead(s) && !now.Before(s.refreshAt) {
		return Grant{}, false
	}
	return a.grant(s), true
}

// grant adds a lease to the newest token of a session.
func (a *Account) grant(s *session) Grant {
	a.lastGrant++
	if s.grants == nil {
		s.grants = make(map[uint64]int, 1)
	}
	s.grants[a.lastGrant] = s.token.Ref.Generation
	g := Grant{
		ID:    GrantID{Boot: a.boot, N: a.lastGrant},
		Mode:  s.rec.Mode,
		Token: s.token,
		Until: s.token.ExpiresAt.Add(-leaseMargin),
	}
	if s.refreshErr != nil {
		g.Stale = s.refreshErr.Message
	}
	return g
}

// namelessGrant stands for the leases that a session had before the engine was
// started: they are not known by name (rule 3).
const namelessGrant = 0

// addGeneration counts a new token in: its leases die at its horizon.
func (a *Account) addGeneration(s *session, t *Token) {
	s.token = t
	a.book.see(t)
	s.published = t.Ref.Generation
	s.generations = append(s.generations, generation{t.Ref.Generation, t.ExpiresAt})
}

// dropExpiredGrants forgets leases past the horizon of their token: Vault has
// ended them, whether or not it could say so.
func (a *Account) dropExpiredGrants(s *session) {
	expired := 0
	for len(s.generations) > 0 && !a.now.Before(s.generations[0].horizon) {
		expired = s.generations[0].number
		s.generations = s.generations[1:]
	}
	if expired == 0 || len(s.grants) == 0 {
		return
	}
	for id, number := range s.grants {
		if number <= expired {
			delete(s.grants, id)
		}
	}
	a.lingerIfLast(s)
}

// drop removes one lease from a shared session; a second time changes nothing.
func (a *Account) drop(s *session, id GrantID) {
	if _, held := s.grants[id.N]; !held || id.Boot != a.boot {
		return
	}
	delete(s.grants, id.N)
	a.lingerIfLast(s)
}

// lingerIfLast keeps a session for a while after its last lease (rule 3), if
// readers can still find it.
func (a *Account) lingerIfLast(s *session) {
	if len(s.grants) > 0 {
		return
	}
	s.keepUntil = a.now
	if a.current[s.key] == s {
		s.keepUntil = a.now.Add(a.limits.Linger)
	}
}

// unheld says that nobody holds the session and nobody waits for its next token.
func (s *session) unheld() bool { return len(s.grants) == 0 && !s.renewing() }
