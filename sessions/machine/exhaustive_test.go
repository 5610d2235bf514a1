package machine

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// TestEveryInterleavingKeepsTheRules tries everything that can happen to an account
// with a few readers, one thing that an operator does, one fault and one death of
// the plugin, in every order, to the end. States that go on alike are merged. The
// rules are checked in each.
func TestEveryInterleavingKeepsTheRules(t *testing.T) {
	var failed atomic.Bool // one is enough, the others end then
	for _, sc := range scenes {
		if sc.size > *size {
			continue
		}
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			x := exploration{most: mostStates, stop: &failed}
			x.explore(sc.begin())
			t.Logf("states: %d, of them ends: %d; steps: %d; the longest way: %d", len(x.seen), x.ends, x.steps, x.longest)
			if x.broken != "" {
				failed.Store(true)
				t.Errorf("%s\nafter %d states; it happened:\n\t%s", x.broken, len(x.seen), strings.Join(x.way, "\n\t"))
			}
			require.False(t, x.cut, "more than %d states; the last:\n\t%s", x.most, strings.Join(x.way, "\n\t"))
		})
	}
}

// size is how large the scenes may be that are tried.
var size = flag.Int("size", seconds, "try scenes that take seconds (1), minutes altogether (2), or longer (3)")

const (
	seconds = iota + 1
	minutes
	longer
)

// mostStates bounds a search that a mistake has made endless.
const mostStates = 5_000_000

// scene is what the account is like, and who comes.
type scene struct {
	name    string
	size    int
	readers []reading
	limits  Limits
	second  bool // accounts have a second factor
	rotates bool // refresh tokens work once
	// What may happen, and how often.
	faults, deaths int
	operator       []operation
	slow           bool // time may pass once while calls and writes are under way
}

// reading is what one reader does.
type reading struct {
	mode    providers.Mode
	static  bool
	rejects bool // the token of the first reader was rejected
}

type operation string

const (
	closes     operation = "an operator closes a session"
	drains     operation = "an operator drains the account and writes the config again"
	reconnects operation = "an operator writes the config with another connection"
	verifies   operation = "an operator verifies the config"
)

var (
	sharedReading    = reading{mode: providers.Shared}
	staticReading    = reading{mode: providers.Shared, static: true}
	rejectedReading  = reading{mode: providers.Shared, rejects: true}
	dedicatedReading = reading{mode: providers.Dedicated}
)

var (
	limited = Limits{MaxSessions: 2}
	narrow  = Limits{MaxSessions: 1, Linger: time.Minute}
	listed  = Limits{MaxSessions: 2, Capabilities: providers.Capabilities{ListsSessions: true}}

	anything = []operation{closes, drains, reconnects, verifies}
)

var scenes = []scene{
	{size: minutes, name: "two share, one fault, one death", readers: []reading{sharedReading, sharedReading}, faults: 1, deaths: 1},
	{size: minutes, name: "three share, one fault", readers: []reading{sharedReading, sharedReading, sharedReading}, faults: 1},
	{size: minutes, name: "three dedicated, one fault", readers: []reading{dedicatedReading, dedicatedReading, dedicatedReading}, limits: limited, faults: 1},
	{size: minutes, name: "two dedicated, one fault, one death", readers: []reading{dedicatedReading, dedicatedReading}, limits: limited, faults: 1, deaths: 1},
	{size: minutes, name: "shared and dedicated, an operator", readers: []reading{sharedReading, dedicatedReading}, limits: limited, operator: anything},
	{size: minutes, name: "one reader, an operator, one fault", readers: []reading{sharedReading}, limits: limited, faults: 1, operator: anything},
	{size: seconds, name: "one reader, an operator, one death", readers: []reading{sharedReading}, limits: limited, deaths: 1, operator: anything},
	{size: longer, name: "shared and dedicated, an operator, one fault", readers: []reading{sharedReading, dedicatedReading}, limits: limited, faults: 1, operator: anything},
	{size: longer, name: "shared and dedicated, an operator, one death", readers: []reading{sharedReading, dedicatedReading}, deaths: 1, operator: anything},
	{size: seconds, name: "rotation, shared and static, slow", readers: []reading{sharedReading, staticReading}, rotates: true, slow: true},
	{size: seconds, name: "rotation, an operator", readers: []reading{sharedReading}, rotates: true, operator: anything},
	{size: seconds, name: "static, one fault, one death", readers: []reading{staticReading}, faults: 1, deaths: 1},
	{size: seconds, name: "one-time codes, budget of one, one fault", readers: []reading{sharedReading, dedicatedReading}, limits: narrow, second: true, faults: 1},
	{size: seconds, name: "one-time codes, one death", readers: []reading{sharedReading, dedicatedReading}, limits: limited, second: true, deaths: 1},
	{size: seconds, name: "a token is rejected, one fault", readers: []reading{sharedReading, rejectedReading}, faults: 1, rotates: true},
	{size: minutes, name: "linger, one fault, one death", readers: []reading{sharedReading, sharedReading}, limits: narrow, faults: 1, deaths: 1},
	{size: minutes, name: "a list, one fault", readers: []reading{sharedReading, dedicatedReading}, limits: listed, faults: 1},
	{size: minutes, name: "a list, one death", readers: []reading{sharedReading, dedicatedReading}, limits: listed, deaths: 1},

	{size: longer, name: "three share, one fault, one death", readers: []reading{sharedReading, sharedReading, sharedReading}, faults: 1, deaths: 1},
	{size: longer, name: "three, an operator, one fault", readers: []reading{sharedReading, sharedReading, dedicatedReading}, limits: limited, faults: 1, operator: anything},
	{size: longer, name: "three, an operator, one death", readers: []reading{sharedReading, sharedReading, dedicatedReading}, limits: limited, deaths: 1, operator: anything},
	{size: longer, name: "two, an operator, one fault, one death", readers: []reading{sharedReading, dedicatedReading}, limits: limited, faults: 1, deaths: 1, operator: anything},
	{size: longer, name: "a list, one fault, one death", readers: []reading{sharedReading, dedicatedReading}, limits: listed, faults: 1, deaths: 1},
}

