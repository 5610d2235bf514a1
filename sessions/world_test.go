package sessions_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// world is everything outside the engine: one identity server, Vault's storage
// and the config. It keeps the witnesses that the rules are judged by.
type world struct {
	t  judge
	mu *sync.Mutex // the same as the neighbour's

	// The identity server, as Keycloak behaves.
	tokenLife, idle, maxAge time.Duration
	limit                   int           // sessions; 0: none
	rotate                  bool          // refresh tokens work once
	codePeriod              time.Duration // of the second factor; 0: none
	password                string
	latency                 time.Duration
	down                    bool
	retryAfter              time.Duration // that it asks for while it is down
	clockAhead              time.Duration
	unknownScope            string
	losing                  bool          // the answer to the next login gets lost
	noSessions              bool          // client credentials
	forgetsOld              bool          // a superseded refresh token does not even log out
	busyUntil               time.Time     // until then it asks to be left alone
	endsOldest              bool          // where it is full a login ends the oldest session
	storageDelay            time.Duration // of each write
	storageHangs            bool          // no write is answered
	staleCodes              int
	hidesClock              bool              // as Keycloaks on Quarkus do
	strictCodes             bool              // the code of the next step is refused, as up to Keycloak 15
	noRefreshTokens         bool              // sessions live as long as their token
	hidesIdle               bool              // no refresh_expires_in; sessions live at least as long as their token
	client, clientSecret    string            // of the config
	secrets                 map[string]string // of clients, at the server
	host                    string
	emptyLists              bool
	noRoles                 bool          // the account may not list its sessions
	marksLost               bool          // something on the way changes the User-Agent
	listDelay               time.Duration // between the look at the sessions and the answer
	foreign                 map[string]*foreignSession
	sharedWithPeople        bool // who come and go while nobody compares
	sessions                map[string]*upstreamSession
	idPrefix                string // of the server's ids for this mount's sessions
	usedSteps               map[int64]bool
	usedTyped               map[string]bool

	// The clock of Vault's host is ahead of the server's. It is stepped between two lives
	// of the plugin, since within one Go's clocks are monotonic; or, with wallClock, at
	// any time.
	ahead, setBack time.Duration
	wallClock      bool
	heard          heard
	strict         bool // no login comes that the guard would have let pass for an operator

	// neighbour is another mount that uses the account, nil: there is none. It has its own
	// storage and its own way to the server, which counts and lists the sessions of both.
	neighbour *world
	life      *process // of the plugin, the newest

	// Vault's storage and the config.
	storage  logical.Storage
	limits   sessions.Limits
	config   string // the password that the config has
	isConfig bool
	observer sessions.Observer

	expectsStrays atomic.Bool

	trail []string // the calls that the server answered, for a failure's message

	// Witnesses.
	logins, refreshes, logouts, refused, denials, codeReuses, peak int
	listed, ended, foreignEnded                                    int
	deniedAt                                                       time.Time
	deniedInARow                                                   int
	agedOut                                                        int               // ended by age although they could have been closed
	recorded                                                       map[string]string // the token of each attempt that was stored last
	deaths                                                         int               // of the plugin
	trouble                                                        time.Time         // when a call or a write failed last
	loggedInAt                                                     time.Time         // when somebody logged in last
	broken                                                         map[string]bool   // sessions that the server ended, or holds for dead
}

type upstreamSession struct {
	userAgent  string
	attempt    string
	generation int
	started    time.Time
	used       time.Time
	expires    time.Time // of the access token that lives longest
	client     string    // that opened it, and no other can refresh or end it
	host       string
	oldSecret  bool // of its client: perhaps nobody knows the new one
	dead       bool // refresh token reused: counts until logged out
	lost       bool // the answer to its login never arrived
	adrift     bool // nobody has the token that ends it
}

// foreignSession is one that somebody else opened with the same account.
type foreignSession struct {
	userAgent string
	used      time.Time
	ended     bool // by us: never
}

// judge is the part of testing.TB that the world needs: the model test brings
// its own.
type judge interface {
	Errorf(format string, args ...any)
	FailNow()
	Context() context.Context
}

