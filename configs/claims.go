package configs

import (
	"context"
	"fmt"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// reserve keeps an account for one write until free is called, if no other
// config holds it.
func (c *Configs) reserve(ctx context.Context, n *connection) (free func(), err error) {
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
	claim, err := c.claim(ctx, n.id)
	if err != nil {
		return nil, err
	}
	if holder := *slot(&claim, n); holder != "" && holder != n.name {
		return nil, &Refusal{
			Message: fmt.Sprintf("config %q holds this account already, and an account has one session budget, one set of one-time codes and one guard", holder),
			Advice:  fmt.Sprintf("make a role with config=%s instead", holder),
		}
	}
	c.reserved[n.id] = n.name
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.reserved, n.id)
	}, nil
}

// slot is where a config stands in the claim of its account.
func slot(claim *store.Claim, n *connection) *string {
	if n.logsIn() {
		return &claim.Config
	}
	return &claim.Token
}

// claim returns who holds an account. What is stored counts only for configs
// that exist and still name this account: a crash may have left more.
func (c *Configs) claim(ctx context.Context, id sessions.AccountID) (store.Claim, error) {
	claim, _, err := c.entries.Claims.Get(ctx, string(id))
	if err != nil {
		return store.Claim{}, err
	}
	for _, name := range []*string{&claim.Config, &claim.Token} {
		if *name == "" {
			continue
		}
		n, found, err := c.connection(ctx, *name)
		switch {
		case unusable(err): // it is there, if broken: it keeps its claim
		case err != nil:
			return store.Claim{}, err
		case !found || n.id != id || slot(&claim, n) != name:
			*name = ""
		}
	}
	return claim, nil
}

// hold stores the claim of a config. It comes before the config is stored: a
// claim without its config counts for nothing, a config without its claim
// would leave its account to others.
func (c *Configs) hold(ctx context.Context, n *connection) error {
	if n.id == "" {
		return nil
	}
	claim, err := c.claim(ctx, n.id)
	if err != nil {
		return err
	}
	if *slot(&claim, n) == n.name {
		return nil
	}
	*slot(&claim, n) = n.name
	return c.entries.Claims.Put(ctx, string(n.id), claim)
}

// letGo removes the claim of a config that is not stored any more.
func (c *Configs) letGo(ctx context.Context, n *connection) error {
	if n.id == "" {
		return nil
	}
	claim, err := c.claim(ctx, n.id)
	if err != nil {
		return err
	}
	if *slot(&claim, n) == n.name {
		*slot(&claim, n) = ""
	}
	if claim == (store.Claim{}) {
		return c.entries.Claims.Delete(ctx, string(n.id))
	}
	return c.entries.Claims.Put(ctx, string(n.id), claim)
}