const (
	serverToken = 300 * time.Second
	serverIdle  = 30 * time.Minute
)

func (sc scene) begin() *universe {
	sc.limits.RequestTimeout = 10 * time.Second
	sc.limits.Capabilities.Sessions, sc.limits.Capabilities.Logout = true, true
	if sc.second {
		sc.limits.Capabilities.OneTimeCode, sc.limits.Capabilities.GeneratesCode, sc.limits.Capabilities.CodePeriod = true, true, 30*time.Second
	}
	u := &universe{
		scene: &sc, Now: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC), InForce: "c1",
		Ledger: map[SessionID]Record{}, Connections: map[ConnectionID]bool{}, UsedSteps: map[time.Time]bool{}, Excused: map[SessionID]bool{},
		Readers: make([]readerState, len(sc.readers)), Faults: sc.faults, Deaths: sc.deaths, CanWait: sc.slow, Operates: len(sc.operator) > 0,
	}
	u.boot()
	return u
}

// universe is an account with everything around it.
type universe struct {
	scene *scene
	moved string // what led here

	Now     time.Time
	Account *Account
	Boots   int
	IDs     int
	Queue   []Effect // decided and not done, in order; the first is a write under way
	Calls   []Effect // at the server

	Ledger      map[SessionID]Record
	Connections map[ConnectionID]bool // stored ones
	Guard       Guard
	InForce     ConnectionID

	Server    []upstreamSession
	UsedSteps map[time.Time]bool // by the begin of the step
	RefusedAt time.Time          // of the last login

	Readers []readerState
	Excused map[SessionID]bool // somebody asked to close them, or the server did

	Faults, Deaths int // that may yet happen
	CanWait        bool
	Operates       bool
	Operator       operation
	Asked          bool // the operator waits for an answer
	broken         string
	troubled       bool // something happened that a reader may be refused for
}

type upstreamSession struct {
	ID         SessionID
	Connection ConnectionID
	Generation int
	Used       time.Time
	Unheard    bool // nobody had the answer to its login
	Strayed    bool // nor to a refresh, and only the newest refresh token ends it
}

type readerState struct {
	Phase    int
	Deadline time.Time
	Session  SessionID
	Grant    GrantID
	Until    time.Time
	Tries    int
}

const (
	idle = iota
	waits
	holds
	releases
	retries // its release failed, Vault tries again
	gone
)

// Waiters: readers by their number from 1, their releases from 100.
const (
	firstRelease   = 100
	operatorWaiter = 1000
)

func (u *universe) clone() *universe {
	c := *u
	c.Account = cloneAccount(u.Account)
	c.Account.newID = c.newID
	c.Queue, c.Calls = slices.Clone(u.Queue), slices.Clone(u.Calls)
	c.Ledger, c.Connections = maps.Clone(u.Ledger), maps.Clone(u.Connections)
	c.UsedSteps, c.Excused = maps.Clone(u.UsedSteps), maps.Clone(u.Excused)
	c.Server, c.Readers = slices.Clone(u.Server), slices.Clone(u.Readers)
	return &c
}

func (u *universe) newID() SessionID {
	u.IDs++
	return SessionID("s" + strconv.Itoa(u.IDs))
}

func (u *universe) breaks(format string, args ...any) {
	if u.broken == "" {
		u.broken = fmt.Sprintf(format, args...)
	}
}