func newWorld(t judge) *world {
	w := &world{
		t:         t,
		mu:        &sync.Mutex{},
		idPrefix:  "s",
		tokenLife: 300 * time.Second,
		idle:      1800 * time.Second,
		maxAge:    10 * time.Hour,
		password:  "right",
		config:    "right",
		isConfig:  true,
		latency:   50 * time.Millisecond,
		sessions:  map[string]*upstreamSession{},
		foreign:   map[string]*foreignSession{},
		usedSteps: map[int64]bool{},
		usedTyped: map[string]bool{},
		recorded:  map[string]string{},
		broken:    map[string]bool{},
		secrets:   map[string]string{},
		storage:   &logical.InmemStorage{},
		limits: sessions.Limits{
			RequestTimeout: 10 * time.Second,
			Capabilities:   providers.Capabilities{Sessions: true, Logout: true},
		},
	}
	return w
}

// process is one life of the plugin: an engine, and the faults that it meets
// wherever it reaches storage or network. Once it is dead, nothing that it
// still does has an effect.
type process struct {
	*world
	*sessions.Engine
	faults *faults
	calls  map[string]bool // under way, of those that come one after the other
}

const accountID = sessions.AccountID("account-1")

// start begins a life of the plugin on what the storage holds.
func (w *world) start() *process { return w.startWith(&faults{}) }

func (w *world) startWith(f *faults) *process {
	f.onFault = w.markTrouble
	p := &process{world: w, faults: f, calls: map[string]bool{}}
	w.life = p
	p.Engine = p.newEngine()
	p.Start()
	return p
}

// beside returns another engine on the same storage, which nothing is injected into. It
// has its own view of the configs and of the providers.
func (p *process) beside(d sessions.Directory, reach sessions.Providers) *sessions.Engine {
	return sessions.New(sessions.Options{Storage: p.storage, Directory: d, Providers: reach, Logger: hclog.NewNullLogger(), Version: "1"})
}

func (p *process) newEngine() *sessions.Engine {
	p.beginLife()
	o := sessions.Options{
		Storage: &faultyStorage{Storage: p.storage, process: p}, Directory: p, Providers: p, Logger: p.logger(), Version: "1.2.3",
		Now: p.hostClock(),
	}
	if p.observer != nil {
		o.Observers = []sessions.Observer{p.observer}
	}
	return sessions.New(o)
}

// logger hears of strays: there is one storage, and it never goes back in time, so
// each would be a mistake.
func (w *world) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: w})
}

// Write implements io.Writer.
func (w *world) Write(line []byte) (int, error) {
	found := strings.ReplaceAll(string(machine.StrayFound), "-", " ") // as it is logged
	if bytes.Contains(line, []byte(found)) && !w.expectsStrays.Load() {
		w.t.Errorf("rule 11: %s", line)
	}
	return len(line), nil
}

// hostClock is the clock of Vault's host as it is set now.
func (w *world) hostClock() func() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wallClock {
		return func() time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return time.Now().Round(0).Add(w.ahead)
		}
	}
	ahead := w.ahead
	return func() time.Time { return time.Now().Add(ahead) }
}

// Settings implements sessions.Directory.
func (p *process) Settings(context.Context, sessions.AccountID) (sessions.Settings, error) {
	return p.settings(), nil
}

func (p *process) settings() sessions.Settings {
	p.mu.Lock()
	isConfig := p.isConfig
	p.mu.Unlock()
	if !isConfig {
		return sessions.Settings{}
	}
	return p.trial()
}

// trial are the settings that a config would have.
func (p *process) trial() sessions.Settings {
	p.mu.Lock()
	defer p.mu.Unlock()
	return sessions.Settings{
		Config: "dmo", Limits: p.limits,
		Upstream: &upstream{process: p, password: p.config, capabilities: p.limits.Capabilities, connection: providers.Connection{
			Provider: "test", TokenURL: "https://" + p.host, ClientID: p.client, ClientSecret: providers.NewSecret(p.clientSecret),
			RequestTimeout: p.limits.RequestTimeout,
		}},
	}
}

// KeptAlive implements sessions.Directory.
func (p *process) KeptAlive(context.Context) ([]sessions.AccountID, error) {
	if p.settings().Limits.KeepAlive == 0 {
		return nil, nil
	}
	return []sessions.AccountID{accountID}, nil
}

// Lookup implements sessions.Providers.
func (p *process) Lookup(name string) (providers.Provider, bool) {
	return testProvider{process: p}, name == "test"
}

