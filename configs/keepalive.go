package configs

import (
	"context"
	"fmt"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

const (
	keepAliveField = "keepalive_interval"
	leastKeepAlive = time.Hour
)

// keepAlive is how a config's account is kept alive, and what people should know of it.
func (c *Configs) keepAlive(ctx context.Context, n *config) (k sessions.KeepAlive, warnings []string, err error) {
	if n.limits.KeepAlive == 0 {
		return sessions.KeepAlive{}, nil, nil
	}
	if k, err = c.engine.KeepAlive(ctx, n.id); err != nil {
		return sessions.KeepAlive{}, nil, err
	}
	if warning := k.Warning(time.Now()); warning != "" {
		warnings = append(warnings, fmt.Sprintf("config %q: %s", n.name, warning))
	}
	return k, warnings, nil
}

func days(d time.Duration) string { return fmt.Sprintf("%d days", int(d/(24*time.Hour))) }
