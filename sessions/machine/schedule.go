package machine

import (
	"container/heap"
	"time"
)

// dueHeap orders sessions by when they next need attention, so that a pass
// costs what is due and not what exists. Sessions that wait for an answer only
// are not in it.
type dueHeap []*session

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].dueAt.Before(h[j].dueAt) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].dueIndex, h[j].dueIndex = i, j
}

// Push implements heap.Interface.
func (h *dueHeap) Push(x any) {
	s := x.(*session)
	s.dueIndex = len(*h)
	*h = append(*h, s)
}

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	s.dueIndex = notDue
	return s
}

const notDue = -1

// heapOf is where a session has its place.
func (a *Account) heapOf(s *session) *dueHeap {
	if s.phase == closing {
		return &a.logouts
	}
	return &a.due
}

// unschedule takes a session out of its heap.
func (a *Account) unschedule(s *session) {
	if s.dueIndex != notDue {
		heap.Remove(a.heapOf(s), s.dueIndex)
	}
}

// schedule puts a session at its place in the heap. Whoever changes a session
// calls it.
func (a *Account) schedule(s *session) {
	at := a.nextDue(s)
	switch {
	case at.IsZero():
		a.unschedule(s)
	case s.dueIndex == notDue:
		s.dueAt = at
		heap.Push(a.heapOf(s), s)
	case !at.Equal(s.dueAt):
		s.dueAt = at
		heap.Fix(a.heapOf(s), s.dueIndex)
	}
}

// nextDue is when time alone changes something about a session; zero: never.
func (a *Account) nextDue(s *session) time.Time {
	var at time.Time
	if s.unsaved != nil && s.dirty && !s.storing {
		at = s.unsaved.at
	}
	switch s.phase {
	case open:
		if s.kept {
			break
		}
		if len(s.generations) > 0 {
			at = earliest(at, s.generations[0].horizon)
		}
		if s.unheld() {
			at = earliest(at, s.unheldUntil())
		} else if a.refreshesAhead(s) {
			at = earliest(at, s.callAt)
		}
	case closing:
		if !s.loggingOut {
			at = earliest(at, s.rec.DiesAt)
			if a.canLogOut(s) {
				at = earliest(at, s.callAt)
			}
		}
	case lost:
		at = earliest(at, s.rec.DiesAt)
		if s.trouble != nil {
			at = earliest(at, s.trouble.at)
		}
	case codeHold:
		if !s.storing && s.rec.Code != nil {
			at = earliest(at, s.rec.Code.Until)
		}
	case intending, loggingIn, recording, removing:
	}
	return at
}

// passTime attends once to every session that is due.
func (a *Account) passTime() {
	var due []*session
	for _, h := range []*dueHeap{&a.due, &a.logouts} {
		for len(*h) > 0 && !(*h)[0].dueAt.After(a.now) {
			due = append(due, heap.Pop(h).(*session))
		}
	}
	for _, s := range due {
		a.attendSession(s)
		a.schedule(s)
	}
}

// attendSession does what is due for one session.
func (a *Account) attendSession(s *session) {
	if s.unsaved != nil && s.dirty && !s.storing && !a.now.Before(s.unsaved.at) {
		a.flush(s)
	}
	switch s.phase {
	case open:
		if s.kept {
			break
		}
		a.dropExpiredGrants(s)
		if s.unheld() {
			if !a.now.Before(s.unheldUntil()) {
				a.close(s)
			}
		} else if a.refreshesAhead(s) && !a.now.Before(s.callAt) {
			a.refreshAhead(s)
		}
	case closing:
		a.attendClosing(s)
	case lost:
		if !a.now.Before(s.rec.DiesAt) {
			a.end(s)
		} else if s.trouble != nil { // the search for it is due
			s.trouble.at = time.Time{}
			a.list.wanted = true
		}
	case codeHold:
		if !s.rec.Code.remembered(a.now) {
			a.remove(s)
		}
	case intending, loggingIn, recording, removing:
	}
}

// NextWake is when the next Tick is due; zero: time alone changes nothing.
func (a *Account) NextWake() time.Time {
	if a.stopping {
		return time.Time{}
	}
	at := earliest(a.loginWakeAt, a.guard.saveAt, a.keep.wakeAt, a.guardEnds())
	for _, h := range []dueHeap{a.due, a.logouts} {
		if len(h) > 0 {
			at = earliest(at, h[0].dueAt)
		}
	}
	if listAt, can := a.compareDue(); can {
		at = earliest(at, listAt)
	}
	for _, d := range a.drains {
		at = earliest(at, d.ends())
	}
	for _, c := range a.connections {
		if ends, unused := a.connectionEnds(c); unused {
			at = earliest(at, ends)
		}
	}
	if a.retired() && len(a.sessions) == 0 {
		at = earliest(at, a.restsUntil()) // then it can be forgotten
	}
	return at
}