// testProvider reaches the world's server over stored connections.
type testProvider struct {
	reacher

	process *process
}

func (r testProvider) Client(c providers.Connection) (providers.Client, error) {
	r.process.mu.Lock()
	defer r.process.mu.Unlock()
	return &upstream{process: r.process, connection: c, capabilities: r.process.limits.Capabilities}, nil
}

// openNow counts the sessions at the server.
func (w *world) openNow() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire()
	return len(w.sessions)
}

// mounts are those that use the account: this one, and its neighbour.
func (w *world) mounts() []*world {
	if w.neighbour == nil {
		return []*world{w}
	}
	return []*world{w, w.neighbour}
}

// taken counts the account's sessions, whose ever they are.
func (w *world) taken() int {
	n := len(w.foreign)
	for _, mount := range w.mounts() {
		mount.expire()
		n += len(mount.sessions)
	}
	return n
}

// live says whether an access token is good.
func (w *world) live(token providers.Secret) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire()
	s := w.sessions[sessionOf(token)]
	return s != nil && !s.dead
}

// sessionOf reads the server's session from a token, "at-<session>.<generation>"
// or "rt-…".
func sessionOf(token providers.Secret) string {
	id, _, _ := strings.Cut(token.Reveal()[3:], ".")
	return id
}

// isBroken says that the server ended this token's session by itself.
func (w *world) isBroken(token providers.Secret) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken[sessionOf(token)]
}

// count reads a witness.
func (w *world) count(n *int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *n
}

// logoutPatience is how long a pending logout may sleep after a failure.
const logoutPatience = 8 * time.Minute

// expire ends what has been left alone too long or is too old.
func (w *world) expire() {
	now := time.Now()
	maps.DeleteFunc(w.foreign, func(_ string, f *foreignSession) bool { return now.After(f.used.Add(w.idle)) })
	maps.DeleteFunc(w.sessions, func(id string, s *upstreamSession) bool {
		end := s.used.Add(w.idle)
		if w.noRefreshTokens || w.hidesIdle && s.expires.After(end) {
			end = s.expires
		}
		if oldest := s.started.Add(w.maxAge); oldest.Before(end) {
			end = oldest
		}
		gone := now.After(end)
		troubled := w.down || end.Before(w.trouble.Add(logoutPatience)) || end.Before(w.heard.slowAt.Add(logoutPatience))
		// The token of a lease was good up to the very end of the session; on a
		// host whose clock was set back, by that much longer.
		leased := !s.expires.Add(w.setBack).Before(end)
		unclosable := s.lost || s.adrift || s.oldSecret || troubled || leased || w.deaths > 0 && w.recorded[s.attempt] == ""
		if gone && !unclosable {
			w.agedOut++
			w.t.Errorf("rule 1: left to die of age: %s, %+v at %s, now %s, trouble %s; the last calls: %v", id, *s, end, now, w.trouble, w.lastCalls())
		}
		w.broken[id] = w.broken[id] || gone
		return gone
	})
}

// clockSteps is how far the host's clock is stepped at most, but for one that was an
// hour ahead.
const clockSteps = 25 * time.Second

// unlisted returns the attempts of sessions at the server that the ledger does
// not know (rule 1).
func (w *world) unlisted() []string {
	known := w.records()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire()
	var missing []string
	for _, s := range w.sessions {
		// Without a refresh token it is gone when its token expires by the host's clock.
		expired := w.noRefreshTokens && time.Until(s.expires) < clockSteps+time.Second
		if !known[s.attempt] && !expired && !s.adrift {
			missing = append(missing, fmt.Sprintf("%s %+v", s.attempt, *s))
		}
	}
	return missing
}

// records returns the ids in the ledger, read past all faults.
func (w *world) records() map[string]bool {
	keys, err := w.storage.List(context.Background(), "session/"+string(accountID)+"/")
	require.NoError(w.t, err)
	known := map[string]bool{}
	for _, k := range keys {
		known[k] = true
	}
	return known
}

// noList is the part of an upstream without a list of sessions.
type noList struct{}

func (noList) Connection() providers.Connection {
	return providers.Connection{Provider: "test", RequestTimeout: 10 * time.Second}
}

