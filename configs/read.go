package configs

import (
	"context"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// Exists says whether there is a config of that name.
func (c *Configs) Exists(ctx context.Context, name string) (bool, error) {
	_, found, err := c.entries.Configs.Get(ctx, name)
	return found, err
}

// List returns the names of all configs.
func (c *Configs) List(ctx context.Context) ([]string, error) { return c.entries.Configs.List(ctx) }

// Reading is a config as it is in force.
type Reading struct {
	// Fields by their names: as they were given, else the defaults. Of a secret they
	// say only whether it is set, under its name with "_set". Of an account that is
	// kept alive there are also last_login, RFC 3339, and keepalive_error, where there
	// is something to tell.
	Fields   map[string]any
	Warnings []string
}

// Read returns a config; false: there is none.
func (c *Configs) Read(ctx context.Context, name string) (Reading, bool, error) {
	n, found, err := c.config(ctx, name)
	if err != nil || !found {
		return Reading{}, false, err
	}
	k, warnings, err := c.keepAlive(ctx, n)
	if err != nil {
		return Reading{}, false, err
	}
	answer := n.show()
	if !k.LastLogin.IsZero() {
		answer["last_login"] = k.LastLogin.UTC().Format(time.RFC3339)
	}
	if k.Problem != "" {
		answer["keepalive_error"] = k.Problem
	}
	if warning := ExpiryWarning(n.account.ExpiresAt, time.Now()); warning != "" {
		warnings = append(warnings, configSubject(name)+warning)
	}
	return Reading{Fields: answer, Warnings: warnings}, true, nil
}

// show returns the fields that the config's method uses.
func (n *config) show() map[string]any {
	effective := n.settings
	effective.Account = n.account
	effective.SessionMode = string(n.mode)
	effective.MaxSessions = &n.limits.MaxSessions

	answer := map[string]any{}
	for _, row := range configTable() {
		if !n.uses(row.Name) {
			continue
		}
		value := row.Value(&effective)
		if given, ok := n.given[row.Name]; ok {
			value = row.Value(&n.settings)
			if row.Type == providers.Time { // the same instant has several spellings
				value = given
			}
		}
		if row.Secret {
			answer[row.Name+"_set"] = value != ""
			continue
		}
		answer[row.Name] = value
	}
	return answer
}

func (n *config) uses(field string) bool {
	if _, ofUse := useTable().Lookup(field); ofUse {
		return isUsed(field, n.method)
	}
	_, uses := n.method.Field(field)
	return uses || field == "provider" || field == "auth_method"
}
