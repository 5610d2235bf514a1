package paths

import (
	"slices"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
)

// Rooms are what lies behind the doors.
type Rooms struct {
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
	releaser
	checker
}

// All returns every path.
func All(r Rooms) []*framework.Path {
	return slices.Concat(
		// First, since the framework tries the patterns in this order.
		Creds(r.Names, r.Sessions, r.Mount),
		Config(r.Configs),
		Roles(r.Roles),
		Check(r.Names, r.Sessions),
		Sessions(r.Ledger, r.Accounts),
		Providers(r.Providers),
		Info(r.Build),
		Metrics(r.Meter),
	)
}

// Secrets returns every type of secret that the paths hand out.
func Secrets(r Rooms) []*framework.Secret {
	return []*framework.Secret{Token(r.Sessions, r.Logger)}
}
