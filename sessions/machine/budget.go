package machine

import (
	"fmt"
	"strings"
	"time"
)

// counts says whether a session counts towards max_sessions (rule 2): it is, or
// may be, open at the server.
func (s *session) counts() bool {
	if !s.durable {
		return false
	}
	switch s.phase {
	case intending, loggingIn, recording, open, lost, closing:
		return true
	case spent, removing:
	}
	return false
}

// InUse counts the sessions that are, or may be, open at the server.
func (a *Account) InUse() int {
	n := 0
	for _, s := range a.sessions {
		if s.counts() {
			n++
		}
	}
	return n
}

func (a *Account) full(l Limits) bool { return l.MaxSessions > 0 && a.InUse() >= l.MaxSessions }

// budgetRefusal refuses a login that does not fit the budget and for which no
// room can be made.
func (a *Account) budgetRefusal(l Limits, t *trial) *Refusal {
	if !a.full(l) || a.closingSoon() || a.spare() != nil {
		return nil
	}
	return a.budgetFull(l, t)
}

// makeRoom sees to it that a login fits the budget; false: it will, after a
// logout that is under way.
func (a *Account) makeRoom(l Limits) bool {
	if !a.full(l) {
		return true
	}
	if s := a.spare(); s != nil && !a.closingSoon() {
		a.close(s)
	}
	return false
}

// closingSoon says that a first logout is under way, which will make room.
func (a *Account) closingSoon() bool {
	for _, s := range a.sessions {
		if s.phase == closing && s.loggingOut && s.rec.Tries == 0 {
			return true
		}
	}
	return false
}

// spare returns a session that is only kept in case somebody comes: lingering,
// kept after a verification, or with leases that all have ended.
func (a *Account) spare() *session {
	for _, s := range a.sessions {
		if s.phase == open && a.canLogOut(s) && !s.renewing() && s.leasesEnded(a.now) {
			return s
		}
	}
	return nil
}

// leasesEnded says that no lease on the session can still be running. Leases
// from before a restart are held to the horizon (rule 3).
func (s *session) leasesEnded(now time.Time) bool {
	if len(s.grants) == 0 {
		return true
	}
	if _, unknown := s.grants[namelessGrant]; unknown || len(s.generations) == 0 {
		return false
	}
	newest := s.generations[len(s.generations)-1]
	return !now.Before(newest.horizon.Add(-leaseMargin))
}

// budgetFull says how many of how many, in which state, when the next frees,
// and what to change.
func (a *Account) budgetFull(l Limits, t *trial) *Refusal {
	count := map[string]int{}
	var frees time.Time
	for _, s := range a.sessions {
		if !s.counts() {
			continue
		}
		count[s.phase.String()]++
		if at := s.freesAt(); !at.IsZero() && (frees.IsZero() || at.Before(frees)) {
			frees = at
		}
	}
	var states []string
	for _, name := range []string{"open", "opening", "unknown", "waiting for logout"} {
		if n := count[name]; n > 0 {
			states = append(states, fmt.Sprintf("%d %s", n, name))
		}
	}
	r := &Refusal{
		Reason:  BudgetFull,
		Message: fmt.Sprintf("the session budget is full: %d of %d in use (%s)", a.InUse(), l.MaxSessions, strings.Join(states, ", ")),
		Advice:  "revoke leases that are not needed, use session_mode=shared, or raise max_sessions if the server allows more",
	}
	if !frees.IsZero() {
		r.RetryAt = frees
		r.Message += ", the next is free at the latest at " + stamp(frees)
	}
	if t != nil {
		r.Advice += "; verify=false stores the config without a login"
	}
	return r
}

// freesAt is when a session stops counting at the latest; zero: not known.
func (s *session) freesAt() time.Time {
	switch s.phase {
	case open:
		return s.rec.Horizon
	case lost, closing:
		return s.rec.DiesAt
	case intending, loggingIn, recording, spent, removing:
	}
	return time.Time{}
}

// String names a phase as people know it.
func (p phase) String() string {
	switch p {
	case intending, loggingIn, recording:
		return "opening"
	case open:
		return "open"
	case lost:
		return "unknown"
	case closing:
		return "waiting for logout"
	case spent, removing:
		return "ended"
	}
	return fmt.Sprintf("phase %d", int(p))
}
