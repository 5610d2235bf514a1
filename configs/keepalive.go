package configs

import (
	"context"
	"errors"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

// KeptAlive implements sessions.Directory. An account that cannot be read hides
// no other.
func (c *Configs) KeptAlive(ctx context.Context) ([]sessions.AccountID, error) {
	names, err := c.entries.Claims.List(ctx)
	if err != nil {
		return nil, err
	}
	var ids []sessions.AccountID
	var failures []error
	for _, name := range names {
		kept, err := c.isKeptAlive(ctx, sessions.AccountID(name))
		if err != nil {
			failures = append(failures, err)
		}
		if kept {
			ids = append(ids, sessions.AccountID(name))
		}
	}
	return ids, errors.Join(failures...)
}

func (c *Configs) isKeptAlive(ctx context.Context, id sessions.AccountID) (bool, error) {
	claim, _, err := c.entries.Claims.Get(ctx, string(id))
	if err != nil || claim.Token == "" { // most accounts: do not connect them all at once
		return false, err
	}
	s, err := c.Settings(ctx, id)
	return err == nil && !s.Limits.Retired && s.Limits.KeepAlive > 0, err
}