func (noList) ListSessions(context.Context, providers.Secret) ([]providers.ServerSession, error) {
	return nil, errors.New("there is no list")
}

func (noList) EndSession(context.Context, providers.Secret, string) error {
	return errors.New("there is no list")
}

// upstream reaches the world's server with one password.
type upstream struct {
	process      *process
	password     string
	capabilities providers.Capabilities
	connection   providers.Connection
}

func (u *upstream) Capabilities() providers.Capabilities { return u.capabilities }

func (u *upstream) Connection() providers.Connection { return u.connection }

func (u *upstream) Login(ctx context.Context, r providers.LoginRequest) (providers.TokenResponse, error) {
	defer u.process.alone("login")()
	got, err := u.process.call(ctx, "login", "", func() (providers.TokenResponse, *providers.Error) { return u.process.login(ctx, u, r) })
	u.process.heardLogin(r, got, err)
	return got, err
}

func (u *upstream) Refresh(ctx context.Context, token providers.Secret) (providers.TokenResponse, error) {
	id := sessionOf(token)
	defer u.process.alone("refresh of " + id)()
	got, err := u.process.call(ctx, "refresh", id, func() (providers.TokenResponse, *providers.Error) { return u.process.refresh(u, token.Reveal()) })
	u.process.heardRefresh(id, got, err)
	return got, err
}

// alone has a call be the only one of its sort: logins of an account come one after the
// other (rule 6), and so do refreshes of a session (rule 8).
func (p *process) alone(what string) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls[what] && p.strict { // else it may be another account's
		p.t.Errorf("rules 6 and 8: another %s is under way; the last calls: %v", what, p.lastCalls())
	}
	p.calls[what] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.calls, what)
	}
}

// ListSessions implements providers.Client.
func (u *upstream) ListSessions(ctx context.Context, token providers.Secret) ([]providers.ServerSession, error) {
	var list []providers.ServerSession
	_, err := u.process.call(ctx, "list sessions", sessionOf(token), func() (_ providers.TokenResponse, failure *providers.Error) {
		list, failure = u.process.list(token)
		return providers.TokenResponse{}, failure
	})
	time.Sleep(u.process.delayOfLists())
	if err == nil {
		u.process.heardList(list)
	}
	return list, err
}

// EndSession implements providers.Client.
func (u *upstream) EndSession(ctx context.Context, token providers.Secret, id string) error {
	_, err := u.process.call(ctx, "end session", id, func() (providers.TokenResponse, *providers.Error) {
		return providers.TokenResponse{}, u.process.end(token, id)
	})
	return err
}

// subjectOf is the session of the tokens that a logout sends.
func subjectOf(t providers.SessionTokens) string {
	if t.Refresh.Empty() {
		return sessionOf(t.Access)
	}
	return sessionOf(t.Refresh)
}

func (u *upstream) Logout(ctx context.Context, t providers.SessionTokens) error {
	_, err := u.process.call(ctx, "logout", subjectOf(t), func() (providers.TokenResponse, *providers.Error) { return u.process.logout(u, t) })
	return err
}

// call carries one request of a session over the network: there and back again, with
// what can happen on the way.
func (p *process) call(ctx context.Context, op, of string, serve func() (providers.TokenResponse, *providers.Error)) (providers.TokenResponse, error) {
	fault := p.faults.next(op)
	if fault == failBefore || fault == dieBefore || p.isDown() {
		return providers.TokenResponse{}, &providers.Error{Kind: providers.Unavailable, Outcome: providers.DidNotHappen, Op: op, Message: "cannot be reached", RetryAfter: p.retryAfter}
	}
	p.pause(ctx)
	var got providers.TokenResponse
	var failure *providers.Error
	if ctx.Err() == nil {
		p.mu.Lock()
		got, failure = serve()
		subject := cmp.Or(got.ServerID, of)
		p.trail = append(p.trail, fmt.Sprintf("%s %s %v %v %s", time.Now().Format(time.TimeOnly), op, subject, failure, fault))
		p.mu.Unlock()
	}
	if op == "login" && failure == nil && p.takeLoss() {
		fault = failAfter
	}
	if fault == failAfter || fault == dieAfter || ctx.Err() != nil || p.faults.isDead() {
		switch {
		case op == "login":
			p.markLost(got, failure)
		case op == "refresh" && p.forgetsOld && failure == nil:
			p.markAdrift(got.ServerID)
		}
		if ctx.Err() != nil {
			p.markTrouble()
		}
		return providers.TokenResponse{}, &providers.Error{Kind: providers.Unavailable, Outcome: providers.Unknown, Op: op, Message: "no answer"}
	}
	if failure != nil {
		return providers.TokenResponse{}, failure
	}
	return got, nil
}