// boot begins a life of the plugin on what the storage holds.
func (u *universe) boot() {
	u.Boots++
	past := Past{Limits: u.scene.limits, Connection: u.InForce, Guard: u.Guard}
	for _, id := range []ConnectionID{"c1", "c2"} {
		if u.Connections[id] || id == u.InForce {
			past.Known = append(past.Known, u.connection(id))
		}
		if u.Connections[id] {
			past.Stored = append(past.Stored, u.connection(id))
		}
	}
	for _, id := range sortedKeys(u.Ledger) {
		past.Records = append(past.Records, u.Ledger[id])
	}
	u.Account = Recover(past, strconv.Itoa(u.Boots), u.newID, u.Now)
	u.step(Tick{})
}

func (u *universe) connection(id ConnectionID) Connection {
	return Connection{ID: id, Capabilities: u.scene.limits.Capabilities, RequestTimeout: u.scene.limits.RequestTimeout}
}

func sortedKeys[V any](m map[SessionID]V) []SessionID {
	return slices.Sorted(maps.Keys(m))
}

// step tells the account an event and does what needs no storage.
func (u *universe) step(ev Event) {
	u.Queue = append(u.Queue, u.Account.Step(ev, u.Now)...)
	u.work()
}

// work does the decided effects in order, up to the next write.
func (u *universe) work() {
	for len(u.Queue) > 0 {
		e := u.Queue[0]
		switch e := e.(type) {
		case Put, Remove, PutGuard:
			return
		case DropConnection:
			if e.Stored {
				return
			}
		case Login:
			u.takeOff()
			if u.Now.After(e.SendBefore) {
				u.step(LoggedIn{Session: e.Session, TooLate: true})
				continue
			}
			u.begin(e)
			continue
		case Refresh, Logout, List, End:
			u.takeOff()
			u.begin(e)
			continue
		case Reply:
			u.takeOff()
			u.answered(e)
			continue
		case Note:
		}
		u.takeOff()
	}
}

func (u *universe) takeOff() { u.Queue = u.Queue[1:len(u.Queue):len(u.Queue)] }

func (u *universe) begin(call Effect) {
	for _, other := range u.Calls {
		if a, ok := other.(Refresh); ok {
			if b, ok := call.(Refresh); ok && a.Session == b.Session {
				u.breaks("rule 8: two refreshes of %s at once", a.Session)
			}
		}
		if _, ok := other.(Login); ok {
			if _, ok := call.(Login); ok {
				u.breaks("rule 6: two logins at once")
			}
		}
	}
	u.Calls = append(u.Calls, call)
}

// answered takes a reply to a reader, a release, or the operator.
func (u *universe) answered(r Reply) {
	switch {
	case r.Waiter == 0:
	case r.Waiter == operatorWaiter:
		u.operatorAnswered(r)
	case r.Waiter >= firstRelease:
		u.released(int(r.Waiter-firstRelease), r)
	default:
		u.read(int(r.Waiter-1), r)
	}
}

func (u *universe) read(i int, r Reply) {
	reader := &u.Readers[i]
	if reader.Phase != waits { // it died, or gave up: the shell gives the grant back
		if r.Grant.Token != nil {
			u.step(Release{Session: r.Session, Grant: r.Grant.ID})
		}
		return
	}
	reader.Deadline = time.Time{}
	if r.Err != nil {
		*reader = readerState{Phase: gone}
		if !u.mayRefuse(r.Err) {
			u.breaks("reader %d is refused for no reason: %s", i, r.Err)
		}
		return
	}
	record, stored := u.Ledger[r.Session]
	if u.scene.readers[i].static {
		st, ok := u.Account.TryStatic(u.wanted(i), u.Now)
		if !ok { // it got too old while the answer waited for a write
			u.readAgain(i)
			return
		}
		token := st.Token
		*reader = readerState{Phase: holds, Session: token.Ref.Session, Until: token.ExpiresAt}
		record, stored = u.Ledger[token.Ref.Session]
	} else {
		*reader = readerState{Phase: holds, Session: r.Session, Grant: r.Grant.ID, Until: r.Grant.Until}
	}
	switch {
	case !stored:
		u.breaks("rule 1: reader %d has a token of %s, which is not in the ledger", i, reader.Session)
	case reader.Until.After(record.Horizon):
		u.breaks("rule 8: reader %d has a token until %s, the ledger says %s", i, reader.Until, record.Horizon)
	case reader.Until.Sub(u.Now) < minLease:
		u.breaks("rule 4: reader %d has a token for %s", i, reader.Until.Sub(u.Now))
	case u.scene.readers[i].mode == providers.Dedicated:
		for j, other := range u.Readers {
			if j != i && other.Phase == holds && other.Session == r.Session {
				u.breaks("rule 3: readers %d and %d have one dedicated session", i, j)
			}
		}
	}
}

