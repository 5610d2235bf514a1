package configs_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

func TestANewAccountIsStoredInTheOrderThatLosesNoSession(t *testing.T) {
	w := newWorld(t)
	w.write(t, "dmo", panta(nil))
	id := idOf(t, w, "dmo")

	require.Equal(t, []string{
		"verify",
		"put account/" + id, // an owner without config counts for nothing
		"put config/dmo",
		"configure reopen",
	}, w.changes())
	w.write(t, "dmo", configs.Change{"password": "other"})
	require.Equal(t, []string{"verify", "put config/dmo", "configure reopen"}, w.changes(), "the account is its own already")
}

// changes is what happened but for reads.
func (w *world) changes() []string {
	return slices.DeleteFunc(w.storage.notes.take(), func(note string) bool {
		return strings.HasPrefix(note, "get ") || strings.HasPrefix(note, "list ")
	})
}

func TestAnAccountThatNobodyHasIsNotLookedForUnderNoName(t *testing.T) {
	w := newWorld(t)
	w.write(t, "dmo", panta(nil))
	require.NotContains(t, w.storage.notes.take(), "get config/")
}

// A corrected write need not wait until an account that refused logins closed opens.
func TestARefusedWriteSaysHowLongACorrectedOneMustWait(t *testing.T) {
	soon := time.Now().Add(time.Minute).Truncate(time.Second).UTC()
	at := soon.Format(time.RFC3339)
	failed := &sessions.Error{Reason: machine.Upstream, Message: "it failed"}
	for name, test := range map[string]struct {
		err    error
		status sessions.Status
		want   string
	}{
		"not at all":           {failed, sessions.Status{}, "it failed; nothing was stored"},
		"closed":               {failed, sessions.Status{Guard: machine.Guard{ClosedUntil: soon}}, "it failed; nothing was stored"},
		"paused":               {failed, sessions.Status{PausedUntil: soon}, "it failed; nothing was stored; no login to this account before " + at},
		"full":                 {failed, sessions.Status{Guard: machine.Guard{FullUntil: soon}, PausedUntil: soon.Add(-time.Second)}, "it failed; nothing was stored; no login to this account before " + at},
		"it is said already":   {&sessions.Error{Message: "not before " + at}, sessions.Status{PausedUntil: soon}, "not before " + at + "; nothing was stored"},
		"no login, but paused": {&sessions.Error{Reason: machine.Invalid, Message: "no code"}, sessions.Status{PausedUntil: soon}, "no code; nothing was stored"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.engine.verifyErr, w.engine.status = test.err, test.status
			_, err := w.Write(t.Context(), "dmo", panta(nil), configs.WriteOptions{})
			require.EqualError(t, err, test.want)
		})
	}
}

func TestAWriteWhoseLoginFailsStoresNothing(t *testing.T) {
	w := newWorld(t)
	w.engine.verifyErr = &sessions.Error{Message: "refused"}
	_, err := w.Write(t.Context(), "dmo", panta(nil), configs.WriteOptions{})
	require.EqualError(t, err, "refused; nothing was stored")
	require.Empty(t, w.keys(t))

	t.Run("and says until when the account rests", func(t *testing.T) {
		w := newWorld(t)
		w.engine.verifyErr = errors.New("refused")
		soon := time.Now().Add(time.Hour)
		late := soon.Add(time.Hour)
		for _, status := range []sessions.Status{
			{Guard: machine.Guard{ClosedUntil: late.Add(time.Hour), FullUntil: late}, PausedUntil: soon},
			{Guard: machine.Guard{FullUntil: soon}, PausedUntil: late},
		} {
			w.engine.status = status
			_, err := w.Write(t.Context(), "dmo", panta(nil), configs.WriteOptions{})
			require.EqualError(t, err, "refused; nothing was stored; no login to this account before "+late.UTC().Format(time.RFC3339))
		}
		w.engine.status = sessions.Status{Guard: machine.Guard{FullUntil: time.Now().Add(-time.Second)}}
		_, err := w.Write(t.Context(), "dmo", panta(nil), configs.WriteOptions{})
		require.EqualError(t, err, "refused; nothing was stored")
		w.engine.status = sessions.Status{PausedUntil: late}
		w.engine.verifyErr = &sessions.Error{Reason: machine.Invalid, Message: "refused"}
		_, err = w.Write(t.Context(), "dmo", panta(nil), configs.WriteOptions{})
		require.EqualError(t, err, "refused; nothing was stored", "there was no login")
	})
	t.Run("and leaves a config as it was", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "dmo", panta(nil))
		before := w.keys(t)
		w.engine.verifyErr = errors.New("refused")
		_, err := w.Write(t.Context(), "dmo", configs.Change{"password": "other"}, configs.WriteOptions{})
		require.Error(t, err)
		require.Equal(t, before, w.keys(t))
		w.engine.verifyErr = nil
		w.storage.notes.take()
		w.write(t, "dmo", configs.Change{"tenant_id": "1"})
		require.NotContains(t, w.storage.notes.take(), "verify", "no login uses the tenant")
	})
}

