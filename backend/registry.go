package backend

import "github.com/pantaindex/vault-plugin-secrets-panta/providers"

// registry is the providers that can be configured, made once.
type registry struct {
	all    []providers.Provider
	byName map[string]providers.Provider
}

func newRegistry(all []providers.Provider) registry {
	r := registry{all: all, byName: make(map[string]providers.Provider)}
	for _, p := range all {
		r.byName[p.Describe().Name] = p
	}
	return r
}

// All returns every provider.
func (r registry) All() []providers.Provider { return r.all }

// Lookup returns the provider of that name.
func (r registry) Lookup(name string) (providers.Provider, bool) {
	p, ok := r.byName[name]
	return p, ok
}
