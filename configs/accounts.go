package configs

import (
	"context"
	"fmt"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

// Account returns the account of a config; false: there is no config of that
// name. A role has none of its own, and the refusal says whose it uses.
func (c *Configs) Account(ctx context.Context, name string) (sessions.AccountID, bool, error) {
	role, found, err := c.entries.Roles.Get(ctx, name)
	if err != nil {
		return "", false, err
	}
	if found {
		return "", false, &Refusal{
			Message: fmt.Sprintf("%q is a role, and its sessions are those of config %q", name, role.Config),
			Advice:  "ask for sessions/" + role.Config,
		}
	}
	n, found, err := c.connection(ctx, name)
	if err != nil || !found {
		return "", false, err
	}
	if n.id == "" {
		return "", false, &Refusal{Message: fmt.Sprintf("config %q has a personal access token and names no user: nothing logs in for it", name)}
	}
	return n.id, true, nil
}

// ConfigOf returns the name of the config that an account belongs to; empty: it
// has none any more.
func (c *Configs) ConfigOf(ctx context.Context, id sessions.AccountID) (string, error) {
	claim, err := c.claim(ctx, id)
	if err != nil || claim.Config != "" {
		return claim.Config, err
	}
	return claim.Token, nil
}