// TestACrashLeavesOneConfigInForce fails each storage access of a write and of a
// delete, once and from then on, and looks at what a restart finds.
func TestACrashLeavesOneConfigInForce(t *testing.T) {
	write := func(name string, change configs.Change) func(context.Context, *world) error {
		return func(ctx context.Context, w *world) error {
			_, err := w.Write(ctx, name, change, configs.WriteOptions{})
			return err
		}
	}
	operations := map[string]struct {
		before map[string]configs.Change
		do     func(context.Context, *world) error
	}{
		"create": {nil, write("dmo", panta(nil))},
		"update": {map[string]configs.Change{"dmo": panta(nil)}, write("dmo", configs.Change{"password": "other"})},
		"delete": {map[string]configs.Change{"dmo": panta(nil)}, func(ctx context.Context, w *world) error {
			_, err := w.Delete(ctx, "dmo", true)
			return err
		}},
	}
	points := 0
	for name, operation := range operations {
		for _, once := range []bool{true, false} {
			for _, landed := range []bool{true, false} {
				for at := 0; ; at++ {
					w := newWorld(t)
					for config, change := range operation.before {
						w.write(t, config, change)
					}
					hit := failAt(w.storage, at, once)
					w.storage.landed = landed
					_ = operation.do(t.Context(), w)
					if !*hit {
						break
					}
					points++
					assertOneConfig(t, w, fmt.Sprintf("%s, access %d, once %v, landed %v", name, at, once, landed))
				}
			}
		}
	}
	t.Logf("%d crash points", points)
	require.Greater(t, points, 60)
}

// assertOneConfig restarts and checks that the account belongs to the config, if that
// is stored, and to nobody else.
func assertOneConfig(t *testing.T, w *world, when string) {
	t.Helper()
	next := restarted(w.storage.Storage, w.engine.open)
	exists, err := next.Exists(t.Context(), "dmo")
	require.NoError(t, err, when)
	if !exists {
		next.write(t, "dmo", panta(nil)) // the account is free
	}
	_, err = next.Write(t.Context(), "other", panta(nil), configs.WriteOptions{})
	require.ErrorContains(t, err, `config "dmo" holds this account already`, when)
	s, err := next.Settings(t.Context(), sessions.AccountID(idOf(t, next, "dmo")))
	require.NoError(t, err, when)
	require.Equal(t, "dmo", s.Config, when)
}

// failAt fails the storage's nth access, or all from it on.
func failAt(s *noting, n int, once bool) (hit *bool) {
	hit = new(bool)
	count := 0
	s.fail = func(string, string) error {
		this := count
		count++
		if this < n || once && this > n {
			return nil
		}
		*hit = true
		return errDisk
	}
	return hit
}

func TestAConfigThatCannotBeStoredIsNotInForce(t *testing.T) {
	w := newWorld(t)
	w.storage.fail = func(op, key string) error {
		if op == "put" && strings.HasPrefix(key, "config/") {
			return errDisk
		}
		return nil
	}
	_, err := w.Write(t.Context(), "dmo", panta(nil), configs.WriteOptions{})
	require.ErrorIs(t, err, errDisk)
	require.ErrorContains(t, err, "the config could not be stored, or only seems not to be: ")
	require.Nil(t, w.engine.settings.Upstream, "the session that verified it is closed")
	require.NotContains(t, w.storage.notes.take(), "configure nothing reopen", "what came to nothing reopens no guard")
	require.Empty(t, w.log.String())
	target, err := w.Resolve(t.Context(), "dmo")
	require.NoError(t, err)
	require.Nil(t, target)

	w.engine.configureErr = errors.New("shutting down")
	_, err = w.Write(t.Context(), "dmo", panta(nil), configs.WriteOptions{})
	require.ErrorIs(t, err, errDisk)
	require.Contains(t, w.log.String(), `an account may not be in force as it is stored; write its config without any field: config=dmo error="shutting down"`)
}

func TestAnAccountHasOneConfig(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	_, err := w.Write(t.Context(), "eu2", ocp(nil), configs.WriteOptions{})
	require.EqualError(t, err, `config "eu1" holds this account already, and an account has one session budget, one set of one-time codes and one guard; make a role with config=eu1 instead; nothing was stored`)

	_, err = w.Write(t.Context(), "eu2", ocp(configs.Change{"username": "OLGA"}), configs.WriteOptions{})
	require.ErrorContains(t, err, `config "eu1" holds this account already`)
	w.write(t, "token", pat(nil)) // nothing logs in for it
	w.write(t, "token2", pat(nil))

	t.Run("and is free again when that is deleted", func(t *testing.T) {
		_, err := w.Delete(t.Context(), "eu1", false)
		require.NoError(t, err)
		w.write(t, "eu2", ocp(nil))
	})
	t.Run("a claim counts only if its config is there", func(t *testing.T) {
		require.NoError(t, w.storage.Storage.Delete(t.Context(), "config/eu2"))
		w.Invalidate("config/eu2")
		w.write(t, "eu3", ocp(nil))
	})
}

