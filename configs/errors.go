package configs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// Refusal is a request that is not done: what is wrong and what to do next.
type Refusal struct { //nolint:errname // it is a refusal, as sessions has them
	Message string
	Advice  string // empty: the message says it
	Err     error  // the cause, if there is one
}

// Error joins message and advice.
func (r *Refusal) Error() string {
	if r.Advice == "" {
		return r.Message
	}
	return r.Message + "; " + r.Advice
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// refuse refuses one field by its name.
func refuse(field, problem string, args ...any) error {
	return &providers.FieldError{Field: field, Problem: fmt.Sprintf(problem, args...)}
}

// notStoredError adds to the reason of a refused write what became of it.
type notStoredError struct {
	error

	addition string
}

func (e *notStoredError) Error() string { return e.error.Error() + "; " + e.addition }

func (e *notStoredError) Unwrap() error { return e.error }

// notStored says that nothing was stored.
func notStored(err error) error {
	if err == nil {
		return nil
	}
	return &notStoredError{err, "nothing was stored"}
}

// isRefusal is false for an error of the storage.
func isRefusal(err error) bool {
	_, ok := errors.AsType[*Refusal](err)
	return ok
}

// refused says that a write came to nothing.
func refused(err error) bool {
	_, ok := errors.AsType[*notStoredError](err)
	return ok
}

// notVerified says that nothing was stored, and when a corrected write can log in,
// unless the error says it: it need not wait for an account that refused logins closed.
func (w *write) notVerified(ctx context.Context, err error) error {
	refusal, ok := errors.AsType[*sessions.Error](err)
	if ok && refusal.Reason == machine.Invalid { // there was no login
		return notStored(err)
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	addition := "nothing was stored"
	if st, failed := w.engine.Status(ctx, w.next.id); failed == nil {
		until := st.PausedUntil
		if full := st.Guard.FullUntil; full.After(until) {
			until = full
		}
		at := until.UTC().Format(time.RFC3339)
		if until.After(time.Now()) && !strings.Contains(err.Error(), at) {
			addition += "; no login to this account before " + at
		}
	}
	return &notStoredError{err, addition}
}
