package sessions_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

// stepsPerRun times the number of runs (100, or -rapid.checks) is how many
// random steps the test takes.
const stepsPerRun = 650

// TestRandomHistoriesKeepTheRules lets random things happen to one account of a
// random kind, against a model of the identity server, and checks rules 1 to 8
// after every step and at every boundary in between.
func TestRandomHistoriesKeepTheRules(t *testing.T) {
	var steps atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		h := history{
			Kind:  kinds[rapid.IntRange(0, len(kinds)-1).Draw(rt, "kind")],
			Seed:  rapid.Uint64().Draw(rt, "seed"),
			Steps: rapid.SliceOfN(rapid.Custom(drawStep), stepsPerRun, stepsPerRun).Draw(rt, "steps"),
		}
		if failures := h.play(t); len(failures) > 0 {
			rt.Fatalf("%d steps of %q with seed %d: %v", len(h.Steps), h.Kind.name, h.Seed, failures)
		}
		steps.Add(int64(len(h.Steps)))
	})
	t.Logf("random steps: %d", steps.Load())
}

// history is a list of steps as values, so that a failing one can be shortened
// and printed.
type history struct {
	Kind  accountKind
	Seed  uint64
	Steps []step
}

type accountKind struct {
	name  string
	setup func(*world)
}

var kinds = []accountKind{
	{"no limit", func(*world) {}},
	{"budget of one", func(w *world) { w.limit, w.limits.MaxSessions = 1, 1 }},
	{"budget of two, one-time codes", func(w *world) { w.limit, w.limits.MaxSessions = 2, 2; withTOTP(w) }},
	{"budget of five, rotation, linger", func(w *world) {
		w.limit, w.limits.MaxSessions = 5, 5
		w.rotate, w.limits.Linger = true, time.Minute
	}},
	{"short maximum age", func(w *world) { w.maxAge, w.limit, w.limits.MaxSessions = 20*time.Minute, 3, 3 }},
	{"kept alive", func(w *world) { w.limit, w.limits.MaxSessions = 2, 2; withTOTP(w); withHourlyKeepAlive(w) }},
	{"slow server", func(w *world) { w.latency = 9 * time.Second }},
	{"a list, no limit", func(w *world) { withList(0)(w); w.limit = 0 }},
	{"a list, people, one-time codes", func(w *world) { withList(4)(w); withTOTP(w); w.sharedWithPeople = true }},
	{"typed codes of several people", func(w *world) { withTypedCodes(w); w.limit, w.limits.MaxSessions = 3, 3 }},
	{"a clock that was far ahead, one-time codes", func(w *world) {
		w.limit, w.limits.MaxSessions, w.ahead = 3, 3, farAhead
		withTOTP(w)
	}},
	{"no refresh tokens, revocation", withoutRefreshTokens(true)},
	{"no refresh tokens, nothing ends them", withoutRefreshTokens(false)},
	{"a list, people, a slow server", func(w *world) {
		withList(3)(w)
		w.latency, w.listDelay, w.sharedWithPeople = 4*time.Second, 4*time.Second, true
	}},
	{"people, no list, a pause after each login", func(w *world) {
		w.limit, w.limits.MaxSessions, w.sharedWithPeople = 3, 2, true
		w.limits.Capabilities.LoginPause = 2 * time.Second
	}},
	{"rotation, only the newest refresh token ends a session", func(w *world) {
		w.rotate, w.forgetsOld, w.latency = true, true, 3*time.Second
	}},
	{"a list, people, a full server ends the oldest session", func(w *world) {
		withList(3)(w)
		w.endsOldest, w.sharedWithPeople = true, true
	}},
	{"a clock that is set while the plugin runs, one-time codes", func(w *world) {
		w.limit, w.limits.MaxSessions, w.ahead, w.wallClock = 3, 3, farAhead, true
		withTOTP(w)
	}},
	// Each knows of the other's sessions what the last list said: now and then the server
	// has to deny one.
	{"two mounts, a list, people", func(w *world) {
		withList(4)(w)
		w.sharedWithPeople = true
		withNeighbour(w)
	}},
	// Their budgets fit the limit together, so it never has to.
	{"two mounts, no list", func(w *world) {
		w.limit, w.limits.MaxSessions = 4, 2
		withNeighbour(w)
	}},
}

