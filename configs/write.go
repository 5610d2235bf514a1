package configs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// detachedTimeout bounds what goes on after a request was given up.
const detachedTimeout = 10 * time.Second

// detached returns a context that outlives a request that was given up.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), detachedTimeout)
}

// WriteOptions are the fields of a config write that are not stored.
type WriteOptions struct {
	// Verify asks for a login, or for none; nil: where a field that a login uses
	// is given, or where nothing is.
	Verify *bool
	// OTP is a one-time code for that login, typed by a person.
	OTP providers.Secret
	// Person is who typed it.
	Person string
}

// Write creates a config, or changes the given fields of it. Of what is refused
// nothing is stored, and the error says so.
func (c *Configs) Write(ctx context.Context, name string, change Change, o WriteOptions) (warnings []string, err error) {
	unlock, err := c.names.lock(ctx, name)
	if err != nil {
		return nil, notStored(err)
	}
	defer unlock()

	w, err := c.newWrite(ctx, name, change, o)
	if err != nil {
		return nil, notStored(err)
	}
	free, err := c.reserve(ctx, w.next)
	if err != nil {
		return nil, notStored(err)
	}
	defer free()
	if err := w.verify(ctx); err != nil {
		return nil, w.notVerified(ctx, err)
	}
	if err := w.store(ctx); err != nil {
		return nil, err
	}
	return w.warnings(w.putInForce(ctx)), nil
}

// write is one write of a config under way.
type write struct {
	*Configs

	old     store.Fields // nil: there is none
	before  *config      // nil: there is none, or none that is still valid
	next    *config
	change  Change
	options WriteOptions

	login *granting // the one that verifies; nil: none does
}

// newWrite checks all that can be checked without a login.
func (c *Configs) newWrite(ctx context.Context, name string, change Change, o WriteOptions) (*write, error) {
	old, exists, err := c.entries.Configs.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if !exists {
		if err := c.refuseNameOfRole(ctx, name); err != nil {
			return nil, err
		}
		if change["provider"] == nil { // maybe another config was meant
			return nil, refuse("provider", "is required for a new config, and there is none of this name yet; use one of %s", c.providerNames())
		}
	}
	w := &write{Configs: c, old: old, change: change, options: o}
	given, err := applyTo(old, change, configTable())
	if err != nil {
		return nil, err
	}
	if exists {
		// A config that an older plugin took and this one refuses can be repaired.
		if n, err := c.build(name, old); err == nil {
			w.before = n
		}
	}
	w.next, err = c.build(name, given)
	if w.isOtherLogin(given) && !refuses(err, change) {
		return nil, w.refuseOtherAccount()
	}
	if err != nil {
		return nil, err
	}
	return w, w.check(ctx)
}

func (w *write) check(ctx context.Context) error {
	_, endGiven := w.change["expires_at"]
	switch {
	case w.options.Verify != nil && !*w.options.Verify && !w.options.OTP.Empty():
		return refuse("otp", "is for the login that verify=false leaves out")
	case !w.next.logsIn() && !w.options.OTP.Empty():
		return refuse("otp", "is not used with auth_method=%s; nothing logs in", w.next.account.AuthMethod)
	case endGiven && !w.next.account.ExpiresAt.IsZero() && !w.next.account.ExpiresAt.After(time.Now()):
		return refuse("expires_at", "is past; give the end of the token as OCP shows it, or make a new token and write it as personal_access_token with its own")
	case w.before != nil && w.before.id != w.next.id:
		return w.refuseOtherAccount()
	}
	if err := w.guardEndpoints(); err != nil {
		return err
	}
	return w.rolesStillFit(ctx, w.next)
}

// refuses says that an error is about a field that a write gives: one that it does not
// give may be of no use to another provider or auth_method.
func refuses(err error, change Change) bool {
	refused, ok := errors.AsType[*providers.FieldError](err)
	if !ok {
		return false
	}
	_, given := change[refused.Field]
	return given
}

// isOtherLogin says whether an update names another provider or auth_method,
// whose fields are others altogether.
func (w *write) isOtherLogin(given store.Fields) bool {
	return w.before != nil && (given["provider"] != w.before.account.Provider ||
		given["auth_method"] != nil && given["auth_method"] != string(w.before.account.AuthMethod))
}

func (w *write) refuseOtherAccount() error {
	var identity []string
	for _, field := range []string{"provider", "environment", "auth_method", "base_url", "realm", "token_url", "client_id", "username"} {
		if _, given := w.change[field]; given {
			identity = append(identity, field)
		}
	}
	return &Refusal{
		Message: fmt.Sprintf("field %s: an update may not change which account a config is", quoted(identity)),
		Advice:  "create another config",
	}
}

