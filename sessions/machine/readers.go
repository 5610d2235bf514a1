package machine

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// verifiedKept is how long the shared session of a verification waits for its
// first reader, so that no one-time code is spent for nothing (rule 3).
const verifiedKept = time.Minute

// apply queues a reader or a verification; settle serves it.
func (e Acquire) apply(a *Account) {
	if e.Trial != nil && a.known(e.Trial.Connection.ID) == nil {
		a.setConnections([]Connection{e.Trial.Connection})
	}
	w := &waiter{id: e.Waiter, want: e.Want, purpose: a.purposeOf(e.Want.Scopes, e.Want.Params), deadline: e.Deadline, trial: e.Trial}
	a.reject(w)
	a.waiters = append(a.waiters, w)
}

// apply forgets a request that has ended. What it began goes on: others may
// wait for the same, and what nobody takes is closed.
func (e Abandon) apply(a *Account) {
	id := e.Waiter
	a.waiters = slices.DeleteFunc(a.waiters, func(w *waiter) bool { return w.id == id })
	a.drains = slices.DeleteFunc(a.drains, func(d drain) bool { return d.waiter == id })
	a.list.askers = slices.DeleteFunc(a.list.askers, func(w asker) bool { return w.waiter == id })
	a.closers = slices.DeleteFunc(a.closers, func(c closer) bool { return c.waiter == id })
	for s, waiting := range a.releasing {
		i := slices.Index(waiting, id)
		if i < 0 {
			continue
		}
		a.releasing[s] = slices.Delete(waiting, i, i+1)
		a.countRevocation(a.sessions[s])
	}
}

// serve answers every waiter that can be answered and begins what the others
// need.
func (a *Account) serve() {
	a.loginWakeAt = time.Time{}
	for _, w := range a.waiters {
		if !w.answered {
			a.attendWaiter(w)
		}
	}
	a.waiters = slices.DeleteFunc(a.waiters, func(w *waiter) bool { return w.answered })
}

// attendWaiter answers a waiter, or sees to it that what it needs is under way.
func (a *Account) attendWaiter(w *waiter) {
	switch {
	case a.stopping:
		if !a.answerUnderWay(w) {
			a.refuse(w, &Refusal{Reason: Canceled, Message: "the plugin is being stopped", Advice: "try again"})
		}
	case a.draining || a.retired() && w.trial == nil:
		a.refuse(w, &Refusal{
			Reason:  Closed,
			Message: "the account is being closed or has no config any more",
			Advice:  "write the config again, or read the credentials of another one",
		})
	case w.trial != nil || w.want.Mode == providers.Dedicated:
		a.awaitLogin(w)
	default:
		a.attendReader(w)
	}
}

// answerUnderWay says that the waiter's login or refresh is on its way.
func (a *Account) answerUnderWay(w *waiter) bool {
	if o := a.opening; o != nil && (o.attempt.opener == w.id || o.mode == providers.Shared && w.readsShared(o.purpose)) {
		return true
	}
	if s := w.purpose.current; s != nil && w.readsShared(w.purpose) {
		if s.serves(w, a.now) {
			a.give(w, s)
		}
		return w.answered || s.renewing()
	}
	return false
}

// attendReader serves a reader of the shared session of its scopes and parameters.
func (a *Account) attendReader(w *waiter) {
	s := w.purpose.current
	life, known := w.purpose.knownLife(a.now)
	switch {
	case s == nil:
		a.awaitLogin(w)
	case s.serves(w, a.now):
		a.give(w, s)
	case s.renewing():
	case known && life < w.want.MinTTL:
		a.refuse(w, tooShort(w.want.MinTTL, life))
	case a.awaitTurn(w, s):
	case a.refreshHelps(s, w):
		a.awaitRefresh(w, s)
	default:
		a.awaitLogin(w)
	}
}

// awaitTurn has a reader wait who wants a newer token than one that is good for
// others: none forces more than one in forcedEvery (rule 12). False: it need not.
func (a *Account) awaitTurn(w *waiter, s *session) bool {
	// Not the later of the two: the clock may have been set back since the login.
	issued := cmp.Or(s.rec.RefreshedAt, s.rec.OpenedAt)
	turn := issued.Add(a.turnEvery(s))
	if s.leaseLeft(a.now) < minLease || !a.now.Before(turn) || issued.After(a.now) || s.token.Ref == w.want.Rejected {
		return false
	}
	if !w.deadline.IsZero() && !turn.Before(w.deadline) {
		a.refuse(w, &Refusal{
			Reason:  TooSoon,
			Message: "a token with a longer life cannot be had yet: the last one is of " + stamp(issued),
			Advice:  "try again after " + stamp(turn) + ", or ask for a shorter min_ttl",
			RetryAt: turn,
		})
		return true
	}
	a.loginWakeAt = earliest(a.loginWakeAt, turn)
	return true
}

// turnEvery is how long a token stays before a reader can have another one that does
// not need to be. A session that nothing can end counts until its token has expired, so
// at most two of them follow each other.
func (a *Account) turnEvery(s *session) time.Duration {
	if s.durable && s.token != nil && !s.canRefresh() && !a.canLogOut(s) {
		return max(forcedEvery, s.token.Response.ExpiresIn/2)
	}
	return forcedEvery
}

// serves says whether the session's token is what the waiter wants.
func (s *session) serves(w *waiter, now time.Time) bool {
	return s.token != nil && s.token.Ref != w.want.Rejected && s.token.left(now) >= w.want.leaseNeeded()
}