func TestOfTwoConfigsForOneAccountAtOnceOneIsRefused(t *testing.T) {
	w := newWorld(t)
	began, goOn := make(chan struct{}), make(chan struct{})
	var logins atomic.Int32
	w.engine.verifying = func() {
		if logins.Add(1) == 1 {
			close(began)
			<-goOn
		}
	}

	first := make(chan error, 1)
	go func() {
		_, err := w.Write(context.Background(), "a", ocp(nil), configs.WriteOptions{})
		first <- err
	}()
	<-began
	_, err := w.Write(t.Context(), "b", ocp(nil), configs.WriteOptions{})
	require.EqualError(t, err, `the account is being written as config "a" at this moment; try again when that is done; nothing was stored`)
	w.write(t, "other", panta(nil)) // nobody else waits

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = w.Write(ctx, "a", ocp(nil), configs.WriteOptions{})
	require.ErrorContains(t, err, "another write of this name is still at work")
	_, err = w.Delete(ctx, "a", false)
	require.ErrorContains(t, err, "another write of this name is still at work")
	require.ErrorContains(t, w.WriteRole(ctx, "a", configs.Change{"config": "other"}), "another write of this name is still at work")
	require.ErrorContains(t, w.DeleteRole(ctx, "a"), "another write of this name is still at work")

	close(goOn)
	require.NoError(t, <-first)
}

func TestARoleCannotBeginToUseAConfigThatIsBeingDeleted(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	role := configs.Change{"config": "eu1"}
	w.engine.draining = func() {
		require.EqualError(t, w.WriteRole(t.Context(), "r", role), `field "config": config "eu1" is being deleted; name another one; nothing was stored`)
	}
	w.engine.drainErr = errDisk
	_, err := w.Delete(t.Context(), "eu1", false)
	require.ErrorIs(t, err, errDisk)
	require.NoError(t, w.WriteRole(t.Context(), "r", role), "it was not deleted")
}

func TestUpdates(t *testing.T) {
	totp := configs.Change{"totp_secret": "GEZDGNBVGY3TQOJQ"}
	for name, test := range map[string]struct {
		change configs.Change
		o      configs.WriteOptions
		open   int
		logins bool
		want   string
	}{
		"empty":                   {change: configs.Change{}, logins: true},
		"password":                {change: configs.Change{"password": "new"}, logins: true},
		"the same password":       {change: configs.Change{"password": "s3cret-password"}, logins: true},
		"a one-time code":         {change: configs.Change{"ttl": "1m"}, o: configs.WriteOptions{OTP: providers.NewSecret("123456")}, logins: true},
		"a one-time code for nil": {o: configs.WriteOptions{OTP: providers.NewSecret("123456"), Verify: new(false)}, want: `field "otp": is for the login that verify=false leaves out`},
		"totp secret":             {change: totp, logins: true},
		"verify=false":            {change: totp, o: configs.WriteOptions{Verify: new(false)}},
		"verify=true":             {change: configs.Change{"ttl": "1m"}, o: configs.WriteOptions{Verify: new(true)}, logins: true},
		"limits":                  {change: configs.Change{"ttl": "1m", "max_ttl": "1h", "max_sessions": 0, "linger": "1s"}},
		"logout_url":              {change: configs.Change{"logout_url": "https://eu1-m.ocp.ai/logout"}},
		"logout_url elsewhere": {
			change: configs.Change{"logout_url": "https://elsewhere.example.com/logout"},
			want:   `field "logout_url": leads to a host that has not had the stored secrets; give password with it`,
		},
		"logout_url elsewhere, another password": {
			change: configs.Change{"logout_url": "https://elsewhere.example.com/logout", "password": "guessed"}, logins: true,
		},
		"logout_url elsewhere, by who knows": {change: configs.Change{"logout_url": "https://elsewhere.example.com/logout", "password": "s3cret-password"}, logins: true},
		"username":                           {change: configs.Change{"username": "peter"}, want: `field "username": an update may not change which account a config is; create another config`},
		"environment":                        {change: configs.Change{"environment": "us1"}, want: `field "environment": an update may not change which account a config is; create another config`},
		"provider":                           {change: configs.Change{"provider": "keycloak"}, want: `field "provider": an update may not change which account a config is; create another config`},
		"auth_method":                        {change: configs.Change{"auth_method": "pat", "personal_access_token": "x"}, want: `field "auth_method": an update may not change which account a config is; create another config`},
		"misspelt provider":                  {change: configs.Change{"provider": "opc"}, want: `field "provider": is not known; use one of keycloak, oauth2, ocp, panta, partner`},
		"misspelt auth_method":               {change: configs.Change{"auth_method": "pasword"}, want: `field "auth_method": is not one of ocp; allowed: password, pat`},
		"client_id":                          {change: configs.Change{"client_id": "other"}, logins: true},
		"provider taken back":                {change: configs.Change{"provider": nil}, want: `field "provider": is required; use one of keycloak, oauth2, ocp, panta, partner`},
		"equal TTLs":                         {change: configs.Change{"ttl": "1h", "max_ttl": "1h"}},
		"inverted TTLs":                      {change: configs.Change{"ttl": "1h", "max_ttl": "1m"}, want: `field "ttl": 3600s is longer than max_ttl, 60s`},
		"negative TTL":                       {change: configs.Change{"max_ttl": "-1m"}, want: `field "max_ttl": must be a duration in whole seconds that is not negative, such as 300, "90s", "5m" or "30d"`},
		"negative linger":                    {change: configs.Change{"linger": "-1m"}, want: `field "linger": must be a duration in whole seconds that is not negative, such as 300, "90s", "5m" or "30d"`},
		"negative limit":                     {change: configs.Change{"max_sessions": -1}, want: `field "max_sessions": must not be negative; 0 means no limit`},
		"unknown mode":                       {change: configs.Change{"session_mode": "s3cret"}, want: `field "session_mode": is not known; use dedicated or shared`},
		"linger, dedicated":                  {change: configs.Change{"linger": "1m", "session_mode": "dedicated"}, want: `field "linger": keeps a shared session after its last lease; with session_mode=dedicated there is none: leave it out, or set session_mode=shared`},
		"offline_access":                     {change: configs.Change{"scopes": []string{"offline_access"}}, want: `field "scopes": offline_access is not allowed by ocp: its sessions escape the server's list and limit of sessions`},
		"no field":                           {change: configs.Change{"colour": "blue"}, want: `field "colour": is not a field here`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write(t, "eu1", ocp(nil))
			w.engine.open = test.open
			w.storage.notes.take()
			_, err := w.Write(t.Context(), "eu1", test.change, test.o)
			if test.want != "" {
				require.EqualError(t, err, test.want+"; nothing was stored")
				require.NotContains(t, w.storage.notes.take(), "put config/eu1")
				return
			}
			require.NoError(t, err)
			happened := w.storage.notes.take()
			require.Contains(t, happened, "configure reopen", "every write reopens the guard")
			if test.logins {
				require.Contains(t, happened, "verify")
			} else {
				require.NotContains(t, happened, "verify")
			}
		})
	}
}

