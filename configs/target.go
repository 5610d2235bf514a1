package configs

import (
	"context"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// Target is what a name at creds/ means: a config, or a role's view of it. It
// is shared by all who ask, and never changed.
type Target struct {
	Config      string
	Role        string // empty: the config itself was asked for
	Provider    string
	Environment string
	TenantID    string

	Account sessions.AccountID
	Mode    providers.Mode
	Scopes  []string // sorted

	TTL    time.Duration // 0: the mount's default
	MaxTTL time.Duration // 0: the mount's

	// Token says that this is a personal access token: nothing logs in for it.
	Token bool
	// CanLogIn: there is a login to the account, were it only to keep it alive.
	CanLogIn bool
	Services []string // where that token works

	provider providers.Provider
	account  providers.Account
}

// Headers returns what an application sends with a token of this target. For a
// personal access token the argument is empty.
func (t *Target) Headers(token providers.TokenResponse) map[string]string {
	return t.provider.Headers(t.account, token)
}

// Resolve returns what a name means: a role, else a config; nil: neither. What
// was resolved before costs no storage access.
func (c *Configs) Resolve(ctx context.Context, name string) (*Target, error) {
	target, _, err := c.targets.Get(ctx, name, func(ctx context.Context) (*Target, bool, error) {
		role, found, err := c.entries.Roles.Get(ctx, name)
		if err != nil {
			return nil, false, err
		}
		if !found {
			n, found, err := c.connection(ctx, name)
			if err != nil || !found {
				return nil, false, err
			}
			return ofConfig(n), true, nil
		}
		n, found, err := c.connection(ctx, role.Config)
		if err != nil {
			return nil, false, err
		}
		if !found {
			return nil, false, &Refusal{
				Message: "the role's config \"" + role.Config + "\" does not exist",
				Advice:  "write that config, or let the role name another one",
			}
		}
		return ofRole(name, role, n), true, nil
	})
	return target, err
}

func ofConfig(n *connection) *Target {
	return &Target{
		Config:      n.name,
		Provider:    n.account.Provider,
		Environment: n.account.Environment,
		TenantID:    n.account.TenantID,
		Account:     n.id,
		Mode:        n.mode,
		Scopes:      n.account.Scopes,
		TTL:         n.entry.TTL,
		MaxTTL:      n.entry.MaxTTL,
		Token:       !n.logsIn(),
		CanLogIn:    n.canLogIn(),
		Services:    n.method.Services,
		provider:    n.provider,
		account:     n.account,
	}
}

func ofRole(name string, role store.Role, n *connection) *Target {
	t := ofConfig(n)
	t.Role = name
	if len(role.Scopes) > 0 {
		t.Scopes = role.Scopes
	}
	if role.TTL > 0 {
		t.TTL = role.TTL
	}
	if role.MaxTTL > 0 && (t.MaxTTL == 0 || role.MaxTTL < t.MaxTTL) {
		t.MaxTTL = role.MaxTTL
	}
	if role.SessionMode != "" {
		t.Mode = providers.Mode(role.SessionMode)
	}
	return t
}
