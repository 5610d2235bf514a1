package configs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// WriteRole creates a role, or changes the given fields of it. Of what is refused
// nothing is stored, and the error says so.
func (c *Configs) WriteRole(ctx context.Context, name string, change Change) error {
	unlock, err := c.names.lock(ctx, name)
	if err != nil {
		return notStored(err)
	}
	defer unlock()

	given, role, err := c.newRole(ctx, name, change)
	if err != nil {
		return notStored(err)
	}
	return c.storeRole(ctx, name, given, role)
}

// newRole checks all that can be checked without the role's config.
func (c *Configs) newRole(ctx context.Context, name string, change Change) (store.Fields, Role, error) {
	old, exists, err := c.entries.Roles.Get(ctx, name)
	if err != nil {
		return nil, Role{}, err
	}
	if !exists {
		if err := c.refuseNameOfConfig(ctx, name); err != nil {
			return nil, Role{}, err
		}
	}
	given, err := applyTo(old, change, roleTable())
	if err != nil {
		return nil, Role{}, err
	}
	role, err := decode(given, roleTable())
	switch {
	case err != nil || role.Config != "":
	case exists:
		err = refuse("config", "is required; give the name of the config that this role is a view of")
	default: // maybe another role was meant
		err = refuse("config", "is required for a new role, and there is none of this name yet; give the name of the config that it is a view of")
	}
	return given, role, err
}

// storeRole decides and stores while no config can change.
func (c *Configs) storeRole(ctx context.Context, name string, given store.Fields, role Role) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.fitsConfig(ctx, role); err != nil {
		return notStored(err)
	}
	err := c.entries.Roles.Put(ctx, name, given)
	c.targets.Drop(name)
	return err
}

func (c *Configs) fitsConfig(ctx context.Context, role Role) error {
	n, found, err := c.config(ctx, role.Config)
	switch {
	case err != nil:
		return err
	case !found:
		return refuse("config", "there is no config %q; `vault list` at config/ shows what there is", role.Config)
	case c.deleting[role.Config]:
		return refuse("config", "config %q is being deleted; name another one", role.Config)
	}
	return fits(role, n)
}

// fits refuses a role that asks for more than its config gives.
func fits(role Role, n *config) error {
	if err := checkTTLs(role.TTL, role.MaxTTL); err != nil {
		return err
	}
	if !n.logsIn() {
		return fitsToken(role, n)
	}
	if _, err := providers.NormalizeScopes(role.Scopes); err != nil {
		return err
	}
	if err := n.provider.Describe().CheckScopes(role.Scopes); err != nil {
		return err
	}
	for _, scope := range role.Scopes {
		if allowed := n.account.Scopes; len(allowed) > 0 && !slices.Contains(allowed, scope) {
			return refuse("scopes", "%q is not one of config %q, which has %s", scope, n.name, strings.Join(allowed, ", "))
		}
	}
	if err := fitsParams(role, n); err != nil {
		return err
	}
	mode, err := modeOf(role.SessionMode, n.mode)
	if err != nil {
		return err
	}
	if mode == providers.Shared && n.mode == providers.Dedicated {
		return refuse("session_mode", "%s is wider than config %q, which is %s; a role may only narrow it", mode, n.name, n.mode)
	}
	return nil
}

// fitsParams refuses parameters that the config sets: a role must not take back what
// its config insists on.
func fitsParams(role Role, n *config) error {
	isSet := map[string]bool{} // in lower case: some servers take names in any case
	for name := range n.account.TokenParams {
		isSet[strings.ToLower(name)] = true
	}
	for _, name := range slices.Sorted(maps.Keys(role.TokenParams)) {
		if isSet[strings.ToLower(name)] {
			return refuse("token_params", "%q is set by config %q; leave it out", name, n.name)
		}
	}
	return providers.CheckTokenParams(role.TokenParams)
}

// fitsToken refuses what a role on a personal access token cannot have.
func fitsToken(role Role, n *config) error {
	switch {
	case len(role.Scopes) > 0:
		return refuse("scopes", "is not used: config %q has a personal access token, whose rights are fixed", n.name)
	case len(role.TokenParams) > 0:
		return refuse("token_params", "is not used: config %q has a personal access token, for which nothing logs in", n.name)
	case role.SessionMode != "":
		return refuse("session_mode", "is not used: config %q has a personal access token, which opens no session", n.name)
	}
	return nil
}

// rolesStillFit refuses a config that would give less than a role of it asks for.
func (c *Configs) rolesStillFit(ctx context.Context, n *config) error {
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
func (c *Configs) rolesOf(ctx context.Context, config string) (map[string]Role, error) {
	names, err := c.entries.Roles.List(ctx)
	if err != nil {
		return nil, err
	}
	users := make(map[string]Role)
	for _, name := range names {
		role, found, err := c.ReadRole(ctx, name)
		if err != nil {
			return nil, err
		}
		if found && role.Config == config {
			users[name] = role
		}
	}
	return users, nil
}

func roleNames(roles map[string]Role) []string { return slices.Sorted(maps.Keys(roles)) }

// ReadRole returns a role; false: there is none.
func (c *Configs) ReadRole(ctx context.Context, name string) (Role, bool, error) {
	given, found, err := c.entries.Roles.Get(ctx, name)
	if err != nil || !found {
		return Role{}, false, err
	}
	role, err := decode(given, roleTable())
	return role, err == nil, err
}

// ShowRole returns the fields of a role as they were given; false: there is none.
func (c *Configs) ShowRole(ctx context.Context, name string) (map[string]any, bool, error) {
	role, found, err := c.ReadRole(ctx, name)
	if err != nil || !found {
		return nil, false, err
	}
	answer := map[string]any{}
	for _, row := range roleTable() {
		answer[row.Name] = row.Value(&role)
	}
	return answer, true, nil
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