func TestTheLimitsOfAConfigAreInForce(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(configs.Change{"max_sessions": 3, "linger": "1m", "request_timeout": "20s", "keepalive_interval": "30d", "session_mark": false}))
	l := w.engine.settings.Limits
	l.Capabilities = providers.Capabilities{}
	require.Equal(t, sessions.Limits{
		MaxSessions: 3, Linger: time.Minute, RequestTimeout: 20 * time.Second, KeepAlive: 30 * 24 * time.Hour, DeactivatedAfter: 90 * 24 * time.Hour, NoMark: true,
	}, l)

	w.write(t, "us1", ocp(configs.Change{"environment": "us1"}))
	l = w.engine.settings.Limits
	l.Capabilities = providers.Capabilities{}
	require.Equal(t, sessions.Limits{MaxSessions: 5, RequestTimeout: 10 * time.Second}, l, "the defaults")
}

func TestWarnings(t *testing.T) {
	w := newWorld(t)
	warnings, err := w.Write(t.Context(), "dmo", panta(configs.Change{"base_url": "http://login.example.com", "allow_http": true}), configs.WriteOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{`config "dmo": allow_http=true: credentials and tokens may cross the network unencrypted`}, warnings)

	warnings, err = w.Write(t.Context(), "kc", configs.Change{
		"provider": "oauth2", "token_url": "https://login.example.com/realms/r/protocol/openid-connect/token", "client_id": "app", "client_secret": "x",
		"auth_method": "client_credentials", "revocation_url": "https://login.example.com/realms/r/protocol/openid-connect/revoke",
	}, configs.WriteOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{`config "kc": revocation_url is a Keycloak's: up to release 26.0 one revocation there ends every session of that user with that client, those of other leases too; use provider=keycloak, which logs out single sessions`}, warnings)

	warnings, err = w.Write(t.Context(), "token", pat(nil), configs.WriteOptions{Verify: new(true)})
	require.NoError(t, err)
	require.Equal(t, []string{
		`config "token": it was stored without a check: nothing logs in with a personal access token`,
	}, warnings)

	soon := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	warnings, err = w.Write(t.Context(), "token", configs.Change{"expires_at": soon}, configs.WriteOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{`config "token": the personal access token ends at ` + soon + `; make a new one in OCP and write it with its expires_at`}, warnings)
	require.Equal(t, warnings, w.reading(t, "token").Warnings)
}

func TestWhatIsAsItShouldBeIsNotWarnedAbout(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]struct {
		change configs.Change
		o      configs.WriteOptions
	}{
		"a login":                  {ocp(nil), configs.WriteOptions{Verify: new(true)}},
		"no login":                 {ocp(configs.Change{"environment": "us1"}), configs.WriteOptions{Verify: new(false)}},
		"a code":                   {ocp(configs.Change{"environment": "us2"}), configs.WriteOptions{OTP: providers.NewSecret("123456")}},
		"kept alive":               {panta(configs.Change{"keepalive_interval": "30d"}), configs.WriteOptions{}},
		"a token":                  {pat(nil), configs.WriteOptions{}},
		"a token that ends":        {pat(configs.Change{"expires_at": "2099-01-01T00:00:00Z"}), configs.WriteOptions{}},
		"a token, without a login": {pat(nil), configs.WriteOptions{Verify: new(false)}},
	} {
		warnings, err := w.Write(t.Context(), strings.ReplaceAll(name, " ", "-"), test.change, test.o)
		require.NoError(t, err)
		require.Empty(t, warnings, name)
	}
	require.Empty(t, w.log.String())
}

func TestATokenWhoseEndIsPastIsRefused(t *testing.T) {
	w := newWorld(t)
	past := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	_, err := w.Write(t.Context(), "token", pat(configs.Change{"expires_at": past}), configs.WriteOptions{})
	require.EqualError(t, err, `field "expires_at": is past; give the end of the token as OCP shows it, or make a new token and write it as personal_access_token with its own; nothing was stored`)

	stored := store.Fields(pat(configs.Change{"expires_at": past}))
	require.NoError(t, store.NewEntries(w.storage).Configs.Put(t.Context(), "token", stored))
	w.write(t, "token", configs.Change{"ttl": "1m"}) // which has nothing to do with it
}

