package backend_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pantaindex/vault-plugin-secrets-panta/backend"
	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
)

func TestMain(m *testing.M) {
	// OpenCensus, which Vault's framework imports, starts this one and never ends it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// plugin is the whole engine, in memory, before the emulated servers.
type plugin struct {
	logical.Backend

	t       *testing.T
	storage logical.Storage
	system  *logical.StaticSystemView
	log     *syncBuffer
	seen    *syncBuffer // every answer that should hold no secret
	events  *syncBuffer
}

func start(t *testing.T, server *iam.Server, storage logical.Storage) *plugin {
	t.Helper()
	return startWith(t, server.Transport(), storage, logical.TestSystemView())
}

func startWith(t *testing.T, transport http.RoundTripper, storage logical.Storage, system *logical.StaticSystemView) *plugin {
	t.Helper()
	p := &plugin{t: t, storage: storage, system: system, log: &syncBuffer{}, seen: &syncBuffer{}, events: &syncBuffer{}}
	var available []providers.Provider
	for _, preset := range []oauth2.Preset{presets.Panta(), presets.OCP(), presets.Partner(), presets.Keycloak(), presets.OAuth2()} {
		available = append(available, oauth2.New(preset, transport))
	}
	b, err := backend.FactoryOf(available)(t.Context(), &logical.BackendConfig{
		StorageView: storage, System: system, EventsSender: bus{p.events},
		Logger: hclog.New(&hclog.LoggerOptions{Output: p.log, Level: hclog.Trace}),
	})
	require.NoError(t, err)
	p.Backend = b
	require.NoError(t, b.Initialize(t.Context(), &logical.InitializationRequest{Storage: storage}))
	t.Cleanup(func() { b.Cleanup(context.Background()) })
	return p
}

func (p *plugin) do(op logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	p.t.Helper()
	resp, err := p.HandleRequest(p.t.Context(), &logical.Request{Operation: op, Path: path, Data: data, Storage: p.storage})
	if !strings.HasPrefix(path, "creds/") || err != nil || resp.IsError() {
		_, _ = fmt.Fprintf(p.seen, "%s %s: %+v %v\n", op, path, resp, err)
	}
	return resp, err
}

func (p *plugin) write(path string, data map[string]any) {
	p.t.Helper()
	resp, err := p.do(logical.UpdateOperation, path, data)
	require.NoError(p.t, err)
	require.NoError(p.t, resp.Error())
}

func (p *plugin) read(path string) *logical.Response {
	p.t.Helper()
	resp, err := p.do(logical.ReadOperation, path, nil)
	require.NoError(p.t, err)
	require.NoError(p.t, resp.Error())
	return resp
}

func (p *plugin) revoke(lease *logical.Response) error {
	_, err := p.HandleRequest(p.t.Context(), &logical.Request{Operation: logical.RevokeOperation, Secret: lease.Secret, Storage: p.storage})
	return err
}

// bus is Vault's event bus.
type bus struct{ *syncBuffer }

func (b bus) SendEvent(_ context.Context, kind logical.EventType, e *logical.EventData) error {
	_, err := fmt.Fprintf(b, "%s %v\n", kind, e.GetMetadata().AsMap())
	return err
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func dmo() map[string]any {
	return map[string]any{
		"provider": "panta", "environment": "dmo", "client_id": iam.DemoPantaClient, "client_secret": iam.DemoPantaSecret,
		"username": iam.DemoPantaUser, "password": iam.DemoPantaPassword, "tenant_id": iam.DemoPantaTenant,
	}
}

func eu1() map[string]any {
	return map[string]any{
		"provider": "ocp", "environment": "eu1", "username": iam.DemoOCPUser, "password": iam.DemoOCPPassword,
		"totp_secret": iam.DemoTOTPSecret,
	}
}

func TestAnAccountIsConfiguredReadRevokedAndDeleted(t *testing.T) {
	server := iam.New(iam.Demo())
	p := start(t, server, &logical.InmemStorage{})
	p.write("config/dmo", dmo())
	account := func() iam.AccountStats { return server.AccountStats(iam.DemoPantaRealm, iam.DemoPantaUser) }
	require.Eventually(t, func() bool { return account().Sessions == 0 }, time.Minute, time.Millisecond, "the verification is logged out")
	require.Equal(t, 1, account().Logins)

	first, second := p.read("creds/dmo"), p.read("creds/dmo")
	require.Equal(t, 2, account().Sessions, "each lease has a session of its own")
	require.Equal(t, map[string]string{
		"Authorization": "Bearer " + first.Data["access_token"].(string), "X-CLIENT-ID": iam.DemoPantaTenant,
	}, first.Data["headers"])
	require.InDelta(t, 294, first.Secret.TTL.Seconds(), 1)

	require.NoError(t, p.revoke(first))
	require.Equal(t, 1, account().Sessions)
	require.NoError(t, p.revoke(first), "revoking twice changes nothing")
	require.Equal(t, 1, account().Sessions)

	_, err := p.do(logical.DeleteOperation, "config/dmo", nil)
	require.NoError(t, err)
	require.Zero(t, account().Sessions, "deleting a config logs out its sessions")
	require.NoError(t, p.revoke(second), "what is left behind can be revoked")
}

func TestAHotReadTouchesNeitherStorageNorServer(t *testing.T) {
	server := iam.New(iam.Demo())
	storage := &counting{Storage: &logical.InmemStorage{}}
	p := start(t, server, storage)
	p.write("config/partner", map[string]any{
		"provider": "partner", "base_url": "https://partner.example.com", "client_id": iam.DemoPartnerID, "client_secret": iam.DemoPartnerSecret,
	})
	p.read("creds/partner")
	before, calls := storage.count(), server.Stats().Calls
	for range 100 {
		p.read("creds/partner")
	}
	require.Equal(t, before, storage.count())
	require.Equal(t, calls, server.Stats().Calls)
}

type counting struct {
	logical.Storage

	mu sync.Mutex
	n  int
}

func (c *counting) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *counting) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *counting) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	c.add()
	return c.Storage.Get(ctx, key)
}