// readAgain is the second try of a static reader.
func (u *universe) readAgain(i int) {
	reader := &u.Readers[i]
	reader.Tries++
	if reader.Tries == 2 {
		if !u.troubled {
			u.breaks("reader %d gets no token in two tries", i)
		}
		*reader = readerState{Phase: gone}
		return
	}
	reader.Deadline = u.Now.Add(90 * time.Second)
	u.step(Acquire{Waiter: WaiterID(i + 1), Want: u.wanted(i), Deadline: reader.Deadline})
}

// mayRefuse: without anything going wrong, only a full budget refuses.
func (u *universe) mayRefuse(r *Refusal) bool {
	return u.troubled || r.Reason == BudgetFull && u.scene.limits.MaxSessions > 0
}

func (u *universe) released(i int, r Reply) {
	reader := &u.Readers[i]
	if reader.Phase != releases {
		return
	}
	if r.Err == nil {
		*reader = readerState{Phase: gone}
		return
	}
	reader.Phase = retries
	reader.Tries++
	if reader.Tries >= 6 {
		u.breaks("rule 5: the lease of reader %d would become irrevocable: %s", i, r.Err)
	}
}

func (u *universe) operatorAnswered(Reply) {
	if !u.Asked {
		return
	}
	u.Asked = false
	if u.Operator == drains || u.Operator == verifies {
		u.configure()
	}
}

// configure puts a config in force.
func (u *universe) configure() {
	known := []Connection{u.connection("c1"), u.connection("c2")}
	known[0].SameClient = u.InForce == "c1"
	known[1].SameClient = u.InForce == "c2"
	u.step(Configured{Limits: u.scene.limits, Connection: u.InForce, Known: known, Reopen: true})
}

// move is something that can happen next.
type move struct {
	name string
	do   func(*universe)
}

// moves are all things that can happen now.
func (u *universe) moves() []move {
	var all []move
	add := func(do func(*universe), name string, args ...any) {
		all = append(all, move{fmt.Sprintf(name, args...), do})
	}
	if len(u.Queue) > 0 {
		u.writeMoves(add)
	}
	for i := range u.Calls {
		u.callMoves(i, add)
	}
	u.readerMoves(add)
	u.operatorMoves(add)
	if u.Deaths > 0 {
		u.deathMoves(add)
	}
	if u.Faults > 0 && len(u.Server) > 0 {
		add(func(u *universe) {
			u.spendFault()
			for _, s := range u.Server {
				u.Excused[s.ID] = true
			}
			u.Server = nil
		}, "the server ends all sessions")
	}
	if at, ok := u.nextMoment(); ok {
		add(func(u *universe) { u.passTo(at) }, "time passes: %s", at.Sub(u.Now))
	}
	return all
}

type adder func(do func(*universe), name string, args ...any)

func (u *universe) spendFault() {
	u.Faults--
	u.troubled = true
}

// writeMoves: the write under way lands, or fails, and may have landed all the same.
func (u *universe) writeMoves(add adder) {
	write := func(u *universe, lands bool, err error) {
		e := u.Queue[0]
		u.takeOff()
		if lands {
			u.land(e)
		}
		switch e := e.(type) {
		case Put:
			u.step(Stored{Session: e.Record.ID, Err: err})
		case Remove:
			u.step(Stored{Session: e.Session, Err: err})
		case PutGuard:
			u.step(GuardStored{Err: err})
		case DropConnection:
			u.step(ConnectionDropped{ID: e.ID, Err: err})
		}
	}
	name := describe(u.Queue[0])
	add(func(u *universe) { write(u, true, nil) }, "%s", name)
	if u.Faults > 0 {
		add(func(u *universe) { u.spendFault(); write(u, false, errStorage) }, "%s fails", name)
		add(func(u *universe) { u.spendFault(); write(u, true, errStorage) }, "%s lands, and fails", name)
	}
}

var errStorage = fmt.Errorf("no storage")

func describe(e Effect) string {
	switch e := e.(type) {
	case Put:
		return fmt.Sprintf("put %s %s, generation %d", e.Record.ID, e.Record.Stage, e.Record.Generation)
	case Remove:
		return fmt.Sprintf("remove %s", e.Session)
	case PutGuard:
		return "put guard"
	case DropConnection:
		return fmt.Sprintf("drop %s", e.ID)
	case Login:
		return fmt.Sprintf("login %s", e.Session)
	case Refresh:
		return fmt.Sprintf("refresh %s", e.Token.Reveal())
	case Logout:
		return fmt.Sprintf("logout %s", e.Tokens.Refresh.Reveal())
	case List:
		return fmt.Sprintf("list for %s", e.Session)
	case End:
		return fmt.Sprintf("end %s", e.ServerID)
	}
	return fmt.Sprintf("%T", e)
}