// withNeighbour adds a second mount with the same limits on the same account.
func withNeighbour(w *world) {
	n := newWorld(w.t)
	n.mu, n.foreign, n.idPrefix = w.mu, w.foreign, "n"
	n.limit, n.limits, n.sharedWithPeople = w.limit, w.limits, w.sharedWithPeople
	w.neighbour, n.neighbour = n, w
}

// farAhead is how far the clock of a host is ahead whose clock was never set. One-time
// codes still follow the server's.
const farAhead = 50 * time.Minute

// step is one thing that happens.
type step struct {
	Action action
	Pick   int           // which lease, or how many readers
	Wait   time.Duration // how long afterwards
}

type action string

const (
	readShared     action = "read shared"
	readDedicated  action = "read dedicated"
	readOther      action = "read with other scopes"
	readTogether   action = "many read at once"
	readImpatient  action = "a reader gives up"
	readRejected   action = "a token was rejected"
	revokeLease    action = "revoke"
	verifyConfig   action = "verify the config"
	goDown         action = "the server goes down"
	comeUp         action = "the server comes up"
	killSessions   action = "the server ends all sessions"
	breakPassword  action = "the password is changed upstream"
	correctConfig  action = "the config is corrected"
	faultyWeather  action = "calls and writes fail now and then"
	goodWeather    action = "nothing fails any more"
	restartPlugin  action = "the plugin is restarted"
	killPlugin     action = "the plugin is killed"
	justWait       action = "time passes"
	waitVeryLong   action = "a long time passes"
	stepTheClock   action = "the host's clock is stepped, the plugin is restarted"
	closeByHand    action = "an operator closes a session"
	drainTheConfig action = "the config is drained and written again"
	loseALogin     action = "the answer to a login gets lost"
	personLogsIn   action = "a person logs in"
	personLogsOut  action = "a person logs out"
	checkTheConfig action = "check"
	readLongLife   action = "read with a min_ttl"
	readStatic     action = "read without a lease"
	readTyped      action = "read with a typed code"
	changeClient   action = "the config gets another client"
	changeHost     action = "the config gets another host"
	changeSecret   action = "the client gets another secret"
	deleteConfig   action = "the config is deleted, and written again"
	slowStorage    action = "the storage is slow"
	fastStorage    action = "the storage is fast"
	slowServer     action = "the server is slow"
	fastServer     action = "the server is as fast as ever"
	askForPause    action = "the server asks for a pause"
	refuseLists    action = "the server refuses lists"
	allowLists     action = "the server allows lists"
	changeLife     action = "the server's tokens get another life"
	readBroken     action = "read with scopes that the server does not know"
	readOften      action = "read with a min_ttl, again and again"
	rejectOften    action = "a token is rejected, and the next one"
	twoAtOnce      action = "a token is refreshed while its session is closed"
	setAllRight    action = "all is set right, and readers come"
	changeMount    action = "the other mount goes on"
)

var actions = []action{
	readShared, readShared, readShared, readDedicated, readDedicated, readOther, readTogether, readImpatient, readRejected,
	revokeLease, revokeLease, revokeLease, revokeLease, verifyConfig, goDown, comeUp, comeUp, killSessions,
	breakPassword, correctConfig, correctConfig, faultyWeather, goodWeather, goodWeather, restartPlugin, killPlugin,
	justWait, waitVeryLong, closeByHand, drainTheConfig, stepTheClock, loseALogin, personLogsIn, personLogsIn, personLogsOut, checkTheConfig,
	readLongLife, readStatic, readStatic, readTyped, readTyped, changeClient, changeHost, changeSecret, deleteConfig, slowStorage, fastStorage, fastStorage,
	slowServer, fastServer, fastServer, askForPause, refuseLists, allowLists, changeLife, readBroken,
	readOften, rejectOften, twoAtOnce, setAllRight, changeMount, changeMount, changeMount,
}

