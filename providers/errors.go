package providers

import (
	"fmt"
	"time"
)

// Kind says what went wrong upstream.
type Kind int

// The kinds of upstream failure.
const (
	// Protocol: an answer that we do not understand.
	Protocol Kind = iota
	// BadCredentials: the server refused who we say we are.
	BadCredentials
	// SessionLimit: the server allows no further session.
	SessionLimit
	// Throttled: the server asks us to slow down (HTTP 429).
	Throttled
	// Unavailable: the server could not be reached or could not answer.
	Unavailable
	// SessionGone: the refresh token is of no use any more. Its session may still be there.
	SessionGone
	// Misconfigured: what only somebody can mend who may change the config or the
	// server's settings: a scope, a grant type, an endpoint, a token without an end.
	Misconfigured
	// NotAllowed: the server does not let this account do that. Only said of the
	// calls that list and end sessions; a refused login is BadCredentials.
	NotAllowed
)

// String names the kind, as docs and metrics do.
func (k Kind) String() string {
	switch k {
	case Protocol:
		return "protocol"
	case BadCredentials:
		return "bad credentials"
	case SessionLimit:
		return "session limit"
	case Throttled:
		return "throttled"
	case Unavailable:
		return "unavailable"
	case SessionGone:
		return "session gone"
	case Misconfigured:
		return "misconfigured"
	case NotAllowed:
		return "not allowed"
	}
	return fmt.Sprintf("kind %d", int(k))
}

// Outcome says whether a failed call took effect at the server all the same.
type Outcome int

// The outcomes of a failed call.
const (
	// Unknown: the request went out and no understood answer came back.
	Unknown Outcome = iota
	// DidNotHappen: the server refused, or the request never left.
	DidNotHappen
	// Happened: it took effect, but its answer is of no use.
	Happened
)

// String names the outcome.
func (o Outcome) String() string {
	switch o {
	case Unknown:
		return "unknown"
	case DidNotHappen:
		return "did not happen"
	case Happened:
		return "happened"
	}
	return fmt.Sprintf("outcome %d", int(o))
}

// Error is a failed call to an identity server. It holds no secret, and of the answer's
// body at most an error code and description that repeat nothing of the request.
type Error struct {
	Kind    Kind
	Outcome Outcome
	// RetryAfter is what the server asked for (HTTP Retry-After); 0: nothing.
	RetryAfter time.Duration
	// ServerTime is the server's clock as the header Date of its answer has it, to
	// the second; zero: there was no answer, or it does not say.
	ServerTime time.Time
	Op         string // "login", "refresh", "logout", "list sessions", "end session"
	Host       string // whom we called
	Message    string // what happened, one clause without a full stop
	Advice     string // what the operator should do next
	// Err is the context's error where that ended the call, else nil. Other
	// causes are told in Message: the text of a transport's error may quote what the
	// server sent.
	Err error
}

// Error says what happened, where, and what to do next.
func (e *Error) Error() string {
	if e.Advice == "" {
		return e.What()
	}
	return e.What() + "; " + e.Advice
}

// What says what happened and where, for those who give advice of their own.
func (e *Error) What() string { return fmt.Sprintf("%s at %s: %s", e.Op, e.Host, e.Message) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// FieldError refuses one field of an account by its name.
type FieldError struct {
	Field   string
	Problem string // completes "field "x": …"
}

// Error names the field and its problem.
func (e *FieldError) Error() string { return fmt.Sprintf("field %q: %s", e.Field, e.Problem) }
