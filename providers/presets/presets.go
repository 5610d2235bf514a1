// Package presets holds the providers that are built in, one file each, as data
// for the client of package oauth2. All lists them; nothing registers itself.
package presets

import (
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
)

// Registry are the providers that can be configured.
type Registry []providers.Provider

// All returns every provider, each with the real HTTP transport. Tests that
// need another make their own: oauth2.New(presets.OCP(), transport).
func All() Registry {
	var all Registry
	for _, p := range []oauth2.Preset{Panta(), OCP(), Partner(), Keycloak(), OAuth2()} {
		all = append(all, oauth2.New(p, nil))
	}
	return all
}

// All returns every provider of the registry.
func (r Registry) All() []providers.Provider { return r }

// Lookup returns the provider of that name.
func (r Registry) Lookup(name string) (providers.Provider, bool) {
	for _, p := range r {
		if p.Describe().Name == name {
			return p, true
		}
	}
	return nil, false
}