// land changes the storage.
func (u *universe) land(e Effect) {
	switch e := e.(type) {
	case Put:
		u.Ledger[e.Record.ID] = e.Record
		u.Connections[e.Record.Connection] = true
	case Remove:
		delete(u.Ledger, e.Session)
	case PutGuard:
		u.Guard = e.Guard
	case DropConnection:
		delete(u.Connections, e.ID)
		for id, r := range u.Ledger {
			if r.Connection == e.ID {
				u.breaks("rule 1: the connection of %s is dropped", id)
			}
		}
	}
}

// callMoves: a call is answered; with a fault it does not arrive, or its answer
// does not, or a login is refused.
func (u *universe) callMoves(i int, add adder) {
	name := describe(u.Calls[i])
	add(func(u *universe) { c := u.endCall(i); u.tell(c, u.serve(c)) }, "%s", name)
	if u.Faults == 0 {
		return
	}
	add(func(u *universe) {
		u.spendFault()
		u.tell(u.endCall(i), outcome{err: &providers.Error{Kind: providers.Unavailable, Outcome: providers.DidNotHappen, Message: "no connection"}})
	}, "%s does not arrive", name)
	add(func(u *universe) {
		u.spendFault()
		c := u.endCall(i)
		u.serve(c)
		u.unheard(c)
		u.tell(c, outcome{err: &providers.Error{Kind: providers.Unavailable, Outcome: providers.Unknown, Message: "no answer"}})
	}, "%s has no answer", name)
	if _, ok := u.Calls[i].(Login); ok {
		add(func(u *universe) {
			u.spendFault()
			u.RefusedAt = u.Now
			u.tell(u.endCall(i), outcome{err: &providers.Error{Kind: providers.BadCredentials, Outcome: providers.DidNotHappen, Message: "wrong password"}})
		}, "%s is refused", name)
	}
}

func (u *universe) endCall(i int) Effect {
	c := u.Calls[i]
	u.Calls = slices.Delete(slices.Clone(u.Calls), i, i+1)
	return c
}

// unheard notes that nobody had the answer to a call.
func (u *universe) unheard(call Effect) {
	switch c := call.(type) {
	case Login:
		if i := u.find(c.Session); i >= 0 {
			u.Server[i].Unheard = true
		}
	case Refresh:
		if i := u.find(c.Session); i >= 0 {
			u.Server[i].Strayed = u.scene.rotates
		}
	}
}

// outcome is what the server answers.
type outcome struct {
	got  providers.TokenResponse
	list []Listing
	err  *providers.Error
}

func (u *universe) tell(call Effect, o outcome) {
	switch c := call.(type) {
	case Login:
		u.step(LoggedIn{Session: c.Session, Got: o.got, Err: o.err})
	case Refresh:
		u.step(Refreshed{Session: c.Session, Connection: c.Connection, Got: o.got, Err: o.err})
	case Logout:
		u.step(LoggedOut{Session: c.Session, Connection: c.Connection, Err: o.err})
	case List:
		u.step(Listed{Sessions: o.list, Err: o.err})
	case End:
		u.step(Ended{Session: c.Session, ServerID: c.ServerID, Err: o.err})
	}
}

// serve is the server at work.
func (u *universe) serve(call Effect) outcome {
	switch c := call.(type) {
	case Login:
		return u.serveLogin(c)
	case Refresh:
		return u.serveRefresh(c)
	case Logout:
		id, generation := parseToken(c.Tokens.Refresh)
		if i := u.find(id); i >= 0 {
			u.checkConnection(i, c.Connection)
			if u.scene.rotates && generation != u.Server[i].Generation {
				return outcome{} // and nothing is logged out
			}
			u.Server = slices.Delete(slices.Clone(u.Server), i, i+1)
		}
	case List:
		return u.serveList(c)
	case End:
		if i := u.find(SessionID(c.ServerID)); i >= 0 {
			u.Server = slices.Delete(slices.Clone(u.Server), i, i+1)
		}
	}
	return outcome{}
}

func (u *universe) serveLogin(c Login) outcome {
	if !u.RefusedAt.IsZero() && u.Now.Sub(u.RefusedAt) < 30*time.Second && u.Operator == "" {
		u.breaks("rule 7: a login %s after a refused one", u.Now.Sub(u.RefusedAt))
	}
	if u.scene.second {
		step := c.CodeAt.Truncate(30 * time.Second)
		if u.UsedSteps[step] {
			u.breaks("rule 6: a one-time code is used twice")
		}
		u.UsedSteps[step] = true
	}
	if l := u.scene.limits.MaxSessions; l > 0 && len(u.Server) >= l {
		u.breaks("rule 2: a login over the budget")
	}
	record, stored := u.Ledger[c.Session]
	if late := u.Now.Sub(record.OpenedAt); late > 40*time.Second {
		u.breaks("rule 1: a login %s after its intent, whose session the ledger holds for dead too early", late)
	}
	if !stored {
		u.breaks("rule 1: a login whose intent is not stored: %s", c.Session)
	}
	u.Server = append(slices.Clone(u.Server), upstreamSession{ID: c.Session, Connection: record.Connection})
	return u.tokens(len(u.Server) - 1)
}

