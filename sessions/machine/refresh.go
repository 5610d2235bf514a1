package machine

import (
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// refreshMost is the longest pause between two tries of a background refresh.
const refreshMost = 30 * time.Second

// refresh sends the newest refresh token, once (rule 8): nobody begins another
// while one is under way or its token is not stored.
func (a *Account) refresh(s *session) {
	s.refreshing = true
	s.changedIn = a.steps
	deadline := a.now.Add(a.limits.RequestTimeout)
	// Even if the answer is lost, the server may count the session's idle time
	// from this call.
	if dies := deadline.Add(s.rec.Idle + deathMargin); dies.After(s.rec.DiesAt) {
		s.rec.DiesAt = dies
	}
	if a.now.After(s.rec.Horizon) {
		a.save(s) // see surelyDead
	}
	a.emit(Refresh{Session: s.rec.ID, Token: s.rec.Refresh, Deadline: deadline})
	a.schedule(s)
}

// refreshesAhead says whether a background refresh is to be planned: for the
// shared session in use, while leases hold it, unless one is under way.
func (a *Account) refreshesAhead(s *session) bool {
	return a.current[s.key] == s && s.token != nil && s.held() > 0 && !s.renewing() && !a.stopping
}

// renewing says that a new token is on its way: asked for, or not stored yet.
func (s *session) renewing() bool { return s.refreshing || s.unstored != nil }

// refreshAhead replaces a token at half its life, so that no reader waits: by a
// refresh, or, where that cannot give a full new life, by a successor session.
func (a *Account) refreshAhead(s *session) {
	switch {
	case s.canRefresh() && !s.fading(a.now, a.life[s.key]):
		a.refresh(s)
	case a.openSuccessor(s):
		s.refreshAt = a.now.Add(s.patience(a.now)) // if it fails
	case s.canRefresh() && s.token.ExpiresAt.Before(s.fadesAt.Add(-leaseMargin)):
		a.refresh(s) // no room: the shorter life is better than none
	default:
		s.refreshAt = a.now.Add(s.patience(a.now))
	}
}

// patience is how long to wait before a successor is tried again: a part of
// what is left of the token's life.
func (s *session) patience(now time.Time) time.Duration {
	return min(refreshMost, max(time.Second, s.token.left(now)/4))
}

// fading says that the session's maximum age is near: a refreshed token would
// not live as long as a new session's.
func (s *session) fading(now time.Time, fullLease time.Duration) bool {
	return !s.fadesAt.IsZero() && s.fadesAt.Sub(now)-leaseMargin < fullLease
}

func (s *session) canRefresh() bool { return !s.rec.Refresh.Empty() }

// refreshHelps says whether a refresh could give the waiter what it needs.
func (a *Account) refreshHelps(s *session, w *waiter) bool {
	switch {
	case w.refreshed || !s.canRefresh():
		return false
	case !s.fadesAt.IsZero() && s.fadesAt.Sub(a.now)-leaseMargin < w.want.leaseNeeded():
		return false
	}
	life, known := a.life[s.key]
	return !known || life >= w.want.leaseNeeded()
}

// openSuccessor begins the login of the session that takes over, within the
// budget, the guard and the codes.
func (a *Account) openSuccessor(s *session) bool {
	if a.opening != nil || a.draining || a.stopping || a.limits.Retired || a.now.Before(a.nextLogin) {
		return false
	}
	want := Want{Mode: providers.Shared, Scopes: s.rec.Scopes}
	if refusal := a.refusedBy(want, nil, a.limits.Capabilities); refusal != nil {
		return false
	}
	c, freeAt := a.codeFor(a.limits.Capabilities, providers.Secret{})
	if !freeAt.IsZero() {
		return false
	}
	if s.durable && a.full(a.limits) {
		return false
	}
	a.beginLogin(want, s.key, nil, 0, c)
	return true
}

// refreshed takes the answer to a refresh.
func (a *Account) refreshed(e Refreshed) {
	s := a.sessions[e.Session]
	if s == nil {
		return
	}
	s.refreshing = false
	s.changedIn = a.steps
	a.readClock(e.Got, e.Err)
	defer a.schedule(s)
	if e.Err != nil {
		a.refreshFailed(s, e)
		return
	}
	if s.phase != open {
		// It is being closed; the newest refresh token closes it best.
		s.rec.Refresh = e.Got.RefreshToken
		return
	}
	if s.trouble != nil && s.trouble.tries > 0 {
		a.bringLogoutsForward(1)
	}
	s.rec.Generation++
	s.rec.RefreshedAt = a.now
	s.unstored = a.takeToken(s, e.Got)
	s.trouble = nil
	a.save(s)
}

// publish hands the refreshed token out, now that the ledger holds the refresh
// token that came with it.
func (a *Account) publish(s *session) {
	a.addGeneration(s, s.unstored)
	s.unstored = nil
	if life := s.token.left(a.now); s.fadesAt.IsZero() || life > a.life[s.key] {
		a.life[s.key] = life
	}
}

// refreshFailed: a refusal does not prove that the session is gone, so it is
// logged out all the same (rule 8). Any other failure leaves the token that is
// still valid in use.
func (a *Account) refreshFailed(s *session, e Refreshed) {
	a.note(RefreshFailed, s, e.Err.Error())
	if s.phase != open {
		return
	}
	if e.Err.Kind == providers.SessionGone {
		a.close(s)
		return
	}
	if !e.Got.RefreshToken.Empty() {
		s.rec.Refresh = e.Got.RefreshToken
		a.save(s)
	}
	t := s.troubled(nil)
	t.tries++
	t.until = a.now.Add(max(min(e.Err.RetryAfter, throttleMost), backoff(s.rec.ID, t.tries, refreshMost)))
	t.refusal = &Refusal{
		Reason:  Upstream,
		Message: e.Err.What(),
		Advice:  join(e.Err.Advice, "the next refresh is tried after "+stamp(t.until)),
		RetryAt: t.until,
		Err:     e.Err,
	}
	s.refreshAt = t.until
	a.answerRefreshers(s, t.refusal)
}

// trouble is why a session's token could not be replaced in time.
type trouble struct {
	tries   int       // refreshes that failed in a row
	until   time.Time // no refresh for a reader before
	refusal *Refusal
}

// troubled notes why the token could not be replaced.
func (s *session) troubled(r *Refusal) *trouble {
	if s.trouble == nil {
		s.trouble = &trouble{}
	}
	s.trouble.refusal = r
	return s.trouble
}

// answerRefreshers refuses those who waited for a refresh of this session and
// cannot do with the token that it has.
func (a *Account) answerRefreshers(s *session, r *Refusal) {
	for _, w := range a.waiters {
		renews := w.want.Renews.Session == s.rec.ID
		reads := a.current[s.key] == s && w.readsShared(s.key) && !s.serves(w, a.now)
		if !w.answered && (renews || reads) {
			a.refuse(w, r)
		}
	}
}
