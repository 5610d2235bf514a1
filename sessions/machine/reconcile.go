package machine

import (
	"slices"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// Owner says whose a listed session is, as check/ prints it.
type Owner string

// The owners.
const (
	// People: there is no mark of this plugin on it.
	People Owner = "people"
	// OtherMount: it has the mark of another mount. To each other mounts are people.
	OtherMount Owner = "another mount"
	// ThisMount: it has our mark, or the id that our token has.
	ThisMount Owner = "this mount"
)

// Standing is what the ledger says of a listed session, as check/ prints it.
type Standing string

// The standings.
const (
	// Foreign: it is not ours, is counted, and is never touched.
	Foreign Standing = "foreign"
	// Known: the ledger holds it.
	Known Standing = "known"
	// Orphan: its login had no answer. It is ended.
	Orphan Standing = "orphan"
	// Stray: it has our mark, and the mount's ledger never held its attempt: this
	// storage went back in time, or is a copy of another's. It is reported, and ended
	// only where an operator asks for it.
	Stray Standing = "stray"
)

// Listing is a session as the server lists it.
type Listing struct {
	providers.ServerSession

	Owner Owner
	// Mount and Attempt are what its mark says; empty: it has none.
	Mount   string
	Attempt SessionID
	// Elsewhere: another account of this mount holds the attempt in its ledger, or may
	// do so.
	Elsewhere bool
	// Standing is set by the machine.
	Standing Standing
	// Ended: it was ended in this comparison.
	Ended bool
}

// Comparison is what one list said.
type Comparison struct {
	At       time.Time
	Sessions []Listing
}

// other is a listed session that the ledger does not hold: it takes a place.
type other struct {
	serverID string
	owner    Owner
	// until is when the server drops it if it is left alone.
	until time.Time
}

// apply compares the server's list with the ledger.
func (e Listed) apply(a *Account) {
	c := a.list.asking
	switch {
	case e.Err != nil:
		a.listFailed(e.Err)
		return
	case !a.holdsAsker(e.Sessions, c.with):
		a.listFailed(&providers.Error{
			Kind: providers.Protocol, Outcome: providers.Happened, Op: "list sessions",
			Message: "the list does not hold the session whose token asked for it",
			Advice:  "look whether something between here and the server keeps or changes answers",
		})
		return
	}
	b := &a.list
	b.access, b.failures, b.listedAt = AccessGranted, 0, a.now
	ours := a.byServerID()
	seen := make(map[SessionID]bool, len(e.Sessions))
	strays := b.strays()
	b.others = nil
	for i := range e.Sessions {
		a.judge(&e.Sessions[i], ours, seen, strays)
	}
	if c.checked != nil {
		c.compared = Comparison{At: a.now, Sessions: e.Sessions}
	}
	a.buryUnlisted(seen)
	a.finishComparison()
}

// holdsAsker says that the list has the session of the token that asked for it. A
// session that ended meanwhile need not be there.
func (a *Account) holdsAsker(list []Listing, with *Token) bool {
	s := a.sessions[with.Ref.Session]
	return s == nil || s.phase != open || slices.ContainsFunc(list, func(l Listing) bool {
		return l.Current || l.Attempt == s.id || l.ID == s.rec.ServerID
	})
}

func (a *Account) byServerID() map[string]*session {
	ours := make(map[string]*session, len(a.sessions))
	for _, s := range a.sessions {
		if s.rec.ServerID != "" {
			ours[s.rec.ServerID] = s
		}
	}
	return ours
}

// judge says whose one listed session is, and ends what is an orphan.
func (a *Account) judge(l *Listing, ours map[string]*session, seen map[SessionID]bool, strays map[string]bool) {
	s := ours[l.ID]
	if s == nil && l.Owner == ThisMount {
		s = a.sessions[l.Attempt]
	}
	switch {
	case s != nil:
		seen[s.id] = true
		l.Owner, l.Standing = ThisMount, Known
		if a.isOrphan(s) {
			l.Standing = Orphan
			a.endListed(l, s.id)
		}
	case l.Owner == ThisMount && a.list.asking.left[l.Attempt]:
		l.Standing = Known
	case l.Owner == ThisMount && a.now.Before(a.list.dropped[l.Attempt]):
		l.Standing = Orphan
		a.countOther(l)
		a.endListed(l, l.Attempt)
	case l.Elsewhere:
		l.Standing = Known
		a.countOther(l)
	case l.Owner == ThisMount:
		l.Standing = Stray
		a.countOther(l)
		if !strays[l.ID] {
			a.noteID(StrayFound, l.Attempt, "the ledger does not hold it: this storage went back in time, or is a copy of another's; check/ with end_orphans=true ends it")
		}
		if check := a.list.asking.checked; check != nil && check.endStrays {
			a.endListed(l, l.Attempt)
		}
	default:
		l.Standing = Foreign
		a.countOther(l)
	}
}

// isOrphan says that a listed session of ours should not be open: nobody had the
// answer to its login, or it ended before the list was asked for.
func (a *Account) isOrphan(s *session) bool {
	return s.phase == lost || s.phase == codeHold && s.changedIn < a.list.asking.askedIn
}

// countOther enters a session that the ledger does not hold into the budget.
func (a *Account) countOther(l *Listing) {
	// Times in the list are the server's.
	until := l.LastAccess.Add(a.idleTime() + deathMargin)
	if l.LastAccess.IsZero() {
		until = a.clock.there(a.now).Add(a.idleTime() + deathMargin)
	}
	if !l.ExpiresAt.IsZero() && l.ExpiresAt.Before(until) {
		until = l.ExpiresAt
	}
	owner := l.Owner
	if l.Elsewhere {
		owner = OtherMount // to this account it is as one of those
	}
	a.list.others = append(a.list.others, other{serverID: l.ID, owner: owner, until: a.clock.here(until)})
}

// endListed ends a session by its id in the list.
func (a *Account) endListed(l *Listing, id SessionID) {
	c := a.list.asking
	s := a.sessions[c.with.Ref.Session]
	if s == nil { // closed since the list was asked for: another token asks again
		a.list.wanted = true
		return
	}
	c.ending++
	a.emit(End{
		Session: id, ServerID: l.ID, Connection: s.via().ID, Token: c.with.Response.AccessToken, Timeout: s.timeout(),
	})
}

// apply takes the answer to an End.
func (e Ended) apply(a *Account) {
	c := a.list.asking
	c.ending--
	if e.Err != nil {
		if s := a.sessions[e.Session]; s != nil && s.phase == lost {
			a.searchLater(s)
		} else if s != nil || a.now.Before(a.list.dropped[e.Session]) {
			a.list.wanted = true // nothing else looks for it again
		}
		a.list.notBefore = a.now.Add(asLongAsAsked(e.Err, compareEvery))
		a.noteID(CompareFailed, e.Session, e.Err.Error())
		if c.checked != nil {
			c.checked.refusedFor = &Refusal{Reason: Upstream, Message: e.Err.What(), Advice: e.Err.Advice, Err: e.Err}
		}
	} else {
		a.endedAtServer(e)
	}
	a.finishComparison()
}

func (a *Account) endedAtServer(e Ended) {
	b := &a.list
	for i := range b.asking.compared.Sessions {
		if l := &b.asking.compared.Sessions[i]; l.ID == e.ServerID {
			l.Ended = true
		}
	}
	b.others = slices.DeleteFunc(b.others, func(o other) bool { return o.serverID == e.ServerID })
	a.orphansEnded++
	a.noteID(OrphanClosed, e.Session, "")
	if s := a.sessions[e.Session]; s != nil && s.phase == lost {
		a.end(s)
	}
}

// buryUnlisted ends what the list shows to be gone: sessions that were open before
// it was asked for, and are unchanged since. An unknown login that is not listed
// still counts, since the server may yet be at work on it; it is looked for again.
func (a *Account) buryUnlisted(seen map[SessionID]bool) {
	c := a.list.asking
	for id, s := range a.sessions {
		if seen[id] {
			continue
		}
		was := s.rec.ServerID != "" && s.changedIn < c.askedIn
		switch {
		case s.phase == lost:
			a.searchLater(s)
		case s.phase == open && was && !s.renewing():
			a.note(SessionVanished, s, "the server does not list it any more")
			a.close(s)
			a.schedule(s)
		case s.phase == closing && was && !s.loggingOut:
			a.note(SessionClosed, s, "the server does not list it any more")
			a.end(s)
		}
	}
}

// strays returns the server's ids of the strays that are known already.
func (b *sessionList) strays() map[string]bool {
	known := map[string]bool{}
	for _, o := range b.others {
		if o.owner == ThisMount {
			known[o.serverID] = true
		}
	}
	return known
}
