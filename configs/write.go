package configs

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// cleanupTimeout bounds what is still stored after a request was given up.
const cleanupTimeout = 10 * time.Second

// WriteOptions are the fields of a config write that are not stored.
type WriteOptions struct {
	// Verify asks for a login, or for none; nil: where a field that a login
	// uses changed, or where nothing is given.
	Verify *bool
	// OTP is a one-time code for that login, typed by a person.
	OTP providers.Secret
}

// Write creates a config, or changes the given fields of it.
func (c *Configs) Write(ctx context.Context, name string, change Change, o WriteOptions) (warnings []string, err error) {
	unlock, err := c.names.lock(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()

	old, exists, err := c.entries.Configs.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if !exists {
		if err := c.refuseNameOfRole(ctx, name); err != nil {
			return nil, err
		}
	}
	entry := old
	if err := change.apply(&entry); err != nil {
		return nil, err
	}
	w := write{Configs: c, isNew: !exists, change: change, options: o}
	if exists {
		// A config that an older plugin took and this one refuses can be repaired.
		if n, err := c.connect(name, old); err == nil {
			w.before = n
		}
	}
	if w.otherLogin(entry.Account) {
		return nil, w.refuseOtherAccount()
	}
	if w.next, err = c.connect(name, entry); err != nil {
		return nil, err
	}
	if err := w.check(ctx); err != nil {
		return nil, err
	}
	free, err := c.reserve(ctx, w.next)
	if err != nil {
		return nil, err
	}
	defer free()
	if err := w.meetOther(ctx); err != nil {
		return nil, err
	}
	if err := w.refuseSessionsElsewhere(ctx); err != nil {
		return nil, err
	}
	if err := w.prove(ctx); err != nil {
		return nil, err
	}
	if err := w.store(ctx); err != nil {
		return nil, err
	}
	return w.warnings(ctx, w.putInForce(ctx)), nil
}

// write is one write of a config under way.
type write struct {
	*Configs

	before  *connection // nil: there is none, or none that is still valid
	next    *connection
	other   *connection // the account's second config; nil: there is none
	isNew   bool
	change  Change
	options WriteOptions
}

// check refuses what the new config may not be, before anything happens.
func (w *write) check(ctx context.Context) error {
	if w.options.Verify != nil && !*w.options.Verify && !w.options.OTP.Empty() {
		return refuse("otp", "is for the login that verify=false leaves out")
	}
	if !w.next.canLogIn() && !w.options.OTP.Empty() {
		return refuse("otp", "is not used with auth_method=%s; nothing logs in", w.next.account.AuthMethod)
	}
	loggedIn := w.before != nil && w.before.canLogIn()
	if w.next.canLogIn() && !loggedIn {
		if err := w.refuseOtherClient(ctx); err != nil {
			return err
		}
	}
	if w.before == nil {
		return nil
	}
	if w.otherAccount() {
		return w.refuseOtherAccount()
	}
	if err := w.refuseSecretsElsewhere(); err != nil {
		return err
	}
	if loggedIn && w.before.account.ClientID != w.next.account.ClientID {
		open, err := w.engine.InUse(ctx, w.next.id)
		if err != nil {
			return err
		}
		if open > 0 {
			return clientBound(open)
		}
	}
	return w.rolesStillFit(ctx, w.next)
}

// otherLogin says whether an update names another provider or auth_method,
// whose fields are others altogether.
func (w *write) otherLogin(given store.Account) bool {
	return w.before != nil && (given.Provider != w.before.account.Provider ||
		given.AuthMethod != "" && given.AuthMethod != string(w.before.account.AuthMethod))
}

func (w *write) refuseOtherAccount() error {
	return &Refusal{
		Message: fmt.Sprintf("field %s: an update may not change which account a config is", quoted(w.change.identity())),
		Advice:  "create another config",
	}
}

// otherAccount says whether the new config is another account than before. A
// personal access token may be told later whose it is.
func (w *write) otherAccount() bool {
	a, b := w.before.account, w.next.account
	return a.AuthMethod != b.AuthMethod || a.TokenURL != b.TokenURL ||
		w.before.id != w.next.id && w.before.id != ""
}

// meetOther looks for the account's second config. Both are to log in as the
// same client, so that each can log out what the other has opened.
func (w *write) meetOther(ctx context.Context) (err error) {
	w.other, err = w.Configs.other(ctx, w.next)
	if err != nil || w.other == nil || !w.other.canLogIn() || !w.next.canLogIn() {
		return err
	}
	if w.other.login.ClientID != w.next.login.ClientID {
		return refuse("client_id", "is another than that of config %q, which names the same account: one client's sessions cannot be logged out by another", w.other.name)
	}
	return nil
}

// isFirstLogin says that no config in force can close what a login opens.
func (w *write) isFirstLogin() bool {
	for _, n := range []*connection{w.before, w.other} {
		if n != nil && n.canLogIn() {
			return false
		}
	}
	return w.next.canLogIn()
}

// losesLogin says that after the write nobody can log in to the account any
// more: the owner's password is taken out of a personal access token's config.
func (w *write) losesLogin() bool {
	return w.before != nil && w.before.canLogIn() && !w.next.canLogIn() && w.other == nil
}

// prove logs in with the new config, where that is asked for.
func (w *write) prove(ctx context.Context) error {
	if !w.verifies() {
		return nil
	}
	if w.isFirstLogin() {
		// Written before the login: if we die after it, its session can still
		// be closed (rule 1).
		if err := w.retireBeforeLogin(ctx); err != nil {
			return err
		}
	}
	trial, request := w.trial()
	err := w.engine.Verify(ctx, trial, request)
	if err != nil && w.isFirstLogin() {
		ctx, cancel := cleanup(ctx)
		defer cancel()
		if kept := w.unretire(ctx, w.next.id); kept != nil {
			w.logger.Warn("what the refused write of a config kept for logouts could not be removed",
				"config", w.next.name, "error", kept)
		}
	}
	return err
}

// trial is the login that verifies the write. The owner of a personal access
// token is logged out at once: no reader wants the session.
func (w *write) trial() (sessions.Settings, sessions.Request) {
	r := sessions.Request{Account: w.next.id, Mode: w.next.mode, Scopes: w.next.login.Scopes, OTP: w.options.OTP}
	if w.next.logsIn() {
		return keptAlive(w.next.settings, w.other), r
	}
	r.Mode = providers.Dedicated
	s := keptAlive(w.next.settings, w.next)
	if w.other != nil {
		s.Limits.MaxSessions = w.other.settings.Limits.MaxSessions
	}
	return s, r
}

// refuseOtherClient refuses to bring an account back under another client while
// sessions of the old one are still to be closed.
func (w *write) refuseOtherClient(ctx context.Context) error {
	client, open, err := w.lastClient(ctx, w.next.id)
	if err != nil || open == 0 || client == w.next.login.ClientID {
		return err
	}
	return clientBound(open)
}

// retireBeforeLogin keeps what the logout of the session to come needs. What is
// kept for sessions of before stays: nobody has tried the new secret yet.
func (w *write) retireBeforeLogin(ctx context.Context) error {
	_, open, err := w.lastClient(ctx, w.next.id)
	if err != nil || open > 0 {
		return err
	}
	return w.retire(ctx, w.next)
}

func (w *write) verifies() bool {
	switch {
	case !w.next.canLogIn():
		return false
	case w.options.Verify != nil:
		return *w.options.Verify
	case !w.options.OTP.Empty(), len(w.change) == 0, w.before == nil:
		return true
	}
	return loginDiffers(w.before.login, w.next.login)
}

// store makes the new config the config.
func (w *write) store(ctx context.Context) error {
	if w.losesLogin() {
		if err := w.retire(ctx, w.before); err != nil {
			return err
		}
	}
	err := w.commit(ctx)
	w.dropConfig(w.next.name)
	if err == nil || !w.isNew || !w.verifies() {
		return err
	}
	if !w.next.logsIn() && w.other != nil {
		return err // the other config closes it
	}
	// The verification left a session, and no config to close it with. What
	// was kept for that stays until it is closed. The write that failed may
	// have landed; then the next write finds a config and puts it in force.
	ctx, cancel := cleanup(ctx)
	defer cancel()
	if err := w.entries.Configs.Delete(ctx, w.next.name); err != nil {
		w.logger.Warn("a config that could not be stored may be there all the same; write it again or delete it",
			"config", w.next.name, "error", err)
	}
	if err := w.engine.Drain(ctx, w.next.id); err != nil {
		w.logger.Warn("the session of a config that could not be stored will be closed later",
			"config", w.next.name, "error", err)
	}
	w.putBack(ctx, w.next.id, retiredSettings(w.next.settings.Upstream, w.next.login))
	return err
}

func (w *write) commit(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.rolesStillFit(ctx, w.next); err != nil {
		return err
	}
	if err := w.hold(ctx, w.next); err != nil {
		return err
	}
	return w.entries.Configs.Put(ctx, w.next.name, w.next.entry)
}

// putInForce tells the engine. The config is stored: what fails now is no
// reason to have the client repeat the write, and with it the login.
func (w *write) putInForce(ctx context.Context) []string {
	w.connections.Set(w.next.name, w.next)
	if !w.next.canLogIn() && !w.losesLogin() && w.other == nil {
		return nil // nobody logs in
	}
	// A second config's write says nothing about the login of the first.
	reopen := w.next.logsIn() || w.other == nil
	if err := w.Configs.putInForce(ctx, w.next.id, reopen); err != nil {
		return []string{fmt.Sprintf("config %q is stored, but it is not in force yet: %v; write it again without any field", w.next.name, err)}
	}
	var err error
	switch {
	case w.isFirstLogin():
		err = w.entries.Retired.Delete(ctx, string(w.next.id))
	case w.losesLogin():
		err = w.unretire(ctx, w.next.id)
	}
	if err != nil {
		w.logger.Warn("what was kept for logouts before the config was stored could not be removed",
			"config", w.next.name, "error", err)
	}
	return nil
}

func (w *write) warnings(ctx context.Context, first []string) []string {
	warnings := first
	if w.next.account.AllowHTTP {
		warnings = append(warnings, fmt.Sprintf("config %q has allow_http=true: credentials and tokens may cross the network unencrypted", w.next.name))
	}
	if verify := w.options.Verify; verify != nil && *verify && !w.next.canLogIn() {
		warnings = append(warnings, fmt.Sprintf("config %q was stored without a check: nothing logs in with a personal access token", w.next.name))
	}
	if w.next.logsIn() || len(first) > 0 {
		return warnings
	}
	_, more, err := w.vitals(ctx, w.next)
	if err != nil {
		w.logger.Warn("how the account of a config is kept alive cannot be read", "config", w.next.name, "error", err)
	}
	if len(more) == 0 && !w.options.OTP.Empty() {
		more = []string{fmt.Sprintf("config %q: the engine cannot type a one-time code, so it may not be able to keep the account alive: set totp_secret, or write the config with otp=… before %s have passed",
			w.next.name, days(w.next.method.DeactivatedAfter))}
	}
	return append(warnings, more...)
}

// cleanup returns a context that outlives a request that was given up.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
}

func quoted(fields []string) string {
	for i, field := range fields {
		fields[i] = fmt.Sprintf("%q", field)
	}
	return strings.Join(fields, ", ")
}