func (c *counting) Put(ctx context.Context, e *logical.StorageEntry) error {
	c.add()
	return c.Storage.Put(ctx, e)
}

// TestASpoiledLoginIsAClearErrorAndStoresNoConfig is the list of bad answers of
// issue "first light".
func TestASpoiledLoginIsAClearErrorAndStoresNoConfig(t *testing.T) {
	for name, test := range map[string]struct {
		fault  iam.Fault
		change map[string]any
		status int
	}{
		"wrong password": {change: map[string]any{"password": "wrong-password"}, status: 400},
		"unknown client": {change: map[string]any{"client_id": "nobody"}, status: 400},
		"HTML page":      {fault: iam.Fault{Kind: iam.HTML}, status: 400},
		"HTML 502":       {fault: iam.Fault{Kind: iam.HTML, Status: 502}},
		"empty body":     {fault: iam.Fault{Kind: iam.Empty}, status: 400},
		"truncated":      {fault: iam.Fault{Kind: iam.Truncated}, status: 400},
		"huge":           {fault: iam.Fault{Kind: iam.Huge}, status: 400},
		"redirect":       {fault: iam.Fault{Kind: iam.Redirect}},
		"reset":          {fault: iam.Fault{Kind: iam.Reset}, status: 400},
		"hang":           {fault: iam.Fault{Kind: iam.Hang}, change: map[string]any{"request_timeout": "1s"}, status: 400},
		"unreachable":    {fault: iam.Fault{Kind: iam.Unreachable}, status: 503},
		"throttled":      {fault: iam.Fault{Kind: iam.Status, Status: 429}, status: 429},
	} {
		t.Run(name, func(t *testing.T) {
			server := iam.New(iam.Demo())
			p := start(t, server, &logical.InmemStorage{})
			if test.fault.Kind != "" {
				test.fault.Op = iam.OpLogin
				server.Inject(test.fault)
			}
			config := dmo()
			maps.Copy(config, test.change)
			req := &logical.Request{Operation: logical.CreateOperation, Path: "config/dmo", Data: config, Storage: p.storage}
			resp, err := p.HandleRequest(t.Context(), req)
			status, failed := logical.RespondErrorCommon(req, resp, err)
			logical.AdjustErrorStatusCode(&status, failed)
			require.Error(t, failed)
			t.Logf("%d %s", status, failed)
			require.True(t, strings.HasPrefix(failed.Error(), `config "dmo": login at login.dmo.app.pantaindex.com: `), failed)
			if test.status != 0 {
				require.Equal(t, test.status, status)
			}
			p.requireNoSecret(failed.Error())
			require.Nil(t, p.read("config/dmo"), "nothing is stored")
			require.NotEmpty(t, p.read("info").Data, "the plugin is alive")
			server.ClearFaults()
		})
	}
}