// verify logs in with the new config, where that is asked for.
func (w *write) verify(ctx context.Context) error {
	if !w.verifies() {
		return nil
	}
	w.login = &granting{Upstream: w.next.upstream}
	trial := w.next.inForce()
	trial.Upstream = w.login
	return w.engine.Verify(ctx, trial, sessions.Request{
		Account: w.next.id, Mode: w.next.mode, Scopes: w.next.account.Scopes, Params: w.next.account.TokenParams,
		OTP: w.options.OTP, Person: w.options.Person,
	})
}

// verifies does not ask whether a value is another than before: whoever may write
// and not read must not learn whether a guess is right.
func (w *write) verifies() bool {
	switch {
	case !w.next.logsIn():
		return false
	case w.options.Verify != nil:
		return *w.options.Verify
	case !w.options.OTP.Empty(), len(w.change) == 0, w.before == nil:
		return true
	}
	for field := range w.change {
		if usedByLogin(field) {
			return true
		}
	}
	return false
}

// store makes the new config the config. It outlives the request: who goes away
// between login and write leaves nothing half done.
func (w *write) store(ctx context.Context) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	err := w.commit(ctx)
	if err == nil || refused(err) {
		return err
	}
	// It may have landed all the same. What is stored now is in force; the session
	// that verified a config which does not exist is closed.
	if failed := w.Configs.putInForce(ctx, w.next.id, false); failed != nil {
		w.logger.Warn("an account may not be in force as it is stored; write its config without any field", "config", w.next.name, "error", failed)
	}
	return &Refusal{
		Message: "the config could not be stored, or only seems not to be: " + err.Error(),
		Advice:  "read it, and write it again",
		Err:     err,
	}
}

// commit decides and stores what several entries must agree on.
func (w *write) commit(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.rolesStillFit(ctx, w.next); isRefusal(err) {
		return notStored(err)
	} else if err != nil {
		return err
	}
	if err := w.own(ctx, w.next); err != nil {
		return err
	}
	err := w.entries.Configs.Put(ctx, w.next.name, w.next.given)
	w.drop(w.next.name)
	return err
}

// putInForce tells the engine. The config is stored: what fails now is no
// reason to have the client repeat the write, and with it the login.
func (w *write) putInForce(ctx context.Context) []string {
	w.configs.Set(w.next.name, w.next)
	w.tokens.note(w.next.name, w.next.account.ExpiresAt)
	if !w.next.logsIn() {
		return nil
	}
	if err := w.Configs.putInForce(ctx, w.next.id, true); err != nil {
		return []string{fmt.Sprintf("config %q is stored, but it is not in force yet: %v; write it again without any field", w.next.name, err)}
	}
	return nil
}

// warnings adds what people should know of a config that is stored.
func (w *write) warnings(all []string) []string {
	a := w.next.account
	warn := func(format string, args ...any) {
		all = append(all, configSubject(w.next.name)+fmt.Sprintf(format, args...))
	}
	if a.AllowHTTP {
		warn("allow_http=true: credentials and tokens may cross the network unencrypted")
	}
	if strings.HasSuffix(a.RevocationURL, "/protocol/openid-connect/revoke") {
		warn("revocation_url is a Keycloak's: up to release 26.0 one revocation there ends every session of that user with that client, those of other leases too; use provider=keycloak, which logs out single sessions")
	}
	if w.login != nil {
		if missing := w.login.missing(a.Scopes); len(missing) > 0 {
			warn("the server did not grant %s of the scopes that were asked for; tokens have: %s", strings.Join(missing, ", "), *w.login.scope.Load())
		}
	}
	if verify := w.options.Verify; verify != nil && *verify && !w.next.logsIn() {
		warn("it was stored without a check: nothing logs in with a personal access token")
	}
	if warning := ExpiryWarning(a.ExpiresAt, time.Now()); warning != "" {
		warn("%s", warning)
	}
	if w.next.limits.KeepAlive > 0 && !w.options.OTP.Empty() {
		warn("the engine cannot type a one-time code, so it may not be able to keep the account alive: set totp_secret, or write the config with otp=… in time")
	}
	return all
}

func quoted(fields []string) string {
	for i, field := range fields {
		fields[i] = fmt.Sprintf("%q", field)
	}
	return strings.Join(fields, ", ")
}

func configSubject(name string) string { return fmt.Sprintf("config %q: ", name) }