// loseNextLogin has the answer to the next login that happens get lost.
func (w *world) loseNextLogin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.losing = true
}

func (w *world) takeLoss() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	lost := w.losing
	w.losing = false
	return lost
}

func (w *world) markTrouble() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire()
	w.trouble = time.Now()
}

func (w *world) isDown() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down
}

func (w *world) pause(ctx context.Context) {
	w.mu.Lock()
	latency := w.latency
	w.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(latency):
	}
}

func (w *world) markLost(got providers.TokenResponse, failure *providers.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if failure != nil {
		w.deniedAt = time.Time{} // nobody heard of it
		return
	}
	if s := w.sessions[got.ServerID]; s != nil {
		s.lost = true
	}
}

func (w *world) markAdrift(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.sessions[id]; s != nil {
		s.adrift = true
	}
}

// recordedToken notes the token that ends a session, as it is in an entry of the ledger.
func (w *world) recordedToken(entry *logical.StorageEntry) {
	_, rest, found := bytes.Cut(entry.Value, []byte(`_token":"`)) // refresh or access
	if !found {
		return
	}
	token, _, _ := bytes.Cut(rest, []byte(`"`))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recorded[path.Base(entry.Key)] = string(token)
}

func (w *world) login(ctx context.Context, u *upstream, r providers.LoginRequest) (providers.TokenResponse, *providers.Error) {
	w.expire()
	w.judgeLogin(r)
	refuse := func(kind providers.Kind, message string) (providers.TokenResponse, *providers.Error) {
		w.refused++
		return providers.TokenResponse{}, &providers.Error{
			Kind: kind, Outcome: providers.DidNotHappen, Op: "login", Message: message, ServerTime: w.serverTime(),
		}
	}
	if failure := w.refuseBusy("login"); failure != nil {
		return providers.TokenResponse{}, failure
	}
	if slices.Contains(r.Scopes, w.unknownScope) {
		return refuse(providers.Protocol, unknownScope)
	}
	if failure := w.refuseClient(u, "login"); failure != nil {
		return providers.TokenResponse{}, failure
	}
	if u.password != w.password {
		return refuse(providers.BadCredentials, "Invalid user credentials")
	}
	if w.codePeriod > 0 {
		step, typed := r.CodeAt.UnixNano()/int64(w.codePeriod), r.OTP.Reveal()
		now := time.Now().UnixNano() / int64(w.codePeriod)
		if typed == "" && !r.CodeAt.IsZero() && step < now-1 && w.ahead == 0 && !w.wallClock {
			w.staleCodes++
			if w.strict {
				w.t.Errorf("rule 6: a code of %s comes too late", r.CodeAt)
			}
		}
		switch {
		case typed == "" && !r.CodeAt.IsZero() && (step > now+1 || step < now-1 || w.strictCodes && step > now):
			return refuse(providers.BadCredentials, "Invalid user credentials")
		case strings.HasPrefix(typed, "0"): // a wrong one
			return refuse(providers.BadCredentials, "Invalid user credentials")
		case typed != "" && w.usedTyped[typed], typed == "" && !r.CodeAt.IsZero() && w.usedSteps[step]:
			w.codeReuses++
			return refuse(providers.BadCredentials, "Invalid user credentials")
		case typed == "" && r.CodeAt.IsZero():
			return refuse(providers.BadCredentials, "Invalid user credentials")
		}
		w.usedSteps[step], w.usedTyped[typed] = true, true
	}
	if w.limit > 0 && w.endsOldest {
		w.endOldest()
	} else if w.limit > 0 && w.taken() >= w.limit {
		w.denials++
		w.judgeDenial()
		rest := time.Minute
		if w.strict {
			rest = min(longestRest, time.Minute<<min(max(w.deniedInARow-1, 0), 10))
		}
		if !w.deniedAt.After(w.trouble) {
			w.deniedInARow = 0
		}
		w.deniedInARow++
		if w.deniedAt.After(w.trouble) && time.Since(w.deniedAt) < rest {
			w.t.Errorf("rule 7: a second denial %s after the first: two in a row lock a user out; the last calls: %v", time.Since(w.deniedAt), w.trail[max(0, len(w.trail)-15):])
		}
		w.deniedAt = time.Now()
		return refuse(providers.SessionLimit, "session limit exceeded")
	}
	w.logins++
	w.deniedInARow = 0
	w.loggedInAt = time.Now()
	id := w.idPrefix + strconv.Itoa(w.logins)
	if w.noSessions {
		return providers.TokenResponse{AccessToken: providers.NewSecret("at-" + id + ".1"), TokenType: "Bearer", ExpiresIn: w.tokenLife}, nil
	}
	attempt := strings.Split(r.UserAgent, "-")
	s := &upstreamSession{userAgent: r.UserAgent, attempt: attempt[len(attempt)-2], started: time.Now(), client: u.connection.ClientID, host: u.connection.TokenURL}
	w.judgeIntent(ctx, s.attempt)
	w.sessions[id] = s
	got := w.tokens(id, s)
	w.peak = max(w.peak, w.taken())
	return got, nil
}

