package machine

import (
	"slices"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// closer is an operator's request that waits for the end of a session.
type closer struct {
	waiter  WaiterID
	session SessionID
	tries   int // logouts that had failed before
}

// closeSession ends a session although leases may hold it. One whose login had
// no answer is dropped: nothing can end it at the server (rule 1).
func (a *Account) closeSession(e CloseSession) {
	c := closer{waiter: e.Waiter, session: e.Session}
	if s := a.sessions[e.Session]; s != nil {
		c.tries = s.rec.pendingLogout().Tries
		switch s.phase {
		case lost:
			a.note(SessionDropped, s, "")
			a.book.remember(s.rec.ID, s.rec.DiesAt, a.now)
			a.end(s)
		case closing:
			if !s.loggingOut && a.canLogOut(s) {
				a.logOut(s)
			}
		case intending, loggingIn, recording, open, spent, removing:
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
	case spent, removing:
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
			return &Refusal{
				Reason:  Upstream,
				Message: "the session could not be logged out: " + pending.LastError,
				Advice:  "it stays in the logout queue and is tried again until " + stamp(s.rec.DiesAt),
				Err:     &providers.Error{Kind: providers.Unavailable, Outcome: providers.DidNotHappen, Op: "logout", Message: pending.LastError},
			}, true
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

// NearlyFull says that at most a fifth of the session budget is free. One session
// is no budget: its only place is there to be used.
func (u Use) NearlyFull() bool { return u.Limit > 1 && (u.Limit-u.Taken())*5 <= u.Limit }