func (u *universe) tokens(i int) outcome {
	s := &u.Server[i]
	s.Generation++
	s.Used = u.Now
	return outcome{got: providers.TokenResponse{
		AccessToken:  providers.NewSecret(fmt.Sprintf("at-%s.%d", s.ID, s.Generation)),
		RefreshToken: providers.NewSecret(fmt.Sprintf("rt-%s.%d", s.ID, s.Generation)),
		ExpiresIn:    serverToken, RefreshExpiresIn: serverIdle, ServerID: string(s.ID),
	}}
}

func (u *universe) serveRefresh(c Refresh) outcome {
	id, generation := parseToken(c.Token)
	i := u.find(id)
	if i < 0 {
		return outcome{err: &providers.Error{Kind: providers.SessionGone, Outcome: providers.DidNotHappen, Message: "no session"}}
	}
	u.checkConnection(i, c.Connection)
	u.Server = slices.Clone(u.Server)
	if u.scene.rotates && generation != u.Server[i].Generation {
		if !u.troubled {
			u.breaks("rule 8: a superseded refresh token of %s is sent", id)
		}
		u.Server = slices.Delete(u.Server, i, i+1) // somebody has stolen it
		u.Excused[id] = true
		return outcome{err: &providers.Error{Kind: providers.SessionGone, Outcome: providers.DidNotHappen, Message: "stale token"}}
	}
	return u.tokens(i)
}

func (u *universe) serveList(c List) outcome {
	if u.find(c.Session) < 0 {
		return outcome{err: &providers.Error{Kind: providers.NotAllowed, Outcome: providers.DidNotHappen, Message: "401"}}
	}
	var o outcome
	for _, s := range u.Server {
		o.list = append(o.list, Listing{
			ServerSession: providers.ServerSession{ID: string(s.ID), LastAccess: s.Used, Current: s.ID == c.Session},
			Owner:         ThisMount, Mount: "m", Attempt: s.ID,
		})
	}
	return o
}

func (u *universe) checkConnection(i int, used ConnectionID) {
	if s := u.Server[i]; s.Connection != used {
		u.breaks("rule 1: %s was opened over %s and is reached over %s", s.ID, s.Connection, used)
	}
}

func (u *universe) find(id SessionID) int {
	return slices.IndexFunc(u.Server, func(s upstreamSession) bool { return s.ID == id })
}

func parseToken(s providers.Secret) (SessionID, int) {
	id, number, _ := strings.Cut(strings.TrimPrefix(s.Reveal(), "rt-"), ".")
	generation, _ := strconv.Atoi(number)
	return SessionID(id), generation
}

// readerMoves: the next of the readers that are alike comes, or a lease ends.
func (u *universe) readerMoves(add adder) {
	for i, reader := range u.Readers {
		switch reader.Phase {
		case idle:
			if i > 0 && u.scene.readers[i] == u.scene.readers[i-1] && u.Readers[i-1].Phase == idle {
				continue
			}
			if u.scene.readers[i].rejects && u.Readers[0].Phase == idle {
				continue
			}
			add(func(u *universe) { u.readerComes(i) }, "reader %d comes", i)
		case holds:
			if !u.scene.readers[i].static {
				add(func(u *universe) { u.leaseEnds(i) }, "the lease of reader %d ends", i)
			}
		case retries:
			add(func(u *universe) { u.leaseEnds(i) }, "the lease of reader %d is revoked again", i)
		}
	}
}

// wanted is what a reader wants.
func (u *universe) wanted(i int) Want {
	r := u.scene.readers[i]
	want := Want{Mode: r.mode, Static: r.static}
	if !r.rejects {
		return want
	}
	first := u.Readers[0].Session
	if s := u.Account.sessions[first]; s != nil {
		want.Rejected = TokenRef{Session: first, Generation: s.published()}
	}
	return want
}

func (u *universe) readerComes(i int) {
	want := u.wanted(i)
	u.Readers[i] = readerState{Phase: waits, Deadline: u.Now.Add(90 * time.Second)}
	if want.Static {
		if _, ok := u.Account.TryStatic(want, u.Now); ok {
			u.read(i, Reply{})
			return
		}
	} else if g, ok := u.Account.TryGrant(want, u.Now); ok {
		u.read(i, Reply{Session: g.Token.Ref.Session, Grant: g})
		return
	}
	u.step(Acquire{Waiter: WaiterID(i + 1), Want: want, Deadline: u.Readers[i].Deadline})
}

