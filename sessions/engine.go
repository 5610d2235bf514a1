package sessions

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// Error is a refusal of the engine: what happened, why, and what to do next.
type Error = machine.Refusal

// AccountID names an upstream account whatever its configs are called.
type AccountID = machine.AccountID

// Limits is what a config says about the use of its account.
type Limits = machine.Limits

// AccountOf returns the id of a normalized account: token endpoint, grant and
// principal, hashed, so that it can stand in storage keys and logs. A user is the
// same in any spelling that the server takes for the same.
func AccountOf(a providers.Account, d providers.Description) AccountID {
	principal := a.Principal()
	path, _, _ := strings.Cut(a.TokenURL, "?")
	isKeycloak := d.UserNamesIgnoreCase || strings.HasSuffix(path, "/protocol/openid-connect/token") // of provider oauth2
	if isKeycloak && a.AuthMethod == providers.Password {
		principal = strings.ToLower(principal)
	}
	sum := sha256.Sum256([]byte(a.TokenURL + "\n" + string(a.AuthMethod) + "\n" + principal))
	return AccountID(hex.EncodeToString(sum[:12]))
}

var accountID = regexp.MustCompile(`^[0-9a-f]{24}$`)

// IsAccountID says whether a text has the form of an id of AccountOf.
func IsAccountID(text string) bool { return accountID.MatchString(text) }

// Settings is how an account is reached and used at the moment.
type Settings struct {
	Config   string             // its name, for people; empty: there is none
	Upstream providers.Upstream // nil: no config is in force, nothing logs in
	Limits   Limits
}

// Directory knows the settings of accounts.
type Directory interface {
	// Settings returns those of the account's config, if there is one.
	Settings(ctx context.Context, id AccountID) (Settings, error)
	// KeptAlive lists the accounts whose settings have Limits.KeepAlive, also where
	// nothing is in their ledger. The list is good as far as it goes if there is
	// an error.
	KeptAlive(ctx context.Context) ([]AccountID, error)
}

// Options are what an Engine needs.
type Options struct {
	Storage   logical.Storage
	Directory Directory
	Providers Providers
	Logger    hclog.Logger
	Version   string // of the plugin, for the mark
	// Observers hear of what the engine does.
	Observers []Observer
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// stopPatience is how long Stop waits for calls to servers that are under way:
// cutting a login off would leave a session of unknown outcome behind.
const stopPatience = 15 * time.Second

// Engine hands out and closes the sessions of all accounts of one mount. Safe
// for concurrent use.
type Engine struct {
	options Options
	logger  hclog.Logger
	ledger  *ledger
	boot    string
	tasks   *taskGroup

	mu       sync.RWMutex
	accounts map[AccountID]*account
	stopping bool

	mountTurn  chan struct{} // held by who reads or makes the mount's id, once
	mount      atomic.Pointer[string]
	sweeping   atomic.Bool
	incomplete atomic.Bool // the ledger could not be read whole
}

// New returns an engine that does nothing on its own until Start.
func New(o Options) *Engine {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Engine{
		options:   o,
		logger:    o.Logger.Named("sessions"),
		ledger:    newLedger(o.Storage),
		boot:      randomID(mountIDLength),
		tasks:     newTaskGroup(o.Logger),
		accounts:  map[AccountID]*account{},
		mountTurn: make(chan struct{}, 1),
	}
}

// Start loads in the background what the ledger holds and begins to close what
// is due. It returns at once.
func (e *Engine) Start() {
	e.incomplete.Store(true)
	e.Nudge()
}

// Nudge is called about once a minute by Vault's rollback manager: a second
// chance for accounts whose ledger could not be read. It returns at once.
func (e *Engine) Nudge() {
	if e.incomplete.Load() && e.sweeping.CompareAndSwap(false, true) {
		e.tasks.do("the ledger's first reading", func(ctx context.Context) {
			defer e.sweeping.Store(false)
			e.incomplete.Store(!e.sweep(ctx))
		})
	}
}

// sweep loads every account that something is stored of or that is to be kept alive,
// so that what is due gets done without a reader; false: some could not be loaded.
func (e *Engine) sweep(ctx context.Context) bool {
	complete := true
	var ids []AccountID
	for _, list := range []func(context.Context) ([]AccountID, error){
		e.ledger.accounts, e.options.Directory.KeptAlive, e.ledger.leftovers, // last what is only to be tidied up
	} {
		found, err := list(ctx)
		ids = append(ids, found...)
		if err != nil {
			e.logger.Error("the accounts cannot all be listed; it is tried again within a minute", "error", err)
			complete = false
		}
	}
	for _, id := range ids {
		_, err := e.account(ctx, id)
		if errors.Is(err, errStopping) {
			break
		}
		if err != nil {
			e.logger.Error("an account's ledger cannot be read; it is tried again within a minute", "account", string(id), "error", err)
			complete = false
		}
	}
	return complete
}

// Stop ends all background work. Calls to servers that are under way may finish
// and are recorded; readers that wait are refused.
func (e *Engine) Stop() {
	e.mu.Lock()
	e.stopping = true
	e.mu.Unlock()
	e.eachAccount(func(a *account) { a.stop() })
	patience, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	e.tasks.end(patience)
}

func (e *Engine) eachAccount(f func(*account)) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, a := range e.accounts {
		f(a)
	}
}

