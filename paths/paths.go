package paths

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// Dependencies are what the paths need.
type Dependencies struct {
	Configs   *configs.Configs
	Sessions  engine
	Meter     meter
	Providers configs.Registry
	Mount     mountTTLs
	Build     Build
	Logger    hclog.Logger
}

// engine hands out tokens and takes them back, tries accounts, and shows and ends
// their sessions.
type engine interface {
	Acquire(ctx context.Context, r sessions.Request) (sessions.Lease, error)
	Static(ctx context.Context, r sessions.Request) (sessions.StaticToken, error)
	Release(ctx context.Context, ref sessions.LeaseRef) error
	Check(ctx context.Context, r sessions.CheckRequest) (sessions.CheckReport, error)

	Accounts(ctx context.Context) ([]sessions.AccountID, error)
	Status(ctx context.Context, id sessions.AccountID) (sessions.Status, error)
	Sessions(ctx context.Context, id sessions.AccountID) ([]sessions.SessionStatus, error)
	Session(ctx context.Context, id sessions.AccountID, s machine.SessionID) (sessions.SessionStatus, bool, error)
	CloseSession(ctx context.Context, id sessions.AccountID, s machine.SessionID) (before, after sessions.SessionStatus, found bool, err error)
}

// mountTTLs are what the mount is tuned to.
type mountTTLs interface {
	DefaultLeaseTTL() time.Duration
	MaxLeaseTTL() time.Duration
}

// All returns every path.
func All(d Dependencies) []*framework.Path {
	return slices.Concat(
		// First, since the framework tries the patterns in this order.
		Creds(d),
		StaticCreds(d),
		Config(d.Configs),
		Roles(d.Configs),
		Check(d),
		Sessions(d),
		Providers(d.Providers),
		Info(d.Build),
		Metrics(d.Meter),
	)
}

// Secrets returns every type of secret that the paths hand out.
func Secrets(d Dependencies) []*framework.Secret { return []*framework.Secret{Token(d)} }
