package configs

import (
	"context"
	"fmt"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// reserve keeps an account for one write until free is called, if no other
// config owns it.
func (c *Configs) reserve(ctx context.Context, n *config) (free func(), err error) {
	if n.id == "" {
		return func() {}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other, busy := c.reserved[n.id]; busy {
		return nil, &Refusal{
			Message: fmt.Sprintf("the account is being written as config %q at this moment", other),
			Advice:  "try again when that is done",
		}
	}
	owner, err := c.owner(ctx, n.id)
	if err != nil {
		return nil, err
	}
	if owner != "" && owner != n.name {
		return nil, &Refusal{
			Message: fmt.Sprintf("config %q holds this account already, and an account has one session budget, one set of one-time codes and one guard", owner),
			Advice:  fmt.Sprintf("make a role with config=%s instead", owner),
		}
	}
	c.reserved[n.id] = n.name
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.reserved, n.id)
	}, nil
}

// owner returns the config that an account belongs to; empty: none. What is stored
// counts only for a config that exists and is still that account: a crash may have
// left more.
func (c *Configs) owner(ctx context.Context, id sessions.AccountID) (string, error) {
	owner, found, err := c.entries.Owners.Get(ctx, string(id))
	if err != nil || !found {
		return "", err
	}
	n, found, err := c.config(ctx, owner.Config)
	switch {
	case unusable(err): // it is there, if broken: it keeps its account
		return owner.Config, nil
	case err != nil:
		return "", err
	case !found || n.id != id:
		return "", nil
	}
	return owner.Config, nil
}

// own stores that the account belongs to the config. It comes before the config is
// stored: an owner that does not exist counts for nothing, a config without its
// account would leave it to others.
func (c *Configs) own(ctx context.Context, n *config) error {
	if n.id == "" {
		return nil
	}
	owner, err := c.owner(ctx, n.id)
	if err != nil || owner == n.name {
		return err
	}
	return c.entries.Owners.Put(ctx, string(n.id), store.Owner{Config: n.name})
}
