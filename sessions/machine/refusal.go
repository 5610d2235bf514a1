package machine

import "time"

// Reason says why the machine refused, and what a client may do about it.
type Reason string

// The reasons of a refusal.
const (
	// Upstream: the server refused or failed; Err is a *providers.Error.
	Upstream Reason = "upstream"
	// Guarded: the account is closed to logins after refused ones (rule 7).
	Guarded Reason = "guarded"
	// CodeNeeded: the account asks for a one-time code (rule 6).
	CodeNeeded Reason = "code needed"
	// CodeSpent: the one-time code of this step is used; RetryAt says when the
	// next one begins (rule 6).
	CodeSpent Reason = "code spent"
	// BudgetFull: no room for another session (rule 2).
	BudgetFull Reason = "budget full"
	// TooShort: no token of this server lives as long as min_ttl asks.
	TooShort Reason = "too short"
	// TooSoon: another token cannot be forced yet; RetryAt says when (rule 12).
	TooSoon Reason = "too soon"
	// Closed: the account has no config any more, or it is being deleted.
	Closed Reason = "closed"
	// Storage: Vault's storage failed.
	Storage Reason = "storage"
	// Invalid: the request asks for what cannot be.
	Invalid Reason = "invalid"
	// Canceled: the request ended before there was an answer.
	Canceled Reason = "canceled"
)

// Reasons returns them all.
func Reasons() []Reason {
	return []Reason{Upstream, Guarded, CodeNeeded, CodeSpent, BudgetFull, TooShort, TooSoon, Closed, Storage, Invalid, Canceled}
}

// Refusal is an error of the machine: what happened and what to do next, as two
// fields, so that a handler can lay them out.
type Refusal struct { //nolint:errname // it is a decision as much as an error
	Reason  Reason
	Message string
	Advice  string
	// RetryAt is when asking again makes sense; zero: not by waiting.
	RetryAt time.Time
	// AfterLogin: the storage failed after a login of this request, so a client must
	// not repeat it.
	AfterLogin bool
	// Err is the cause; a *providers.Error where a server refused.
	Err error
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
