package machine

import (
	"hash/fnv"
	"time"
)

// The ledger is told what it should hold, one write of a session at a time: a
// change during a write is written when that one is done.

// save has the ledger hold the session's record as it is now.
func (a *Account) save(s *session) {
	s.dirty = true
	a.flush(s)
}

// remove has the ledger forget the session; it is gone when that is stored.
func (a *Account) remove(s *session) {
	a.enter(s, removing)
	if !s.durable {
		a.forget(s)
		return
	}
	a.save(s)
}

// flush begins the write that a session needs, unless one is under way.
func (a *Account) flush(s *session) {
	if s.storing || !s.dirty {
		return
	}
	a.setStoring(s, true)
	s.dirty = false
	if s.phase == removing {
		a.emit(Remove{Session: s.rec.ID})
	} else {
		a.emit(Put{Record: s.rec})
	}
	a.schedule(s)
}

// stored goes on with what waited for a write.
func (a *Account) stored(e Stored) {
	s := a.sessions[e.Session]
	if s == nil {
		return
	}
	a.setStoring(s, false)
	defer a.schedule(s)
	if e.Err != nil {
		a.note(LedgerWriteLost, s, e.Err.Error())
		a.storeFailed(s, e.Err)
		return
	}
	s.unsaved = nil
	if s.dirty {
		a.flush(s)
		return
	}
	switch s.phase {
	case intending:
		a.startLogin(s)
	case recording:
		a.opened(s)
	case open:
		if s.unstored != nil {
			a.publish(s)
		}
	case removing:
		a.forget(s)
	case loggingIn, lost, closing, spent:
	}
}

// storeFailed: a failed write may still have landed, so nothing is taken back;
// what could not be recorded is closed (rule 1).
func (a *Account) storeFailed(s *session, cause error) {
	refusal := &Refusal{
		Reason:  Storage,
		Message: "Vault's storage did not take the session's record: " + cause.Error(),
		Advice:  "look at the health of Vault's storage and try again",
		Err:     cause,
	}
	switch s.phase {
	case intending:
		a.opening = nil
		a.answerOpeners(s, refusal)
		a.remove(s)
		return
	case recording:
		a.opening = nil
		a.answerOpeners(s, refusal)
		a.beginClosing(s)
		return
	case open:
		a.answerRefreshers(s, refusal)
	case loggingIn, lost, closing, spent, removing:
	}
	s.dirty = true
	s.unsaved = s.unsaved.again(a.now, func(tries int) time.Duration { return backoff(s.rec.ID, tries, time.Minute) })
}

// forget drops a session that nothing is left of.
func (a *Account) forget(s *session) {
	a.enter(s, removing)
	a.leave(s)
	a.setStoring(s, false)
	s.dirty = false
	if c := a.book.asking; c != nil {
		c.left[s.rec.ID] = true
	}
	delete(a.sessions, s.rec.ID)
	a.schedule(s)
}

// backoff doubles from a second to most, spread by a quarter either way. The spread
// is drawn from the session's id: the same try of the same session always waits
// the same time, and a thousand sessions do not come back at once.
func backoff(id SessionID, try int, most time.Duration) time.Duration {
	wait := most
	if try < 20 {
		wait = min(most, time.Second<<max(0, try-1))
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	spread := 0.75 + float64((h.Sum32()+uint32(try)*2654435761)%1000)/2000 //nolint:gosec // a hash may wrap
	return time.Duration(float64(wait) * spread)
}