func (p *plugin) requireNoSecret(more ...string) {
	p.t.Helper()
	all := p.log.String() + p.seen.String() + p.events.String() + strings.Join(more, "\n")
	for _, secret := range []string{
		iam.DemoPantaSecret, iam.DemoPantaPassword, iam.DemoOCPPassword, iam.DemoTOTPSecret, iam.DemoSwarmPAT,
		iam.DemoPartnerSecret, "wrong-password", "eyJ",
	} {
		require.NotContains(p.t, all, secret)
	}
}

func TestSecretsAreInNoAnswerErrorOrLog(t *testing.T) {
	server := iam.New(iam.Demo())
	p := start(t, server, &logical.InmemStorage{})
	p.write("config/dmo", dmo())
	p.write("config/eu1", eu1())
	p.write("config/token", map[string]any{"provider": "ocp", "environment": "eu1", "auth_method": "pat", "personal_access_token": iam.DemoSwarmPAT})
	lease := p.read("creds/dmo")
	p.read("creds/token")
	require.NotContains(t, fmt.Sprint(lease.Secret.InternalData), "eyJ")
	for _, path := range []string{"config/dmo", "config/eu1", "config/token", "info", "providers/ocp", "sessions/dmo", "metrics"} {
		p.read(path)
	}
	for _, change := range []map[string]any{
		{"password": "wrong-password"},
		{"client_secret": "wrong-password"},
		{"base_url": "https://paula:wrong-password@login.example.com"},
		{"ca_cert": "wrong-password"},
		{"session_mode": "wrong-password"},
		{"environment": "wrong-password"},
		{"provider": "wrong-password"},
		{"totp_secret": "wrong-password"},
		{"max_sessions": "wrong-password"},
		{"password": map[string]any{"x": "wrong-password"}},
	} {
		resp, err := p.do(logical.UpdateOperation, "config/dmo", change)
		require.True(t, err != nil || resp.IsError(), "%v", change)
	}
	server.Inject(iam.Fault{Op: iam.OpLogout, Kind: iam.Status, Status: 503})
	require.Error(t, p.revoke(lease))
	server.ClearFaults()
	p.requireNoSecret()
}

func TestWhatHappensToSessionsIsSentAsEvents(t *testing.T) {
	server := iam.New(iam.Demo())
	p := start(t, server, &logical.InmemStorage{})
	p.write("config/dmo", dmo())
	lease := p.read("creds/dmo")
	server.Inject(iam.Fault{Op: iam.OpLogout, Kind: iam.Status, Status: 503})
	require.Error(t, p.revoke(lease))
	server.ClearFaults()
	require.NoError(t, p.revoke(lease))
	id, _, _ := strings.Cut(lease.Data["session_id"].(string), ".")
	p.Cleanup(t.Context()) // sends what waits
	var events []string
	for line := range strings.Lines(p.events.String()) {
		if strings.Contains(line, id) {
			events = append(events, strings.ReplaceAll(strings.TrimSpace(line), id, "ID"))
		}
	}
	const metadata = " map[config:dmo data_path:sessions/dmo/ID modified:true operation:%[1]s path:sessions/dmo/ID session:ID]"
	require.Equal(t, []string{
		fmt.Sprintf("panta/%[1]s"+metadata, "session-opened"),
		fmt.Sprintf("panta/%[1]s"+metadata, "logout-pending"),
		fmt.Sprintf("panta/%[1]s"+metadata, "session-closed"),
	}, events)
	p.requireNoSecret()
}

func TestTheMetricsOfOneMountAreItsOwn(t *testing.T) {
	server := iam.New(iam.Demo())
	one, other := start(t, server, &logical.InmemStorage{}), start(t, server, &logical.InmemStorage{})
	one.write("config/dmo", dmo())
	scrape := func(p *plugin) string {
		resp, err := p.do(logical.ReadOperation, "metrics", map[string]any{"format": "prometheus"})
		require.NoError(t, err)
		return string(resp.Data[logical.HTTPRawBody].([]byte))
	}
	require.Contains(t, scrape(one), `panta_upstream_calls_total{config="dmo",operation="login",result="success"} 1`)
	require.NotContains(t, scrape(other), "dmo")
}

