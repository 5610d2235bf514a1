package machine

import (
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// WaiterID names a request that waits for a Reply.
type WaiterID uint64

// Event is something that happened to an account. Its apply decides what follows from
// it alone; see Account.settle for the rest.
type Event interface{ apply(a *Account) }

type (
	// Acquire says that a reader wants a token; the answer is a Reply.
	Acquire struct {
		Waiter   WaiterID
		Want     Want
		Deadline time.Time // of the reader's request; zero: none
		Trial    *Trial    // of a config write, which wants a login and no token; nil: a reader
	}
	// RefreshNow says that a check wants its session refreshed; the answer is a Reply.
	RefreshNow struct {
		Waiter  WaiterID
		Session SessionID
	}
	// Abandon says that the request of this waiter has ended; no Reply is wanted.
	Abandon struct{ Waiter WaiterID }
	// Release says that a lease has ended. Waiter 0 wants no Reply.
	Release struct {
		Waiter  WaiterID
		Session SessionID
		Grant   GrantID
	}
	// Compare says that a check wants the server's list of sessions, and with EndStrays
	// that those of our mark which the ledger never held are ended (rule 11).
	Compare struct {
		Waiter    WaiterID
		With      *Token // of the check's own session
		EndStrays bool
	}
	// CloseSession says that an operator wants a session ended now, leases or not;
	// the Reply comes when it has ended, or cannot be ended now.
	CloseSession struct {
		Waiter  WaiterID
		Session SessionID
	}
	// Drain asks to log out everything and to refuse readers until Configured.
	Drain struct{ Waiter WaiterID }
	// Configured says that other settings are in force.
	Configured struct {
		Limits Limits
		// Connection is that of the next logins; empty: no config names the account any
		// more (or none yet). Known are it and all others.
		Connection ConnectionID
		Known      []Connection
		// Reopen clears the guard.
		Reopen bool
	}

	// Stop says that the engine ends: nothing new is begun, and only those still
	// wait whose answer is under way.
	Stop struct{}

	// LoggedIn answers a Login. Got may be set along with an Err of outcome Happened.
	LoggedIn struct {
		Session SessionID
		// TooLate: it was not sent, since its time was over before its turn came.
		TooLate bool
		Got     providers.TokenResponse
		Err     *providers.Error
	}
	// Refreshed answers a Refresh.
	Refreshed struct {
		Session    SessionID
		Connection ConnectionID // over which it went
		Got        providers.TokenResponse
		Err        *providers.Error
	}
	// LoggedOut answers a Logout.
	LoggedOut struct {
		Session    SessionID
		Connection ConnectionID // over which it went
		Err        *providers.Error
	}
	// Listed answers a List.
	Listed struct {
		Sessions []Listing
		Err      *providers.Error
	}
	// Ended answers an End.
	Ended struct {
		Session  SessionID
		ServerID string
		Err      *providers.Error
	}
	// Stored answers a Put or a Remove. After an Err it may have landed or not.
	Stored struct {
		Session SessionID
		Err     error
	}
	// GuardStored answers a PutGuard.
	GuardStored struct{ Err error }
	// ConnectionDropped answers a DropConnection of one that was stored.
	ConnectionDropped struct {
		ID  ConnectionID
		Err error
	}

	// Tick says that time has passed.
	Tick struct{}
)

// Trial are settings that are not in force yet. Via is carried to the Login effect, the
// machine never calls it. It is immutable.
type Trial struct {
	Limits     Limits
	Connection Connection
	Via        providers.Upstream
}

func (Stop) apply(a *Account) { a.stopping = true }
func (Tick) apply(*Account)   {}

// Effect is something that the shell does for the machine. The effects of one
// Step are done in their order; a call to the server is only begun in order and
// its answer comes back as an event. For each session at most one Put or Remove
// and one call of each sort is under way.
//
//sumtype:decl
type Effect interface{ effect() }

type (
	// Put stores a record; answered by Stored.
	Put struct{ Record Record }
	// Remove deletes a record; answered by Stored.
	Remove struct{ Session SessionID }
	// PutGuard stores the guard; answered by GuardStored.
	PutGuard struct{ Guard Guard }

	// DropConnection forgets a connection, also in storage if it may be there; then
	// it is answered by ConnectionDropped.
	DropConnection struct {
		ID     ConnectionID
		Stored bool
	}

	// Login opens a session; answered by LoggedIn. The Timeout of this and of all
	// other calls counts from when the call is begun: it may wait its turn behind
	// writes.
	Login struct {
		Session    SessionID
		Connection ConnectionID
		Scopes     []string
		Params     map[string]string
		NoMark     bool
		OTP        providers.Secret
		CodeAt     time.Time
		Via        providers.Upstream // of a verification; nil: who logs in over Connection
		Timeout    time.Duration
		// SendBefore: after it the login must not be sent any more. Its code would be
		// too old, or the time that the ledger has for its session too early.
		SendBefore time.Time
	}
	// Refresh renews a session's token; answered by Refreshed.
	Refresh struct {
		Session    SessionID
		Connection ConnectionID
		Token      providers.Secret
		Timeout    time.Duration
	}
	// Logout ends a session; answered by LoggedOut.
	Logout struct {
		Session    SessionID
		Connection ConnectionID
		Tokens     providers.SessionTokens
		Timeout    time.Duration
	}

	// List asks the server for its list of the account's sessions; answered by
	// Listed. Session is that of the token.
	List struct {
		Session    SessionID
		Connection ConnectionID
		Token      providers.Secret
		Timeout    time.Duration
	}
	// End ends a session by the id that the server's list has for it; answered by
	// Ended. Token is of another session.
	End struct {
		Session    SessionID
		ServerID   string
		Connection ConnectionID
		Token      providers.Secret
		Timeout    time.Duration
	}

	// Reply answers a waiter: with a grant, with a comparison, with nothing (a
	// static reader, a release, a drain, a verification), or with a refusal.
	Reply struct {
		Waiter   WaiterID
		Session  SessionID
		Grant    Grant
		Compared Comparison
		Err      *Refusal
	}
	// Note tells people what happened: a log line.
	Note struct {
		What    Occurrence
		Session SessionID
		Detail  string
	}
)

func (Put) effect()            {}
func (Remove) effect()         {}
func (PutGuard) effect()       {}
func (DropConnection) effect() {}
func (Login) effect()          {}
func (Refresh) effect()        {}
func (Logout) effect()         {}
func (List) effect()           {}
func (End) effect()            {}
func (Reply) effect()          {}
func (Note) effect()           {}

// Occurrence is what a Note tells, as events and metrics name it. People's alerts and
// subscriptions hold these names: never change one.
type Occurrence string

// The occurrences.
const (
	SessionOpened   Occurrence = "session-opened"
	SessionClosed   Occurrence = "session-closed"
	LogoutPending   Occurrence = "logout-pending"   // it failed, and will be tried again
	SessionDropped  Occurrence = "session-dropped"  // by an operator
	SessionAgedOut  Occurrence = "session-aged-out" // nothing can log it out
	LoginLost       Occurrence = "login-lost"       // its outcome is not known
	LoginFailed     Occurrence = "login-failed"
	RefreshFailed   Occurrence = "refresh-failed"
	AccountGuarded  Occurrence = "account-guarded"
	LedgerWriteLost Occurrence = "ledger-write-failed"
	OrphanClosed    Occurrence = "orphan-closed"
	StrayFound      Occurrence = "stray-found"
	SessionVanished Occurrence = "session-vanished" // ended by others
	CompareFailed   Occurrence = "list-failed"
	ListRefused     Occurrence = "list-refused"
	BudgetIsFull    Occurrence = "budget-full"
	KeepAliveFailed Occurrence = "keep-alive-failed"
)

// Occurrences returns them all.
func Occurrences() []Occurrence {
	return []Occurrence{
		SessionOpened, SessionClosed, LogoutPending, SessionDropped, SessionAgedOut, LoginLost, LoginFailed,
		RefreshFailed, AccountGuarded, LedgerWriteLost, BudgetIsFull, OrphanClosed, StrayFound, SessionVanished,
		CompareFailed, ListRefused, KeepAliveFailed,
	}
}