// unknownScope is what the server says of a scope that it does not know.
const unknownScope = "invalid_scope"

// refuseBusy is the answer of a server that asks to be left alone for a while.
func (w *world) refuseBusy(op string) *providers.Error {
	rest := time.Until(w.busyUntil)
	if rest <= 0 {
		return nil
	}
	return &providers.Error{Kind: providers.Throttled, Outcome: providers.DidNotHappen, Op: op, Message: "slow down", RetryAfter: rest}
}

// endOldest makes room for a session: one of ours, or of somebody else's.
func (w *world) endOldest() {
	for len(w.sessions)+len(w.foreign) >= w.limit {
		oldest, at := "", time.Now()
		for id, s := range w.sessions {
			if !s.started.After(at) {
				oldest, at = id, s.started
			}
		}
		for id, f := range w.foreign {
			if !f.used.After(at) {
				oldest, at = id, f.used
			}
		}
		w.broken[oldest] = true
		delete(w.sessions, oldest)
		delete(w.foreign, oldest)
	}
}

// tokens issues the next generation of a session, clipped to its maximum age.
func (w *world) tokens(id string, s *upstreamSession) providers.TokenResponse {
	s.generation++
	s.used = time.Now()
	left := s.started.Add(w.maxAge).Sub(s.used)
	if expires := s.used.Add(min(w.tokenLife, left)); expires.After(s.expires) {
		s.expires = expires
	}
	name := fmt.Sprintf("%s.%d", id, s.generation)
	r := providers.TokenResponse{
		AccessToken: providers.NewSecret("at-" + name), TokenType: "Bearer", ExpiresIn: min(w.tokenLife, left),
		RefreshToken: providers.NewSecret("rt-" + name), RefreshExpiresIn: min(w.idle, left),
		ServerID: id, ServerTime: w.serverTime(),
	}
	if w.noRefreshTokens {
		r.RefreshToken, r.RefreshExpiresIn = providers.Secret{}, 0
	}
	if w.hidesIdle {
		r.RefreshExpiresIn = 0
	}
	return r
}

// serverTime is what the server's answers show of its clock.
func (w *world) serverTime() time.Time {
	if w.hidesClock {
		return time.Time{}
	}
	return time.Now().Add(w.clockAhead).Truncate(time.Second)
}

func (w *world) find(refresh string) (string, *upstreamSession, bool) {
	id, number, _ := strings.Cut(strings.TrimPrefix(refresh, "rt-"), ".")
	s := w.sessions[id]
	newest := s != nil && number == strconv.Itoa(s.generation)
	return id, s, newest
}

// refuseClient is the server's answer to a client secret that is not valid any more.
func (w *world) refuseClient(u *upstream, op string) *providers.Error {
	if u.connection.ClientSecret.Reveal() == w.secrets[u.connection.ClientID] {
		return nil
	}
	return &providers.Error{Kind: providers.BadCredentials, Outcome: providers.DidNotHappen, Op: op, Message: "Invalid client credentials"}
}

