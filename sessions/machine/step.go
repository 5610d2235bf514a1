package machine

import (
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// Account is the state of one upstream account. It is not safe for concurrent
// use, blocks on nothing, and knows the time only from its callers.
type Account struct {
	limits Limits
	boot   string
	newID  func() SessionID

	sessions map[SessionID]*session
	current  map[string]*session // the shared session in use, by scopes
	opening  *session            // the login under way: one at a time (rule 6)
	due      dueHeap
	logouts  dueHeap // of those that are closing
	counters counters

	waiters     []*waiter                // readers without an answer, oldest first
	releasing   map[SessionID][]WaiterID // releases that wait for a logout
	draining    bool
	stopping    bool
	drains      []WaiterID
	closers     []closer
	fullNoted   time.Time // when people were last told that the budget is full
	lastGrant   uint64
	life        map[string]time.Duration // longest lease of a new token, by scopes
	guard       guardState
	pause       pause
	codes       codes
	nextLogin   time.Time // none before: the server is still busy with the last one
	loginWakeAt time.Time // a waiter waits for this step of the one-time code, or for nextLogin
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
	rec   Record
	key   string // its scopes, joined
	phase phase
	// durable: the login leaves a session at the server, so the ledger holds it.
	durable bool
	entered bool // in the counters
	doomed  bool // close it as soon as its login is answered

	refreshing, loggingOut bool // a call is under way
	storing                bool // a Put or Remove is under way
	dirty                  bool // the ledger should hold something else than it was told

	trial   *trial
	opener  WaiterID // who caused the login; 0: nobody, it is a successor
	request *Login   // until it is sent

	token       *Token       // what is handed out; nil: none is held
	published   int          // generation of the newest token that was handed out
	unstored    *Token       // what a refresh gave, until the ledger has its refresh token
	generations []generation // oldest first
	keepUntil   time.Time    // without leases, not closed before

	refreshAt time.Time // when the background refresh is due
	trouble   *trouble  // with the last refreshes; nil: there was none
	forcedAt  time.Time // the last refresh that a rejected token asked for
	fadesAt   time.Time // when the server ends it whatever we do; zero: not known

	// changedIn is the Step in which the server's side of it changed last: a list
	// that was asked for before says nothing about it.
	changedIn uint64
	kept      bool   // to be closed when the list has come that its token asks for
	search    *retry // of a lost login: when the list is asked for again

	logoutAt time.Time // next try of a pending logout

	unsaved *retry // of a failed write; nil: the last one was stored

	dueAt    time.Time
	dueIndex int
}

// retry is when something that failed is tried again. Few sessions need one, so
// it does not take room in all of them.
type retry struct {
	tries int
	at    time.Time // zero: it is under way
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
	spent                  // ended; its code is remembered
	removing               // nothing is left but the record
)

type waiter struct {
	id       WaiterID
	want     Want
	key      string
	deadline time.Time
	trial    *trial
	// newerThan is a token that will not do for this waiter (rule 12).
	newerThan TokenRef
	refreshed bool // it has waited for a refresh; another would not help
	answered  bool
}

// trial is what a verification brings along.
type trial struct{ verify Verify }

func scopesKey(scopes []string) string { return strings.Join(scopes, " ") }

// Step takes one event and returns what is to be done about it, in order.
func (a *Account) Step(ev Event, now time.Time) []Effect {
	a.now = now
	a.steps++
	switch e := ev.(type) {
	case Acquire:
		a.acquire(e)
	case Verify:
		a.verify(e)
	case Abandon:
		a.abandon(e.Waiter)
	case Release:
		a.release(e)
	case Compare:
		a.compareWith(e)
	case CloseSession:
		a.closeSession(e)
	case Drain:
		a.drain(e.Waiter)
	case Configured:
		a.configured(e)
	case Stop:
		a.stopping = true
	case LoggedIn:
		a.loggedIn(e)
	case Refreshed:
		a.refreshed(e)
	case LoggedOut:
		a.loggedOut(e)
	case Listed:
		a.listed(e)
	case Ended:
		a.ended(e)
	case Stored:
		a.stored(e)
	case GuardStored:
		a.guardStored(e.Err)
	case Tick:
	}
	a.settle()
	effects := append(a.effects, a.replies...)
	a.effects, a.replies = nil, nil // they hold tokens
	return effects
}

// settle does what state and time ask for, the same after every event.
func (a *Account) settle() {
	a.serve()
	a.passTime() // after serve: only what nobody took is idle
	a.attendKeepAlive()
	a.compare()
	a.finishDrains()
	a.finishClosers()
	a.flushGuard()
}

func (a *Account) emit(e Effect) { a.effects = append(a.effects, e) }

func (a *Account) note(what Occurrence, s *session, detail string) {
	var id SessionID
	if s != nil {
		id = s.rec.ID
	}
	a.noteID(what, id, detail)
}

func (a *Account) noteID(what Occurrence, id SessionID, detail string) {
	a.emit(Note{What: what, Session: id, Detail: detail})
}

// reply answers after everything else of the batch: what an answer promises is
// stored before it is given.
func (a *Account) reply(r Reply) { a.replies = append(a.replies, r) }

// configured puts other limits in force. Live sessions go on; pending logouts
// are tried at once, with the newest credentials.
func (a *Account) configured(e Configured) {
	a.limits = e.Limits
	a.draining = false
	clear(a.life) // what is known of the tokens may be out of date
	if e.Reopen {
		a.list.forget()
	}
	for _, w := range a.drains {
		a.reply(Reply{Waiter: w, Err: &Refusal{Reason: Closed, Message: "the config was written again meanwhile", Advice: "try again"}})
	}
	a.drains = nil
	if e.Reopen {
		a.reopen()
	}
	a.keep.retryAt, a.keep.tries = time.Time{}, 0
	a.forgetLogin()
	for s := range a.counters.closing {
		s.logoutAt = a.now
		a.schedule(s)
	}
}

// Forgettable says whether the account can be forgotten: nothing is in its ledger,
// nobody waits, and no config names it.
func (a *Account) Forgettable() bool {
	return a.limits.Retired && len(a.sessions) == 0 && len(a.waiters) == 0 && len(a.drains) == 0
}

// Retired says that no config names the account.
func (a *Account) Retired() bool { return a.limits.Retired }

// Capabilities are what the account's upstream can do.
func (a *Account) Capabilities() providers.Capabilities { return a.limits.Capabilities }
