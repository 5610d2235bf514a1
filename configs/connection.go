package configs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// connection is one version of a config, checked and ready to use.
type connection struct {
	name     string
	entry    store.Config // as given
	account  providers.Account
	provider providers.Provider
	method   providers.Method
	id       sessions.AccountID
	mode     providers.Mode

	// login is who logs in with the config: the account, or the owner of a
	// personal access token, without the token. Without Upstream in the settings
	// nobody can.
	login    providers.Account
	settings sessions.Settings
}

// logsIn is false for a personal access token: no reader's token comes from a login.
func (n *connection) logsIn() bool { return n.account.AuthMethod != providers.PersonalAccessToken }

// canLogIn says that the config has what a login needs: also that of a personal
// access token may have, to keep its owner's account alive.
func (n *connection) canLogIn() bool { return n.settings.Upstream != nil }

// connect checks an entry and prepares its HTTP client. It sends nothing.
func (c *Configs) connect(name string, entry store.Config) (*connection, error) {
	provider, err := c.provider(entry.Account.Provider)
	if err != nil {
		return nil, err
	}
	account, err := provider.Normalize(accountOf(entry.Account))
	if err != nil {
		return nil, err
	}
	method, ok := provider.Describe().Method(account.AuthMethod)
	if !ok {
		return nil, refuse("auth_method", "is not one of provider %s", account.Provider)
	}
	mode, err := checkUse(entry, method)
	if err != nil {
		return nil, err
	}
	n := &connection{
		name:     name,
		entry:    entry,
		account:  account,
		provider: provider,
		method:   method,
		id:       accountID(account),
		mode:     mode,
	}
	if err := n.prepareLogin(); err != nil {
		return nil, err
	}
	return n, nil
}

// prepareLogin connects who logs in, if anybody can.
func (n *connection) prepareLogin() error {
	login, method := n.account, n.method
	if !n.logsIn() {
		if login.Password.Empty() {
			return nil
		}
		login.AuthMethod = providers.Password
		login.PersonalAccessToken = providers.Secret{}
		method, _ = n.provider.Describe().Method(providers.Password)
	}
	upstream, err := n.provider.Connect(login)
	if err != nil {
		return err
	}
	n.login = login
	n.settings = sessions.Settings{Config: n.name, Upstream: upstream, Limits: limits(n.entry, login, method, upstream)}
	return nil
}

func (c *Configs) provider(name string) (providers.Provider, error) {
	var known []string
	for _, p := range c.registry.All() {
		known = append(known, p.Describe().Name)
	}
	slices.Sort(known)
	if name == "" {
		return nil, refuse("provider", "is required; use one of %s", strings.Join(known, ", "))
	}
	provider, ok := c.registry.Lookup(name)
	if !ok {
		return nil, refuse("provider", "is not known; use one of %s", strings.Join(known, ", "))
	}
	return provider, nil
}

// checkUse checks the fields that say how an account is used, and returns its
// session mode.
func checkUse(e store.Config, method providers.Method) (providers.Mode, error) {
	if method.Name == providers.PersonalAccessToken {
		for _, field := range []struct {
			name  string
			given bool
		}{
			{"session_mode", e.SessionMode != ""},
			{"max_sessions", e.MaxSessions != nil},
			{"linger", e.Linger != 0},
		} {
			if field.given {
				return "", refuse(field.name, "is not used with auth_method=%s, which opens no session", method.Name)
			}
		}
	}
	mode, err := modeOf(e.SessionMode, method.Mode)
	switch {
	case err != nil:
		return "", err
	case e.MaxSessions != nil && *e.MaxSessions < 0:
		return "", refuse("max_sessions", "must not be negative; 0 means no limit")
	case e.Linger < 0:
		return "", refuse("linger", "must not be negative")
	case e.Linger > 0 && mode == providers.Dedicated:
		return "", refuse("linger", "keeps a shared session after its last lease; with session_mode=%s there is none", mode)
	}
	if err := checkKeepAlive(e, method); err != nil {
		return "", err
	}
	return mode, checkTTLs(e.TTL.Seconds(), e.MaxTTL.Seconds())
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

func checkTTLs(ttl, maxTTL float64) error {
	switch {
	case ttl < 0:
		return refuse("ttl", "must not be negative")
	case maxTTL < 0:
		return refuse("max_ttl", "must not be negative")
	case maxTTL > 0 && ttl > maxTTL:
		return refuse("ttl", "%vs is longer than max_ttl, %vs", ttl, maxTTL)
	}
	return nil
}

func limits(e store.Config, a providers.Account, method providers.Method, upstream providers.Upstream) sessions.Limits {
	l := sessions.Limits{
		MaxSessions:    method.MaxSessions,
		Linger:         e.Linger,
		RequestTimeout: a.RequestTimeout,
		Capabilities:   upstream.Capabilities(),
	}
	if e.MaxSessions != nil {
		l.MaxSessions = *e.MaxSessions
	}
	return l
}

// connection returns a config, from memory or storage; false: there is none.
func (c *Configs) connection(ctx context.Context, name string) (*connection, bool, error) {
	return c.connections.Get(ctx, name, func(ctx context.Context) (*connection, bool, error) {
		entry, found, err := c.entries.Configs.Get(ctx, name)
		if err != nil || !found {
			return nil, false, err
		}
		n, err := c.connect(name, entry)
		if err != nil {
			return nil, false, &Refusal{
				Message: fmt.Sprintf("the stored config %q is not valid any more: %v", name, err),
				Advice:  "write that field again",
				Err:     err,
			}
		}
		return n, true, nil
	})
}