func (u *universe) leaseEnds(i int) {
	reader := &u.Readers[i]
	reader.Phase = releases
	if u.Account.TryRelease(reader.Session, reader.Grant) {
		*reader = readerState{Phase: gone}
		return
	}
	u.step(Release{Waiter: WaiterID(firstRelease + i), Session: reader.Session, Grant: reader.Grant})
}

func (u *universe) operatorMoves(add adder) {
	if !u.Operates {
		return
	}
	for _, op := range u.scene.operator {
		if op != closes {
			add(func(u *universe) { u.operate(op, "") }, "%s", op)
			continue
		}
		for _, id := range sortedKeys(u.Ledger) {
			if s := u.Account.sessions[id]; s != nil && s.phase != lost { // whether a lost one is open an operator knows
				add(func(u *universe) { u.operate(op, id) }, "%s: %s", op, id)
			}
		}
	}
}

func (u *universe) operate(op operation, id SessionID) {
	u.Operates, u.Operator, u.Asked = false, op, true
	u.troubled = true
	switch op {
	case closes:
		u.Excused[id] = true
		u.step(CloseSession{Waiter: operatorWaiter, Session: id})
	case drains:
		for id := range u.Account.sessions {
			u.Excused[id] = true
		}
		u.step(Drain{Waiter: operatorWaiter})
	case reconnects:
		u.InForce, u.Asked = "c2", false
		u.configure()
	case verifies:
		u.step(Acquire{
			Waiter: operatorWaiter, Want: Want{Mode: u.scene.readers[0].mode}, Deadline: u.Now.Add(90 * time.Second),
			Trial: &Trial{Limits: u.scene.limits, Connection: u.connection(u.InForce)},
		})
	}
}

// deathMoves: the plugin dies, and of what was under way some had its effect.
func (u *universe) deathMoves(add adder) {
	n := len(u.Calls)
	writes := 1
	if len(u.Queue) > 0 {
		writes = 2
	}
	for happened := range 1 << n * writes {
		add(func(u *universe) { u.die(happened) }, "the plugin dies, happened: %b", happened)
	}
}

func (u *universe) die(happened int) {
	u.Deaths--
	u.troubled = true
	for i, c := range u.Calls {
		if happened&(1<<i) != 0 {
			u.serve(c)
			u.unheard(c)
		}
	}
	if happened&(1<<len(u.Calls)) != 0 {
		u.land(u.Queue[0])
	}
	u.Calls, u.Queue = nil, nil
	for i := range u.Readers {
		switch r := &u.Readers[i]; r.Phase {
		case waits:
			*r = readerState{Phase: gone}
		case releases:
			r.Phase = retries
		}
	}
	for i := range u.Server {
		// What was not stored before: nobody has its refresh token.
		if r, ok := u.Ledger[u.Server[i].ID]; ok && r.Stage == Opening {
			u.Server[i].Unheard = true
		}
	}
	if !u.Guard.ClosedUntil.After(u.Now) {
		u.RefusedAt = time.Time{} // it died before it could write that down
	}
	u.Asked = false
	u.boot()
	if u.Operator == drains || u.Operator == verifies {
		u.configure()
	}
}

// nextMoment is when time alone changes something; false: never, or not now.
func (u *universe) nextMoment() (time.Time, bool) {
	if len(u.Queue)+len(u.Calls) > 0 && !u.CanWait {
		return time.Time{}, false
	}
	at := u.Account.NextWake()
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for _, r := range u.Readers {
		switch r.Phase {
		case waits:
			sooner(r.Deadline)
		case holds:
			sooner(r.Until)
		}
	}
	for _, s := range u.Server {
		sooner(s.Used.Add(serverIdle + time.Second))
	}
	if at.IsZero() {
		return at, false
	}
	if at.Before(u.Now) {
		at = u.Now
	}
	switch patience := u.scene.limits.RequestTimeout - time.Second; {
	case len(u.Calls) > 0 && at.Sub(u.Now) > patience:
		at = u.Now.Add(patience)
	case len(u.Queue) > 0 && at.Sub(u.Now) > slowWrite:
		at = u.Now.Add(slowWrite)
	}
	return at, true
}

// slowWrite is longer than a login may wait for its turn.
const slowWrite = 45 * time.Second

