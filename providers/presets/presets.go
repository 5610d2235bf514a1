// Package presets holds the providers that are built in, one file each, as data
// for the client of package oauth2. All lists them; nothing registers itself.
package presets

import (
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
)

// All returns every provider, each with the real HTTP transport. Tests that
// need another make their own: oauth2.New(presets.OCP(), transport).
func All() []providers.Provider {
	var all []providers.Provider
	for _, p := range []oauth2.Preset{Panta(), OCP(), Partner(), Keycloak(), OAuth2()} {
		all = append(all, oauth2.New(p, nil))
	}
	return all
}

// Lookup returns the provider of that name. It makes all of them anew; keep
// what it returns.
func Lookup(name string) (providers.Provider, bool) {
	for _, p := range All() {
		if p.Describe().Name == name {
			return p, true
		}
	}
	return nil, false
}
