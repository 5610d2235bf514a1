package configs

import (
	"context"
	"errors"
	"fmt"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

var _ sessions.Directory = (*Configs)(nil)

// Settings implements sessions.Directory.
func (c *Configs) Settings(ctx context.Context, id sessions.AccountID) (sessions.Settings, error) {
	owner, err := c.owner(ctx, id)
	if err != nil {
		return sessions.Settings{}, err
	}
	if owner == "" {
		return sessions.Settings{}, nil
	}
	n, found, err := c.config(ctx, owner)
	if unusable(err) {
		c.logger.Error("a stored config cannot be used; write it again. Until then nothing logs in for it", "config", owner, "error", err)
		return sessions.Settings{}, nil
	}
	if err != nil || !found {
		return sessions.Settings{}, err
	}
	return n.inForce(), nil
}

// KeptAlive implements sessions.Directory. A config that cannot be read hides no
// other. Most have no keepalive_interval: they are not all to be connected at once. As
// it looks at each config after a start, it also takes note of tokens that end.
func (c *Configs) KeptAlive(ctx context.Context) ([]sessions.AccountID, error) {
	names, err := c.entries.Configs.List(ctx)
	if err != nil {
		return nil, err
	}
	var ids []sessions.AccountID
	var failures []error
	for _, name := range names {
		given, _, err := c.entries.Configs.Get(ctx, name)
		if err == nil && given[keepAliveField] == nil && given["expires_at"] == nil {
			continue
		}
		n, found, err := c.config(ctx, name)
		switch {
		case err != nil:
			failures = append(failures, err)
		case found && n.limits.KeepAlive > 0:
			ids = append(ids, n.id)
		}
	}
	return ids, errors.Join(failures...)
}

// putInForce has the engine use what is stored for an account now. It outlives the
// request: what is stored is in force, whatever becomes of who wrote it.
func (c *Configs) putInForce(ctx context.Context, id sessions.AccountID, reopen bool) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	c.inForce.Lock()
	defer c.inForce.Unlock()
	s, err := c.Settings(ctx, id)
	if err != nil {
		return err
	}
	return c.engine.Configure(ctx, id, s, reopen)
}

// unusable says that a stored config is corrupt or not valid any more; trying
// again does not help.
func unusable(err error) bool {
	_, corrupt := errors.AsType[*store.CorruptError](err)
	_, newer := errors.AsType[*store.NewerError](err)
	_, invalid := errors.AsType[*Refusal](err)
	return corrupt || newer || invalid
}

// Account returns the account of a config; false: there is no config of that
// name. A role has none of its own, and the refusal says whose it uses.
func (c *Configs) Account(ctx context.Context, name string) (sessions.AccountID, bool, error) {
	role, found, err := c.ReadRole(ctx, name)
	if err != nil {
		return "", false, err
	}
	if found {
		return "", false, &Refusal{
			Message: fmt.Sprintf("%q is a role, and its sessions are those of config %q", name, role.Config),
			Advice:  "ask for sessions/" + role.Config,
		}
	}
	n, found, err := c.config(ctx, name)
	if err != nil || !found {
		return "", false, err
	}
	if !n.logsIn() {
		return "", false, &Refusal{Message: fmt.Sprintf("config %q has a personal access token: nothing logs in for it", name)}
	}
	return n.id, true, nil
}

// ConfigOf returns the name of the config that an account belongs to; empty: it
// has none any more.
func (c *Configs) ConfigOf(ctx context.Context, id sessions.AccountID) (string, error) {
	return c.owner(ctx, id)
}
