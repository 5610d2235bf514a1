package machine

import (
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

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

	// Login opens a session; answered by LoggedIn.
	Login struct {
		Session SessionID
		Scopes  []string
		OTP     providers.Secret
		CodeAt  time.Time
		Via     providers.Upstream // nil: the account's own
		// Deadline ends the call: an unknown login is dated from it.
		Deadline time.Time
	}
	// Refresh renews a session's token; answered by Refreshed.
	Refresh struct {
		Session  SessionID
		Token    providers.Secret
		Deadline time.Time
	}
	// Logout ends a session; answered by LoggedOut.
	Logout struct {
		Session SessionID
		Token   providers.Secret
		// Timeout counts from when the call is begun: it may wait its turn.
		Timeout time.Duration
	}

	// List asks the server for its list of the account's sessions; answered by
	// Listed. Session is that of the token.
	List struct {
		Session  SessionID
		Token    providers.Secret
		Deadline time.Time
	}
	// End ends a session by the id that the server's list has for it; answered by
	// Ended. Token is of another session.
	End struct {
		Session  SessionID
		ServerID string
		Token    providers.Secret
		Deadline time.Time
	}

	// Reply answers a waiter: with a grant, with a comparison, with nothing (a
	// release, a drain, a verification), or with a refusal.
	Reply struct {
		Waiter  WaiterID
		Session SessionID
		Grant   Grant
		// Renewal: the grant is that of a lease which holds the session already.
		Renewal  bool
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

func (Put) effect()      {}
func (Remove) effect()   {}
func (PutGuard) effect() {}
func (Login) effect()    {}
func (Refresh) effect()  {}
func (Logout) effect()   {}
func (List) effect()     {}
func (End) effect()      {}
func (Reply) effect()    {}
func (Note) effect()     {}

// Occurrence is what a Note tells.
type Occurrence string

// The occurrences.
const (
	SessionOpened   Occurrence = "session opened"
	SessionClosed   Occurrence = "session closed"
	LogoutPending   Occurrence = "logout failed, it will be tried again"
	SessionDropped  Occurrence = "session dropped by an operator"
	SessionAgedOut  Occurrence = "session left to die of age"
	LoginLost       Occurrence = "outcome of a login unknown"
	LoginFailed     Occurrence = "login failed"
	RefreshFailed   Occurrence = "refresh failed"
	AccountGuarded  Occurrence = "account closed to logins"
	LedgerWriteLost Occurrence = "ledger write failed"
	OrphanClosed    Occurrence = "orphan closed"
	StrayFound      Occurrence = "stray session found"
	SessionVanished Occurrence = "session ended by others"
	CompareFailed   Occurrence = "comparison failed"
	BookClosed      Occurrence = "session list refused"
	BudgetIsFull    Occurrence = "session budget is full"
	KeepAliveFailed Occurrence = "keep-alive login failed"
)

// Occurrences returns them all.
func Occurrences() []Occurrence {
	return []Occurrence{
		SessionOpened, SessionClosed, LogoutPending, SessionDropped, SessionAgedOut, LoginLost, LoginFailed,
		RefreshFailed, AccountGuarded, LedgerWriteLost, BudgetIsFull, OrphanClosed, StrayFound, SessionVanished,
		CompareFailed, BookClosed, KeepAliveFailed,
	}
}
