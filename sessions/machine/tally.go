package machine

// tally keeps counts of the account's sessions, so that a login, a budget and a
// status cost the same however many there are.
type tally struct {
	phases  [removing + 1]int
	counted [removing + 1]int // of these, those that count towards max_sessions
	inUse   int               // of all phases
	closing map[*session]struct{}

	storing      int // sessions with a write under way
	loggingOut   int // sessions with a logout under way
	firstLogouts int // of these, those whose logout has not failed before
}

// underWay says that sessions are opening, open, or being deleted, or that a
// logout or a write has no answer yet.
func (t *tally) underWay() bool {
	n := t.phases
	return n[intending]+n[loggingIn]+n[recording]+n[open]+n[removing]+t.loggingOut+t.storing > 0
}

// enter puts a session into a phase: the only place that does.
func (a *Account) enter(s *session, p phase) {
	a.leave(s)
	s.phase, s.entered = p, true
	a.tally.add(s, 1)
	if p != closing {
		return
	}
	if s.rec.Logout == nil {
		s.rec.Logout = &PendingLogout{Since: a.now}
	}
	a.tally.closing[s] = struct{}{}
}

// setStoring notes whether a write of the session is under way.
func (a *Account) setStoring(s *session, storing bool) {
	a.tally.storing += change(s.storing, storing)
	s.storing = storing
}

// setLoggingOut notes whether a logout of the session is under way. Meanwhile its
// tries do not change.
func (a *Account) setLoggingOut(s *session, loggingOut bool) {
	n := change(s.loggingOut, loggingOut)
	a.tally.loggingOut += n
	if s.rec.pendingLogout().Tries == 0 {
		a.tally.firstLogouts += n
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

// leave takes a session out of the tally.
func (a *Account) leave(s *session) {
	if s.entered {
		a.unschedule(s) // its next phase may be scheduled in the other heap
		a.tally.add(s, -1)
		delete(a.tally.closing, s)
		s.entered = false
	}
}

func (t *tally) add(s *session, n int) {
	t.phases[s.phase] += n
	if s.counts() {
		t.counted[s.phase] += n
		t.inUse += n
	}
}