func (u *universe) passTo(at time.Time) {
	if len(u.Queue)+len(u.Calls) > 0 {
		u.CanWait = false
		u.troubled = true
	}
	stands := !at.After(u.Now)
	u.Now = at
	u.forgetThePast()
	u.Server = slices.DeleteFunc(slices.Clone(u.Server), func(s upstreamSession) bool {
		over := u.Now.After(s.Used.Add(serverIdle))
		if over && !s.Unheard && !s.Strayed {
			u.breaks("rule 1: %s is left to die of age", s.ID)
		}
		return over
	})
	for i := range u.Readers {
		r := &u.Readers[i]
		switch {
		case r.Phase == holds && !u.Now.Before(r.Until) && u.scene.readers[i].static:
			*r = readerState{Phase: gone}
		case r.Phase == holds && !u.Now.Before(r.Until):
			u.leaseEnds(i)
			stands = false
		case r.Phase == waits && !u.Now.Before(r.Deadline):
			*r = readerState{Phase: gone}
			u.step(Abandon{Waiter: WaiterID(i + 1)})
			if !u.troubled {
				u.breaks("reader %d waits until the end of its request", i)
			}
		}
	}
	wake := u.Account.NextWake()
	u.step(Tick{})
	if stands && len(u.Queue)+len(u.Calls) == 0 && u.Account.NextWake().Equal(wake) {
		u.breaks("the account wants to be woken at %s, and does nothing then", wake)
	}
}

// forgetThePast drops what cannot matter any more, so that more states are alike.
func (u *universe) forgetThePast() {
	for step := range u.UsedSteps {
		if u.Now.Sub(step) > 3*time.Minute {
			delete(u.UsedSteps, step)
		}
	}
	for id := range u.Excused {
		if _, known := u.Ledger[id]; !known && u.find(id) < 0 && !slices.ContainsFunc(u.Readers, func(r readerState) bool { return r.Session == id }) {
			delete(u.Excused, id)
		}
	}
	if u.Now.Sub(u.RefusedAt) > time.Minute {
		u.RefusedAt = time.Time{}
	}
}

// check looks whether the rules hold in a state.
func (u *universe) check() {
	for _, s := range u.Server {
		if _, listed := u.Ledger[s.ID]; !listed && !s.Strayed {
			u.breaks("rule 1: %s is open and not in the ledger", s.ID)
		}
	}
	if use := u.Account.usageOf(&u.Account.limits).Ours(); use < len(u.Server) && !u.troubled {
		u.breaks("rule 2: %d sessions are open, %d are counted", len(u.Server), use)
	}
	for i, r := range u.Readers {
		if r.Phase == holds && u.Now.Before(r.Until) && !u.Excused[r.Session] && u.find(r.Session) < 0 && !u.isRejected(i) {
			u.breaks("rule 3: the session %s of reader %d was closed under it", r.Session, i)
		}
	}
}

// isRejected: somebody may have had this reader's session replaced.
func (u *universe) isRejected(i int) bool {
	return i == 0 && slices.ContainsFunc(u.scene.readers, func(r reading) bool { return r.rejects && r.mode == providers.Dedicated })
}

// checkEnd looks whether everything is over where nothing more can happen.
func (u *universe) checkEnd() {
	for i, r := range u.Readers {
		if r.Phase != gone && r.Phase != idle {
			u.breaks("reader %d waits for ever", i)
		}
	}
	if len(u.Server) > 0 || len(u.Ledger) > 0 {
		u.breaks("rule 1: in the end %d sessions are open and %d in the ledger", len(u.Server), len(u.Ledger))
	}
	if u.Asked {
		u.breaks("the operator waits for ever")
	}
	if u.Guard != u.Account.guard.Guard {
		u.breaks("rule 7: the guard is not stored as it is: %+v, %+v", u.Guard, u.Account.guard.Guard)
	}
}

// exploration is a search through all states.
type exploration struct {
	most        int
	stop        *atomic.Bool
	seen        map[digest]bool
	steps, ends int
	longest     int
	cut         bool
	broken      string
	way         []string // to what is broken
}

// explore goes into depth, and back where a state has been seen.
func (x *exploration) explore(first *universe) {
	x.seen = map[digest]bool{}
	type frame struct {
		at    *universe
		moves []move
	}
	var path []frame
	enter := func(u *universe) bool {
		key := hashOf(u.Now, u)
		if x.seen[key] && u.broken == "" {
			return true
		}
		x.seen[key] = true
		moves := u.moves()
		path = append(path, frame{u, moves})
		x.longest = max(x.longest, len(path))
		u.check()
		if len(moves) == 0 {
			x.ends++
			u.checkEnd()
		}
		if u.broken != "" {
			x.broken = u.broken
			for _, f := range path {
				x.way = append(x.way, f.at.moved)
			}
		}
		return u.broken == ""
	}
	first.moved = "begin"
	if !enter(first) {
		return
	}
	for len(path) > 0 && !x.stop.Load() {
		top := &path[len(path)-1]
		if len(top.moves) == 0 {
			path = path[:len(path)-1]
			continue
		}
		if len(x.seen) >= x.most {
			x.cut = true
			for _, f := range path {
				x.way = append(x.way, f.at.moved)
			}
			return
		}
		next := top.moves[0]
		top.moves = top.moves[1:]
		u := top.at.clone()
		u.moved = next.name
		x.steps++
		next.do(u)
		if !enter(u) {
			return
		}
	}
}
