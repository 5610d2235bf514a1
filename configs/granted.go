package configs

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// granting is an upstream that remembers which scopes its last login was granted.
type granting struct {
	providers.Upstream

	scope atomic.Pointer[string]
}

// Login implements providers.Upstream.
func (g *granting) Login(ctx context.Context, r providers.LoginRequest) (providers.TokenResponse, error) {
	got, err := g.Upstream.Login(ctx, r)
	if err == nil {
		g.scope.Store(&got.Scope)
	}
	return got, err
}

// missing returns the scopes that were asked for and not granted. Servers name scopes
// in a case of their own, and do not count offline_access among them.
func (g *granting) missing(asked []string) []string {
	said := g.scope.Load()
	if said == nil || *said == "" {
		return nil
	}
	granted := strings.Fields(strings.ToLower(*said))
	return slices.DeleteFunc(slices.Clone(asked), func(s string) bool {
		return s == "offline_access" || slices.Contains(granted, strings.ToLower(s))
	})
}
