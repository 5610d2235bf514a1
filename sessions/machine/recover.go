package machine

import (
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// Recover builds an account from what its ledger holds; without records it is
// an account that was never used. Boot names this run of the engine, newID
// gives ids that were never used before.
func Recover(l Limits, g Guard, records []Record, boot string, newID func() SessionID, now time.Time) *Account {
	a := &Account{
		limits:    l,
		boot:      boot,
		newID:     newID,
		sessions:  make(map[SessionID]*session, len(records)),
		current:   map[string]*session{},
		tally:     tally{closing: map[*session]struct{}{}},
		releasing: map[SessionID][]WaiterID{},
		life:      map[string]time.Duration{},
		guard:     guardState{Guard: g},
		book:      book{wanted: true},
		keep:      keepAlive{lastLogin: g.LastLogin},
		now:       now,
	}
	for _, r := range records {
		a.recover(r)
	}
	return a
}

// recover takes one record back in.
func (a *Account) recover(r Record) {
	s := &session{rec: r, key: scopesKey(r.Scopes), durable: true, dueIndex: notDue}
	a.sessions[r.ID] = s
	a.spend(r.Code)
	if r.Stage == Open || r.Stage == Closing {
		s.rec.DiesAt = r.surelyDead(a.now)
	}
	switch {
	case r.Stage == Opening:
		a.enter(s, lost)
	case r.Stage == Open && a.now.Before(s.rec.DiesAt):
		a.recoverOpen(s)
	case r.Stage == Open, r.Stage == Closing:
		// One that the server must have dropped is not logged out: if it is there all
		// the same, somebody else keeps it alive, and this storage is a copy of theirs.
		a.enter(s, closing)
		s.logoutAt = a.now
	case r.Stage == Spent:
		a.enter(s, spent)
	default:
		// A stage of a later version: hold what it may have open until it is dead.
		a.enter(s, lost)
	}
	a.schedule(s)
}

// surelyDead is when the server has surely dropped the session of a record that was
// stored some time before now. A refresh whose answer was lost may have kept it
// alive after the record was stored, up to its horizon: a later one stores first.
func (r Record) surelyDead(now time.Time) time.Time {
	used := now
	if latest := r.Horizon.Add(maxTimeout); latest.Before(now) {
		used = latest
	}
	if dies := used.Add(r.Idle + deathMargin); dies.After(r.DiesAt) {
		return dies
	}
	return r.DiesAt
}

// recoverOpen takes back a session that was open. The leases that it had are
// not known by name: the generation is held without one until the horizon that
// the session had then (rule 3). A shared one waits for its first reader, who
// adopts it by a refresh.
func (a *Account) recoverOpen(s *session) {
	a.enter(s, open)
	s.published = s.rec.Generation
	s.keepUntil = a.now
	if a.now.Before(s.rec.Horizon) {
		s.generations = []generation{{horizon: s.rec.Horizon, nameless: true}}
	}
	if s.rec.Mode != providers.Shared {
		return
	}
	if other := a.current[s.key]; other == nil || other.rec.Horizon.Before(s.rec.Horizon) {
		a.current[s.key] = s
	}
}

// Unreadable stands for a record whose content is lost: a session that may be
// open and cannot be closed.
func Unreadable(id SessionID, now time.Time) Record {
	return Record{ID: id, Stage: Opening, OpenedAt: now, Idle: defaultIdle, DiesAt: now.Add(defaultIdle + deathMargin)}
}
