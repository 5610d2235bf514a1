package paths_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/testhelpers/schema"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/paths"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

func TestMain(m *testing.M) {
	// OpenCensus, which Vault's framework imports, starts this one and never ends it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// Secrets of the tests: none may be in an answer to an operator or in the log.
const (
	clientSecret = "s3cret-client"
	password     = "s3cret-password"
	token        = "s3cret-token"
	pat          = "s3cret-pat"
)

// mount is every path, with real configs behind them and an engine that is told
// what to answer.
type mount struct {
	t       *testing.T
	handler paths.Handler
	engine  *engine
	log     *bytes.Buffer
	storage logical.Storage
}

func newMount(t *testing.T) *mount {
	t.Helper()
	h := &mount{t: t, engine: &engine{}, log: &bytes.Buffer{}, storage: &logical.InmemStorage{}}
	logger := hclog.New(&hclog.LoggerOptions{Output: h.log, Level: hclog.Trace, Mutex: &sync.Mutex{}})
	system := logical.TestSystemView() // default 24 h, maximum 48 h
	system.PluginEnvironment = &logical.PluginEnvironment{VaultVersion: "1.21.0"}
	c := configs.New(store.NewEntries(h.storage), registry{}, logger)
	c.Serve(h.engine)
	dependencies := paths.Dependencies{
		Configs: c, Sessions: h.engine, Meter: h.engine, Providers: registry{}, Mount: system,
		Build: paths.Build{Version: "v1.2.3", Commit: "abc", GoVersion: "go1"}, Logger: logger,
	}
	b := &framework.Backend{BackendType: logical.TypeLogical, Paths: paths.All(dependencies), Secrets: paths.Secrets(dependencies)}
	require.NoError(t, b.Setup(t.Context(), &logical.BackendConfig{Logger: logger, System: system, StorageView: h.storage}))
	h.handler = paths.Handler{Backend: b}
	return h
}

type registry struct{}

func (registry) All() []providers.Provider                     { return presets.All() }
func (registry) Lookup(name string) (providers.Provider, bool) { return presets.All().Lookup(name) }

// engine answers what it is told, and remembers what it was asked.
type engine struct {
	lease    sessions.Lease
	static   sessions.StaticToken
	err      error
	drainErr error
	panics   any
	alive    sessions.KeepAlive

	report   sessions.CheckReport
	checked  sessions.CheckRequest
	asked    sessions.Request
	ref      sessions.LeaseRef
	released int

	ledger
	meter
}

func (e *engine) Acquire(_ context.Context, r sessions.Request) (sessions.Lease, error) {
	if e.panics != nil {
		panic(e.panics)
	}
	e.asked = r
	return e.lease, e.err
}

func (e *engine) Static(_ context.Context, r sessions.Request) (sessions.StaticToken, error) {
	e.asked = r
	return e.static, e.err
}

func (e *engine) Check(_ context.Context, r sessions.CheckRequest) (sessions.CheckReport, error) {
	e.checked = r
	return e.report, e.err
}

func (e *engine) Release(_ context.Context, ref sessions.LeaseRef) error {
	e.ref = ref
	e.released++
	return e.err
}

func (e *engine) Verify(_ context.Context, _ sessions.Settings, r sessions.Request) error {
	e.asked = r
	return e.err
}

func (e *engine) Configure(_ context.Context, _ sessions.AccountID, s sessions.Settings, _ bool) error {
	e.alive.Interval, e.alive.DeactivatedAfter = s.Limits.KeepAlive, s.Limits.DeactivatedAfter
	return nil
}

func (e *engine) KeepAlive(context.Context, sessions.AccountID) (sessions.KeepAlive, error) {
	return e.alive, nil
}
func (e *engine) Drain(context.Context, sessions.AccountID) error { return e.drainErr }

// leaseFor is a lease on a token that lives this long yet.
func leaseFor(life time.Duration) sessions.Lease {
	now := time.Now()
	return sessions.Lease{
		Ref:       sessions.LeaseRef{Account: "0123456789abcdef01234567", Session: "ses.1", Grant: "boot-1", Mode: providers.Dedicated},
		Token:     providers.TokenResponse{AccessToken: providers.NewSecret(token), TokenType: "Bearer", ExpiresIn: life, Scope: "email openid"},
		ExpiresAt: now.Add(life + 500*time.Millisecond),
		Until:     now.Add(life - 5*time.Second + 500*time.Millisecond),
	}
}

// answer is what a client of Vault gets.
type answer struct {
	*logical.Response

	status int
	text   string // of the error
}

func (h *mount) do(op logical.Operation, path string, data map[string]any) answer {
	h.t.Helper()
	req := &logical.Request{Operation: op, Path: path, Data: data, Storage: h.storage}
	return h.handle(req)
}

func (h *mount) handle(req *logical.Request) answer {
	h.t.Helper()
	resp, err := h.handler.HandleRequest(h.t.Context(), req)
	a := answer{Response: resp, status: 200}
	if err != nil || resp.IsError() {
		var failed error
		a.status, failed = logical.RespondErrorCommon(req, resp, err)
		logical.AdjustErrorStatusCode(&a.status, failed)
		a.text = failed.Error()
		return a
	}
	if resp == nil {
		a.status = 204
		return a
	}
	_, err = json.Marshal(resp.Data) // as it crosses the plugin's boundary
	require.NoError(h.t, err)
	if path := h.handler.Route(req.Path); path != nil && path.Operations[req.Operation] != nil {
		require.Equal(h.t, 200, a.status)
		schema.ValidateResponse(h.t, schema.GetResponseSchema(h.t, path, req.Operation), resp, true)
	}
	return a
}

func (h *mount) write(path string, data map[string]any) answer {
	h.t.Helper()
	_, exists, err := h.handler.HandleExistenceCheck(h.t.Context(), &logical.Request{Operation: logical.CreateOperation, Path: path, Data: data, Storage: h.storage})
	require.NoError(h.t, err)
	if exists {
		return h.do(logical.UpdateOperation, path, data)
	}
	return h.do(logical.CreateOperation, path, data)
}

func (h *mount) mustWrite(path string, data map[string]any) {
	h.t.Helper()
	a := h.write(path, data)
	require.Equal(h.t, 204, a.status, a.text)
}

func (h *mount) read(path string, data map[string]any) answer {
	h.t.Helper()
	return h.do(logical.ReadOperation, path, data)
}

// requireNoSecret checks everything that people see.
func (h *mount) requireNoSecret(a answer) {
	h.t.Helper()
	seen := a.text + h.log.String()
	if a.Response != nil {
		seen += fmt.Sprintf("%v %v", a.Data, a.Warnings)
	}
	for _, secret := range []string{clientSecret, password, token, pat, "GEZDGNBV"} {
		require.NotContains(h.t, seen, secret)
	}
}

func panta(more map[string]any) map[string]any {
	return with(map[string]any{
		"provider": "panta", "environment": "dmo", "client_id": "integration", "client_secret": clientSecret,
		"username": "paula", "password": password, "tenant_id": "4711",
	}, more)
}

func ocp(more map[string]any) map[string]any {
	return with(map[string]any{"provider": "ocp", "environment": "eu1", "username": "olga", "password": password}, more)
}

func personal(more map[string]any) map[string]any {
	return with(map[string]any{"provider": "ocp", "environment": "eu1", "auth_method": "pat", "personal_access_token": pat}, more)
}

func with(base, more map[string]any) map[string]any {
	for field, value := range more {
		if value == nil {
			delete(base, field)
			continue
		}
		base[field] = value
	}
	return base
}
