package configs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
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

// refused says that a write came to nothing.
func refused(err error) bool {
	_, ok := errors.AsType[*notStoredError](err)
	return ok
}

// notVerified says that nothing was stored, and until when the account rests.
func (w *write) notVerified(ctx context.Context, err error) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	addition := "nothing was stored"
	if st, failed := w.engine.Status(ctx, w.next.id); failed == nil {
		until := st.Guard.ClosedUntil
		for _, at := range []time.Time{st.Guard.FullUntil, st.PausedUntil} {
			if at.After(until) {
				until = at
			}
		}
		if until.After(time.Now()) {
			addition += "; no login to this account before " + until.UTC().Format(time.RFC3339)
		}
	}
	return &notStoredError{err, addition}
}