func drawStep(t *rapid.T) step {
	return step{
		Action: rapid.SampledFrom(actions).Draw(t, "action"),
		Pick:   rapid.IntRange(0, 9).Draw(t, "pick"),
		Wait:   time.Duration(rapid.IntRange(0, 90).Draw(t, "wait")) * time.Second,
	}
}

// play runs a history in a bubble of virtual time and returns what broke.
func (h history) play(t *testing.T) []string {
	j := &jury{}
	synctest.Test(t, func(t *testing.T) {
		j.ctx = t.Context()
		done := make(chan struct{})
		go func() { // FailNow ends this goroutine, not the test
			defer close(done)
			h.run(j)
		}()
		<-done
	})
	return j.failures
}

func (h history) run(j *jury) {
	w := newWorld(j)
	h.Kind.setup(w)
	var mounts []*model
	for _, mount := range w.mounts() {
		m := h.mount(j, mount)
		mounts = append(mounts, m)
		defer func() { m.process.Stop() }()
	}
	for _, m := range mounts {
		m.mounts = mounts
	}
	turn := 0
	for i, s := range h.Steps {
		if s.Action == changeMount {
			turn = (turn + 1) % len(mounts)
		}
		mounts[turn].do(s)
		for _, m := range mounts {
			m.expireLeases(m.process)
			if m.process.faults.isDead() {
				m.process = m.reborn()
			}
			m.checkLeases()
			m.checkCounts()
			m.checkStatus(m.process)
		}
		if len(j.failures) > 0 {
			j.Errorf("at step %d, after %+v", i, h.Steps[max(0, i-5):i+1])
			return
		}
	}
	for _, m := range mounts {
		m.setAllRight(int(h.Seed % 10))
	}
	if len(j.failures) > 0 {
		j.Errorf("at the end, after %+v", h.Steps[max(0, len(h.Steps)-5):])
		return
	}
	for _, m := range mounts {
		m.finish(m.process)
		m.process = m.world.start() // finish has stopped it
	}
}

// mount begins the first life of the plugin.
func (h history) mount(j *jury, w *world) *model {
	w.unknownScope, w.strict = "no such scope", true
	m := &model{vault: newVault(j, w), random: rand.New(rand.NewPCG(h.Seed, h.Seed)), excused: map[string]bool{}, static: map[string]sessions.StaticToken{}}
	m.usual, m.farAhead = w.latency, w.ahead > 0
	m.process = w.startWith(m.newFaults())
	return m
}

// model is Vault and the people around it, as one mount of the plugin knows them.
type model struct {
	*vault
	mounts   []*model // of the account, this one too
	process  *process
	random   *rand.Rand
	mu       sync.Mutex
	weather  atomic.Bool                     // faults happen
	excused  map[string]bool                 // sessions that somebody asked to close
	static   map[string]sessions.StaticToken // the tokens without a lease, by their session and generation
	typed    int
	usual    time.Duration // latency of the server
	farAhead bool          // the host's clock is, now and then
}