func TestARestartFindsEverythingAgain(t *testing.T) {
	server := iam.New(iam.Demo())
	storage := &logical.InmemStorage{}
	p := start(t, server, storage)
	p.write("config/dmo", dmo())
	p.write("roles/r", map[string]any{"config": "dmo", "ttl": 60})
	lease := p.read("creds/r")
	p.Cleanup(t.Context())

	next := start(t, server, storage)
	require.Equal(t, "dmo", next.read("creds/r").Data["config"])
	require.NoError(t, next.revoke(lease))
}

func TestRule1TheEndOfAMountLogsOutEverySession(t *testing.T) {
	server := iam.New(iam.Demo())
	p := start(t, server, &logical.InmemStorage{})
	p.write("config/dmo", dmo())
	p.read("creds/dmo")
	p.read("creds/dmo")
	p.Cleanup(t.Context())
	require.Equal(t, 2, server.AccountStats(iam.DemoPantaRealm, iam.DemoPantaUser).Sessions, "a reload keeps them")

	q := start(t, server, p.storage)
	q.system.TaintedVal = true // as it is on `vault secrets disable`
	q.Cleanup(t.Context())
	require.Zero(t, server.AccountStats(iam.DemoPantaRealm, iam.DemoPantaUser).Sessions)
}

func TestRule9AStandbyNeitherWritesNorLogsIn(t *testing.T) {
	server := iam.New(iam.Demo())
	storage := &logical.InmemStorage{}
	active := start(t, server, storage)
	active.write("config/dmo", dmo())
	active.Cleanup(t.Context())
	logins := server.AccountStats(iam.DemoPantaRealm, iam.DemoPantaUser).Logins

	for name, state := range map[string]consts.ReplicationState{
		"standby":   consts.ReplicationPerformanceStandby,
		"secondary": consts.ReplicationPerformanceSecondary,
	} {
		t.Run(name, func(t *testing.T) {
			system := logical.TestSystemView()
			system.ReplicationStateVal = state
			p := startWith(t, server.Transport(), storage, system)
			for _, path := range []string{"creds/dmo", "config/dmo", "roles/dmo"} {
				_, err := p.do(logical.UpdateOperation, path, nil)
				require.ErrorIs(t, err, logical.ErrReadOnly, path)
			}
			require.Equal(t, "dmo", p.read("config/dmo").Data["environment"])
			require.Equal(t, logins, server.AccountStats(iam.DemoPantaRealm, iam.DemoPantaUser).Logins)

			active := start(t, server, storage)
			active.write("config/dmo", map[string]any{"tenant_id": name})
			p.InvalidateKey(t.Context(), "config/dmo")
			require.Equal(t, name, p.read("config/dmo").Data["tenant_id"])
		})
	}
}

func TestWhatHoldsSecretsIsSealWrapped(t *testing.T) {
	server := iam.New(iam.Demo())
	p := start(t, server, &logical.InmemStorage{})
	p.write("config/dmo", dmo())
	p.read("creds/dmo")
	wrapped := p.SpecialPaths().SealWrapStorage
	for _, prefix := range wrapped {
		require.True(t, strings.HasSuffix(prefix, "/"), "without the slash it is one key")
	}
	keys, err := logical.CollectKeys(t.Context(), p.storage)
	require.NoError(t, err)
	for _, key := range keys {
		entry, err := p.storage.Get(t.Context(), key)
		require.NoError(t, err)
		secret := strings.Contains(string(entry.Value), "secret") || strings.Contains(string(entry.Value), "eyJ")
		covered := false
		for _, prefix := range wrapped {
			covered = covered || strings.HasPrefix(key, prefix)
		}
		require.True(t, covered || !secret, key)
	}
	require.ElementsMatch(t, []string{"config/", "session/", "connection/"}, wrapped)
}

func TestTheVersionIsReported(t *testing.T) {
	p := start(t, iam.New(iam.Demo()), &logical.InmemStorage{})
	require.Equal(t, logical.TypeLogical, p.Type())
	require.Equal(t, "v0.0.0-dev", p.Backend.(logical.PluginVersioner).PluginVersion().Version)
	_, err := p.do(logical.RollbackOperation, "", nil)
	require.NoError(t, err)
}
