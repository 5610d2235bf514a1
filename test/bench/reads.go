package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

const (
	nullMount = "null"
	// loginTime is about what Keycloak takes to check a password on two cores.
	loginTime = 200 * time.Millisecond
	// refreshEvery is half the idle time that the server tells with each token,
	// which is when the engine refreshes; its access tokens live 300 s all the same.
	refreshEvery = time.Second
	coldReaders  = 1000
)

// The realms of the emulator behind the kinds of reads; the hot ones have one of their own.
var (
	refreshingRealm = iam.DemoK8sRealm
	coldRealm       = iam.DemoPantaRealm
)

// ground is the Vault that is measured, with the plugin and the null plugin in it.
type ground struct {
	vault    *servers.Vault
	client   *api.Client
	emulator *iam.Server
	url      string // of the emulator
	stop     func()

	null, profiled string // binaries
}

// newGround starts a Vault with that storage: in "inmem" leases cost as little as
// they can; in "raft", on a disk, each costs a write.
func newGround(ctx context.Context, storage string) (*ground, error) {
	plugin, err := servers.Plugin(ctx)
	if err != nil {
		return nil, err
	}
	vault, err := servers.StartVault(ctx, servers.Options{Storage: storage, Plugin: plugin})
	if err != nil {
		return nil, err
	}
	emulator := iam.New(identityServer())
	socket := httptest.NewServer(emulator)
	g := &ground{vault: vault, emulator: emulator, url: socket.URL, stop: func() { vault.Stop(); socket.Close() }}
	if err := g.prepare(ctx); err != nil {
		g.stop()
		return nil, err
	}
	return g, nil
}

func identityServer() iam.Config {
	cfg := iam.Demo()
	for i := range cfg.Realms {
		switch realm := &cfg.Realms[i]; realm.Name {
		case refreshingRealm:
			realm.SessionIdle = 2 * refreshEvery
		case coldRealm:
			realm.LoginTime = loginTime
		}
	}
	return cfg
}

// prepare writes the accounts, and has the null plugin answer what the real one
// answers.
func (g *ground) prepare(ctx context.Context) (err error) {
	if g.client, err = g.vault.Client(); err != nil {
		return err
	}
	for name, fields := range map[string]map[string]any{
		"hot":        {"provider": "ocp", "environment": "eu1", "username": iam.DemoPlainUser, "password": iam.DemoPlainPassword},
		"refreshing": {"provider": "ocp", "environment": "ca1", "username": iam.DemoPlainUser, "password": iam.DemoPlainPassword},
		"cold": {
			"provider": "panta", "environment": "dmo", "client_id": iam.DemoPantaClient, "client_secret": iam.DemoPantaSecret,
			"username": iam.DemoPlainUser, "password": iam.DemoPlainPassword, "tenant_id": iam.DemoPantaTenant,
			"session_mode": "shared", "verify": false,
		},
		"cold-static": {
			"provider": "panta", "environment": "dmo", "client_id": iam.DemoPantaClient, "client_secret": iam.DemoPantaSecret,
			"username": iam.DemoPantaUser, "password": iam.DemoPantaPassword, "tenant_id": iam.DemoPantaTenant,
			"session_mode": "shared", "verify": false,
		},
	} {
		fields["base_url"] = g.url
		if _, err := g.client.Logical().WriteWithContext(ctx, servers.Mount+"/config/"+name, fields); err != nil {
			return err
		}
	}
	if g.null, err = build(ctx, g.vault.Dir, "null"); err != nil {
		return err
	}
	if g.profiled, err = build(ctx, g.vault.Dir, "profiled"); err != nil {
		return err
	}
	if err := g.enable(ctx, g.null, nullMount); err != nil {
		return err
	}
	return g.teach(ctx, servers.Mount, nullMount)
}

