package machine

import (
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// WaiterID names a request that waits for a Reply.
type WaiterID uint64

// Event is something that happened to an account.
//
//sumtype:decl
type Event interface{ event() }

type (
	// Acquire says that a reader wants a token; the answer is a Reply.
	Acquire struct {
		Waiter   WaiterID
		Want     Want
		Deadline time.Time // of the reader's request; zero: none
	}
	// Verify says that a config write wants a login with settings that are not in force
	// yet. Via is carried to the Login effect, the machine never calls it.
	Verify struct {
		Waiter   WaiterID
		Want     Want
		Deadline time.Time
		Limits   Limits
		Via      providers.Upstream
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
	// Configured says that other limits or credentials are in force.
	Configured struct {
		Limits Limits
		// Reopen clears the guard.
		Reopen bool
	}

	// Stop says that the engine ends: nothing new is begun, and only those still
	// wait whose answer is under way.
	Stop struct{}

	// LoggedIn answers a Login. Got may be set along with an Err of outcome Happened.
	LoggedIn struct {
		Session SessionID
		Got     providers.TokenResponse
		Err     *providers.Error
	}
	// Refreshed answers a Refresh.
	Refreshed struct {
		Session SessionID
		Got     providers.TokenResponse
		Err     *providers.Error
	}
	// LoggedOut answers a Logout.
	LoggedOut struct {
		Session SessionID
		Err     *providers.Error
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

	// Tick says that time has passed.
	Tick struct{}
)

func (Acquire) event()      {}
func (Verify) event()       {}
func (Abandon) event()      {}
func (Release) event()      {}
func (Compare) event()      {}
func (CloseSession) event() {}
func (Drain) event()        {}
func (Configured) event()   {}
func (Stop) event()         {}
func (LoggedIn) event()     {}
func (Refreshed) event()    {}
func (LoggedOut) event()    {}
func (Listed) event()       {}
func (Ended) event()        {}
func (Stored) event()       {}
func (GuardStored) event()  {}
func (Tick) event()         {}
