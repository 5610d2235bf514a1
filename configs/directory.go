package configs

import (
	"context"
	"errors"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

var _ sessions.Directory = (*Configs)(nil)

// Settings implements sessions.Directory. Where an account has two configs, the
// one that logs in for readers also logs in to keep the account alive, and the
// one with the personal access token says how often.
func (c *Configs) Settings(ctx context.Context, id sessions.AccountID) (sessions.Settings, error) {
	claim, err := c.claim(ctx, id)
	if err != nil {
		return sessions.Settings{}, err
	}
	login, err := c.usable(ctx, claim.Config)
	if err != nil {
		return sessions.Settings{}, err
	}
	token, err := c.usable(ctx, claim.Token)
	if err != nil {
		return sessions.Settings{}, err
	}
	switch {
	case login != nil:
		return keptAlive(login.settings, token), nil
	case claim.Config == "" && token != nil && token.canLogIn():
		return keptAlive(token.settings, token), nil
	}
	return c.retiredSettings(ctx, id)
}

// usable returns a config; nil: there is none, or none that can be used.
func (c *Configs) usable(ctx context.Context, name string) (*connection, error) {
	if name == "" {
		return nil, nil
	}
	n, _, err := c.connection(ctx, name)
	if unusable(err) {
		// Its leases must still end: without settings their sessions end by age.
		c.logger.Error("a stored config cannot be used; write it again. Until then nothing logs in or out for it",
			"config", name, "error", err)
		return nil, nil
	}
	return n, err
}

// putInForce has the engine use what is stored for an account now.
func (c *Configs) putInForce(ctx context.Context, id sessions.AccountID, reopen bool) error {
	c.inForce.Lock()
	defer c.inForce.Unlock()
	s, err := c.Settings(ctx, id)
	if err != nil {
		return err
	}
	return c.engine.Configure(ctx, id, s, reopen)
}

// other returns the second config of the account that a config names; nil:
// there is none.
func (c *Configs) other(ctx context.Context, n *connection) (*connection, error) {
	if n.id == "" {
		return nil, nil
	}
	claim, err := c.claim(ctx, n.id)
	if err != nil {
		return nil, err
	}
	if n.logsIn() {
		return c.usable(ctx, claim.Token)
	}
	return c.usable(ctx, claim.Config)
}

// unusable says that a stored config is corrupt or not valid any more; trying
// again does not help.
func unusable(err error) bool {
	_, corrupt := errors.AsType[*store.CorruptError](err)
	_, newer := errors.AsType[*store.NewerError](err)
	_, invalid := errors.AsType[*Refusal](err)
	return corrupt || newer || invalid
}

func (c *Configs) retiredSettings(ctx context.Context, id sessions.AccountID) (sessions.Settings, error) {
	retired, found, err := c.entries.Retired.Get(ctx, string(id))
	if err != nil {
		return sessions.Settings{}, err
	}
	if !found {
		return sessions.Settings{Limits: sessions.Limits{Retired: true}}, nil
	}
	provider, err := c.provider(retired.Account.Provider)
	if err != nil {
		return sessions.Settings{}, err
	}
	account := accountOf(retired.Account)
	if account.AuthMethod == providers.Password {
		// Connect asks for one. Nothing logs in to a retired account, and a
		// logout sends none.
		account.Password = providers.NewSecret("not kept")
	}
	upstream, err := provider.Connect(account)
	if err != nil {
		return sessions.Settings{}, err
	}
	return retiredSettings(upstream, account), nil
}

func retiredSettings(upstream providers.Upstream, account providers.Account) sessions.Settings {
	return sessions.Settings{Upstream: upstream, Limits: sessions.Limits{
		RequestTimeout: account.RequestTimeout,
		Capabilities:   upstream.Capabilities(),
		Retired:        true,
	}}
}

// Closed implements sessions.Directory. While the account is being written, its
// ledger may be empty only because the login has not begun.
func (c *Configs) Closed(ctx context.Context, id sessions.AccountID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, busy := c.reserved[id]; busy {
		return nil
	}
	return c.entries.Retired.Delete(ctx, string(id))
}

// retire keeps what the logouts of an account need, before there is a config
// or when there is none any more (rules 1 and 10).
func (c *Configs) retire(ctx context.Context, n *connection) error {
	return c.entries.Retired.Put(ctx, string(n.id), store.Retired{Account: withoutLogin(entryOf(n.login))})
}

// lastClient returns the client that opened the sessions of an account which
// are still to be closed although no config logs in to it; empty: there are none.
func (c *Configs) lastClient(ctx context.Context, id sessions.AccountID) (client string, open int, err error) {
	kept, found, err := c.entries.Retired.Get(ctx, string(id))
	if err != nil || !found {
		return "", 0, err
	}
	open, err = c.engine.InUse(ctx, id)
	if err != nil || open == 0 {
		return "", 0, err
	}
	return kept.Account.ClientID, open, nil
}

// unretire forgets what was kept for the logouts of an account, if there are none to come.
func (c *Configs) unretire(ctx context.Context, id sessions.AccountID) error {
	if open, err := c.engine.InUse(ctx, id); err != nil || open > 0 {
		return err
	}
	return c.entries.Retired.Delete(ctx, string(id))
}

// Tidy forgets what was kept for logouts that are not needed any more: a write
// that died before its login left it behind. Call it once after a start.
func (c *Configs) Tidy(ctx context.Context) error {
	ids, err := c.entries.Retired.List(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := c.tidy(ctx, sessions.AccountID(id)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Configs) tidy(ctx context.Context, id sessions.AccountID) error {
	c.mu.Lock()
	_, busy := c.reserved[id]
	if !busy {
		c.reserved[id] = "(tidying up)"
	}
	c.mu.Unlock()
	if busy {
		return nil
	}
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.reserved, id)
	}()
	return c.unretire(ctx, id)
}

func clientBound(open int) error {
	return refuse("client_id", "cannot change while %d session(s) of the account are open: their refresh tokens belong to the client that got them; revoke their leases first", open)
}
