package machine

// tally keeps counts of the account's sessions, so that a login, a budget and a
// status cost the same however many there are.
type tally struct {
	phases  [removing + 1]int
	counted [removing + 1]int // of these, those that count towards max_sessions
	inUse   int               // of all phases
	closing map[*session]struct{}
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
	if a.tally.closing == nil {
		a.tally.closing = map[*session]struct{}{}
	}
	a.tally.closing[s] = struct{}{}
}

// leave takes a session out of the tally.
func (a *Account) leave(s *session) {
	if s.entered {
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
