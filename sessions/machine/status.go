package machine

import (
	"cmp"
	"slices"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// State is what a session is doing, as people know it.
type State string

// The states of a session.
const (
	// StateOpening: its login is under way.
	StateOpening State = "opening"
	StateOpen    State = "open"
	// StateUnknown: its login had no answer, so it may be open.
	StateUnknown State = "unknown"
	// StateWaiting: it waits for its logout.
	StateWaiting State = "waiting for logout"
	// StateAgeing: nothing can log it out, so it counts until it must be dead.
	StateAgeing State = "ending by age"
	// StateEnded: only its record is left, for a one-time code or to be deleted.
	StateEnded State = "ended"
)

// States returns all states, in the order of a session's life.
func States() []State {
	return []State{StateOpening, StateOpen, StateUnknown, StateWaiting, StateAgeing, StateEnded}
}

// Status is what people may know of an account, its sessions apart. It holds no
// secret.
type Status struct {
	// Retired: no config names the account; what is left of it is closed.
	Retired bool
	// Draining: its config is being deleted.
	Draining bool

	// Usage is how the session budget stands.
	Usage Usage
	// Clock is what is known of the server's clock, Listing whether the account may
	// list its sessions there. Orphans counts those that were ended since the start.
	Clock   Clock
	Listing Access
	Orphans uint64
	// States counts the sessions in each state; one that is not there counts none.
	States map[State]int
	// OldestLogout is since when the first of the sessions in StateWaiting waits;
	// zero: none does.
	OldestLogout time.Time
	// Waiting is how many readers and verifications wait for a token.
	Waiting int

	// Guard is what closes the account after refused logins. What of it is over
	// counts for nothing.
	Guard Guard
	// PausedUntil: no login before it, for PauseReason. Zero: none is held back.
	PausedUntil time.Time
	PauseReason string

	// KeepAlive tells how the account is kept from being deactivated.
	KeepAlive KeepAlive
}

// SessionStatus is what people may know of a session. It holds no secret. A
// zero time is not known, or does not apply.
type SessionStatus struct {
	ID         SessionID
	State      State
	Mode       providers.Mode
	Scopes     []string
	Generation int // of its newest token; 0: it has none yet
	// Leases counts those of this run of the engine. EarlierLeases says that
	// there may be more, from before it was started (rule 3).
	Leases        int
	EarlierLeases bool
	// Unrefreshable: it has no refresh token. Unclosable: nothing can log it out.
	Unrefreshable, Unclosable bool
	// StaticRead: somebody has its token without a lease.
	StaticRead bool

	OpenedAt    time.Time
	RefreshedAt time.Time
	ExpiresAt   time.Time // of the token that readers get
	Horizon     time.Time // of its newest token: no lease lasts longer
	DiesAt      time.Time // when the server has surely dropped it
	ClosingAt   time.Time // since when it waits for its logout
	LogoutAt    time.Time // when that is tried again

	Revocations int // that failed visibly
	Tries       int // logouts that failed
	LastError   string
}

// Status returns what people may know of the account now.
func (a *Account) Status(now time.Time) Status {
	a.attendClock(now)
	st := Status{
		Retired:  a.retired(),
		Draining: a.draining,
		Usage:    a.usageOf(&a.limits),
		Clock:    a.clock,
		Listing:  a.list.access,
		Orphans:  a.orphansEnded,
		States:   map[State]int{},
		Waiting:  len(a.waiters),
		Guard:    a.guard.Guard,

		KeepAlive: a.KeepAlive(now),
	}
	if !a.limits.Capabilities.ListsSessions {
		st.Listing = AccessNone
	}
	for p, n := range a.counters.phases {
		if n > 0 && phase(p) != closing {
			st.States[phase(p).state()] += n
		}
	}
	for s := range a.counters.closing {
		st.States[a.state(s)]++
		if a.canLogOut(s) {
			st.OldestLogout = earliest(st.OldestLogout, s.rec.pendingLogout().Since)
		}
	}
	if a.pause.cause != nil && now.Before(a.pause.until) {
		st.PausedUntil, st.PauseReason = a.pause.until, a.pause.cause.What()
	}
	return st
}

func (a *Account) state(s *session) State {
	if s.phase == closing && !a.canLogOut(s) {
		return StateAgeing
	}
	return s.phase.state()
}

func (p phase) state() State {
	switch p {
	case open:
		return StateOpen
	case lost:
		return StateUnknown
	case closing:
		return StateWaiting
	case codeHold, removing:
		return StateEnded
	case intending, loggingIn, recording:
	}
	return StateOpening
}

// Sessions returns what people may know of each session, oldest first.
func (a *Account) Sessions() []SessionStatus {
	all := make([]SessionStatus, 0, len(a.sessions))
	for _, s := range a.sessions {
		all = append(all, a.sessionStatus(s))
	}
	slices.SortFunc(all, func(x, y SessionStatus) int {
		return cmp.Or(x.OpenedAt.Compare(y.OpenedAt), cmp.Compare(x.ID, y.ID))
	})
	return all
}

// Session returns what people may know of one session; false: there is none of
// that id.
func (a *Account) Session(id SessionID) (SessionStatus, bool) {
	s := a.sessions[id]
	if s == nil {
		return SessionStatus{}, false
	}
	return a.sessionStatus(s), true
}

func (a *Account) sessionStatus(s *session) SessionStatus {
	pending := s.rec.pendingLogout()
	st := SessionStatus{
		ID:            s.id,
		State:         a.state(s),
		Mode:          s.mode,
		Scopes:        s.purpose.scopes,
		Generation:    s.rec.Generation,
		Leases:        s.leases(),
		StaticRead:    s.readStatic(),
		EarlierLeases: s.nameless(),
		Unrefreshable: !s.canRefresh(),
		Unclosable:    !a.canLogOut(s),
		OpenedAt:      s.rec.OpenedAt,
		RefreshedAt:   s.rec.RefreshedAt,
		Horizon:       s.rec.Horizon,
		Revocations:   pending.Revocations,
		Tries:         pending.Tries,
		LastError:     pending.LastError,
	}
	if s.token != nil {
		st.ExpiresAt = s.token.ExpiresAt
	}
	if s.durable && st.State != StateEnded {
		st.DiesAt = s.rec.DiesAt
	}
	if s.phase == closing {
		st.ClosingAt = pending.Since
	}
	if st.State == StateWaiting && !s.loggingOut {
		st.LogoutAt = s.callAt
	}
	return st
}