// The account is the same, but not the fields that say so.
func TestAnUpdateMayNotChangeTheProviderOfTheSameAccount(t *testing.T) {
	w := newWorld(t)
	const realm = "https://login.example.com/realms/r"
	w.write(t, "kc", configs.Change{
		"provider": "oauth2", "token_url": realm + "/protocol/openid-connect/token", "client_id": "app", "client_secret": "x",
		"auth_method": "client_credentials",
	})
	_, err := w.Write(t.Context(), "kc", configs.Change{"provider": "keycloak", "token_url": nil, "base_url": "https://login.example.com", "realm": "r"}, configs.WriteOptions{})
	require.ErrorContains(t, err, `an update may not change which account a config is; create another config`)
}

func TestDelete(t *testing.T) {
	t.Run("logs out first", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		_, err := w.Delete(t.Context(), "eu1", false)
		require.NoError(t, err)
		require.Empty(t, w.keys(t))
		require.Zero(t, w.engine.open)
		require.Nil(t, w.engine.settings.Upstream)
		happened := w.storage.notes.take()
		require.Contains(t, happened, "configure nothing")
		require.NotContains(t, happened, "configure nothing reopen", "what refused logins closed stays closed for a config that is made again")
	})
	t.Run("refuses while the server cannot be reached", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		before := w.keys(t)
		w.storage.notes.take()
		w.engine.drainErr = errors.New("1 session is left")
		_, err := w.Delete(t.Context(), "eu1", false)
		require.EqualError(t, err, "it is not deleted: 1 session is left; try again when the server can be reached, or use force=true: then logouts go on in the background")
		require.Equal(t, before, w.keys(t))
		require.Contains(t, w.storage.notes.take(), "configure", "it is in force again")
		require.NotNil(t, w.engine.settings.Upstream)
	})
	t.Run("with force goes on in the background", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		w.engine.drainErr = errors.New("1 session is left")
		warnings, err := w.Delete(t.Context(), "eu1", true)
		require.NoError(t, err)
		require.Len(t, warnings, 1)
		require.Empty(t, w.keys(t))
		require.Nil(t, w.engine.settings.Upstream)
	})
	t.Run("with force does not depend on the request's time", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		ctx, cancel := context.WithCancel(t.Context())
		w.engine.drainErr = errors.New("1 session is left")
		w.engine.draining = cancel
		_, err := w.Delete(ctx, "eu1", true)
		require.NoError(t, err)
		require.Empty(t, w.keys(t))
	})
	t.Run("is refused while roles use it", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		for _, role := range []string{"b", "a"} {
			require.NoError(t, w.WriteRole(t.Context(), role, configs.Change{"config": "eu1"}))
		}
		_, err := w.Delete(t.Context(), "eu1", true)
		require.EqualError(t, err, `it is used by roles "a", "b"; delete these roles first, or let them name another config`)
		require.NoError(t, w.DeleteRole(t.Context(), "a"))
		_, err = w.Delete(t.Context(), "eu1", true)
		require.EqualError(t, err, `it is used by role "b"; delete that role first, or let it name another config`)
		for range 2 { // again: gone is done
			require.NoError(t, w.DeleteRole(t.Context(), "b"))
		}
		_, err = w.Delete(t.Context(), "eu1", false)
		require.NoError(t, err)
	})
	t.Run("of a personal access token ends no session", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "token", pat(nil))
		_, err := w.Delete(t.Context(), "token", false)
		require.NoError(t, err)
		require.Empty(t, w.keys(t))
		require.NotContains(t, w.storage.notes.take(), "drain")
	})
	t.Run("of what is not there is a success", func(t *testing.T) {
		warnings, err := newWorld(t).Delete(t.Context(), "eu1", false)
		require.NoError(t, err)
		require.Empty(t, warnings)
	})
}