func (m *model) newFaults() *faults {
	return &faults{
		onStep: func(op string) { m.checkBoundary(op) },
		choose: func(string) fault {
			if !m.weather.Load() {
				return none
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			return []fault{none, none, none, none, none, failBefore, failAfter}[m.random.IntN(7)]
		},
	}
}

// reborn gives the plugin its next life.
func (m *model) reborn() *process {
	m.world.mu.Lock()
	m.world.deaths++
	m.world.deniedAt = time.Time{} // it may have died before it could write that down
	m.world.mu.Unlock()
	m.process.Stop()
	return m.world.startWith(m.newFaults())
}

func (m *model) do(s step) {
	p := m.process
	switch s.Action {
	case readShared:
		_, _ = m.read(p, shared)
	case readDedicated:
		_, _ = m.read(p, dedicated)
	case readOther:
		r := shared
		r.Scopes = []string{"email", "profile"}
		_, _ = m.read(p, r)
	case readTogether:
		m.together(s.Pick+2, func(i int) {
			_, _ = m.read(p, []sessions.Request{shared, shared, dedicated}[i%3])
		})
	case readImpatient:
		ctx, cancel := context.WithTimeout(m.t.Context(), time.Duration(s.Pick)*20*time.Millisecond)
		defer cancel()
		l, err := p.Acquire(ctx, []sessions.Request{shared, dedicated}[s.Pick%2])
		_, _ = m.take(p, l, err)
	case readRejected:
		if l, ok := m.pick(s.Pick); ok {
			m.excuseSession(l)
			r := sessions.Request{Account: accountID, Mode: l.Ref.Mode, Rejected: l.Ref.Session}
			_, _ = m.read(p, r)
		}
	case readLongLife:
		r := shared
		r.MinTTL = m.world.leaseOfNewTokens() - time.Duration(s.Pick)*time.Second
		_, _ = m.read(p, r)
	case readStatic:
		m.readStatic(p)
	case readTyped:
		m.readTyped(p, s.Pick)
	case changeClient:
		m.reconfigure(p, func(w *world) { w.client = "client-" + strconv.Itoa(s.Pick%3) })
	case changeHost:
		m.reconfigure(p, func(w *world) { w.host = "host-" + strconv.Itoa(s.Pick%3) })
	case changeSecret:
		m.world.rotateSecret(m.world.client, "secret-"+strconv.Itoa(s.Pick))
		m.reconfigure(p, func(*world) {})
	case deleteConfig:
		m.deleteConfig(p, s.Wait)
	case slowStorage:
		delay := time.Duration(s.Pick) * time.Second
		if s.Pick == 9 {
			delay = 25 * time.Second // so slow that a login would come too late
		}
		m.world.setStorageDelay(delay)
	case fastStorage:
		m.world.setStorageDelay(0)
	case revokeLease:
		if l, ok := m.pick(s.Pick); ok {
			m.revoke(p, l)
		}
	case verifyConfig:
		m.world.passGuard(true)
		m.verify(p, shared)
		m.world.passGuard(false)
	case goDown, comeUp:
		m.world.setDown(s.Action == goDown)
	case killSessions:
		m.world.killAll()
	case breakPassword:
		m.world.setPassword("changed")
	case correctConfig:
		m.world.setPassword("right")
		m.world.reopen()
		_ = p.Configure(m.t.Context(), accountID, p.settings(), true)
		if s.Pick%2 == 0 { // the operator tries it
			_, _ = m.read(p, dedicated)
		}
	case faultyWeather, goodWeather:
		m.weather.Store(s.Action == faultyWeather)
	case restartPlugin:
		p.restart()
	case killPlugin:
		p.faults.kill()
	case stepTheClock:
		ahead := time.Duration(s.Pick) * clockSteps / 9 // less than a code's time-step window
		if s.Pick > 4 && m.farAhead && len(m.world.records()) == 0 {
			ahead = farAhead // what is open would be taken for dead
		}
		m.stepClock(p, ahead)
	case loseALogin:
		m.world.loseNextLogin()
	case personLogsIn:
		m.world.personLogsIn()
	case personLogsOut:
		m.world.logOutSomebody("person-" + strconv.Itoa(s.Pick%3))
	case checkTheConfig:
		m.check(p)
	case slowServer:
		// At most more than a request's time. Never none: the ledger is read a moment before
		// the server's sessions, and a login must not come in between.
		m.world.setLatency(time.Duration(s.Pick+1) * 1100 * time.Millisecond)
	case fastServer:
		m.world.setLatency(m.usual)
	case askForPause:
		m.world.setBusy(time.Duration(s.Pick+1) * 30 * time.Second)
	case refuseLists, allowLists:
		m.world.refuseLists(s.Action == refuseLists)
	case changeLife:
		m.world.setTokenLife([]time.Duration{time.Minute, 5 * time.Minute, 20 * time.Minute}[s.Pick%3])
	case readBroken:
		m.readBroken(p, s.Pick)
	case readOften:
		m.readOften(p, s.Pick)
	case rejectOften:
		m.rejectOften(p, s.Pick)
	case twoAtOnce:
		m.twoAtOnce(p, s.Pick)
	case setAllRight:
		m.setAllRight(s.Pick)
		p = m.process
	case justWait, changeMount:
	case waitVeryLong:
		sleep(p, 20*time.Minute)
	case closeByHand:
		if l, ok := m.pick(s.Pick); ok {
			m.excuseSession(l)
			m.closeSession(p, l)
		}
	case drainTheConfig:
		m.excuseAll()
		ctx, cancel := m.request()
		defer cancel()
		_ = p.Drain(ctx, accountID) // which may take all the time of the request
		_ = p.Configure(m.t.Context(), accountID, p.settings(), false)
	}
	m.expireLeases(p)
	m.pass(p, s.Wait)
	m.expireLeases(p)
}

// reconfigure writes the config with something changed.
func (m *model) reconfigure(p *process, change func(*world)) {
	m.world.mu.Lock()
	change(m.world)
	m.world.clientSecret = m.world.secrets[m.world.client]
	m.world.mu.Unlock()
	_ = p.Configure(m.t.Context(), accountID, p.settings(), false)
}

// deleteConfig deletes the config, if need be with force, and writes it again.
func (m *model) deleteConfig(p *process, wait time.Duration) {
	m.excuseAll()
	ctx, cancel := m.request()
	defer cancel()
	_ = p.Drain(ctx, accountID)
	m.setConfigured(p, false)
	m.pass(p, wait)
	m.world.forgetOldRefusals()
	m.setConfigured(p, true)
}

func (m *model) setConfigured(p *process, isConfig bool) {
	m.world.mu.Lock()
	m.world.isConfig = isConfig
	m.world.mu.Unlock()
	_ = p.Configure(m.t.Context(), accountID, p.settings(), false)
}

// readStatic reads the shared session's token without a lease.
func (m *model) readStatic(p *process) {
	ctx, cancel := m.request()
	defer cancel()
	st, err := p.Static(ctx, shared)
	if err != nil || p.faults.isDead() {
		return
	}
	if !m.world.live(st.Token.AccessToken) && !m.world.isBroken(st.Token.AccessToken) {
		m.t.Errorf("a dead token was read: %s", st.Session)
	}
	if st.TTL < time.Second {
		m.t.Errorf("a ttl of %s", st.TTL)
	}
	m.static[st.Session] = st
}

// readTyped has two of three people type a code, the first a right or a wrong one.
func (m *model) readTyped(p *process, pick int) {
	_, _ = m.read(p, m.withCode(dedicated, "person-"+strconv.Itoa(pick%3), pick%2 == 0))
	_, _ = m.read(p, m.withCode(dedicated, "person-"+strconv.Itoa((pick+1)%3), true))
}

// withCode adds a code that nobody has typed before.
func (m *model) withCode(r sessions.Request, who string, right bool) sessions.Request {
	m.typed++
	first := 0 // a wrong one
	if right {
		first = 9
	}
	r.Person, r.OTP = who, providers.NewSecret(fmt.Sprintf("%d%05d", first, m.typed%100_000))
	return r
}

func (w *world) setStorageDelay(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.storageDelay = d
}

// now is the time on Vault's host.
func (m *model) now() time.Time { return m.world.hostClock()() }

func (m *model) together(n int, f func(int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

func (m *model) pick(n int) (sessions.Lease, bool) {
	m.vault.mu.Lock()
	defer m.vault.mu.Unlock()
	if len(m.leases) == 0 {
		return sessions.Lease{}, false
	}
	return m.leases[n%len(m.leases)], true
}

func (m *model) excuseAll() {
	m.vault.mu.Lock()
	defer m.vault.mu.Unlock()
	for _, l := range m.leases {
		m.excused[l.Ref.Session] = true
	}
	clear(m.static)
}

// excuseSession excuses every lease of a session.
func (m *model) excuseSession(closed sessions.Lease) {
	m.vault.mu.Lock()
	defer m.vault.mu.Unlock()
	id, _, _ := splitRef(closed.Ref.Session)
	maps.DeleteFunc(m.static, func(ref string, _ sessions.StaticToken) bool { return strings.HasPrefix(ref, id+".") })
	for _, l := range m.leases {
		if other, _, _ := splitRef(l.Ref.Session); other == id {
			m.excused[l.Ref.Session] = true
		}
	}
}

// expireLeases revokes the leases that are over, as Vault does.
func (m *model) expireLeases(p *process) {
	m.vault.mu.Lock()
	var over []sessions.Lease
	for _, l := range m.leases {
		if !m.now().Before(l.Until) {
			over = append(over, l)
		}
	}
	m.vault.mu.Unlock()
	for _, l := range over {
		m.revoke(p, l)
	}
}

// checkLeases: the token of a lease that runs is good, unless the server ended
// the session or somebody asked for it (rules 3 and 4).
func (m *model) checkLeases() {
	m.vault.mu.Lock()
	defer m.vault.mu.Unlock()
	for _, l := range m.leases {
		token := l.Token.AccessToken
		if m.now().Before(l.Until) && !m.excused[l.Ref.Session] && !m.revoking[l.Ref] && !m.world.live(token) && !m.world.isBroken(token) {
			m.t.Errorf("a lease's session was closed under it: %+v, %s, until %s, now %s; the last calls: %v",
				l.Ref, token.Reveal(), l.Until, m.now(), m.world.trail[max(0, len(m.world.trail)-15):])
		}
	}
	for ref, st := range m.static {
		token := st.Token.AccessToken
		if !m.now().Before(st.ExpiresAt) {
			delete(m.static, ref)
		} else if !m.world.live(token) && !m.world.isBroken(token) {
			m.t.Errorf("a static reader's session was closed: %s until %s, now %s; the last calls: %v", ref, st.ExpiresAt, m.now(), m.world.trail[max(0, len(m.world.trail)-15):])
		}
	}
}

func (w *world) stepClock(ahead time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setBack = max(w.setBack, w.ahead-ahead)
	if w.ahead-ahead > clockSteps && w.wallClock {
		for id := range w.sessions {
			w.broken[id] = true // its tokens last for far too long by such a clock
		}
	}
	w.ahead = ahead
	// The host counts the time of a pause otherwise.
	w.deniedAt = time.Time{}
	w.heard.loginsRest, w.heard.lost = time.Time{}, time.Time{}
	w.heard.credentials, w.heard.typed = refusals{}, refusals{}
	clear(w.heard.refreshRest)
	clear(w.heard.scopes)
}

// personLogsIn is refused like everybody where the server is full.
func (w *world) personLogsIn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.sharedWithPeople || w.taken() >= w.limit {
		return
	}
	w.foreign["person-"+strconv.Itoa(len(w.foreign)%3)] = &foreignSession{userAgent: person, used: time.Now()}
}

func (w *world) setPassword(password string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.password = password
}

func (f *faults) kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
}

// jury collects failures for rapid, which shortens the history.
type jury struct {
	ctx      context.Context //nolint:containedctx // of the bubble, as testing.TB has one
	mu       sync.Mutex
	failures []string
}

func (j *jury) Errorf(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.failures) < 5 {
		j.failures = append(j.failures, fmt.Sprintf(format, args...))
	}
}

func (j *jury) FailNow()                 { runtime.Goexit() }
func (j *jury) Context() context.Context { return j.ctx }
