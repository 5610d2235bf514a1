package sessions

import (
	"context"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// KeepAlive tells how an account is kept from being deactivated.
type KeepAlive = machine.KeepAlive

// KeepAlive tells how an account is kept alive. It never loads one: on a node
// that does not log in (rule 9) the answer is what storage says.
func (e *Engine) KeepAlive(ctx context.Context, id AccountID) (KeepAlive, error) {
	e.mu.RLock()
	a := e.accounts[id]
	e.mu.RUnlock()
	if a != nil {
		if k, known := a.keepAlive(); known {
			return k, nil
		}
	}
	settings, err := e.options.Directory.Settings(ctx, id)
	if err != nil {
		return KeepAlive{}, err
	}
	guard, err := e.ledger.guard(ctx, id)
	if err != nil {
		return KeepAlive{}, err
	}
	now := e.options.Now()
	past := machine.Past{Limits: settings.Limits, Guard: guard}
	if settings.Upstream != nil {
		past.Connection = "in force"
	}
	return machine.Recover(past, e.boot, newSessionID, now).KeepAlive(now), nil
}

// keepAlive is false while the account is being loaded.
func (a *account) keepAlive() (KeepAlive, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.machine == nil {
		return KeepAlive{}, false
	}
	return a.machine.KeepAlive(a.engine.options.Now()), true
}
