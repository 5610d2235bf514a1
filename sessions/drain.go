package sessions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

const (
	// drainsAtOnce bounds how many accounts a whole mount drains side by side.
	drainsAtOnce = 32
	drainRetry   = time.Second
)

// Drain logs out every session of an account and refuses new ones until
// Configure is called. The error says what could not be logged out.
func (e *Engine) Drain(ctx context.Context, id AccountID) error {
	return e.with(ctx, id, func(a *account) error {
		_, err := a.ask(ctx, func(w machine.WaiterID) machine.Event { return machine.Drain{Waiter: w} })
		return err
	})
}

// DrainAll drains every account of the mount, again and again what fails, until
// ctx ends (rule 1: the end of a mount). The error joins what remained: logouts
// that failed, and sessions that nobody can log out because the answer to their
// login was lost or the server offers no logout.
func (e *Engine) DrainAll(ctx context.Context) error {
	ids, err := e.ledger.accounts(ctx)
	if err != nil {
		return fmt.Errorf("the ledger cannot be listed: %w", err)
	}
	// One that has nothing to close may be about to log in to be kept alive.
	e.eachAccount(func(a *account) { ids = append(ids, a.id) })
	slices.Sort(ids)
	ids = slices.Compact(ids)
	slots := make(chan struct{}, drainsAtOnce)
	failures := make([]error, len(ids))
	var all sync.WaitGroup
	for i, id := range ids {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			defer recoverPanic(e.logger, "the end of the mount")
			failures[i] = fmt.Errorf("account %s: the plugin failed while it closed its sessions, see Vault's log", id)
			failures[i] = e.drainUntil(ctx, id)
		})
	}
	all.Wait()
	return errors.Join(failures...)
}

func (e *Engine) drainUntil(ctx context.Context, id AccountID) error {
	var last error
	for {
		err := e.Drain(ctx, id)
		if err == nil {
			return e.leftToAge(ctx, id)
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainRetry)
			defer cancel()
			st, err := e.Status(ctx, id)
			if err != nil { // its ledger was never read
				return fmt.Errorf("account %s: %w", id, last)
			}
			return fmt.Errorf("account %s: sessions that are left: %d: %w", id, st.Usage.Ours(), last)
		case <-time.After(drainRetry):
		}
	}
}

func (e *Engine) leftToAge(ctx context.Context, id AccountID) error {
	st, err := e.Status(ctx, id)
	if err != nil || st.Usage.Ours() == 0 {
		return err
	}
	return fmt.Errorf("account %s: sessions that cannot be logged out end by age: %d", id, st.Usage.Ours())
}