var (
	errStopping = &Error{Reason: machine.Canceled, Message: "the plugin is being stopped", Advice: "try again"}
	// errDropped: the account was dropped from memory between look-up and use.
	errDropped = errors.New("account dropped")
)

// account returns an account, loaded. It is loaded once, detached from the
// request that asked first; everyone waits on their own context.
func (e *Engine) account(ctx context.Context, id AccountID) (*account, error) {
	a := e.lookUp(id)
	if a == nil {
		return nil, errStopping
	}
	select {
	case <-a.ready:
	case <-ctx.Done():
		return nil, &Error{Reason: machine.Canceled, Message: "the request ended before the account's ledger was read", Err: ctx.Err()}
	}
	if a.loadErr != nil {
		return nil, &Error{
			Reason:  machine.Storage,
			Message: "the account's ledger cannot be read: " + a.loadErr.Error(),
			Advice:  "look at the health of Vault's storage and try again",
			Err:     a.loadErr,
		}
	}
	return a, nil
}

// lookUp finds an account, or begins to load it; nil: the engine is being stopped.
func (e *Engine) lookUp(id AccountID) *account {
	e.mu.RLock()
	a, stopping := e.accounts[id], e.stopping
	e.mu.RUnlock()
	if stopping {
		return nil
	}
	if a != nil {
		return a
	}
	return e.addAccount(id)
}

// addAccount begins to load an account, unless that was done or the engine was stopped
// meanwhile.
func (e *Engine) addAccount(id AccountID) *account {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.accounts[id]; a != nil || e.stopping {
		return a
	}
	a := &account{id: id, engine: e, ready: make(chan struct{}), waiting: map[machine.WaiterID]chan machine.Reply{}}
	e.accounts[id] = a
	// It is done: the tasks end only after stopping is set, which is looked at above.
	e.tasks.do("loading an account", func(ctx context.Context) {
		defer close(a.ready)
		defer func() {
			if a.loadErr != nil {
				e.mu.Lock()
				delete(e.accounts, id) // the next request tries again
				e.mu.Unlock()
			}
		}()
		a.loadErr = errors.New("the plugin failed while it read the ledger, see Vault's log")
		a.loadErr = e.load(ctx, a)
	})
	return a
}

// load reads what storage knows of an account.
func (e *Engine) load(ctx context.Context, a *account) error {
	if err := e.loadMountID(ctx); err != nil {
		return err
	}
	settings, err := e.options.Directory.Settings(ctx, a.id)
	if err != nil {
		return err
	}
	records, err := e.ledger.load(ctx, a.id, e.options.Now(), e.logger)
	if err != nil {
		return err
	}
	guard, err := e.ledger.guard(ctx, a.id)
	if err != nil {
		return err
	}
	connections, err := e.loadConnections(ctx, a.id)
	if err != nil {
		return err
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.connections = connections
	stored := a.knownConnections("")
	a.putInForce(settings)
	a.machine = machine.Recover(machine.Past{
		Limits: settings.Limits, Connection: a.inForce, Stored: stored, Known: a.knownConnections(a.inForce), Guard: guard, Records: records,
	}, e.boot, newSessionID, e.options.Now())
	if e.stopping { // it was not told, as it was not there yet
		a.stepLocked(machine.Stop{})
	}
	a.stepLocked(machine.Tick{}) // what is due is due without a reader
	return nil
}

// with calls f on an account, again if the account was dropped meanwhile.
func (e *Engine) with(ctx context.Context, id AccountID, f func(*account) error) error {
	for {
		a, err := e.account(ctx, id)
		if err != nil {
			return err
		}
		if err := f(a); !errors.Is(err, errDropped) {
			return err
		}
	}
}

// forget drops an account that nothing is left of.
func (e *Engine) forget(a *account) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dropped || !a.machine.Forgettable() || len(a.effects) > 0 {
		return
	}
	a.dropped = true
	delete(e.accounts, a.id)
	if a.timer != nil {
		a.timer.Stop()
	}
}

// loadMountID reads, or makes at first start, the id that marks this mount's
// logins.
func (e *Engine) loadMountID(ctx context.Context) error {
	e.mountTurn <- struct{}{}
	defer func() { <-e.mountTurn }()
	if e.mount.Load() != nil {
		return nil
	}
	id, err := e.ledger.mountID(ctx)
	if err != nil {
		return fmt.Errorf("the mount's id: %w", err)
	}
	e.mount.Store(&id)
	return nil
}

func (e *Engine) mountID() string { return *e.mount.Load() }