func TestRoles(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(configs.Change{"scopes": []string{"a", "b"}}))
	w.write(t, "dmo", panta(configs.Change{"token_params": "audience=prod"}))
	w.write(t, "token", pat(nil))
	require.NoError(t, w.WriteRole(t.Context(), "good", configs.Change{"config": "eu1", "scopes": []string{"a"}, "ttl": "1m"}))
	for name, test := range map[string]struct {
		role   string
		change configs.Change
		want   string
	}{
		"no config":          {"r", configs.Change{}, `field "config": is required for a new role, and there is none of this name yet; give the name of the config that it is a view of`},
		"config taken back":  {"good", configs.Change{"config": nil}, `field "config": is required; give the name of the config that this role is a view of`},
		"unknown config":     {"r", configs.Change{"config": "x"}, "field \"config\": there is no config \"x\"; `vault list` at config/ shows what there is"},
		"a config's name":    {"dmo", configs.Change{"config": "eu1"}, `the name is taken by a config, and roles and configs share one namespace; choose another name`},
		"more scopes":        {"r", configs.Change{"config": "eu1", "scopes": []string{"c"}}, `field "scopes": "c" is not one of config "eu1", which has a, b`},
		"offline_access":     {"r", configs.Change{"config": "dmo", "scopes": []string{"offline_access"}}, `field "scopes": offline_access is not allowed by panta: its sessions escape the server's list and limit of sessions`},
		"a scope of two":     {"r", configs.Change{"config": "dmo", "scopes": []any{"a b"}}, `field "scopes": scope number 1 is empty or has a character that is not allowed; separate scopes by commas, as in openid,email, each of printable ASCII without blanks, quotes and backslashes`},
		"unknown mode":       {"r", configs.Change{"config": "dmo", "session_mode": "own"}, `field "session_mode": is not known; use dedicated or shared`},
		"wider mode":         {"r", configs.Change{"config": "dmo", "session_mode": "shared"}, `field "session_mode": shared is wider than config "dmo", which is dedicated; a role may only narrow it`},
		"a set parameter":    {"r", configs.Change{"config": "dmo", "token_params": "Audience=evil"}, `field "token_params": "Audience" is set by config "dmo"; leave it out`},
		"reserved parameter": {"r", configs.Change{"config": "dmo", "token_params": map[string]any{"grant_type": "x"}}, `field "token_params": grant_type is sent by the engine itself; leave it out`},
		"parameters, token":  {"r", configs.Change{"config": "token", "token_params": map[string]any{"a": "b"}}, `field "token_params": is not used: config "token" has a personal access token, for which nothing logs in`},
		"inverted TTLs":      {"good", configs.Change{"max_ttl": "1s"}, `field "ttl": 60s is longer than max_ttl, 1s`},
		"scopes of a token":  {"r", configs.Change{"config": "token", "scopes": []string{"a"}}, `field "scopes": is not used: config "token" has a personal access token, whose rights are fixed`},
		"no such field":      {"r", configs.Change{"config": "eu1", "colour": "blue"}, `field "colour": is not a field here`},
		"not a duration":     {"good", configs.Change{"ttl": "soon"}, `field "ttl": must be a duration in whole seconds that is not negative, such as 300, "90s", "5m" or "30d"`},
		"sessions for token": {"r", configs.Change{"config": "token", "session_mode": "dedicated"}, `field "session_mode": is not used: config "token" has a personal access token, which opens no session`},
	} {
		t.Run(name, func(t *testing.T) {
			require.EqualError(t, w.WriteRole(t.Context(), test.role, test.change), test.want+"; nothing was stored")
		})
	}
	t.Run("a config cannot take a role's name", func(t *testing.T) {
		_, err := w.Write(t.Context(), "good", panta(configs.Change{"username": "peter"}), configs.WriteOptions{})
		require.EqualError(t, err, "the name is taken by a role, and roles and configs share one namespace; choose another name; nothing was stored")
	})
	t.Run("a config cannot give less than its roles ask for", func(t *testing.T) {
		_, err := w.Write(t.Context(), "eu1", configs.Change{"scopes": []string{"b"}}, configs.WriteOptions{})
		require.EqualError(t, err, `role "good" would not fit any more: field "scopes": "a" is not one of config "eu1", which has b; change that role first; nothing was stored`)
	})
}

func TestResolve(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(configs.Change{"scopes": []string{"b", "a"}, "ttl": "1m", "max_ttl": "1h"}))
	require.NoError(t, w.WriteRole(t.Context(), "r", configs.Change{
		"config": "eu1", "scopes": []string{"a"}, "ttl": "1s", "max_ttl": "2h", "session_mode": "dedicated",
	}))
	resolve := func(name string) *configs.Target {
		target, err := w.Resolve(t.Context(), name)
		require.NoError(t, err)
		return target
	}
	require.Nil(t, resolve("nobody"))
	config, role := resolve("eu1"), resolve("r")
	require.Equal(t, []string{"a", "b"}, config.Scopes)
	require.Equal(t, providers.Shared, config.Mode)
	require.Equal(t, []string{"a"}, role.Scopes)
	require.Equal(t, providers.Dedicated, role.Mode)
	require.Equal(t, time.Second, role.TTL)
	require.Equal(t, time.Hour, role.MaxTTL, "the config's holds as well")
	require.Equal(t, config.Account, role.Account)

	w.write(t, "endless", ocp(configs.Change{"environment": "us1"}))
	for config, most := range map[string]time.Duration{"eu1": time.Hour, "endless": 0} {
		for given, want := range map[any]time.Duration{nil: most, "30m": 30 * time.Minute} {
			change := configs.Change{"config": config, "scopes": nil, "ttl": nil, "max_ttl": given, "session_mode": nil}
			require.NoError(t, w.WriteRole(t.Context(), "max", change))
			require.Equal(t, want, resolve("max").MaxTTL, "%s %s", config, given)
		}
	}

	t.Run("a hit costs no storage access", func(t *testing.T) {
		w.storage.notes.take()
		require.Same(t, config, resolve("eu1"))
		require.Same(t, role, resolve("r"))
		require.Empty(t, w.storage.notes.take())
		require.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = w.Resolve(t.Context(), "r") }), 2.0)
	})
	t.Run("a write is seen at once", func(t *testing.T) {
		w.write(t, "eu1", configs.Change{"max_ttl": "30m"})
		require.Equal(t, 30*time.Minute, resolve("eu1").MaxTTL)
		require.Equal(t, 30*time.Minute, resolve("r").MaxTTL)
		require.NoError(t, w.WriteRole(t.Context(), "r", configs.Change{"ttl": "2s"}))
		require.Equal(t, 2*time.Second, resolve("r").TTL)
	})
	t.Run("what another node wrote is seen after Invalidate", func(t *testing.T) {
		w.write(t, "dmo", panta(nil))
		other := restarted(w.storage.Storage, 0)
		before, untouched := resolve("eu1"), resolve("dmo")
		other.write(t, "eu1", configs.Change{"ttl": "7s"})
		require.Same(t, before, resolve("eu1"))
		w.Invalidate("config/eu1")
		require.Equal(t, 7*time.Second, resolve("eu1").TTL)
		require.Same(t, untouched, resolve("dmo"), "exactly the entry is dropped")

		require.NotNil(t, resolve("r"))
		err := other.DeleteRole(t.Context(), "r")
		require.NoError(t, err)
		w.Invalidate("role/r")
		require.Nil(t, resolve("r"))
	})
}

