package configs_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDisk = errors.New("disk on fire")

// world is a Configs over a storage and an engine that note what happens.
type world struct {
	*configs.Configs

	storage *noting
	engine  *engine
	log     *bytes.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return restarted(&logical.InmemStorage{}, 0)
}

// restarted is what a new process finds: the storage, and sessions in the ledger.
func restarted(disk logical.Storage, open int) *world {
	s := &noting{Storage: disk}
	e := &engine{notes: &s.notes, open: open}
	log := new(bytes.Buffer)
	c := configs.New(store.NewEntries(s), registry{}, hclog.New(&hclog.LoggerOptions{Output: log}))
	c.Serve(e)
	return &world{Configs: c, storage: s, engine: e, log: log}
}

func (w *world) write(t *testing.T, name string, change configs.Change) {
	t.Helper()
	_, err := w.Write(t.Context(), name, change, configs.WriteOptions{})
	require.NoError(t, err)
}

func (w *world) keys(t *testing.T) []string {
	t.Helper()
	keys, err := logical.CollectKeys(t.Context(), w.storage.Storage)
	require.NoError(t, err)
	slices.Sort(keys)
	return keys
}

type registry struct{}

func (registry) All() []providers.Provider                     { return presets.All() }
func (registry) Lookup(name string) (providers.Provider, bool) { return presets.All().Lookup(name) }

// notes is what happened, in order.
type notes struct {
	mu  sync.Mutex
	all []string
}

func (n *notes) add(note string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, note)
}

func (n *notes) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.all
	n.all = nil
	return all
}

// noting is a storage that notes every access and fails when told to.
type noting struct {
	logical.Storage

	notes  notes
	fail   func(op, key string) error
	landed bool // what fails takes effect all the same
}

func (s *noting) access(op, key string) error {
	s.notes.add(op + " " + key)
	if s.fail != nil {
		return s.fail(op, key)
	}
	return nil
}

func (s *noting) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if err := s.access("get", key); err != nil {
		return nil, err
	}
	return s.Storage.Get(ctx, key)
}

func (s *noting) List(ctx context.Context, prefix string) ([]string, error) {
	if err := s.access("list", prefix); err != nil {
		return nil, err
	}
	return s.Storage.List(ctx, prefix)
}

func (s *noting) Put(ctx context.Context, e *logical.StorageEntry) error {
	err := s.access("put", e.Key)
	if err != nil && !s.landed {
		return err
	}
	return errors.Join(err, s.Storage.Put(ctx, e))
}

func (s *noting) Delete(ctx context.Context, key string) error {
	err := s.access("delete", key)
	if err != nil && !s.landed {
		return err
	}
	return errors.Join(err, s.Storage.Delete(ctx, key))
}

// engine stands for the session engine.
type engine struct {
	notes        *notes
	verifyErr    error
	configureErr error
	drainErr     error
	aliveErr     error
	verifying    func() // called in the middle of a login
	draining     func() // called in the middle of a drain

	mu       sync.Mutex
	open     int // sessions upstream
	settings sessions.Settings
	verified sessions.Settings  // by the last login
	asked    sessions.Request   // of that login
	alive    sessions.KeepAlive // what KeepAlive adds to the settings
	status   sessions.Status
}

func (e *engine) Verify(_ context.Context, s sessions.Settings, r sessions.Request) error {
	e.notes.add("verify")
	if e.verifying != nil {
		e.verifying()
	}
	if e.verifyErr != nil {
		return e.verifyErr
	}
	if r.Account == "" || s.Upstream == nil {
		return errors.New("a login without account")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.open++
	e.verified, e.asked = s, r
	return nil
}

func (e *engine) KeepAlive(context.Context, sessions.AccountID) (sessions.KeepAlive, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	k := e.alive
	k.Interval, k.DeactivatedAfter = e.settings.Limits.KeepAlive, e.settings.Limits.DeactivatedAfter
	return k, e.aliveErr
}

func (e *engine) Configure(_ context.Context, _ sessions.AccountID, s sessions.Settings, reopen bool) error {
	note := "configure"
	if s.Upstream == nil {
		note += " nothing"
	}
	if reopen {
		note += " reopen"
	}
	e.notes.add(note)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settings = s
	return e.configureErr
}

func (e *engine) Status(context.Context, sessions.AccountID) (sessions.Status, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status, nil
}

func (e *engine) Drain(context.Context, sessions.AccountID) error {
	e.notes.add("drain")
	if e.draining != nil {
		e.draining()
	}
	if e.drainErr != nil {
		return e.drainErr
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.open = 0
	return nil
}

func panta(more configs.Change) configs.Change {
	return with(configs.Change{
		"provider": "panta", "environment": "dmo", "client_id": "integration", "client_secret": "s3cret-client",
		"username": "paula", "password": "s3cret-password", "tenant_id": "4711",
	}, more)
}

func ocp(more configs.Change) configs.Change {
	return with(configs.Change{"provider": "ocp", "environment": "eu1", "username": "olga", "password": "s3cret-password"}, more)
}

func pat(more configs.Change) configs.Change {
	return with(configs.Change{
		"provider": "ocp", "environment": "eu1", "auth_method": "pat", "personal_access_token": "s3cret-pat",
	}, more)
}

func partner(more configs.Change) configs.Change {
	return with(configs.Change{"provider": "partner", "base_url": "https://partner.example.com", "client_id": "p", "client_secret": "s3cret-client"}, more)
}

func with(base, more configs.Change) configs.Change {
	maps.Copy(base, more)
	return base
}
