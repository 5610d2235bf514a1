package sessions

import (
	"context"
	"slices"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// Status is what people may know of an account.
type Status = machine.Status

// SessionStatus is what people may know of a session.
type SessionStatus struct {
	machine.SessionStatus

	// Mark is what the identity server keeps with the session: part of the
	// User-Agent of its login (rule 11).
	Mark string
}

// Accounts returns the accounts that have sessions, or records of them, sorted.
func (e *Engine) Accounts(ctx context.Context) ([]AccountID, error) {
	ids, err := e.ledger.accounts(ctx)
	if err != nil {
		return nil, err
	}
	// Some have no record: those of client credentials.
	e.eachLoaded(func(a *account) {
		if len(a.reading().Status.States) > 0 {
			ids = append(ids, a.id)
		}
	})
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// eachLoaded calls f with every account in memory.
func (e *Engine) eachLoaded(f func(*account)) {
	var loaded []*account
	e.eachAccount(func(a *account) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.machine != nil {
			loaded = append(loaded, a)
		}
	})
	for _, a := range loaded {
		f(a)
	}
}

// Status returns what people may know of an account. It changes nothing.
func (e *Engine) Status(ctx context.Context, id AccountID) (st Status, err error) {
	err = e.look(ctx, id, func(m *machine.Account, now time.Time) { st = m.Status(now) })
	return st, err
}

// Sessions returns what people may know of an account's sessions, oldest first.
func (e *Engine) Sessions(ctx context.Context, id AccountID) ([]SessionStatus, error) {
	var all []machine.SessionStatus
	if err := e.look(ctx, id, func(m *machine.Account, _ time.Time) { all = m.Sessions() }); err != nil {
		return nil, err
	}
	marked := make([]SessionStatus, 0, len(all))
	for _, s := range all {
		marked = append(marked, e.marked(s))
	}
	return marked, nil
}

// Session returns what people may know of one session; false: there is none of
// that id.
func (e *Engine) Session(ctx context.Context, id AccountID, s machine.SessionID) (st SessionStatus, found bool, err error) {
	var bare machine.SessionStatus
	err = e.look(ctx, id, func(m *machine.Account, _ time.Time) { bare, found = m.Session(s) })
	if err != nil || !found {
		return SessionStatus{}, false, err
	}
	return e.marked(bare), true, nil
}

func (e *Engine) marked(s machine.SessionStatus) SessionStatus {
	return SessionStatus{SessionStatus: s, Mark: mark(e.mountID(), s.ID)}
}

// look reads an account.
func (e *Engine) look(ctx context.Context, id AccountID, f func(m *machine.Account, now time.Time)) error {
	return e.with(ctx, id, func(a *account) error {
		return a.locked(func() { f(a.machine, e.options.Now()) })
	})
}

// CloseSession ends a session now, leases or not: it is logged out, or dropped
// where its login had no answer. It returns what the session was before, and
// what it is now: one that nothing can log out ends by age. False: there was none
// of that id. An error means that the server could not be reached; the logout is
// tried again in the background.
func (e *Engine) CloseSession(ctx context.Context, id AccountID, s machine.SessionID) (before, after SessionStatus, found bool, err error) {
	before, found, err = e.Session(ctx, id, s)
	if err != nil || !found {
		return before, after, found, err
	}
	err = e.with(ctx, id, func(a *account) error {
		_, err := a.ask(ctx, func(w machine.WaiterID) machine.Event { return machine.CloseSession{Waiter: w, Session: s} })
		after = e.marked(a.session(s))
		return err
	})
	return before, after, true, err
}

// session returns what is left of a session: its record may be gone.
func (a *account) session(s machine.SessionID) machine.SessionStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	st, found := a.machine.Session(s)
	if !found {
		st = machine.SessionStatus{ID: s, State: machine.StateEnded}
	}
	return st
}