// checkClient has a session stay with the client and the host that opened it.
func (w *world) checkClient(u *upstream, s *upstreamSession) {
	if c := u.connection; s.client != c.ClientID || s.host != c.TokenURL {
		w.t.Errorf("rule 1: a session of %s at %s was reached as %s at %s", s.client, s.host, c.ClientID, c.TokenURL)
	}
}

func (w *world) refresh(u *upstream, token string) (providers.TokenResponse, *providers.Error) {
	w.expire()
	if failure := w.refuseClient(u, "refresh"); failure != nil {
		return providers.TokenResponse{}, failure
	}
	id, s, newest := w.find(token)
	if s != nil {
		w.checkClient(u, s)
	}
	w.judgeRefresh(id)
	if failure := w.refuseBusy("refresh"); failure != nil {
		return providers.TokenResponse{}, failure
	}
	if s != nil && w.rotate && !newest {
		s.dead, w.broken[id] = true, true
		if w.forgetsOld {
			delete(w.sessions, id) // nothing could end it
		}
	}
	if s == nil || s.dead {
		return providers.TokenResponse{}, &providers.Error{Kind: providers.SessionGone, Outcome: providers.DidNotHappen, Op: "refresh", Message: "Session not active"}
	}
	w.refreshes++
	return w.tokens(id, s), nil
}

func (w *world) logout(u *upstream, t providers.SessionTokens) (providers.TokenResponse, *providers.Error) {
	w.expire()
	if failure := w.refuseClient(u, "logout"); failure != nil {
		return providers.TokenResponse{}, failure
	}
	token := t.Refresh.Reveal()
	if token == "" {
		token = "rt-" + strings.TrimPrefix(t.Access.Reveal(), "at-")
	}
	id, s, newest := w.find(token)
	if s != nil && (newest || !w.forgetsOld) {
		w.checkClient(u, s)
		w.logouts++
		delete(w.sessions, id)
	}
	return providers.TokenResponse{}, nil
}

// list is the server's own list of the account's sessions.
func (w *world) list(token providers.Secret) ([]providers.ServerSession, *providers.Error) {
	w.expire()
	w.listed++
	if refusal := w.mayList(token, "list sessions"); refusal != nil {
		return nil, refusal
	}
	var list []providers.ServerSession
	if w.emptyLists {
		return nil, nil
	}
	for _, mount := range w.mounts() {
		for id, s := range mount.sessions {
			userAgent := s.userAgent
			if w.marksLost {
				userAgent = "Other/Unknown"
			}
			list = append(list, providers.ServerSession{
				ID: id, UserAgent: userAgent, StartedAt: s.started, LastAccess: s.used, ExpiresAt: s.started.Add(w.maxAge),
				Current: id == sessionOf(token),
			})
		}
	}
	for id, f := range w.foreign {
		list = append(list, providers.ServerSession{ID: id, UserAgent: f.userAgent, StartedAt: f.used, LastAccess: f.used, ExpiresAt: f.used.Add(w.maxAge)})
	}
	return list, nil
}

func (w *world) delayOfLists() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.listDelay
}

func (w *world) mayList(token providers.Secret, op string) *providers.Error {
	s := w.sessions[sessionOf(token)]
	if w.noRoles || s == nil && time.Since(w.heard.lastIssue()) < 30*time.Second {
		w.heard.noListAt = time.Now() // so new a token is taken at its word
	}
	if s == nil || s.dead || w.noRoles {
		return &providers.Error{Kind: providers.NotAllowed, Outcome: providers.DidNotHappen, Op: op, Message: "the server answered 401"}
	}
	return nil
}

func (w *world) end(token providers.Secret, id string) *providers.Error {
	w.expire()
	if refusal := w.mayList(token, "end session"); refusal != nil {
		return refusal
	}
	w.ended++
	if f := w.foreign[id]; f != nil {
		f.ended = true
		w.foreignEnded++
	}
	if n := w.neighbour; n != nil && n.sessions[id] != nil {
		delete(n.sessions, id)
		w.foreignEnded++
	}
	delete(w.foreign, id)
	delete(w.sessions, id)
	return nil
}

// markOf is the mark that a login of the mount would have with another attempt.
func (w *world) markOf(l sessions.Lease, attempt string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ours := w.sessions[sessionOf(l.Token.AccessToken)]
	return strings.Replace(ours.userAgent, ours.attempt, attempt, 1)
}

