package configs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// config is one version of a stored config, checked and ready to use.
type config struct {
	name     string
	given    store.Fields
	settings settings
	account  providers.Account // normalized
	provider providers.Provider
	method   providers.Method
	mode     providers.Mode

	id       sessions.AccountID // empty: a personal access token, for which nothing logs in
	upstream providers.Upstream // nil: the same
	limits   sessions.Limits
}

func (n *config) logsIn() bool { return n.upstream != nil }

// build checks fields and prepares the config's HTTP client. It sends nothing.
func (c *Configs) build(name string, given store.Fields) (*config, error) {
	s, err := decode(given, configTable())
	if err != nil {
		return nil, err
	}
	n := &config{name: name, given: given, settings: s}
	if n.provider, err = c.provider(s.Provider); err != nil {
		return nil, err
	}
	if n.account, err = n.provider.Normalize(s.Account); err != nil {
		return nil, err
	}
	description := n.provider.Describe()
	n.method, _ = description.Method(n.account.AuthMethod)
	if n.mode, err = checkUse(s, n.method); err != nil {
		return nil, err
	}
	if n.method.Name == providers.PersonalAccessToken {
		return n, nil
	}
	if n.upstream, err = n.provider.Connect(n.account); err != nil {
		return nil, err
	}
	n.id = sessions.AccountOf(n.account, description)
	n.limits = n.makeLimits()
	return n, nil
}

func (c *Configs) provider(name string) (providers.Provider, error) {
	provider, ok := c.registry.Lookup(name)
	if ok {
		return provider, nil
	}
	if name == "" {
		return nil, refuse("provider", "is required; use one of %s", c.providerNames())
	}
	return nil, refuse("provider", "is not known; use one of %s", c.providerNames())
}

func (c *Configs) providerNames() string {
	var known []string
	for _, p := range c.registry.All() {
		known = append(known, p.Describe().Name)
	}
	slices.Sort(known)
	return strings.Join(known, ", ")
}

// checkUse checks the fields that say how an account is used, and returns its
// session mode.
func checkUse(s settings, method providers.Method) (providers.Mode, error) {
	for _, row := range useTable() {
		if row.Given(&s) && !isUsed(row.Name, method) {
			return "", refuse(row.Name, "is not used with auth_method=%s", method.Name)
		}
	}
	mode, err := modeOf(s.SessionMode, method.Mode)
	switch {
	case err != nil:
		return "", err
	case s.MaxSessions != nil && *s.MaxSessions < 0:
		return "", refuse("max_sessions", "must not be negative; 0 means no limit")
	case s.Linger > 0 && mode == providers.Dedicated:
		return "", refuse("linger", "keeps a shared session after its last lease; with session_mode=%s there is none: leave it out, or set session_mode=shared", mode)
	case s.KeepAlive > 0 && s.KeepAlive < leastKeepAlive:
		return "", refuse(keepAliveField, "must be at least an hour, or 0")
	case method.DeactivatedAfter > 0 && s.KeepAlive >= method.DeactivatedAfter:
		return "", refuse(keepAliveField, "must be less than %s, after which the server deactivates an account that nobody logs in to", days(method.DeactivatedAfter))
	}
	return mode, checkTTLs(s.TTL, s.MaxTTL)
}

func modeOf(given string, otherwise providers.Mode) (providers.Mode, error) {
	switch mode := providers.Mode(given); mode {
	case "":
		return otherwise, nil
	case providers.Dedicated, providers.Shared:
		return mode, nil
	}
	return "", refuse("session_mode", "is not known; use %s or %s", providers.Dedicated, providers.Shared)
}

func checkTTLs(ttl, maxTTL time.Duration) error {
	if maxTTL > 0 && ttl > maxTTL {
		return refuse("ttl", "%vs is longer than max_ttl, %vs", ttl.Seconds(), maxTTL.Seconds())
	}
	return nil
}

func (n *config) makeLimits() sessions.Limits {
	l := sessions.Limits{
		MaxSessions:    n.method.MaxSessions,
		Linger:         n.settings.Linger,
		RequestTimeout: n.account.RequestTimeout,
		Capabilities:   n.upstream.Capabilities(),
		NoMark:         n.account.SessionMark != nil && !*n.account.SessionMark,
	}
	if n.settings.MaxSessions != nil {
		l.MaxSessions = *n.settings.MaxSessions
	}
	if n.settings.KeepAlive > 0 {
		l.KeepAlive = n.settings.KeepAlive
		l.DeactivatedAfter = n.method.DeactivatedAfter
	}
	return l
}

// inForce is what the engine is to use.
func (n *config) inForce() sessions.Settings {
	return sessions.Settings{Config: n.name, Upstream: n.upstream, Limits: n.limits}
}

// config returns a config, from memory or storage; false: there is none.
func (c *Configs) config(ctx context.Context, name string) (*config, bool, error) {
	return c.configs.Get(ctx, name, func(ctx context.Context) (*config, bool, error) {
		given, found, err := c.entries.Configs.Get(ctx, name)
		if err != nil || !found {
			return nil, false, err
		}
		n, err := c.build(name, given)
		if err != nil {
			return nil, false, &Refusal{
				Message: fmt.Sprintf("the stored config %q is not valid any more: %v", name, err),
				Advice:  "write that field again",
				Err:     err,
			}
		}
		c.tokens.note(name, n.account.ExpiresAt)
		return n, true, nil
	})
}
