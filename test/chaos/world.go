package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// lives are those of things at the identity server.
type lives struct {
	token, idle time.Duration
	login       time.Duration // how long a login takes: time to be killed in
}

// Short ones, so that hours of them fit into minutes; a lease ends 5 s before
// its token (rule 4).
var short = lives{token: 12 * time.Second, idle: 25 * time.Second, login: 60 * time.Millisecond}

const otpPeriod = time.Second

// sharedUser has the sessions of config "shared".
const sharedUser = "sam"

// crowd is how many users there are besides, member(0) and so on.
const crowd = 40

func member(i int) string { return fmt.Sprintf("member-%d", i) }

// account is a user at the identity server, and the config that logs in as him.
type account struct {
	config string
	realm  string
	user   string
	limit  int // sessions that the server allows; 0: any number
}

var accounts = []account{
	{config: "shared", realm: iam.DemoPantaRealm, user: sharedUser},
	{config: "dmo", realm: iam.DemoPantaRealm, user: iam.DemoPantaUser},
	{config: "eu1", realm: iam.DemoSwarmRealm, user: iam.DemoOCPUser, limit: iam.DemoSessionLimit},
}

// world is what a fault is tried on: an emulated identity server in this
// process, and real Vault servers with the plugin.
type world struct {
	random   *rand.Rand // decides what comes when; for one goroutine
	log      func(format string, args ...any)
	emulator *iam.Server
	journal  *journal
	lives    lives
	direct   string // the emulator's URL, past every proxy
	upstream string // its URL as the configs have it
	nodes    []*servers.Vault
	clients  []*api.Client // of each node
	good     atomic.Int32  // the node whose client is asked by witness and judges
	closers  []func()
}

func emulatorConfig(l lives) iam.Config {
	cfg := iam.Demo()
	for i := range cfg.Realms {
		r := &cfg.Realms[i]
		r.TokenLife, r.SessionIdle, r.LoginTime, r.OTP.Period = l.token, l.idle, l.login, otpPeriod
	}
	panta := &cfg.Realms[0]
	panta.Users = append(panta.Users, iam.User{Username: sharedUser, Password: "sams-password", AccountRoles: true})
	for i := range crowd {
		panta.Users = append(panta.Users, iam.User{Username: member(i), Password: "password", AccountRoles: true})
	}
	return cfg
}

