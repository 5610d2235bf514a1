package machine

import (
	"maps"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// Account is the state of one upstream account. It is not safe for concurrent
// use, blocks on nothing, and knows the time only from its callers.
type Account struct {
	limits Limits
	boot   string
	newID  func() SessionID

	connection  ConnectionID // of the next logins; empty: no config names the account
	connections []*connection

	sessions map[SessionID]*session
	purposes map[string]*purpose // by shareKey
	opening  *session            // the login under way: one at a time (rule 6)
	due      dueHeap
	logouts  dueHeap // of those that are closing
	counters counters

	waiters   []*waiter                // readers without an answer, oldest first
	releasing map[SessionID][]WaiterID // releases that wait for a logout
	stopping  bool
	draining  bool // since the last Configured
	drains    []drain
	closers   []closer

	fullNoted   time.Time // when people were last told that the budget is full
	lastGrant   uint64
	staticReads uint64
	guard       guardState
	persons     map[string]personGuard // people whose typed codes were refused
	pause       pause                  // of all logins
	codes       codes
	nextLogin   time.Time // none before: the server is still busy with the last one
	loginWakeAt time.Time // when a waiter's turn comes
	list        sessionList
	clock       Clock
	keep        keepAlive

	orphansEnded uint64 // since the start

	// Of the Step under way.
	steps   uint64 // it and those before
	now     time.Time
	effects []Effect
	replies []Effect
}

// session is one upstream login.
type session struct {
	id         SessionID
	mode       providers.Mode
	purpose    *purpose
	connection *connection // how it is reached; nil: that is not known
	rec        Condition

	phase phase
	// durable: the login leaves a session at the server, so the ledger holds it.
	durable bool
	entered bool // in the counters
	doomed  bool // close it as soon as its login is answered

	refreshing bool // a refresh is under way
	loggingOut bool // a logout is under way, or waits for the refresh
	storing    bool // a Put or Remove is under way
	dirty      bool // the ledger should hold something else than it was told
	kept       bool // to be closed when the list has come that its token asks for

	standInRefused bool // the connection in force was refused in place of its own, too
	listRefused    bool // the server refused a list to its newest token

	attempt   *attempt // its login, until that is over
	refresher WaiterID // a check that waits for its refresh

	token       *Token       // what is handed out; nil: none is held
	unstored    *Token       // what a refresh gave, until the ledger has its refresh token
	generations []generation // oldest first
	keepUntil   time.Time    // without leases, not closed before

	callAt time.Time // when its background refresh is due; of one that is closing, the next logout
	// changedIn is the Step in which the server's side of it changed last: a list
	// that was asked for before says nothing about it.
	changedIn uint64
	trouble   *retry // why its token could not be replaced; of a lost login, the search in the list
	unsaved   *retry // of a failed write; nil: the last one was stored

	dueAt    time.Time
	dueIndex int
}

// attempt is a login that is not over yet.
type attempt struct {
	trial   *Trial   // nil: it is for a reader, or for nobody
	opener  WaiterID // who caused it; 0: nobody, it is a successor
	request Effect   // its Login, until that is sent
}

// trial is the verification that the session's login is for; nil: it is for none, or
// over.
func (s *session) trial() *Trial {
	if s.attempt == nil {
		return nil
	}
	return s.attempt.trial
}

// published is the generation of the newest token that was handed out.
func (s *session) published() int {
	if s.unstored != nil {
		return s.rec.Generation - 1
	}
	return s.rec.Generation
}

// retry is when something that failed is tried again. Few sessions need one, so
// it does not take room in all of them.
type retry struct {
	tries int
	at    time.Time // zero: it is under way
	cause *Refusal
}

// again plans the next try.
func (r *retry) again(now time.Time, wait func(tries int) time.Duration) *retry {
	if r == nil {
		r = &retry{}
	}
	r.tries++
	r.at = now.Add(wait(r.tries))
	return r
}

// generation is one token of a session, and the leases on it. At its horizon it
// goes with all of them at once, however many there are.
type generation struct {
	horizon time.Time
	grants  grantSet
	// nameless: leases from before the engine was started may hold it, too.
	nameless bool
	// static: somebody read the token without a lease.
	static bool
}

// phase is what a session is doing. doc.go tells how one leads to another.
type phase uint8

const (
	intending phase = iota // its intent is being stored
	loggingIn              // the login is under way
	recording              // its refresh token is being stored
	open                   // it can be handed out
	lost                   // the login had no answer: it may be open
	closing                // it waits for its logout
	codeHold               // ended; its record holds the one-time code that it spent
	removing               // nothing is left but the record
)

type waiter struct {
	id        WaiterID
	want      Want
	purpose   *purpose
	deadline  time.Time
	trial     *Trial // nil: a reader
	refreshed bool   // it has waited for a refresh; another would not help
	answered  bool
}

// Step takes one event and returns what is to be done about it, in order.
func (a *Account) Step(ev Event, now time.Time) []Effect {
	a.attendClock(now)
	a.steps++
	ev.apply(a)
	a.settle()
	effects := a.effects
	a.effects = nil
	if len(a.replies) > 0 {
		effects = append(effects, a.replies...)
		clear(a.replies) // they hold tokens
		a.replies = a.replies[:0]
	}
	return effects
}

// settle does what state and time ask for, the same after every event. The order
// decides who comes first:
//   - readers, before time: a session that somebody waits for is not idle;
//   - a login to keep the account alive after the readers': theirs will do;
//   - the list when it is known what was opened and closed, since it may be asked for
//     with a token that has to be kept for that;
//   - then the answers to those who wait for all that to be over;
//   - last what is to be forgotten, since everything before may still refer to it.
func (a *Account) settle() {
	a.serve()
	a.passTime()
	a.attendKeepAlive()
	a.compare()
	if len(a.drains) > 0 {
		a.finishDrains()
	}
	if len(a.closers) > 0 {
		a.finishClosers()
	}
	a.attendGuard()
	a.dropConnections()
}

func (a *Account) emit(e Effect) {
	if a.effects == nil {
		a.effects = make([]Effect, 0, 2) // enough for most steps, their replies included
	}
	a.effects = append(a.effects, e)
}

func (a *Account) note(what Occurrence, s *session, detail string) {
	var id SessionID
	if s != nil {
		id = s.id
	}
	a.noteID(what, id, detail)
}

func (a *Account) noteID(what Occurrence, id SessionID, detail string) {
	a.emit(Note{What: what, Session: id, Detail: detail})
}

// reply answers after everything else of the batch: what an answer promises is
// stored before it is given.
func (a *Account) reply(r Reply) { a.replies = append(a.replies, r) }

// apply puts other settings in force. Live sessions go on over the connection
// that they have; pending logouts are tried at once, since the newest client secret
// may help them.
func (e Configured) apply(a *Account) {
	a.limits, a.connection = e.Limits, e.Connection
	a.setConnections(e.Known)
	a.draining = false
	for _, p := range a.purposes {
		p.life = tokenLife{} // what is known of the tokens may be out of date
	}
	if e.Reopen {
		a.list.forget()
		a.reopen()
	}
	for _, d := range a.drains {
		a.reply(Reply{Waiter: d.waiter, Err: &Refusal{Reason: Closed, Message: "the config was written again meanwhile", Advice: "try again"}})
	}
	a.drains = nil
	a.keep.retryAt, a.keep.tries = time.Time{}, 0
	a.forgetLogin()
	for _, s := range a.sessions {
		s.standInRefused = false
	}
	for s := range a.counters.closing {
		s.callAt = a.now
		a.schedule(s)
	}
}

// Forgettable says whether the account can be forgotten: no config names it, nothing
// is in its ledger, nobody waits, and no pause would be forgotten with it.
func (a *Account) Forgettable() bool {
	return a.retired() && len(a.sessions) == 0 && len(a.waiters) == 0 && len(a.drains) == 0 &&
		len(a.connections) == 0 && a.guard.Guard == Guard{} && a.guard.storing == 0 && a.restsUntil().IsZero()
}

// retired says that no config names the account (any more).
func (a *Account) retired() bool { return a.connection == "" }

// Capabilities are what the account's upstream can do.
func (a *Account) Capabilities() providers.Capabilities { return a.limits.Capabilities }

// expiring are things that are remembered until a time.
type expiring[K comparable] map[K]time.Time

func (e *expiring[K]) add(key K, until, now time.Time) {
	maps.DeleteFunc(*e, func(_ K, end time.Time) bool { return !now.Before(end) })
	if *e == nil {
		*e = expiring[K]{}
	}
	(*e)[key] = until
}

// earliest returns the first of some times; zero ones do not count.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// later returns the second of two times.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
