package machine

import (
	"container/heap"
	"slices"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

const (
	// logoutMost is the longest pause between two tries of a pending logout.
	logoutMost = 5 * time.Minute
	// visibleRevocations is how often a revocation may fail before its lease is
	// released and the queue alone goes on (rule 5). Vault gives a lease up as
	// irrevocable after six.
	visibleRevocations = 3
)

// apply ends one lease (rules 3 and 5). What is gone is a success.
func (e Release) apply(a *Account) {
	s := a.sessions[e.Session]
	if s == nil {
		a.reply(Reply{Waiter: e.Waiter})
		return
	}
	defer a.schedule(s)
	switch s.phase {
	case open:
		if s.mode == providers.Shared {
			a.drop(s, e.Grant)
			if !s.unheld() || a.now.Before(s.unheldUntil()) {
				a.reply(Reply{Waiter: e.Waiter})
				return
			}
		}
		a.close(s)
		a.awaitLogout(s, e.Waiter)
	case closing:
		a.tryLogout(s)
		if s.rec.pendingLogout().Revocations >= visibleRevocations {
			a.reply(Reply{Waiter: e.Waiter}) // the queue goes on alone
			return
		}
		a.awaitLogout(s, e.Waiter)
	case intending, loggingIn, recording, lost, codeHold, removing:
		a.reply(Reply{Waiter: e.Waiter})
	}
}

// awaitLogout has a release wait for the logout under way. Where there is none
// to wait for, the session ends of age and the lease is done.
func (a *Account) awaitLogout(s *session, w WaiterID) {
	if !s.kept && (s.phase != closing || !a.canLogOut(s)) {
		a.reply(Reply{Waiter: w})
		return
	}
	if w != 0 {
		a.releasing[s.id] = append(a.releasing[s.id], w)
	}
}

// countRevocation counts a revocation that ended before its logout did: to Vault it failed
// like any other, and Vault gives a lease up after six (rule 5).
func (a *Account) countRevocation(s *session) {
	if s.phase != closing {
		return
	}
	pending := s.rec.pendingLogout()
	pending.Revocations++
	s.rec.Logout = &pending
	a.save(s)
}

// canLogOut says that what we hold may end the session at the server. One logout goes
// out however long nobody has used it; one that failed is repeated until the server
// must have dropped the session.
func (a *Account) canLogOut(s *session) bool {
	can := s.via().Capabilities
	byRefresh := can.Logout && !s.rec.Refresh.Empty()
	byAccess := can.RevokesAccess && !s.rec.Access.Empty()
	inTime := s.phase != closing || s.loggingOut || a.now.Before(s.rec.DiesAt)
	return (byRefresh || byAccess) && inTime
}

// tryLogout begins the logout of a session that waits for it, if there is one.
func (a *Account) tryLogout(s *session) {
	if s.phase == closing && !s.loggingOut && a.canLogOut(s) {
		a.logOut(s)
	}
}

// close ends a session for good: nobody gets it any more and it is logged out.
// One whose login is under way is closed when that is answered.
func (a *Account) close(s *session) {
	switch s.phase {
	case intending, loggingIn, recording:
		s.doomed = true
	case open:
		if !a.keepForList(s) {
			a.beginClosing(s)
		}
	case lost, closing, codeHold, removing:
	}
}

func (a *Account) beginClosing(s *session) {
	if s.purpose.current == s {
		s.purpose.current = nil
	}
	can := a.canLogOut(s)
	a.enter(s, closing)
	s.token, s.unstored, s.generations = nil, nil, nil
	s.callAt = a.now
	a.answerRefresher(s, errClosedMeanwhile)
	switch {
	case !s.durable:
		a.forget(s)
		return
	case can:
		a.logOut(s)
	default:
		a.note(SessionAgedOut, s, "the server offers no logout")
		a.answerReleases(s, nil)
	}
	a.schedule(s)
}

var errClosedMeanwhile = &Refusal{Reason: Closed, Message: "the session was closed meanwhile", Advice: "try again"}

// logOut ends the session at the server. A refresh that is under way comes first: it
// may make the refresh token void that we have.
func (a *Account) logOut(s *session) {
	a.setLoggingOut(s, true)
	if !s.refreshing {
		a.sendLogout(s, s.via().ID)
	}
}

func (a *Account) sendLogout(s *session, via ConnectionID) {
	a.emit(Logout{
		Session: s.id, Connection: via, Timeout: s.timeout(),
		Tokens: providers.SessionTokens{Refresh: s.rec.Refresh, Access: s.rec.Access},
	})
}

// apply takes the answer to a logout.
func (e LoggedOut) apply(a *Account) {
	s := a.sessions[e.Session]
	if s == nil || s.phase != closing {
		return
	}
	a.readClock(providers.TokenResponse{}, e.Err)
	if via, ok := a.standInFor(s, e.Connection, e.Err); ok {
		a.sendLogout(s, via)
		return
	}
	a.setLoggingOut(s, false)
	defer a.schedule(s)
	if e.Err == nil || e.Err.Kind == providers.SessionGone {
		a.note(SessionClosed, s, "")
		for i := range a.drains { // they get more time: logouts get through
			a.drains[i].stall = a.now.Add(drainStall)
		}
		a.end(s)
		if s.rec.pendingLogout().Tries > 0 {
			a.bringLogoutsForward(2)
		}
		return
	}
	if !a.now.Before(s.rec.DiesAt) {
		a.note(SessionAgedOut, s, e.Err.Error())
		a.end(s)
		return
	}
	a.note(LogoutPending, s, e.Err.Error())
	pending := s.rec.pendingLogout()
	pending.Tries++
	pending.LastError = e.Err.What()
	if len(a.releasing[s.id]) > 0 {
		pending.Revocations++
	}
	s.rec.Logout = &pending
	s.callAt = a.now.Add(asLongAsAsked(e.Err, backoff(s.id, pending.Tries, logoutMost)))
	a.failReleases(s, e.Err)
	a.save(s)
}

// bringLogoutsForward brings the next few pending logouts forward: the server answers again
// after it did not, so they need not wait for the end of their back-off. Each that
// gets through brings two others, so that a long queue is emptied soon and yet does
// not fall upon a server that has just come back.
func (a *Account) bringLogoutsForward(few int) {
	var next []*session
	for few > 0 && len(a.logouts) > 0 {
		s := heap.Pop(&a.logouts).(*session)
		next = append(next, s)
		if a.canLogOut(s) {
			s.callAt = a.now
			few--
		}
	}
	for _, s := range next {
		a.schedule(s)
	}
}

// failReleases fails the revocations that waited visibly, the first few
// times; after that the lease is released and the queue goes on alone.
func (a *Account) failReleases(s *session, err *providers.Error) {
	var refusal *Refusal
	if s.rec.pendingLogout().Revocations <= visibleRevocations {
		refusal = s.notLoggedOut(err)
	}
	a.answerReleases(s, refusal)
}

// notLoggedOut says that a logout failed, whose error the record has.
func (s *session) notLoggedOut(err *providers.Error) *Refusal {
	return &Refusal{
		Reason:  Upstream,
		Message: "the session could not be logged out: " + s.rec.pendingLogout().LastError,
		Advice:  "it stays in the logout queue and is tried again until " + stamp(s.rec.DiesAt),
		Err:     err,
	}
}

// answerReleases answers the releases that waited for the session's logout.
func (a *Account) answerReleases(s *session, r *Refusal) {
	for _, w := range a.releasing[s.id] {
		a.reply(Reply{Waiter: w, Session: s.id, Err: r})
	}
	delete(a.releasing, s.id)
}

// attendClosing does what is due for a pending logout.
func (a *Account) attendClosing(s *session) {
	switch {
	case s.loggingOut:
	case !a.now.Before(s.rec.DiesAt):
		a.note(SessionAgedOut, s, s.rec.pendingLogout().LastError)
		a.end(s)
	case a.canLogOut(s) && !a.now.Before(s.callAt):
		a.logOut(s)
	}
}

// end finishes a session that is not open at the server any more. Its record is
// kept while the server may still accept the code that it spent: until then the
// ledger may say more than is true, never less.
func (a *Account) end(s *session) {
	a.answerReleases(s, nil)
	s.changedIn = a.steps
	if s.rec.Code.remembered(a.now) {
		a.enter(s, codeHold)
		a.schedule(s)
		return
	}
	a.remove(s)
}

const (
	// A drain is over after drainStall without a logout that succeeded, at the latest
	// after drainMost: whoever asked for it has an end to their request.
	drainStall = 20 * time.Second
	drainMost  = 75 * time.Second
)

// drain is a request that waits for the end of all sessions.
type drain struct {
	waiter WaiterID
	until  time.Time
	stall  time.Time
}

// apply closes every session and tries every pending logout once more; the
// answer comes when each has succeeded or failed, or when the drain's own time is
// over (rules 1 and 10).
func (e Drain) apply(a *Account) {
	a.draining = true
	a.drains = append(a.drains, drain{waiter: e.Waiter, until: a.now.Add(drainMost), stall: a.now.Add(drainStall)})
	for _, s := range a.sessions {
		a.tryLogout(s)
		a.close(s)
		a.schedule(s)
	}
}

// ends is when the drain is over, done or not.
func (d drain) ends() time.Time { return earliest(d.until, d.stall) }

// finishDrains answers the drains for which nothing is under way any more, or whose
// time is over.
func (a *Account) finishDrains() {
	done := !a.counters.underWay()
	a.drains = slices.DeleteFunc(a.drains, func(d drain) bool {
		over := done || !a.now.Before(d.ends())
		if over {
			a.reply(Reply{Waiter: d.waiter, Err: a.notDrained(done)})
		}
		return over
	})
}

// notDrained says what could not be logged out; nil: nothing.
func (a *Account) notDrained(done bool) *Refusal {
	pending := 0
	failure := "the server did not answer in time"
	for s := range a.counters.closing {
		if a.canLogOut(s) {
			pending++
			if last := s.rec.pendingLogout().LastError; last != "" {
				failure = last
			}
		}
	}
	if !done {
		pending = max(pending, 1) // a login or a write may be what hangs
	}
	if pending == 0 {
		return nil
	}
	return &Refusal{
		Reason:  Upstream,
		Message: counted(pending, "session") + " could not be logged out: " + failure,
		Advice:  "that is tried again in the background",
		Err:     serverDown(failure),
	}
}

// serverDown is an error of logouts that only their text is left of.
func serverDown(failure string) *providers.Error {
	return &providers.Error{Kind: providers.Unavailable, Outcome: providers.DidNotHappen, Op: "logout", Message: failure}
}

// closer is an operator's request that waits for the end of a session.
type closer struct {
	waiter  WaiterID
	session SessionID
	tries   int // logouts that had failed before
}

// apply ends a session although leases may hold it. One whose login had
// no answer is dropped: nothing can end it at the server (rule 1).
func (e CloseSession) apply(a *Account) {
	c := closer{waiter: e.Waiter, session: e.Session}
	if s := a.sessions[e.Session]; s != nil {
		c.tries = s.rec.pendingLogout().Tries
		switch s.phase {
		case lost:
			a.note(SessionDropped, s, "")
			a.list.dropped.add(s.id, s.rec.DiesAt, a.now)
			a.end(s)
		case closing:
			a.tryLogout(s)
		case intending, loggingIn, recording, open, codeHold, removing:
			a.close(s)
		}
		a.schedule(s)
	}
	a.closers = append(a.closers, c)
}

// finishClosers answers those whose session has ended, or cannot be ended now.
func (a *Account) finishClosers() {
	a.closers = slices.DeleteFunc(a.closers, func(c closer) bool {
		refusal, done := a.closed(c)
		if done {
			a.reply(Reply{Waiter: c.waiter, Session: c.session, Err: refusal})
		}
		return done
	})
}

func (a *Account) closed(c closer) (refusal *Refusal, done bool) {
	s := a.sessions[c.session]
	if s == nil {
		return nil, true
	}
	switch s.phase {
	case codeHold, removing:
		return nil, true
	case lost:
		return &Refusal{
			Reason:  Upstream,
			Message: "the login of this session was under way and had no answer: " + a.pause.cause.What(),
			Advice:  "delete it again to drop it",
			Err:     a.pause.cause,
		}, true
	case closing:
		if !a.canLogOut(s) {
			return nil, true // it ends by age
		}
		if pending := s.rec.pendingLogout(); pending.Tries > c.tries {
			return s.notLoggedOut(serverDown(pending.LastError)), true
		}
	case intending, loggingIn, recording, open:
	}
	return nil, false
}

// noteFull tells people that the budget is full, at most once in a while: every
// reader that is refused would say the same.
func (a *Account) noteFull(r *Refusal) {
	if r.Reason != BudgetFull || a.now.Before(a.fullNoted.Add(fullNotedEvery)) {
		return
	}
	a.fullNoted = a.now
	a.note(BudgetIsFull, nil, r.Message)
}

const fullNotedEvery = time.Minute
