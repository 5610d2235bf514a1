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
	timeout := s.timeout()
	// Even if the answer is lost, the server may count the session's idle time
	// from this call.
	s.rec.DiesAt = later(s.rec.DiesAt, a.now.Add(timeout+s.rec.Idle+deathMargin))
	if a.now.After(s.rec.Horizon) {
		a.save(s) // see surelyDead
	}
	a.sendRefresh(s, s.via().ID)
	a.schedule(s)
}

func (a *Account) sendRefresh(s *session, via ConnectionID) {
	s.changedIn = a.steps
	a.emit(Refresh{Session: s.id, Connection: via, Token: s.rec.Refresh, Timeout: s.timeout()})
}

// refreshesAhead says whether a background refresh is to be planned: for the
// shared session in use, while leases hold it or its newest token was read without
// one, unless a refresh is under way.
func (a *Account) refreshesAhead(s *session) bool {
	return s.purpose.current == s && s.token != nil && (s.leased() || s.rotates()) && !s.renewing() && !a.stopping
}

// renewing says that a new token is on its way: asked for, or not stored yet.
func (s *session) renewing() bool { return s.refreshing || s.unstored != nil }

// refreshAhead replaces a token at half its life, so that no reader waits: by a
// refresh, or, where that cannot give a full new life, by a successor session.
func (a *Account) refreshAhead(s *session) {
	switch {
	case s.canRefresh() && !s.fading(a.now, s.purpose.life.lease):
		a.refresh(s)
	case a.openSuccessor(s):
		s.callAt = a.now.Add(s.patience(a.now)) // if it fails
	case s.canRefresh() && s.token.ExpiresAt.Before(s.fadesAt().Add(-leaseMargin)):
		a.refresh(s) // no room: the shorter life is better than none
	default:
		s.callAt = a.now.Add(s.patience(a.now))
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
	fadesAt := s.fadesAt()
	return !fadesAt.IsZero() && fadesAt.Sub(now)-leaseMargin < fullLease
}

// fadesAt is when the server ends the session whatever we do; zero: not known.
func (s *session) fadesAt() time.Time {
	if s.token == nil {
		return time.Time{}
	}
	return s.token.fadesAt
}

func (s *session) canRefresh() bool { return !s.rec.Refresh.Empty() }

// refreshHelps says whether a refresh could give the waiter what it needs.
func (a *Account) refreshHelps(s *session, w *waiter) bool {
	if w.refreshed || !s.canRefresh() || s.fading(a.now, w.want.leaseNeeded()) {
		return false
	}
	life, known := s.purpose.knownLife(a.now)
	return !known || life >= w.want.leaseNeeded()
}

// openSuccessor begins the login of the session that takes over, within the
// budget, the guard and the codes.
func (a *Account) openSuccessor(s *session) bool {
	if a.opening != nil || a.draining || a.stopping || a.retired() || a.now.Before(a.nextLogin) {
		return false
	}
	want := Want{Mode: providers.Shared, Scopes: s.purpose.scopes, Params: s.purpose.params}
	if refusal := a.refusedBy(&want, s.purpose, false, a.limits.Capabilities); refusal != nil {
		return false
	}
	c, freeAt := a.codeFor(a.limits.Capabilities, providers.Secret{}, "")
	if !freeAt.IsZero() {
		return false
	}
	if s.durable && a.full(&a.limits) {
		return false
	}
	a.beginLogin(&want, s.purpose, nil, 0, c)
	return true
}

// apply takes the answer to a refresh.
func (e Refreshed) apply(a *Account) {
	s := a.sessions[e.Session]
	if s == nil {
		return
	}
	s.refreshing = false
	s.changedIn = a.steps
	a.readClock(e.Got, e.Err)
	defer a.schedule(s)
	if via, ok := a.standInFor(s, e.Connection, e.Err); ok {
		s.refreshing = true
		a.sendRefresh(s, via)
		return
	}
	if e.Err == nil && e.Connection != s.via().ID {
		a.refer(s, e.Connection)
	}
	if s.phase != open {
		a.refreshedTooLate(s, e)
		return
	}
	if e.Err != nil {
		a.refreshFailed(s, e)
		return
	}
	if s.trouble != nil {
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
	if life := s.token.left(a.now); s.fadesAt().IsZero() || life > s.purpose.life.lease {
		s.purpose.life = tokenLife{lease: life, seenAt: a.now}
	}
	a.answerRefresher(s, nil)
}

// refreshedTooLate goes on with a session that is to be closed: its logout has waited
// for this, since only the newest refresh token ends it everywhere (rule 1).
func (a *Account) refreshedTooLate(s *session, e Refreshed) {
	a.takeLeft(s, e)
	if s.phase == closing && s.loggingOut {
		a.sendLogout(s, s.via().ID)
	}
}

// takeLeft takes in what a refresh left at the server whose access token nobody gets.
func (a *Account) takeLeft(s *session, e Refreshed) {
	if e.Err != nil && e.Err.Outcome != providers.DidNotHappen {
		s.rec.DiesAt = later(s.rec.DiesAt, a.now.Add(s.rec.Idle+deathMargin))
	}
	if !e.Got.RefreshToken.Empty() {
		s.rec.Refresh = e.Got.RefreshToken
		a.save(s)
	}
}

// apply refreshes the session of a check.
func (e RefreshNow) apply(a *Account) {
	s := a.sessions[e.Session]
	if s == nil || s.phase != open || s.kept || !s.canRefresh() {
		a.reply(Reply{Waiter: e.Waiter, Err: &Refusal{Reason: Closed, Message: "the session is closed or cannot be refreshed", Advice: "try again"}})
		return
	}
	s.refresher = e.Waiter
	if !s.renewing() {
		a.refresh(s)
	}
}

// answerRefresher answers the check that waits for a session's refresh.
func (a *Account) answerRefresher(s *session, r *Refusal) {
	if s.refresher != 0 {
		a.reply(Reply{Waiter: s.refresher, Session: s.id, Err: r})
		s.refresher = 0
	}
}

// refreshFailed: a refusal does not prove that the session is gone, so it is
// logged out all the same (rule 8). Any other failure leaves the token that is
// still valid in use.
func (a *Account) refreshFailed(s *session, e Refreshed) {
	a.note(RefreshFailed, s, e.Err.Error())
	if e.Err.Kind == providers.SessionGone {
		a.answerRefresher(s, &Refusal{Reason: Upstream, Message: e.Err.What(), Advice: e.Err.Advice, Err: e.Err})
		a.close(s)
		return
	}
	a.takeLeft(s, e)
	s.trouble = s.trouble.again(a.now, func(tries int) time.Duration {
		return asLongAsAsked(e.Err, backoff(s.id, tries, refreshMost))
	})
	s.callAt = s.trouble.at
	s.trouble.cause = &Refusal{
		Reason:  Upstream,
		Message: e.Err.What(),
		Advice:  join(e.Err.Advice, "the next refresh is tried after "+stamp(s.callAt)),
		RetryAt: s.callAt,
		Err:     e.Err,
	}
	a.answerRefreshers(s, s.trouble.cause)
}

// answerRefreshers refuses those who waited for a refresh of this session and
// cannot do with the token that it has.
func (a *Account) answerRefreshers(s *session, r *Refusal) {
	a.answerRefresher(s, r)
	for _, w := range a.waiters {
		if !w.answered && s.purpose.current == s && w.readsShared(s.purpose) && !s.serves(w, a.now) {
			a.refuse(w, r)
		}
	}
}
