package configs

import (
	"context"
	"errors"
	"fmt"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

// Delete removes a config after its sessions are logged out. With force it
// does so although some could not be: what their logouts need is kept (rule 10).
func (c *Configs) Delete(ctx context.Context, name string, force bool) (warnings []string, err error) {
	unlock, err := c.names.lock(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()

	entry, found, err := c.entries.Configs.Get(ctx, name)
	if err != nil || !found {
		return nil, err
	}
	if err := c.beginDelete(ctx, name); err != nil {
		return nil, err
	}
	defer c.endDelete(name)

	n, err := c.connect(name, entry)
	if err != nil {
		if !force {
			return nil, &Refusal{
				Message: fmt.Sprintf("the stored config is not valid any more: %v", err),
				Advice:  "write that field again, or delete with force=true; sessions that are open then end by age",
				Err:     err,
			}
		}
		return nil, c.remove(ctx, name, nil)
	}
	other, err := c.other(ctx, n)
	if err != nil {
		return nil, err
	}
	if !n.logsIn() && (other != nil || !n.canLogIn()) {
		return c.removeToken(ctx, n, other)
	}
	return c.drainAndRemove(ctx, n, other, force)
}

// removeToken removes the config of a personal access token whose account has
// no session for its sake: nobody logs in, or the other config does.
func (c *Configs) removeToken(ctx context.Context, n, other *connection) (warnings []string, err error) {
	if err := c.remove(ctx, n.name, n); err != nil || other == nil {
		return nil, err
	}
	if err := c.putInForce(ctx, n.id, false); err != nil {
		warnings = append(warnings, fmt.Sprintf("config %q is deleted, but its account is still kept alive: %v; write config %q without any field", n.name, err, other.name))
	}
	return warnings, nil
}

func (c *Configs) drainAndRemove(ctx context.Context, n, other *connection, force bool) (warnings []string, err error) {
	if drained := c.engine.Drain(ctx, n.id); drained != nil {
		if !force {
			c.configureBack(ctx, n)
			return nil, &Refusal{
				Message: "it is not deleted: " + whatOf(drained),
				Advice:  "try again when the server can be reached, or use force=true: then what the logouts need is kept until they are done",
				Err:     drained,
			}
		}
		if err := c.retire(ctx, n); err != nil {
			c.configureBack(ctx, n)
			return nil, err
		}
		warnings = append(warnings, fmt.Sprintf("config %q is deleted, but not all of its sessions are logged out yet: %s; that goes on in the background", n.name, whatOf(drained)))
	}
	if err := c.remove(ctx, n.name, n); err != nil {
		c.configureBack(ctx, n)
		return nil, err
	}
	if other != nil && !other.canLogIn() {
		warnings = append(warnings, fmt.Sprintf("config %q has a personal access token of the same account, and nobody logs in for it any more: the server deactivates an account after %s without a login; set its username and password",
			other.name, days(other.method.DeactivatedAfter)))
	}
	if err := c.putInForce(ctx, n.id, false); err != nil {
		warnings = append(warnings, fmt.Sprintf("config %q is deleted, but its account could not be retired: %v", n.name, err))
	}
	return warnings, nil
}

// whatOf says what the engine could not do, without its advice: a delete has its own.
func whatOf(err error) string {
	if refusal, ok := errors.AsType[*sessions.Error](err); ok {
		return refusal.Message
	}
	return err.Error()
}

// configureBack reopens an account whose config stays after all.
func (c *Configs) configureBack(ctx context.Context, n *connection) {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	c.putBack(ctx, n.id, n.settings)
}

// putBack has the engine use what is stored for an account, or, while that
// cannot be read, at least these settings.
func (c *Configs) putBack(ctx context.Context, id sessions.AccountID, otherwise sessions.Settings) {
	err := c.putInForce(ctx, id, false)
	if err != nil {
		err = c.engine.Configure(ctx, id, otherwise, false)
	}
	if err != nil {
		c.logger.Warn("an account is not in force as it is stored; write its config without any field",
			"account", string(id), "error", err)
	}
}

// remove deletes the config, then its claim: the other way round the account
// would be free while a config still names it.
func (c *Configs) remove(ctx context.Context, name string, n *connection) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.entries.Configs.Delete(ctx, name)
	c.dropConfig(name)
	if err != nil || n == nil {
		return err
	}
	if err := c.letGo(ctx, n); err != nil {
		// A claim without its config counts for nothing.
		c.logger.Warn("the claim of a deleted config could not be removed", "config", name, "error", err)
	}
	return nil
}

func (c *Configs) beginDelete(ctx context.Context, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	users, err := c.rolesOf(ctx, name)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return &Refusal{
			Message: fmt.Sprintf("it is used by role %s", quoted(roleNames(users))),
			Advice:  "delete these roles first",
		}
	}
	c.deleting[name] = true
	return nil
}

func (c *Configs) endDelete(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.deleting, name)
}
