package paths

import (
	"slices"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
)

// Dependencies are what the paths need.
type Dependencies struct {
	Configs   configurer
	Roles     roleKeeper
	Names     resolver
	Accounts  accountNames
	Sessions  grantKeeper
	Ledger    ledger
	Meter     meter
	Providers catalogue
	Mount     mountTTLs
	Build     Build
	Logger    hclog.Logger
}

// grantKeeper hands out tokens, takes them back, and tries accounts.
type grantKeeper interface {
	granter
	staticReader
	releaser
	checker
}

// All returns every path.
func All(d Dependencies) []*framework.Path {
	return slices.Concat(
		// First, since the framework tries the patterns in this order.
		Creds(d.Names, d.Sessions, d.Mount),
		StaticCreds(d.Names, d.Sessions, d.Mount),
		Config(d.Configs),
		Roles(d.Roles),
		Check(d.Names, d.Sessions),
		Sessions(d.Ledger, d.Accounts),
		Providers(d.Providers),
		Info(d.Build),
		Metrics(d.Meter),
	)
}

// Secrets returns every type of secret that the paths hand out.
func Secrets(d Dependencies) []*framework.Secret {
	return []*framework.Secret{Token(d.Sessions, d.Logger)}
}
