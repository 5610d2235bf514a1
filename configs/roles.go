package configs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// RoleChange is the fields that a write of a role gives; nil: not given.
type RoleChange struct {
	Config      *string
	Scopes      *[]string
	TTL         *time.Duration
	MaxTTL      *time.Duration
	SessionMode *string
}

func (change RoleChange) apply(r *store.Role) {
	set(&r.Config, change.Config)
	set(&r.Scopes, change.Scopes)
	set(&r.TTL, change.TTL)
	set(&r.MaxTTL, change.MaxTTL)
	set(&r.SessionMode, change.SessionMode)
}

func set[T any](field, given *T) {
	if given != nil {
		*field = *given
	}
}

// Role is a role as it is read.
type Role struct {
	Config      string
	Scopes      []string
	TTL         time.Duration
	MaxTTL      time.Duration
	SessionMode string
}

// WriteRole creates a role, or changes the given fields of it.
func (c *Configs) WriteRole(ctx context.Context, name string, change RoleChange) error {
	unlock, err := c.names.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()

	role, exists, err := c.entries.Roles.Get(ctx, name)
	if err != nil {
		return err
	}
	if !exists {
		if err := c.refuseNameOfConfig(ctx, name); err != nil {
			return err
		}
	}
	change.apply(&role)
	if role.Scopes, err = providers.NormalizeScopes(role.Scopes); err != nil {
		return err
	}
	if role.Config == "" {
		return refuse("config", "is required; give the name of the config that this role is a view of")
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	n, found, err := c.connection(ctx, role.Config)
	switch {
	case err != nil:
		return err
	case !found:
		return refuse("config", "there is no config %q", role.Config)
	case c.deleting[role.Config]:
		return refuse("config", "config %q is being deleted", role.Config)
	}
	if err := fits(role, n); err != nil {
		return err
	}
	err = c.entries.Roles.Put(ctx, name, role)
	c.targets.Drop(name)
	return err
}

// fits refuses a role that asks for more than its config gives.
func fits(role store.Role, n *connection) error {
	for _, scope := range role.Scopes {
		if allowed := n.account.Scopes; len(allowed) > 0 && !slices.Contains(allowed, scope) {
			return refuse("scopes", "%q is not one of config %q, which has %s", scope, n.name, strings.Join(allowed, ", "))
		}
	}
	if err := checkTTLs(role.TTL.Seconds(), role.MaxTTL.Seconds()); err != nil {
		return err
	}
	mode, err := modeOf(role.SessionMode, n.mode)
	if err != nil {
		return err
	}
	if !n.logsIn() {
		return fitsToken(role, n)
	}
	if mode == providers.Shared && n.mode == providers.Dedicated {
		return refuse("session_mode", "%s is wider than config %q, which is %s; a role may only narrow it", mode, n.name, n.mode)
	}
	return nil
}

// fitsToken refuses what a role on a personal access token cannot have.
func fitsToken(role store.Role, n *connection) error {
	switch {
	case len(role.Scopes) > 0:
		return refuse("scopes", "is not used: config %q has a personal access token, whose rights are fixed", n.name)
	case role.SessionMode != "":
		return refuse("session_mode", "is not used: config %q has a personal access token, which opens no session", n.name)
	}
	return nil
}

// rolesStillFit refuses a config that would give less than a role of it asks for.
func (c *Configs) rolesStillFit(ctx context.Context, n *connection) error {
	users, err := c.rolesOf(ctx, n.name)
	if err != nil {
		return err
	}
	for _, name := range roleNames(users) {
		if err := fits(users[name], n); err != nil {
			return &Refusal{
				Message: fmt.Sprintf("role %q would not fit any more: %v", name, err),
				Advice:  "change that role first",
				Err:     err,
			}
		}
	}
	return nil
}

// rolesOf returns the roles of a config by their names.
func (c *Configs) rolesOf(ctx context.Context, config string) (map[string]store.Role, error) {
	names, err := c.entries.Roles.List(ctx)
	if err != nil {
		return nil, err
	}
	users := make(map[string]store.Role)
	for _, name := range names {
		role, found, err := c.entries.Roles.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		if found && role.Config == config {
			users[name] = role
		}
	}
	return users, nil
}

func roleNames(roles map[string]store.Role) []string { return slices.Sorted(maps.Keys(roles)) }

// ReadRole returns a role; false: there is none.
func (c *Configs) ReadRole(ctx context.Context, name string) (Role, bool, error) {
	r, found, err := c.entries.Roles.Get(ctx, name)
	return Role(r), found, err
}

// RoleExists says whether there is a role of that name.
func (c *Configs) RoleExists(ctx context.Context, name string) (bool, error) {
	_, found, err := c.entries.Roles.Get(ctx, name)
	return found, err
}

// ListRoles returns the names of all roles.
func (c *Configs) ListRoles(ctx context.Context) ([]string, error) { return c.entries.Roles.List(ctx) }

// DeleteRole removes a role. Its leases live on and can still be revoked.
func (c *Configs) DeleteRole(ctx context.Context, name string) error {
	unlock, err := c.names.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	err = c.entries.Roles.Delete(ctx, name)
	c.targets.Drop(name)
	return err
}

// Roles and configs share one namespace: creds/<name> means one or the other.

func (c *Configs) refuseNameOfRole(ctx context.Context, name string) error {
	taken, err := c.RoleExists(ctx, name)
	if taken {
		return &Refusal{Message: "the name is taken by a role, and roles and configs share one namespace", Advice: "choose another name"}
	}
	return err
}

func (c *Configs) refuseNameOfConfig(ctx context.Context, name string) error {
	taken, err := c.Exists(ctx, name)
	if taken {
		return &Refusal{Message: "the name is taken by a config, and roles and configs share one namespace", Advice: "choose another name"}
	}
	return err
}
