package machine

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// counts says whether a session counts towards max_sessions (rule 2): it is, or
// may be, open at the server.
func (s *session) counts() bool { return s.durable && s.phase != codeHold && s.phase != removing }

// othersNow are the listed sessions of others that the server has not dropped yet.
func (a *Account) othersNow() []other {
	a.list.others = slices.DeleteFunc(a.list.others, func(o other) bool { return !a.now.Before(o.until) })
	return a.list.others
}

func (a *Account) full(l *Limits) bool {
	return l.MaxSessions > 0 && a.usageOf(l).Taken() >= l.MaxSessions
}

// makeRoom has a session closed that nobody needs, unless a logout is under way that
// makes room.
func (a *Account) makeRoom() {
	if s := a.spare(); s != nil && !a.closingSoon() {
		a.close(s)
	}
}

// closingSoon says that a first logout is under way, or will be when a list has
// come. It will make room.
func (a *Account) closingSoon() bool { return len(a.list.kept) > 0 || a.counters.firstLogouts > 0 }

// spare returns a session that is only kept in case somebody comes: lingering,
// kept after a verification, or with leases that all have ended.
func (a *Account) spare() *session {
	for _, s := range a.sessions {
		if s.phase == open && !s.kept && a.canLogOut(s) && !s.renewing() && s.leasesEnded(a.now) {
			return s
		}
	}
	return nil
}

// leasesEnded says that no lease on the session can still be running. Leases from
// before a restart (rule 3) and readers without a lease hold it to the horizon.
func (s *session) leasesEnded(now time.Time) bool {
	if s.held() == 0 {
		return true
	}
	return !s.nameless() && !s.readStatic() && !now.Before(s.rec.Horizon.Add(-leaseMargin))
}

// Usage is how the budget stands.
type Usage struct {
	Limit int // 0: none
	// Of this mount, by what the ledger holds.
	Open, Opening, Unknown, Closing int
	// Of others, as the server listed them at ListedAt, less those that it must have
	// dropped since. Strays have this mount's mark, but no place in its ledger.
	OtherMounts, People, Strays int
	ListedAt                    time.Time // zero: never
}

// Ours is how many places this mount's sessions take.
func (u Usage) Ours() int { return u.Open + u.Opening + u.Unknown + u.Closing }

// Taken is how many places are taken, by whomever.
func (u Usage) Taken() int { return u.Ours() + u.OtherMounts + u.People + u.Strays }

// Plus is the use of two accounts, without their limits.
func (u Usage) Plus(v Usage) Usage {
	return Usage{
		Open: u.Open + v.Open, Opening: u.Opening + v.Opening, Unknown: u.Unknown + v.Unknown, Closing: u.Closing + v.Closing,
		OtherMounts: u.OtherMounts + v.OtherMounts, People: u.People + v.People, Strays: u.Strays + v.Strays,
	}
}

// String lists what takes the places: "2 open, 1 of people".
func (u Usage) String() string {
	var parts []string
	for _, part := range []struct {
		n    int
		name string
	}{
		{u.Open, "open"},
		{u.Opening, "opening"},
		{u.Unknown, "unknown"},
		{u.Closing, "waiting for logout"},
		{u.OtherMounts, "of other mounts"},
		{u.Strays, "stray"},
		{u.People, "of people"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.name))
		}
	}
	return strings.Join(parts, ", ")
}

// Usage says how the account's budget stands.
func (a *Account) Usage(now time.Time) Usage {
	a.attendClock(now)
	return a.usageOf(&a.limits)
}

func (a *Account) usageOf(l *Limits) Usage {
	n := a.counters.counted
	u := Usage{
		Limit:    l.MaxSessions,
		Open:     n[open],
		Opening:  n[intending] + n[loggingIn] + n[recording],
		Unknown:  n[lost],
		Closing:  n[closing],
		ListedAt: a.list.listedAt,
	}
	for _, o := range a.othersNow() {
		switch o.owner {
		case OtherMount:
			u.OtherMounts++
		case ThisMount:
			u.Strays++
		case People:
			u.People++
		}
	}
	return u
}

