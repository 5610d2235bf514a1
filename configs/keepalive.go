package configs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// Bounds of keepalive_interval.
const (
	keepAliveField   = "keepalive_interval"
	defaultKeepAlive = 30 * 24 * time.Hour
	leastKeepAlive   = time.Hour
)

// checkKeepAlive refuses an interval that is of no use.
func checkKeepAlive(e store.Config, method providers.Method) error {
	used := slices.ContainsFunc(method.Fields, func(f providers.Field) bool { return f.Name == keepAliveField })
	switch {
	case e.KeepAlive == 0:
		return nil
	case !used:
		return refuse(keepAliveField, "is not used with auth_method=%s: it is for the owner of a personal access token, whose account dies where nobody logs in", method.Name)
	case e.KeepAlive < leastKeepAlive:
		return refuse(keepAliveField, "must be at least an hour")
	case e.KeepAlive >= method.DeactivatedAfter:
		return refuse(keepAliveField, "must be less than %s, after which the server deactivates an account that nobody logs in to", days(method.DeactivatedAfter))
	}
	return nil
}

// keepAlive is the interval of a personal access token: as given or the default.
func (n *connection) keepAlive() time.Duration {
	if n.entry.KeepAlive > 0 {
		return n.entry.KeepAlive
	}
	return defaultKeepAlive
}

// keptAlive puts into the settings of an account what the config of its
// personal access token asks for.
func keptAlive(s sessions.Settings, token *connection) sessions.Settings {
	if token != nil && token.method.DeactivatedAfter > 0 {
		s.Limits.KeepAlive = token.keepAlive()
		s.Limits.DeactivatedAfter = token.method.DeactivatedAfter
	}
	return s
}

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

// vitals is what a read of a personal access token's config tells of its
// account, and what people should know.
func (c *Configs) vitals(ctx context.Context, n *connection) (k sessions.KeepAlive, warnings []string, err error) {
	if n.method.DeactivatedAfter == 0 {
		return k, nil, nil
	}
	if n.id != "" {
		if k, err = c.engine.KeepAlive(ctx, n.id); err != nil {
			return k, nil, err
		}
	}
	if k.Interval == 0 {
		return k, []string{fmt.Sprintf("config %q: nobody logs in for this token: the server deactivates an account after %s without a login, and its personal access token with it; set username and password, and totp_secret where the account has one",
			n.name, days(n.method.DeactivatedAfter))}, nil
	}
	if warning := k.Warning(time.Now()); warning != "" {
		warnings = append(warnings, fmt.Sprintf("config %q: %s", n.name, warning))
	}
	return k, warnings, nil
}

func days(d time.Duration) string { return fmt.Sprintf("%d days", int(d/(24*time.Hour))) }
