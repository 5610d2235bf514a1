package sessions

import (
	"context"

	"github.com/hashicorp/go-hclog"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// Loaded counts the accounts whose ledger has been read.
func (e *Engine) Loaded() int {
	n := 0
	e.eachAccount(func(a *account) {
		select {
		case <-a.ready:
			n++
		default:
		}
	})
	return n
}

// InUse counts the sessions of an account that are, or may be, open at the server.
func (e *Engine) InUse(ctx context.Context, id AccountID) (int, error) {
	st, err := e.Status(ctx, id)
	return st.Usage.Ours(), err
}

// AddAccount is what a request does that found no account a moment ago. It returns
// whether there is one now.
func (e *Engine) AddAccount(id AccountID) bool { return e.addAccount(id) != nil }

// Forget is what an account asks for that nothing was left of a moment ago.
func (e *Engine) Forget(ctx context.Context, id AccountID) error {
	return e.with(ctx, id, func(a *account) error {
		e.forget(a)
		return nil
	})
}

// AcquireAfter is Acquire with something that happens between the look-up of the
// account and the request. It returns how often the account was looked up.
func (e *Engine) AcquireAfter(ctx context.Context, id AccountID, want machine.Want, meanwhile func()) (lookups int, err error) {
	return e.withAfter(ctx, id, meanwhile, func(a *account) error {
		_, err := a.acquire(ctx, want)
		return err
	})
}

// ConfigureAfter is the same of Configure.
func (e *Engine) ConfigureAfter(ctx context.Context, id AccountID, s Settings, meanwhile func()) (lookups int, err error) {
	return e.withAfter(ctx, id, meanwhile, func(a *account) error { return a.configure(s, false) })
}

func (e *Engine) withAfter(ctx context.Context, id AccountID, meanwhile func(), f func(*account) error) (lookups int, err error) {
	err = e.with(ctx, id, func(a *account) error {
		if lookups++; lookups == 1 {
			meanwhile()
		}
		return f(a)
	})
	return lookups, err
}

// AcquireAndLeave is Acquire by a reader that goes away between the engine's answer,
// for which answered waits, and its own look at it.
func (e *Engine) AcquireAndLeave(ctx context.Context, id AccountID, want machine.Want, answered func()) error {
	return e.with(ctx, id, func(a *account) error {
		waiter, answer, err := a.enter(acquiring(ctx, want))
		if err != nil {
			return err
		}
		answered()
		a.abandon(waiter, answer)
		return nil
	})
}

// Tasks are the goroutines of an engine.
type Tasks struct{ group *taskGroup }

// NewTasks returns a group of its own.
func NewTasks(logger hclog.Logger) Tasks { return Tasks{newTaskGroup(logger)} }

// Do is taskGroup.do.
func (t Tasks) Do(f func(context.Context)) bool { return t.group.do("a test", f) }

// End is taskGroup.end.
func (t Tasks) End(patience context.Context) { t.group.end(patience) }