// nextFree is when the next place in the budget is free at the latest; zero: not
// known.
func (a *Account) nextFree() time.Time {
	var next time.Time
	for _, s := range a.sessions {
		if s.counts() {
			next = earliest(next, a.freesAt(s))
		}
	}
	for _, o := range a.othersNow() {
		next = earliest(next, o.until)
	}
	return next
}

// budgetFull says how many of how many, in which state, when the next frees,
// and what to change.
func (a *Account) budgetFull(l *Limits, t *Trial) *Refusal {
	use := a.usageOf(l)
	r := &Refusal{
		Reason:  BudgetFull,
		Message: fmt.Sprintf("the session budget is full: %d of %d in use (%s)", use.Taken(), use.Limit, use),
		Advice:  "revoke leases that are not needed, use session_mode=shared, or raise max_sessions if the server allows more",
	}
	if use.Taken() > use.Ours() {
		r.Message += ", as the server listed them at " + stamp(use.ListedAt)
		r.Advice += "; have people log out what they do not need"
	}
	if next := a.nextFree(); !next.IsZero() {
		r.RetryAt = next
		r.Message += ", the next is free at the latest at " + stamp(next) + ", unless it is used further"
	}
	if t != nil {
		r.Advice += "; verify=false stores the config without a login"
	}
	return r
}

// freesAt is when a session stops counting at the latest; zero: not known.
func (a *Account) freesAt(s *session) time.Time {
	switch s.phase {
	case open:
		if a.canLogOut(s) {
			return s.rec.Horizon
		}
		return s.rec.DiesAt
	case lost, closing:
		return s.rec.DiesAt
	case intending, loggingIn, recording, codeHold, removing:
	}
	return time.Time{}
}

// counters keeps counts of the account's sessions, so that a login, a budget and a
// status cost the same however many there are.
type counters struct {
	phases  [removing + 1]int
	counted [removing + 1]int // of these, those that count towards max_sessions
	closing map[*session]struct{}

	storing      int // sessions with a write under way
	loggingOut   int // sessions with a logout under way
	firstLogouts int // of these, those whose logout has not failed before
}

// underWay says that sessions are opening, open, or being deleted, or that a
// logout or a write has no answer yet.
func (t *counters) underWay() bool {
	n := &t.phases
	return n[intending]+n[loggingIn]+n[recording]+n[open]+n[removing]+t.loggingOut+t.storing > 0
}

// enter puts a session into a phase: the only place that does.
func (a *Account) enter(s *session, p phase) {
	a.leave(s)
	s.phase, s.entered = p, true
	a.counters.add(s, 1)
	if p != closing {
		return
	}
	if s.rec.Logout == nil {
		s.rec.Logout = &PendingLogout{Since: a.now}
	}
	a.counters.closing[s] = struct{}{}
}

// setStoring notes whether a write of the session is under way.
func (a *Account) setStoring(s *session, storing bool) {
	a.counters.storing += change(s.storing, storing)
	s.storing = storing
}

// setLoggingOut notes whether a logout of the session is under way. Meanwhile its
// tries do not change.
func (a *Account) setLoggingOut(s *session, loggingOut bool) {
	n := change(s.loggingOut, loggingOut)
	a.counters.loggingOut += n
	if s.rec.pendingLogout().Tries == 0 {
		a.counters.firstLogouts += n
	}
	s.loggingOut = loggingOut
}

// change is what a count of those that are so changes by.
func change(before, after bool) int {
	switch {
	case after && !before:
		return 1
	case before && !after:
		return -1
	}
	return 0
}

// leave takes a session out of the counters.
func (a *Account) leave(s *session) {
	if !s.entered {
		return
	}
	a.unschedule(s) // its next phase may be scheduled in the other heap
	a.counters.add(s, -1)
	if s.phase == closing {
		delete(a.counters.closing, s)
	}
}

func (t *counters) add(s *session, n int) {
	t.phases[s.phase] += n
	if s.counts() {
		t.counted[s.phase] += n
	}
}

// NearlyFull says that at most a fifth of the session budget is free. One session
// is no budget: its only place is there to be used.
func (u Usage) NearlyFull() bool { return u.Limit > 1 && (u.Limit-u.Taken())*5 <= u.Limit }
