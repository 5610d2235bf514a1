package configs

import (
	"context"
	"errors"
	"fmt"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

// Delete removes a config after its sessions are logged out. With force it
// does so although some could not be: that goes on in the background (rule 10).
func (c *Configs) Delete(ctx context.Context, name string, force bool) (warnings []string, err error) {
	unlock, err := c.names.lock(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()

	given, found, err := c.entries.Configs.Get(ctx, name)
	if err != nil || !found {
		return nil, err
	}
	if err := c.beginDelete(ctx, name); err != nil {
		return nil, err
	}
	defer c.endDelete(name)

	n, err := c.build(name, given)
	switch {
	case err == nil && n.logsIn():
		return c.drainAndRemove(ctx, n, force)
	case err != nil && !force:
		return nil, &Refusal{
			Message: fmt.Sprintf("the stored config is not valid any more: %v", err),
			Advice:  "write that field again, or delete with force=true",
			Err:     err,
		}
	}
	return nil, c.remove(ctx, name, "")
}

func (c *Configs) drainAndRemove(ctx context.Context, n *config, force bool) (warnings []string, err error) {
	drained := c.engine.Drain(ctx, n.id)
	ctx, cancel := detached(ctx)
	defer cancel()
	if drained != nil {
		if !force {
			c.reopen(ctx, n)
			return nil, &Refusal{
				Message: "it is not deleted: " + messageOf(drained),
				Advice:  "try again when the server can be reached, or use force=true: then logouts go on in the background",
				Err:     drained,
			}
		}
		warnings = append(warnings, fmt.Sprintf("config %q is deleted, but not all of its sessions are logged out yet: %s; that goes on in the background", n.name, messageOf(drained)))
	}
	if err := c.remove(ctx, n.name, n.id); err != nil {
		c.reopen(ctx, n)
		return nil, err
	}
	if err := c.putInForce(ctx, n.id, false); err != nil {
		c.logger.Warn("a config is deleted, but its account still has its settings until the plugin is started anew", "config", n.name, "error", err)
	}
	return warnings, nil
}

// messageOf says what the engine could not do, without its advice: a delete has its own.
func messageOf(err error) string {
	if refusal, ok := errors.AsType[*sessions.Error](err); ok {
		return refusal.Message
	}
	return err.Error()
}

// reopen has the engine use a config again that stays after all; while what is stored
// cannot be read, as it was.
func (c *Configs) reopen(ctx context.Context, n *config) {
	err := c.putInForce(ctx, n.id, false)
	if err != nil {
		err = c.engine.Configure(ctx, n.id, n.inForce(), false)
	}
	if err != nil {
		c.logger.Warn("an account is not in force as it is stored; write its config without any field", "config", n.name, "error", err)
	}
}

// remove deletes the config, then lets go of its account: the other way round that
// would be free while a config still names it.
func (c *Configs) remove(ctx context.Context, name string, id sessions.AccountID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.entries.Configs.Delete(ctx, name)
	c.drop(name)
	if err != nil || id == "" {
		return err
	}
	if err := c.entries.Owners.Delete(ctx, string(id)); err != nil {
		// An owner that does not exist counts for nothing.
		c.logger.Warn("that an account belonged to a deleted config could not be removed", "config", name, "error", err)
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
		by, advice := "role ", "delete that role first, or let it name another config"
		if len(users) > 1 {
			by, advice = "roles ", "delete these roles first, or let them name another config"
		}
		return &Refusal{Message: "it is used by " + by + quoted(roleNames(users)), Advice: advice}
	}
	c.deleting[name] = true
	return nil
}

func (c *Configs) endDelete(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.deleting, name)
}