// teach writes an answer of the real plugin to the null plugin.
func (g *ground) teach(ctx context.Context, from, to string) error {
	answer, err := g.client.Logical().ReadWithContext(ctx, from+"/creds/hot")
	if err != nil {
		return err
	}
	static, err := g.client.Logical().ReadWithContext(ctx, from+"/static-creds/hot")
	if err != nil {
		return err
	}
	sample, err := json.Marshal(map[string]any{
		"data":        answer.Data,
		"static_data": static.Data,
		// As the plugin's, of which nobody outside of Vault sees the values.
		"internal_data": map[string]any{
			"secret_type": "panta_token", "version": 1, "account": "0123456789abcdef01234567", "session": answer.Data["session_id"],
			"grant": "abcdefgh-123456", "mode": "shared", "config": "hot", "role": "",
		},
		"seconds": answer.LeaseDuration,
	})
	if err != nil {
		return err
	}
	if _, err = g.client.Logical().WriteWithContext(ctx, to+"/sample", map[string]any{"sample": string(sample)}); err != nil {
		return err
	}
	return g.clear(ctx, from)
}

// clear revokes all leases of a mount, so that each round meets the same Vault.
func (g *ground) clear(ctx context.Context, mount string) error {
	client, err := g.client.Clone()
	if err != nil {
		return err
	}
	client.SetToken(g.vault.Token)
	client.SetClientTimeout(5 * time.Minute)
	return client.Sys().RevokePrefixWithContext(ctx, mount+"/creds")
}

// version is "Vault 1.21.0".
func (g *ground) version(ctx context.Context) (string, error) {
	health, err := g.client.Sys().HealthWithContext(ctx)
	if err != nil {
		return "", err
	}
	return map[string]string{"vault": "Vault ", "openbao": "OpenBao "}[g.vault.Server] + health.Version, nil
}

// kind is one kind of read, and what its rounds gave.
type kind struct {
	name  string
	mount string
	path  string
	loads []load
}

func (k *kind) throughput() float64 {
	var all []float64
	for _, l := range k.loads {
		all = append(all, l.throughput)
	}
	return median(all)
}

func (k *kind) p99() time.Duration {
	var all []time.Duration
	for _, l := range k.loads {
		all = append(all, l.percentile(99))
	}
	return median(all)
}

// cpuPerRead is what Vault and the plugin have used for one read, over all rounds.
func (k *kind) cpuPerRead() cpu {
	var all cpu
	reads := time.Duration(0)
	for _, l := range k.loads {
		all.vault += l.cpu.vault
		all.plugins += l.cpu.plugins
		reads += time.Duration(l.reads)
	}
	return cpu{all.vault / reads, all.plugins / reads}
}

// ratios are those of the throughputs of each round.
func (k *kind) ratios(floor *kind) []float64 {
	var all []float64
	for i, l := range k.loads {
		all = append(all, l.throughput/floor.loads[i].throughput)
	}
	slices.Sort(all)
	return all
}

// kinds are the reads that are measured against each other.
type kinds struct {
	null, usual, hot, refreshing *kind // with a lease
	nullStatic, static           *kind // without
}

func newKinds() kinds {
	return kinds{
		null:       &kind{name: "null plugin", mount: nullMount, path: nullMount + "/creds/hot"},
		usual:      &kind{name: "null plugin as usually written", mount: nullMount, path: nullMount + "/creds/usual"},
		hot:        &kind{name: "`creds/`", mount: servers.Mount, path: servers.Mount + "/creds/hot"},
		refreshing: &kind{name: "`creds/`, refreshed every second", mount: servers.Mount, path: servers.Mount + "/creds/refreshing"},
		nullStatic: &kind{name: "null plugin without a lease", mount: nullMount, path: nullMount + "/static-creds/hot"},
		static:     &kind{name: "`static-creds/`", mount: servers.Mount, path: servers.Mount + "/static-creds/hot"},
	}
}

