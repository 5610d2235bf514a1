package configs

import (
	"cmp"
	"context"
	"maps"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

// Target is what a name at creds/ means: a config, or a role's view of it. It
// is shared by all who ask, and never changed.
type Target struct {
	Config      string
	Provider    string
	Environment string
	TenantID    string

	Account sessions.AccountID
	Mode    providers.Mode
	Scopes  []string          // sorted
	Params  map[string]string // further parameters of the login

	TTL    time.Duration // 0: the mount's default
	MaxTTL time.Duration // 0: the mount's

	// Token is a personal access token, for which nothing logs in; empty: it is none.
	Token     providers.Secret
	ExpiresAt time.Time // of Token; zero: not known
	Services  []string  // where Token works

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
		role, found, err := c.ReadRole(ctx, name)
		if err != nil {
			return nil, false, err
		}
		if !found {
			n, found, err := c.config(ctx, name)
			if err != nil || !found {
				return nil, found, err
			}
			return ofConfig(n), true, nil
		}
		n, found, err := c.config(ctx, role.Config)
		if err != nil {
			return nil, false, err
		}
		if !found {
			return nil, false, &Refusal{
				Message: "the role's config \"" + role.Config + "\" does not exist",
				Advice:  "write that config, or let the role name another one",
			}
		}
		return ofRole(role, n), true, nil
	})
	return target, err
}

func ofConfig(n *config) *Target {
	return &Target{
		Config:      n.name,
		Provider:    n.account.Provider,
		Environment: n.account.Environment,
		TenantID:    n.account.TenantID,
		Account:     n.id,
		Mode:        n.mode,
		Scopes:      n.account.Scopes,
		Params:      n.account.TokenParams,
		TTL:         n.settings.TTL,
		MaxTTL:      n.settings.MaxTTL,
		Token:       n.account.PersonalAccessToken,
		ExpiresAt:   n.account.ExpiresAt,
		Services:    n.method.Services,
		provider:    n.provider,
		account:     n.account,
	}
}

func ofRole(role Role, n *config) *Target {
	t := ofConfig(n)
	if len(role.Scopes) > 0 {
		t.Scopes, _ = providers.NormalizeScopes(role.Scopes) // they were checked when they were stored
	}
	if len(role.TokenParams) > 0 {
		params := maps.Clone(role.TokenParams)
		maps.Copy(params, t.Params)
		t.Params = params
	}
	if role.TTL > 0 {
		t.TTL = role.TTL
	}
	if role.MaxTTL > 0 {
		t.MaxTTL = min(role.MaxTTL, cmp.Or(t.MaxTTL, role.MaxTTL))
	}
	if role.SessionMode != "" {
		t.Mode = providers.Mode(role.SessionMode)
	}
	return t
}
