// Package backend composes the engine: storage, configs, sessions and paths
// become one Vault backend with its lifecycle. It is the only place that knows
// them all.
//
// Start with Factory.
package backend

import (
	"context"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/paths"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
	"github.com/pantaindex/vault-plugin-secrets-panta/telemetry"
)

const (
	// drainTimeout bounds the logouts at the end of a mount (rule 1).
	drainTimeout = 30 * time.Second
	// eventsTimeout bounds the sending of the last events.
	eventsTimeout = time.Second
)

// Factory returns what makes a backend for each mount, with the providers that
// are built in.
func Factory() logical.Factory { return FactoryOf(presets.All()) }

// FactoryOf is Factory with other providers. Vault also calls a factory to ask
// for the version alone, so it touches neither storage nor system view.
func FactoryOf(available []providers.Provider) logical.Factory {
	known := presets.Registry(available)
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		own := *conf
		if conf.System != nil {
			own.System = &mount{SystemView: conf.System}
		}
		b := compose(known, &own)
		if err := b.Setup(ctx, &own); err != nil {
			return nil, err
		}
		return b, nil
	}
}

func compose(known presets.Registry, conf *logical.BackendConfig) paths.Handler {
	build := Build()
	metrics := telemetry.NewMetrics(telemetry.Build{Version: build.Version, Commit: build.Commit})
	events := telemetry.NewEvents(conf.EventsSender, conf.Logger.Named("events"))
	configured := configs.New(store.NewEntries(conf.StorageView), known, conf.Logger.Named("configs"))
	engine := sessions.New(sessions.Options{
		Storage:   conf.StorageView,
		Directory: configured,
		Providers: known,
		Logger:    conf.Logger,
		Version:   build.Version,
		Observers: []sessions.Observer{metrics, events},
	})
	metrics.Watch(engine.Readings, events.Dropped)
	metrics.WatchTokens(configured.TokenEnds)
	configured.Serve(engine)
	dependencies := paths.Dependencies{
		Configs:   configured,
		Sessions:  engine,
		Meter:     metrics,
		Providers: known,
		Mount:     conf.System,
		Build:     build,
		Logger:    conf.Logger.Named("paths"),
	}
	b := &framework.Backend{
		Help:           help,
		BackendType:    logical.TypeLogical,
		RunningVersion: runningVersion(build.Version),
		Paths:          paths.All(dependencies),
		Secrets:        paths.Secrets(dependencies),
		PathsSpecial: &logical.Paths{
			// The trailing slash makes each a prefix.
			SealWrapStorage: []string{store.ConfigPrefix, sessions.SessionPrefix, sessions.ConnectionPrefix},
		},
		Invalidate: func(_ context.Context, key string) { configured.Invalidate(key) },
	}
	b.PeriodicFunc = func(context.Context, *logical.Request) error {
		if b.WriteSafeReplicationState() {
			engine.Nudge()
		}
		return nil
	}
	b.InitializeFunc = func(context.Context, *logical.InitializationRequest) error {
		// A standby or secondary neither writes nor logs in (rule 9).
		if b.WriteSafeReplicationState() {
			engine.Start()
		}
		return nil
	}
	b.Clean = func(ctx context.Context) { clean(ctx, b, engine, events) }
	return paths.Handler{Backend: b}
}

// clean ends the background work and, at the end of a mount, every session.
func clean(ctx context.Context, b *framework.Backend, engine *sessions.Engine, events *telemetry.Events) {
	defer events.Stop(eventsTimeout)
	defer engine.Stop() //nolint:contextcheck // it has its own patience
	if !b.System().Tainted() || !b.WriteSafeReplicationState() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := engine.DrainAll(ctx); err != nil {
		b.Logger().Warn("the mount ends before all of its sessions could be logged out; they end by age", "error", err)
	}
}

// runningVersion is what Vault's plugin catalogue compares: "v1.2.3".
func runningVersion(version string) string {
	if version == "" || strings.HasPrefix(version, "v") {
		return version
	}
	return "v" + version
}

const help = `
The panta secrets engine keeps the logins to Panta, OCP, a partner API and other
OAuth 2.0 servers, hands out short-lived tokens as leases, and logs out every
session that it opens.

Write an account to config/<name>, then read creds/<name>. What an account needs
is listed at providers/<provider>.
`