func measureReads(ctx context.Context, much effort, r *report) error {
	g, err := newGround(ctx, "inmem")
	if err != nil {
		return err
	}
	defer g.stop()
	if r.server, err = g.version(ctx); err != nil {
		return err
	}
	k := newKinds()
	refreshes, err := g.rounds(ctx, []*kind{k.null, k.hot, k.usual, k.refreshing, k.nullStatic, k.static}, much)
	if err != nil {
		return err
	}
	if least := much.rounds * much.seconds / 2; refreshes < least {
		return fmt.Errorf("the session was refreshed %d times in the background, less than %d: nothing was measured beside refreshes", refreshes, least)
	}
	r.addReads(k, refreshes, much)

	if err := g.coldReaders(ctx, r); err != nil {
		return fmt.Errorf("cold readers: %w", err)
	}
	if err := g.profiles(ctx, much, r); err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	return nil
}

// measureReadsOnDisk is for what leases cost: on raft storage each is a write.
func measureReadsOnDisk(ctx context.Context, much effort, r *report) error {
	g, err := newGround(ctx, "raft")
	if err != nil {
		return err
	}
	defer g.stop()
	much.rounds = (much.rounds + 1) / 2
	k := newKinds()
	if _, err := g.rounds(ctx, []*kind{k.null, k.hot, k.nullStatic, k.static}, much); err != nil {
		return err
	}
	r.addReadsOnDisk(k)
	return nil
}

// rounds measures all kinds in turns. It returns how often the refreshing session
// was refreshed meanwhile.
func (g *ground) rounds(ctx context.Context, all []*kind, much effort) (refreshes int, err error) {
	for round := range much.rounds {
		for _, k := range turn(all, round) {
			l, n, err := g.round(ctx, k, time.Duration(much.seconds)*time.Second)
			if err != nil {
				return 0, fmt.Errorf("round %d, %s: %w", round+1, k.name, err)
			}
			k.loads = append(k.loads, l)
			refreshes += n
		}
	}
	return refreshes, nil
}

// turn is the order of a round: none always comes first, nor always after the
// same other one.
func turn(kinds []*kind, round int) []*kind {
	first := round % len(kinds)
	order := slices.Concat(kinds[first:], kinds[:first])
	if round/len(kinds)%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

// round warms up, reads, and clears away the leases. It also returns how often
// the refreshing session was refreshed.
func (g *ground) round(ctx context.Context, k *kind, d time.Duration) (load, int, error) {
	reader := newReader(g.vault.Addr, g.vault.Token, k.path, clients)
	defer reader.close()
	// The first read logs in; its lease holds the session for the others.
	if _, err := reader.drive(ctx, 1, 0); err != nil {
		return load{}, 0, err
	}
	if _, err := reader.drive(ctx, clients, 200*time.Millisecond); err != nil {
		return load{}, 0, err
	}
	before := g.emulator.AccountStats(refreshingRealm, iam.DemoPlainUser).Refreshes
	used := cpuTime(g.vault.Dir)
	l, err := reader.drive(ctx, clients, d)
	if err != nil {
		return load{}, 0, err
	}
	l.cpu = cpuTime(g.vault.Dir).minus(used)
	refreshes := g.emulator.AccountStats(refreshingRealm, iam.DemoPlainUser).Refreshes - before
	return l, refreshes, g.clear(ctx, k.mount)
}

// coldReaders has a thousand applications read at once, of an account that
// nobody is logged in to: with a lease and, of another account, without.
func (g *ground) coldReaders(ctx context.Context, r *report) error {
	waits := map[string]load{}
	for _, path := range []string{nullMount + "/creds/hot", servers.Mount + "/creds/cold", servers.Mount + "/static-creds/cold-static"} {
		reader := newReader(g.vault.Addr, g.vault.Token, path, coldReaders)
		l, err := reader.drive(ctx, coldReaders, 0)
		reader.close()
		if err != nil {
			return err
		}
		waits[path] = l
	}
	r.addColdReaders(waits[nullMount+"/creds/hot"], waits[servers.Mount+"/creds/cold"],
		g.emulator.AccountStats(coldRealm, iam.DemoPlainUser).Logins, g.emulator.AccountStats(coldRealm, iam.DemoPantaUser).Logins)
	return errors.Join(g.clear(ctx, nullMount), g.clear(ctx, servers.Mount))
}
