package configs

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// Registry knows the providers that can be configured.
type Registry interface {
	Lookup(name string) (providers.Provider, bool)
	All() []providers.Provider
}

// Engine is what configuring needs of the session engine.
type Engine interface {
	Verify(ctx context.Context, trial sessions.Settings, r sessions.Request) error
	Configure(ctx context.Context, id sessions.AccountID, s sessions.Settings, reopen bool) error
	Status(ctx context.Context, id sessions.AccountID) (sessions.Status, error)
	Drain(ctx context.Context, id sessions.AccountID) error
	KeepAlive(ctx context.Context, id sessions.AccountID) (sessions.KeepAlive, error)
}

// Configs is everything that is configured in one mount.
type Configs struct {
	entries  store.Entries
	registry Registry
	logger   hclog.Logger
	engine   Engine

	names names

	// mu guards what several entries must agree on, and is held while they are
	// stored, but never across a login.
	mu       sync.Mutex
	reserved map[sessions.AccountID]string // by the name whose write is at work on it
	deleting map[string]bool               // configs that no role may begin to use

	// inForce is held while the engine is told what is stored of an account, so
	// that what was stored last is what it is told last.
	inForce sync.Mutex

	configs store.Cache[*config]
	tokens  tokenEnds
	targets store.Cache[*Target] // by role or config
}

// New returns what is stored in entries. Call Serve before anything is written.
func New(entries store.Entries, registry Registry, logger hclog.Logger) *Configs {
	return &Configs{
		entries:  entries,
		registry: registry,
		logger:   logger,
		names:    names{held: make(map[string]*name)},
		reserved: make(map[sessions.AccountID]string),
		deleting: make(map[string]bool),
	}
}

// Serve sets the engine that logs in and out. The engine in turn asks Configs
// for the settings of accounts (Settings), so neither can be made first whole.
func (c *Configs) Serve(engine Engine) { c.engine = engine }

// Invalidate forgets what was made from a storage entry that somebody else wrote.
func (c *Configs) Invalidate(key string) {
	if name, ok := c.entries.Configs.Name(key); ok {
		c.drop(name)
	}
	if name, ok := c.entries.Roles.Name(key); ok {
		c.targets.Drop(name)
	}
}

// drop forgets a config and what was made from it.
func (c *Configs) drop(name string) {
	c.configs.Drop(name)
	c.tokens.note(name, time.Time{})
	c.targets.DropWhere(func(t *Target) bool { return t.Config == name })
}
