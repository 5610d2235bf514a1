package machine

import (
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// AccountID names an upstream account: token endpoint and principal, hashed.
type AccountID string

// SessionID names a session of ours, and the login attempt that opens it: it is
// part of the mark that the server keeps with the session.
type SessionID string

// Stage is what the ledger knows of a session.
type Stage string

// The stages of a ledger record. Their values are stored: never change one.
const (
	// Opening: a login may have happened. Counts until it is known not to have,
	// or until the server must have dropped its session.
	Opening Stage = "opening"
	// Open: Refresh ends this session.
	Open Stage = "open"
	// Closing: a logout failed; it is tried until it succeeds or DiesAt.
	Closing Stage = "closing"
	// Spent: nothing is open any more; the record only remembers a one-time code.
	Spent Stage = "spent"
)

// Record is the durable form of a session, one storage entry. Every transition
// that must survive a crash is one write of it.
type Record struct {
	ID     SessionID
	Stage  Stage
	Mode   providers.Mode
	Scopes []string

	// Refresh is the newest refresh token that was stored. A superseded one
	// still logs out at Keycloak, so it is always good enough to close.
	Refresh providers.Secret
	// ServerID is the server's id of it, to find it in the server's list; empty:
	// not known.
	ServerID string
	// Generation counts the tokens of this session: 1 from the login, one more
	// from each refresh.
	Generation int

	OpenedAt time.Time
	// RefreshedAt is when its newest token came by a refresh; zero: none did.
	RefreshedAt time.Time
	// Horizon is when the newest access token expires. No lease outlives it.
	Horizon time.Time
	// Idle is how long the server keeps a new session that is left alone; DiesAt
	// is when it has surely dropped this one.
	Idle   time.Duration
	DiesAt time.Time

	// Code is the one-time code that its login spent; nil: it sent none.
	Code *SpentCode

	// Logout is how its logout stands; nil: it never waited for one.
	Logout *PendingLogout
}

// PendingLogout is the logout that a session waits for. It is immutable: a write
// of it may be under way.
type PendingLogout struct {
	Since time.Time
	// Tries counts the logouts that failed; Revocations counts those of them that
	// failed a revocation visibly (rule 5).
	Tries       int
	Revocations int
	LastError   string
}

// pendingLogout is how its logout stands; zero: it never waited for one.
func (r *Record) pendingLogout() PendingLogout {
	if r.Logout == nil {
		return PendingLogout{}
	}
	return *r.Logout
}

// SpentCode is a one-time code that was used. It is immutable.
type SpentCode struct {
	// Ends is the end of its step, for a code that we made: a time, since steps
	// are counted anew where a config changes their length.
	Ends time.Time
	// Digest is of a code that a person typed.
	Digest string
	// Until is when the server's look-around for it is over.
	Until time.Time
}

// remembered says that the server could still take the code again, if there is one.
func (c *SpentCode) remembered(now time.Time) bool { return c != nil && now.Before(c.Until) }

// Guard is what is remembered of an account besides its sessions, above all
// what keeps it from being locked out (rule 7). The zero value is an open
// account of which nothing is known.
type Guard struct {
	// ClosedUntil: no login before it, after refused ones. Reason says why, for
	// people; Strikes counts those refused in a row.
	ClosedUntil time.Time
	Reason      string
	Strikes     int
	// FullUntil: no login before it, since the server reported its session
	// limit. FullReason says how.
	FullUntil  time.Time
	FullReason string
	// AsksForCode: a login without a one-time code was refused, so the next one
	// needs a code (rule 6).
	AsksForCode bool
	// Idle is how long the server keeps a new session that is left alone, if
	// that is not Keycloak's default; 0: as far as we know it is.
	Idle time.Duration
	// LastLogin is when somebody logged in, where the account is kept alive: at
	// most a tenth of that interval before the last time; zero: not known.
	LastLogin time.Time
}

// Limits is what a config says about the use of its account.
type Limits struct {
	// MaxSessions is the most sessions that may count at once; 0: no limit.
	MaxSessions int
	// Linger keeps a shared session after its last lease.
	Linger time.Duration
	// RequestTimeout bounds one call to the server.
	RequestTimeout time.Duration
	Capabilities   providers.Capabilities
	// KeepAlive is the longest time that nobody logs in: after that the engine
	// does, once (keepalive.go); 0: it does not. DeactivatedAfter is how long
	// the server would wait before it deactivates the account; 0: for ever.
	KeepAlive        time.Duration
	DeactivatedAfter time.Duration
	// Retired: no config names the account any more (or none yet). Nothing logs
	// in; what is in the ledger is closed.
	Retired bool
}