func TestARoleIsItsConfigButForWhatItNarrows(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(configs.Change{"scopes": "a,b", "ttl": "5m", "max_ttl": "1h", "token_params": "audience=prod"}))
	for name, test := range map[string]struct {
		field  string
		value  any
		narrow func(*configs.Target)
	}{
		"nothing":      {"ttl", nil, func(*configs.Target) {}},
		"scopes":       {"scopes", "a", func(target *configs.Target) { target.Scopes = []string{"a"} }},
		"ttl":          {"ttl", "1s", func(target *configs.Target) { target.TTL = time.Second }},
		"max_ttl":      {"max_ttl", "10m", func(target *configs.Target) { target.MaxTTL = 10 * time.Minute }},
		"session_mode": {"session_mode", "dedicated", func(target *configs.Target) { target.Mode = providers.Dedicated }},
		"token_params": {"token_params", "resource=r", func(target *configs.Target) {
			target.Params = map[string]string{"audience": "prod", "resource": "r"}
		}},
	} {
		require.NoError(t, w.WriteRole(t.Context(), "r", configs.Change{"config": "eu1", test.field: test.value}))
		config, err := w.Resolve(t.Context(), "eu1")
		require.NoError(t, err)
		role, err := w.Resolve(t.Context(), "r")
		require.NoError(t, err)
		want := *config
		test.narrow(&want)
		require.Equal(t, &want, role, name)
		require.NoError(t, w.DeleteRole(t.Context(), "r"))
		role, err = w.Resolve(t.Context(), "r")
		require.NoError(t, err)
		require.Nil(t, role, "it is gone at once")
	}
}

func TestAWriteIsRefusedThatDoesNotFitARoleWrittenDuringItsLogin(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(configs.Change{"scopes": "a,b"}))
	w.engine.verifying = func() {
		require.NoError(t, w.WriteRole(t.Context(), "r", configs.Change{"config": "eu1", "scopes": "b"}))
	}
	_, err := w.Write(t.Context(), "eu1", configs.Change{"scopes": "a"}, configs.WriteOptions{})
	require.EqualError(t, err, `role "r" would not fit any more: field "scopes": "b" is not one of config "eu1", which has a; change that role first; nothing was stored`)
	require.Equal(t, []string{"a", "b"}, w.reading(t, "eu1").Fields["scopes"])
}

func TestOnlyAConfigThatLogsInHasAnAccount(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	w.write(t, "token", pat(nil))
	require.NoError(t, w.WriteRole(t.Context(), "r", configs.Change{"config": "eu1"}))
	for name, test := range map[string]struct {
		found bool
		want  string
	}{
		"eu1":    {true, ""},
		"nobody": {false, ""},
		"r":      {false, `"r" is a role, and its sessions are those of config "eu1"; ask for sessions/eu1`},
		"token":  {false, `config "token" has a personal access token: nothing logs in for it`},
	} {
		id, found, err := w.Account(t.Context(), name)
		if test.want != "" {
			require.EqualError(t, err, test.want)
		} else {
			require.NoError(t, err)
		}
		require.Equal(t, test.found, found, name)
		require.Equal(t, test.found, string(id) == idOf(t, w, "eu1"), name)
	}
}

func TestARoleIsShownAsItWasGiven(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	require.NoError(t, w.WriteRole(t.Context(), "r", configs.Change{"config": "eu1", "ttl": "1m", "scopes": "a"}))
	answer, found, err := w.ShowRole(t.Context(), "r")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, map[string]any{
		"config": "eu1", "ttl": 60, "max_ttl": 0, "scopes": []string{"a"}, "token_params": map[string]string{}, "session_mode": "",
	}, answer)
	answer, found, err = w.ShowRole(t.Context(), "nobody")
	require.NoError(t, err)
	require.False(t, found)
	require.Nil(t, answer)
}

func TestOnlyTheConfigOfARoleIsRequired(t *testing.T) {
	for _, f := range configs.RoleFields() {
		require.Equal(t, f.Name == "config", f.Required, f.Name)
	}
}

func TestAMethodHasTheFieldsOfUseThatItUses(t *testing.T) {
	for method, want := range map[providers.AuthMethod][]string{
		providers.Password:            {"session_mode", "max_sessions", "linger", "ttl", "max_ttl", "keepalive_interval"},
		providers.ClientCredentials:   {"session_mode", "max_sessions", "linger", "ttl", "max_ttl"},
		providers.PersonalAccessToken: {"ttl", "max_ttl"},
	} {
		var names []string
		for _, f := range configs.FieldsOfUse(providers.Method{Name: method}) {
			names = append(names, f.Name)
		}
		require.Equal(t, want, names, method)
	}
}

