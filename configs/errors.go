package configs

import (
	"fmt"

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