// newWorld starts the emulator on an address of this machine.
func newWorld(random *rand.Rand, log func(string, ...any), l lives, ip string) (*world, error) {
	w := &world{random: random, log: log, lives: l, emulator: iam.New(emulatorConfig(l))}
	listener, err := net.Listen("tcp", ip+":0") //nolint:noctx // returns at once
	if err != nil {
		return nil, err
	}
	w.journal = newJournal(w.emulator)
	server := &http.Server{Handler: w.journal, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	w.onClose(func() {
		w.emulator.ClearFaults() // lets go what hangs
		_ = server.Close()
	})
	w.direct = "http://" + listener.Addr().String()
	w.upstream = w.direct
	return w, nil
}

func (w *world) onClose(f func()) { w.closers = append(w.closers, f) }

func (w *world) close() {
	for _, f := range slices.Backward(w.closers) {
		f()
	}
}

// startVault adds a server of its own.
func (w *world) startVault(ctx context.Context, o servers.Options) error {
	plugin, err := servers.Plugin(ctx)
	if err != nil {
		return err
	}
	o.Plugin = plugin
	v, err := servers.StartVault(ctx, o)
	if err != nil {
		return err
	}
	w.onClose(v.Stop)
	return w.use(v)
}

// startCluster makes a world with a cluster of three in it.
func startCluster(ctx context.Context, random *rand.Rand, log func(string, ...any), o servers.Options) (*world, *servers.Cluster, error) {
	plugin, err := servers.Plugin(ctx)
	if err != nil {
		return nil, nil, err
	}
	o.Plugin = plugin
	cluster, err := servers.StartCluster(ctx, 3, o)
	if err != nil {
		return nil, nil, err
	}
	w, err := newWorld(random, log, short, cluster.HostIP)
	if err != nil {
		cluster.Stop()
		return nil, nil, err
	}
	w.onClose(cluster.Stop)
	return w, cluster, w.use(cluster.Nodes...)
}

func (w *world) use(nodes ...*servers.Vault) error {
	for _, v := range nodes {
		client, err := v.Client()
		if err != nil {
			return err
		}
		client.SetMaxRetries(0) // an error is to be seen, not repeated
		client.SetClientTimeout(5 * time.Second)
		w.nodes, w.clients = append(w.nodes, v), append(w.clients, client)
	}
	return nil
}

// vault is the server where there is only one.
func (w *world) vault() *servers.Vault { return w.nodes[0] }

// client is that of a node which is not in trouble.
func (w *world) client() *api.Client { return w.clients[w.good.Load()] }

func (w *world) write(ctx context.Context, path string, data map[string]any) error {
	_, err := w.client().Logical().WriteWithContext(ctx, servers.Mount+"/"+path, data)
	return err
}

// configure writes a config for each of accounts, and roles:
//
//	shared, shared-role   one session for all
//	dmo, dmo-role         a session for each lease
//	eu1, eu1-own          one-time codes and five sessions: shared, and dedicated
func (w *world) configure(ctx context.Context) error {
	common := map[string]any{"base_url": w.upstream, "request_timeout": "3s", "allow_http": true}
	with := func(more map[string]any) map[string]any {
		maps.Copy(more, common)
		return more
	}
	return errors.Join(
		w.write(ctx, "config/shared", with(map[string]any{
			"provider": "keycloak", "realm": iam.DemoPantaRealm, "session_mode": "shared",
			"client_id": iam.DemoPantaClient, "client_secret": iam.DemoPantaSecret,
			"username": sharedUser, "password": "sams-password",
		})),
		w.write(ctx, "config/dmo", with(map[string]any{
			"provider": "panta", "environment": "dmo", "tenant_id": iam.DemoPantaTenant,
			"client_id": iam.DemoPantaClient, "client_secret": iam.DemoPantaSecret,
			"username": iam.DemoPantaUser, "password": iam.DemoPantaPassword,
		})),
		w.write(ctx, "config/eu1", with(map[string]any{
			"provider": "ocp", "environment": "eu1", "max_sessions": iam.DemoSessionLimit,
			"username": iam.DemoOCPUser, "password": iam.DemoOCPPassword,
			"totp_secret": fmt.Sprintf("otpauth://totp/OCP?secret=%s&period=%.0f", iam.DemoTOTPSecret, otpPeriod.Seconds()),
		})),
		w.write(ctx, "roles/shared-role", map[string]any{"config": "shared"}),
		w.write(ctx, "roles/dmo-role", map[string]any{"config": "dmo"}),
		w.write(ctx, "roles/eu1-own", map[string]any{"config": "eu1", "session_mode": "dedicated"}),
	)
}

// configureMember writes a config for a user of the crowd, named after the user.
func (w *world) configureMember(ctx context.Context, i int, mode string) error {
	return w.write(ctx, "config/"+member(i), map[string]any{
		"provider": "panta", "environment": "dmo", "tenant_id": iam.DemoPantaTenant, "session_mode": mode,
		"base_url": w.upstream, "request_timeout": "3s",
		"client_id": iam.DemoPantaClient, "client_secret": iam.DemoPantaSecret,
		"username": member(i), "password": "password",
	})
}

func (w *world) stats(a account) iam.AccountStats { return w.emulator.AccountStats(a.realm, a.user) }

// api asks the resource that takes the tokens of a realm whether it takes this
// one; it is reached past Vault and every proxy.
func (w *world) takes(ctx context.Context, realm, token string) (bool, error) {
	url := w.direct + "/api/panta/ping"
	if realm != iam.DemoPantaRealm {
		url = w.direct + "/api/ocp/orchestrator/ping"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("X-CLIENT-ID", iam.DemoPantaTenant)
	answer, err := resources.Do(request)
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
		return true, nil
	case http.StatusUnauthorized:
		return false, nil
	}
	return false, fmt.Errorf("%s answered %d", url, answer.StatusCode)
}

var resources = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Timeout: 10 * time.Second}

// eventually waits until f is content.
func eventually(ctx context.Context, limit time.Duration, what string, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s, within %s: %w", what, limit, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