func TestATokenGoesOutInTheHeadersOfItsProvider(t *testing.T) {
	w := newWorld(t)
	w.write(t, "dmo", panta(nil))
	w.write(t, "token", pat(nil))
	for name, want := range map[string]map[string]string{
		"dmo":   {"Authorization": "Bearer at", "X-CLIENT-ID": "4711"},
		"token": {"X-OCP-PERSONAL-ACCESS-TOKEN": "s3cret-pat"},
	} {
		target, err := w.Resolve(t.Context(), name)
		require.NoError(t, err)
		got := target.Headers(providers.TokenResponse{AccessToken: providers.NewSecret("at"), TokenType: "Bearer"})
		require.True(t, maps.Equal(want, got), name)
	}
}

func TestReadShowsDefaultsAndNoSecret(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(configs.Change{"totp_secret": "GEZDGNBVGY3TQOJQ"}))
	reading, found, err := w.Read(t.Context(), "eu1")
	require.NoError(t, err)
	require.True(t, found)
	require.Empty(t, reading.Warnings)
	answer := reading.Fields
	require.NotContains(t, fmt.Sprint(answer), "s3cret")
	require.NotContains(t, fmt.Sprint(answer), "GEZDGNBVGY3TQOJQ")
	for field, want := range map[string]any{
		"provider": "ocp", "auth_method": "password", "environment": "eu1", "realm": "master", "client_id": "ocp",
		"base_url": "https://eu1-m.ocp.ai", "username": "olga", "password_set": true, "totp_secret_set": true,
		"session_mode": "shared", "max_sessions": 5, "ttl": 0, "session_mark": true, "token_params": map[string]string{},
		"request_timeout": 10, "scopes": []string{}, "keepalive_interval": 0,
	} {
		require.Equal(t, want, answer[field], field)
	}
}

func TestAReadShowsTheFieldsOfTheMethodAsTheyWereGiven(t *testing.T) {
	w := newWorld(t)
	w.write(t, "token", pat(configs.Change{"expires_at": "2099-01-01T01:00:00+01:00", "ttl": "5m"}))
	require.Equal(t, map[string]any{
		"provider": "ocp", "auth_method": "pat", "environment": "eu1", "personal_access_token_set": true,
		"expires_at": "2099-01-01T01:00:00+01:00", "ttl": 300, "max_ttl": 0,
	}, w.reading(t, "token").Fields)

	const spelt = "HTTPS://Login.Example.com/"
	w.write(t, "kc", configs.Change{
		"provider": "keycloak", "base_url": spelt, "realm": "r", "client_id": "app", "username": "ann", "password": "s3cret-password", "max_sessions": 3,
	})
	fields := w.reading(t, "kc").Fields
	require.Equal(t, spelt, fields["base_url"])
	require.Equal(t, 3, fields["max_sessions"])
	require.NotContains(t, fields, "tenant_id")

	w.write(t, "eu1", ocp(configs.Change{"client_id": ""}))
	require.Equal(t, "ocp", w.reading(t, "eu1").Fields["client_id"], "an empty text is the default")
}

func TestEntriesOfANewerPluginAreRefused(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.storage.Put(t.Context(), &logical.StorageEntry{Key: "config/eu1", Value: []byte(`{"version":2,"entry":{}}`)}))
	_, err := w.Resolve(t.Context(), "eu1")
	require.EqualError(t, err, "the storage entry config/eu1 was written by a newer plugin (version 2, this one reads up to 1); upgrade the plugin")
}

func idOf(t *testing.T, w *world, config string) string {
	t.Helper()
	before := w.storage.notes.take()
	target, err := w.Resolve(t.Context(), config)
	require.NoError(t, err)
	w.storage.notes.take()
	w.storage.notes.all = before
	return string(target.Account)
}

func TestTheLeasesOfAnUnusableConfigStillEnd(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	id := idOf(t, w, "eu1")
	for _, content := range []string{`{`, `{"version":99,"entry":{}}`, `{"version":1,"entry":{"provider":"ocp"}}`, `{"version":1,"entry":{"provider":"ocp","colour":"blue"}}`, `{"version":1,"entry":{"provider":5}}`} {
		require.NoError(t, w.storage.Storage.Put(t.Context(), &logical.StorageEntry{Key: "config/eu1", Value: []byte(content)}))
		w.Invalidate("config/eu1")
		s, err := w.Settings(t.Context(), sessions.AccountID(id))
		require.NoError(t, err, content)
		require.Nil(t, s.Upstream)
	}
}

// A role asks for a scope while its config is narrowed: one of the two is refused.
func TestARoleIsNeverWiderThanItsConfig(t *testing.T) {
	for range 200 {
		w := newWorld(t)
		w.write(t, "x", panta(configs.Change{"scopes": []string{"read", "write"}}))
		_, err := w.Resolve(t.Context(), "x")
		require.NoError(t, err)
		asked, written := make(chan struct{}), make(chan error, 1)
		began := false
		w.storage.fail = func(op, key string) error {
			switch {
			case op == "get" && key == "config/r": // the last access before it waits for its turn
				close(asked)
			case op == "put" && key == "config/x" && !began:
				began = true
				go func() {
					written <- w.WriteRole(context.Background(), "r", configs.Change{"config": "x", "scopes": "write"})
				}()
				<-asked
				runtime.Gosched()
			}
			return nil
		}
		_, narrowed := w.Write(t.Context(), "x", configs.Change{"scopes": []string{"read"}}, configs.WriteOptions{Verify: new(false)})
		role := <-written
		require.False(t, role == nil && narrowed == nil, "both were taken")
	}
}
