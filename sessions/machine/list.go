package machine

import (
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// The server's list wins (rule 11): the ledger is what we believe, the server's
// own list of the account's sessions is what is. This file decides when to ask
// for that list; reconcile.go says what it means.

const (
	// compareEvery is the least time between two lists that nobody asked for.
	compareEvery = 10 * time.Second
	// compareMost is the longest pause after lists that failed, and between two
	// searches for a session whose login had no answer.
	compareMost = 5 * time.Minute
	// deniedFor is how long a server's "not allowed" is believed: somebody may give
	// the account the roles.
	deniedFor = time.Hour
)

// Access says whether an account may list its sessions at the server, as check/ and
// metrics print it.
type Access string

// The answers to that.
const (
	// AccessUnknown: nobody has asked yet.
	AccessUnknown Access = "not known yet"
	// AccessNone: there is no list, or the server does not let this account see it.
	// The ledger alone counts, as an upper bound.
	AccessNone Access = "not available"
	// AccessGranted: the last list came.
	AccessGranted Access = "allowed"
)

// sessionList is what is known from the server's lists.
type sessionList struct {
	access Access
	token  *Token // the newest that was seen: an access token is needed to ask
	wanted bool   // a list is wanted as soon as a token and notBefore allow
	asking *comparison
	askers []asker // checks that wait for a list of their own
	others []other // listed sessions that the ledger does not hold
	// listedAt is when the last list came; zero: never.
	listedAt time.Time
	// notBefore bounds the lists that no check asked for.
	notBefore time.Time
	failures  int        // in a row
	kept      []*session // to be closed when the list has come
	// dropped are lost logins that the ledger holds no more, since an operator
	// dropped them, until when they are remembered: one that is listed is an orphan.
	dropped expiring[SessionID]
}

// comparison is one list under way, and the ends that follow from it.
type comparison struct {
	with     *Token
	askedAt  time.Time
	askedIn  uint64             // the Step that asked
	left     map[SessionID]bool // what the ledger has forgotten since: the list may still show it
	ending   int                // ends under way
	checked  *asker             // the check that it is for; nil: none
	compared Comparison
}

// asker is a check that waits for a list.
type asker struct {
	waiter     WaiterID
	with       *Token
	endStrays  bool
	refusedFor *Refusal
}

// apply queues a check's list: it is asked for whatever was asked before.
func (e Compare) apply(a *Account) {
	a.list.askers = append(a.list.askers, asker{waiter: e.Waiter, with: e.With, endStrays: e.EndStrays})
}

// forget takes back what was believed of the account's rights, and has the list
// asked for again: a config was written. The others that were listed count until
// that comes.
func (b *sessionList) forget() {
	b.access, b.failures = AccessUnknown, 0
	b.wanted, b.notBefore = true, time.Time{}
}

// lose has the list searched for the session of a login whose answer was lost.
func (b *sessionList) lose(now time.Time) {
	b.wanted = true
	if b.failures == 0 && b.access != AccessNone {
		b.notBefore = now
	}
}

// listToken returns an access token that the server should still take, of another
// session than the given one; nil: we hold none, and never log in for the list
// alone.
func (a *Account) listToken(except *session) *Token {
	usable := func(t *Token) bool { return a.canList(t) && a.sessions[t.Ref.Session] != except }
	if usable(a.list.token) {
		return a.list.token
	}
	for _, p := range a.purposes {
		if p.current != nil && usable(p.current.token) {
			return p.current.token
		}
	}
	if a.limits.MaxSessions > 0 {
		for _, s := range a.sessions {
			if !s.kept && usable(s.token) {
				return s.token
			}
		}
	}
	return nil
}

// dropUnsharedToken drops the token of a dedicated session, which nobody else gets, unless it
// may have to ask for the list: where there is a limit there are few.
func (a *Account) dropUnsharedToken(s *session) {
	if a.limits.MaxSessions == 0 || !a.limits.Capabilities.ListsSessions {
		s.token = nil
	}
}

// canList says that a list can be asked for with the token: it has not expired, its
// session is open, and the server has not refused it a list.
func (a *Account) canList(t *Token) bool {
	if t == nil || t.left(a.now) <= 0 {
		return false
	}
	s := a.sessions[t.Ref.Session]
	return s != nil && s.phase == open && !s.listRefused && s.via().Capabilities.ListsSessions
}

// lists says that the server has a list which the account may see, as far as we know.
func (a *Account) lists() bool {
	return a.limits.Capabilities.ListsSessions && !a.retired() &&
		(a.list.access != AccessNone || !a.now.Before(a.list.notBefore))
}

// compareDue is when a wanted list can be asked for; false: not as things stand.
func (a *Account) compareDue() (time.Time, bool) {
	b := &a.list
	can := b.wanted && b.asking == nil && !a.stopping && a.limits.Capabilities.ListsSessions && !a.retired() && a.listToken(nil) != nil
	return b.notBefore, can
}

// compare asks for the list that somebody wants, if it can be had now.
func (a *Account) compare() {
	b := &a.list
	for len(b.askers) > 0 && b.asking == nil {
		first := b.askers[0]
		b.askers = b.askers[1:]
		a.ask(&first)
	}
	if b.asking != nil {
		return
	}
	if at, can := a.compareDue(); can && !a.now.Before(at) {
		a.ask(nil)
		return
	}
	a.closeKept()
}

// ask sends for the list.
func (a *Account) ask(check *asker) {
	token := a.listToken(nil)
	if check != nil && a.canList(check.with) {
		token = check.with
	}
	switch {
	case check == nil:
	case token == nil || a.stopping:
		a.reply(Reply{Waiter: check.waiter, Err: &Refusal{
			Reason: Closed, Message: "no access token is held that could ask for the list", Advice: "try again",
		}})
		return
	}
	b := &a.list
	b.wanted = false
	b.notBefore = a.now.Add(compareEvery)
	b.asking = &comparison{with: token, askedAt: a.now, askedIn: a.steps, left: map[SessionID]bool{}, checked: check}
	s := a.sessions[token.Ref.Session]
	a.emit(List{Session: s.id, Connection: s.via().ID, Token: token.Response.AccessToken, Timeout: s.timeout()})
}

// comparesFirst says that the list is asked for before a budget is called full:
// what the ledger counts may be gone, and so may people.
func (a *Account) comparesFirst() bool {
	b := &a.list
	if b.asking != nil {
		return true
	}
	if !a.lists() || a.stopping || a.listToken(nil) == nil || a.now.Before(b.notBefore) {
		return false
	}
	b.wanted = true
	return true
}

// listFailed decides when to ask again.
func (a *Account) listFailed(err *providers.Error) {
	b := &a.list
	c := b.asking
	switch {
	case err.Kind != providers.NotAllowed:
		b.failures++
		b.wanted = true
		b.notBefore = a.now.Add(asLongAsAsked(err, doubling(compareEvery, compareMost, b.failures)))
		a.note(CompareFailed, nil, err.Error())
	case a.surelyGood(c.with, c.askedAt):
		b.access, b.failures = AccessNone, 0
		b.notBefore = a.now.Add(deniedFor)
		a.note(ListRefused, nil, err.Error())
	default:
		// With a token whose session has ended the server says the same. So another
		// token asks.
		b.wanted = true
		if s := a.sessions[c.with.Ref.Session]; s != nil {
			s.listRefused = true
		}
	}
	if c.checked != nil {
		c.checked.refusedFor = &Refusal{Reason: Upstream, Message: err.What(), Advice: err.Advice, Err: err}
	}
	a.finishComparison()
}

// surelyGood says that a token was so new when the list was asked for that it is the
// account which may not see the list.
func (a *Account) surelyGood(t *Token, askedAt time.Time) bool {
	issued := t.ExpiresAt.Add(-t.Response.ExpiresIn)
	return askedAt.Before(issued.Add(compareEvery)) && a.canList(t)
}

// finishComparison ends a comparison once nothing of it is under way.
func (a *Account) finishComparison() {
	c := a.list.asking
	if c == nil || c.ending > 0 {
		return
	}
	a.list.asking = nil
	if c.checked != nil {
		a.reply(Reply{Waiter: c.checked.waiter, Compared: c.compared, Err: c.checked.refusedFor})
	}
}

// keepForList keeps a session open for a moment that is to be closed, where its
// token is the one that can find the sessions of lost logins: nothing else can end
// those (rule 1), and an account of short dedicated leases has no other token.
func (a *Account) keepForList(s *session) bool {
	b := &a.list
	switch {
	case s.kept:
		return true
	case a.stopping || !a.lists() || a.counters.counted[lost] == 0:
		return false
	case b.asking != nil && b.asking.with.Ref.Session == s.id:
	case b.asking != nil || a.now.Before(b.notBefore) || a.listToken(nil) == nil || a.listToken(s) != nil:
		return false
	}
	b.wanted = true
	s.kept = true
	b.kept = append(b.kept, s)
	if s.purpose.current == s {
		s.purpose.current = nil
	}
	return true
}

// closeKept closes the sessions that were kept, once nothing is to be asked with
// their tokens.
func (a *Account) closeKept() {
	kept := a.list.kept
	a.list.kept = nil
	for _, s := range kept {
		s.kept = false
		if s.phase == open {
			a.beginClosing(s)
		}
	}
}

// searchLater plans the next search for a session that the list does not show: the
// server may still be at work on its login.
func (a *Account) searchLater(s *session) {
	s.trouble = s.trouble.again(a.now, func(tries int) time.Duration {
		return doubling(compareEvery, compareMost, tries)
	})
	a.schedule(s)
}