// copyStorage is a snapshot of the storage, restored elsewhere.
func (w *world) copyStorage(t *testing.T) logical.Storage {
	t.Helper()
	elsewhere := &logical.InmemStorage{}
	for _, folder := range []string{"", "mount/", "guard/", "session/" + string(accountID) + "/"} {
		keys, err := w.storage.List(t.Context(), folder)
		require.NoError(t, err)
		for _, key := range keys {
			entry, err := w.storage.Get(t.Context(), folder+key)
			require.NoError(t, err)
			if entry != nil {
				require.NoError(t, elsewhere.Put(t.Context(), entry))
			}
		}
	}
	return elsewhere
}

// logInSomebody opens a session that is not the plugin's.
func (w *world) logInSomebody(id, userAgent string) *foreignSession {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := &foreignSession{userAgent: userAgent, used: time.Now()}
	w.foreign[id] = f
	return f
}

func (w *world) logOutSomebody(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.foreign, id)
}

// fault is what happens at one boundary.
type fault int

const (
	none       fault = iota
	failBefore       // an error, and nothing took effect
	failAfter        // an error, although it took effect
	dieBefore        // the plugin dies, and nothing took effect
	dieAfter         // the plugin dies after it took effect
)

func (f fault) String() string {
	return [...]string{"none", "fail before", "fail after", "die before", "die after"}[f]
}

// faults counts the boundary crossings of a run and injects one fault.
type faults struct {
	mu     sync.Mutex
	count  int
	at     int // the crossing to hit, from 1; 0: none
	kind   fault
	dead   bool            // the plugin is dead: nothing takes effect any more
	onStep func(op string) // a witness, before each crossing
	choose func(op string) fault
	// onFault hears of each fault, before it strikes.
	onFault func()
}

func (f *faults) next(op string) fault {
	f.mu.Lock()
	if f.dead {
		f.mu.Unlock()
		return dieBefore
	}
	f.count++
	hit := none
	if f.count == f.at {
		hit = f.kind
	} else if f.choose != nil {
		hit = f.choose(op)
	}
	if hit == dieBefore || hit == dieAfter {
		f.dead = true
	}
	onStep, onFault := f.onStep, f.onFault
	f.mu.Unlock()
	if hit != none && onFault != nil {
		onFault()
	}
	if onStep != nil {
		onStep(op)
	}
	return hit
}

func (f *faults) isDead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

var errInjected = errors.New("injected fault")

// faultyStorage crosses a boundary with every operation.
type faultyStorage struct {
	logical.Storage
	process *process
}

func (s *faultyStorage) cross(op string, do func() error) error {
	switch s.process.faults.next(op) {
	case failBefore, dieBefore:
		return errInjected
	case failAfter, dieAfter:
		_ = do()
		return errInjected
	case none:
	}
	return do()
}

func (s *faultyStorage) List(ctx context.Context, prefix string) (keys []string, err error) {
	err = s.cross("list", func() (err error) { keys, err = s.Storage.List(ctx, prefix); return err })
	return keys, err
}

func (s *faultyStorage) Get(ctx context.Context, key string) (entry *logical.StorageEntry, err error) {
	err = s.cross("get", func() (err error) { entry, err = s.Storage.Get(ctx, key); return err })
	return entry, err
}

func (s *faultyStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	s.process.mu.Lock()
	delay, hangs := s.process.storageDelay, s.process.storageHangs
	s.process.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	time.Sleep(delay)
	err := s.cross("put", func() error {
		err := s.Storage.Put(ctx, entry)
		if err == nil {
			s.process.recordedToken(entry)
		}
		return err
	})
	if delay > 0 || err != nil {
		s.process.mu.Lock()
		defer s.process.mu.Unlock()
		s.process.heard.slowAt = time.Now()
	}
	return err
}

func (s *faultyStorage) Delete(ctx context.Context, key string) error {
	return s.cross("delete", func() error { return s.Storage.Delete(ctx, key) })
}

// reason returns why the engine refused.
func reason(tb testing.TB, err error) machine.Reason {
	tb.Helper()
	var refusal *sessions.Error
	require.ErrorAs(tb, err, &refusal)
	return refusal.Reason
}

// watch has f told of each crossing before it.
func (f *faults) watch(onStep func(op string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onStep = onStep
}
