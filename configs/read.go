package configs

import (
	"context"
	"time"
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
	// Fields, defaults included, by their names. Of a secret they say only
	// whether it is set, under its name with "_set". Of a personal access
	// token's account there are also last_login, RFC 3339, and keepalive_error,
	// where there is something to tell.
	Fields   map[string]any
	Warnings []string
}

// Read returns a config; false: there is none.
func (c *Configs) Read(ctx context.Context, name string) (Reading, bool, error) {
	n, found, err := c.connection(ctx, name)
	if err != nil || !found {
		return Reading{}, false, err
	}
	k, warnings, err := c.vitals(ctx, n)
	if err != nil {
		return Reading{}, false, err
	}
	effective := n.entry
	effective.Account = entryOf(n.account)
	effective.SessionMode = string(n.mode)
	effective.MaxSessions = &n.settings.Limits.MaxSessions
	effective.KeepAlive = n.keepAlive()

	answer := map[string]any{"provider": n.account.Provider, "auth_method": string(n.account.AuthMethod)}
	for _, f := range n.method.Fields {
		value := at(&effective, f.Name)
		if s, ok := value.(*string); ok && f.Secret {
			answer[f.Name+"_set"] = *s != ""
			continue
		}
		show(answer, f.Name, value)
	}
	for _, field := range fieldsOfUse() {
		if n.logsIn() || field == "ttl" || field == "max_ttl" {
			show(answer, field, at(&effective, field))
		}
	}
	if !k.LastLogin.IsZero() {
		answer["last_login"] = k.LastLogin.UTC().Format(time.RFC3339)
	}
	if k.Problem != "" {
		answer["keepalive_error"] = k.Problem
	}
	return Reading{Fields: answer, Warnings: warnings}, true, nil
}

func show(answer map[string]any, field string, value any) {
	switch p := value.(type) {
	case *string:
		answer[field] = *p
	case *[]string:
		answer[field] = append([]string{}, *p...)
	case *bool:
		answer[field] = *p
	case *int:
		answer[field] = *p
	case **int:
		answer[field] = **p
	case *time.Duration:
		answer[field] = int64(p.Seconds())
	}
}