// readsShared says that the waiter reads the shared session of this purpose.
func (w *waiter) readsShared(p *purpose) bool {
	return w.trial == nil && w.want.Mode == providers.Shared && w.purpose == p
}

// give answers a waiter with a grant; a static reader needs none.
func (a *Account) give(w *waiter, s *session) {
	w.answered = true
	r := Reply{Waiter: w.id, Session: s.id}
	if w.want.Static {
		s.newest().static = true
	} else {
		r.Grant = a.grant(s)
	}
	a.reply(r)
	a.schedule(s)
}

// refuse answers a waiter with a refusal.
func (a *Account) refuse(w *waiter, r *Refusal) {
	w.answered = true
	a.reply(Reply{Waiter: w.id, Err: r})
}

// awaitRefresh begins a refresh for a waiter, unless one has just failed.
func (a *Account) awaitRefresh(w *waiter, s *session) {
	if s.trouble != nil && a.now.Before(s.trouble.at) {
		a.refuse(w, s.trouble.cause)
		return
	}
	w.refreshed = true
	a.refresh(s)
}

// awaitLogin begins the login that a waiter needs, or has it wait for the one
// under way, or says why there will be none.
func (a *Account) awaitLogin(w *waiter) {
	if a.opening != nil {
		return
	}
	c, wait, refusal := a.mayLogin(&w.want, w.purpose, w.trial)
	switch {
	case refusal != nil:
		a.noteFull(refusal)
		a.refuse(w, refusal)
	case wait == nil:
		a.beginLogin(&w.want, w.purpose, w.trial, w.id, c)
	case wait.at.IsZero(): // for the answer to something that is under way
	case wait.forCode && !w.deadline.IsZero() && !wait.at.Before(w.deadline):
		a.refuse(w, &Refusal{
			Reason:  CodeSpent,
			Message: "the one-time code of this step is used, and the next one comes after the end of this request",
			Advice:  "try again after " + stamp(wait.at),
			RetryAt: wait.at,
		})
	default:
		a.loginWakeAt = earliest(a.loginWakeAt, wait.at)
	}
}

// waitFor is something that a login waits for: a time, or, with the zero time,
// the answer to something under way.
type waitFor struct {
	at      time.Time
	forCode bool // the next step of the one-time code
}

// mayLogin says whether a login may begin now, and with which code; or what it
// waits for; or why not.
func (a *Account) mayLogin(want *Want, p *purpose, t *Trial) (code, *waitFor, *Refusal) {
	limits := a.limitsOf(t)
	if refusal := a.refusedBy(want, p, t != nil, limits.Capabilities); refusal != nil {
		return code{}, nil, refusal
	}
	if life, known := p.knownLife(a.now); known && t == nil && life < want.MinTTL {
		return code{}, nil, tooShort(want.MinTTL, life)
	}
	full := a.full(limits)
	if full && !a.closingSoon() && a.spare() == nil {
		if a.comparesFirst() {
			return code{}, &waitFor{}, nil
		}
		return code{}, nil, a.budgetFull(limits, t)
	}
	if a.now.Before(a.nextLogin) {
		return code{}, &waitFor{at: a.nextLogin}, nil
	}
	c, freeAt := a.codeFor(limits.Capabilities, want.OTP, want.Person)
	if !freeAt.IsZero() {
		if !want.OTP.Empty() {
			return code{}, nil, &Refusal{
				Reason:  CodeSpent,
				Message: "this one-time code has been used",
				Advice:  "wait for the next code and type that one",
				RetryAt: freeAt,
			}
		}
		return code{}, &waitFor{at: freeAt, forCode: true}, nil
	}
	if full { // last, since it may close a session
		a.makeRoom()
		return code{}, &waitFor{}, nil
	}
	return c, nil, nil
}

// leaseLeft is the longest lease on the session's token, 0 if it has none.
func (s *session) leaseLeft(now time.Time) time.Duration {
	if s.token == nil {
		return 0
	}
	return max(0, s.token.left(now))
}

func tooShort(wanted, life time.Duration) *Refusal {
	return &Refusal{
		Reason:  TooShort,
		Message: fmt.Sprintf("min_ttl %s cannot be met: a lease on a new token of this server lasts %s", wanted, life.Truncate(time.Second)),
		Advice:  "ask for a min_ttl that is not longer than that",
	}
}

func (a *Account) limitsOf(t *Trial) *Limits {
	if t != nil {
		return &t.Limits
	}
	return &a.limits
}

// reject has a waiter whose token was refused by an API (rule 12) wait for another one.
// It forces at most one refresh of a session, or one new token, in forcedEvery: before
// that the same token will do.
func (a *Account) reject(w *waiter) {
	ref := w.want.Rejected
	w.want.Rejected = TokenRef{}
	s := a.sessions[ref.Session]
	if s == nil || s.phase != open || s.published() != ref.Generation {
		return
	}
	if s.mode == providers.Dedicated {
		a.close(s)
		return
	}
	if s.purpose.current != s || !w.readsShared(s.purpose) {
		return
	}
	o := a.opening
	underWay := s.renewing() || o != nil && o.purpose == s.purpose && o.mode == providers.Shared && o.trial() == nil
	tooSoon := a.now.Before(s.purpose.forcedAt.Add(forcedEvery)) || !s.canRefresh() && a.now.Before(s.rec.OpenedAt.Add(forcedEvery))
	if tooSoon && !underWay {
		return
	}
	if !underWay {
		s.purpose.forcedAt = a.now
	}
	w.want.Rejected = ref
}

const forcedEvery = 10 * time.Second
