package configs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

func TestANewAccountIsStoredInTheOrderThatLosesNoSession(t *testing.T) {
	w := newWorld(t)
	w.write(t, "dmo", panta(nil))
	id := idOf(t, w, "dmo")

	var changes []string
	for _, note := range w.storage.notes.take() {
		if !strings.HasPrefix(note, "get ") && !strings.HasPrefix(note, "list ") {
			changes = append(changes, note)
		}
	}
	require.Equal(t, []string{
		"put retired/" + id, // what closes the session of the login that follows
		"verify",
		"put account/" + id, // a claim without config counts for nothing
		"put config/dmo",
		"configure reopen",
		"delete retired/" + id,
	}, changes)
}

func TestAWriteWhoseLoginFailsStoresNothing(t *testing.T) {
	w := newWorld(t)
	w.engine.verifyErr = &sessions.Error{Message: "refused"}
	_, err := w.Write(t.Context(), "dmo", panta(nil), configs.WriteOptions{})
	require.EqualError(t, err, "refused")
	require.Empty(t, w.keys(t))

	t.Run("but keeps what closes a login of unknown outcome", func(t *testing.T) {
		w.engine.open = 1
		_, err := w.Write(t.Context(), "dmo", panta(nil), configs.WriteOptions{})
		require.Error(t, err)
		keys := w.keys(t)
		require.Len(t, keys, 1)
		require.True(t, strings.HasPrefix(keys[0], "retired/"))

		entry, err := w.storage.Storage.Get(t.Context(), keys[0])
		require.NoError(t, err)
		require.NotContains(t, string(entry.Value), "s3cret-password", "a logout needs no password")
		require.Contains(t, string(entry.Value), "s3cret-client", "but the client's secret")

		s, err := w.Settings(t.Context(), sessions.AccountID(strings.TrimPrefix(keys[0], "retired/")))
		require.NoError(t, err)
		require.NotNil(t, s.Upstream)
		require.True(t, s.Limits.Retired)
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

// TestNoCrashLosesASession fails each storage access of a write and of a forced
// delete, once and from then on, and looks at what a restart finds.
func TestNoCrashLosesASession(t *testing.T) {
	const pantaURL = "https://login.dmo.app.pantaindex.com/realms/panta-technology/protocol/openid-connect/token"
	const ocpURL = "https://eu1-m.ocp.ai/auth/realms/master/protocol/openid-connect/token"
	paula := sessions.AccountOf(providers.Account{TokenURL: pantaURL, Username: "paula"})
	olga := sessions.AccountOf(providers.Account{TokenURL: ocpURL, Username: "olga"})
	write := func(name string, change configs.Change) func(context.Context, *world) error {
		return func(ctx context.Context, w *world) error {
			_, err := w.Write(ctx, name, change, configs.WriteOptions{})
			return err
		}
	}
	deleteUnreachable := func(name string) func(context.Context, *world) error {
		return func(ctx context.Context, w *world) error {
			w.engine.drainErr = errors.New("unreachable")
			_, err := w.Delete(ctx, name, true)
			return err
		}
	}
	operations := map[string]struct {
		before  map[string]configs.Change
		do      func(context.Context, *world) error
		account sessions.AccountID
	}{
		"create": {nil, write("dmo", panta(nil)), paula},
		"update": {map[string]configs.Change{"old": panta(nil)}, write("old", configs.Change{"password": "other"}), paula},
		"delete": {map[string]configs.Change{"old": panta(nil)}, deleteUnreachable("old"), paula},

		"create a token":               {nil, write("token", owned(nil)), olga},
		"give a token its owner":       {map[string]configs.Change{"token": pat(nil)}, write("token", configs.Change{"username": "olga", "password": "s3cret-password"}), olga},
		"take a token's password out":  {map[string]configs.Change{"token": owned(nil)}, write("token", configs.Change{"password": ""}), olga},
		"delete a token":               {map[string]configs.Change{"token": owned(nil)}, deleteUnreachable("token"), olga},
		"create a login beside":        {map[string]configs.Change{"token": owned(nil)}, write("eu1", ocp(nil)), olga},
		"delete a login beside":        {map[string]configs.Change{"token": owned(nil), "eu1": ocp(nil)}, deleteUnreachable("eu1"), olga},
		"delete a login beside a name": {map[string]configs.Change{"token": pat(configs.Change{"username": "olga"}), "eu1": ocp(nil)}, deleteUnreachable("eu1"), olga},
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
					assertClosable(t, w, operation.account, fmt.Sprintf("%s, access %d, once %v, landed %v", name, at, once, landed))
				}
			}
		}
	}
	t.Logf("%d crash points", points)
	require.Greater(t, points, 200)
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

// assertClosable restarts and checks that the sessions of every account that
// may have one can be reached.
func assertClosable(t *testing.T, w *world, account sessions.AccountID, when string) {
	t.Helper()
	next := restarted(w.storage.Storage, w.engine.open)
	if w.engine.open == 0 {
		return
	}
	s, err := next.Settings(t.Context(), account)
	require.NoError(t, err, when)
	require.NotNil(t, s.Upstream, "the account is lost: %s", when)
}

func TestWhatADeadWriteKeptIsTidiedUp(t *testing.T) {
	w := newWorld(t)
	w.engine.verifying = func() {
		w.storage.fail = func(string, string) error { return errDisk } // we die here
	}
	w.engine.verifyErr = errors.New("dead")
	_, err := w.Write(t.Context(), "dmo", panta(nil), configs.WriteOptions{})
	require.Error(t, err)
	require.Len(t, w.keys(t), 1)

	require.NoError(t, restarted(w.storage.Storage, 1).Tidy(t.Context()))
	require.Len(t, w.keys(t), 1, "a session may be open")
	require.NoError(t, restarted(w.storage.Storage, 0).Tidy(t.Context()))
	require.Empty(t, w.keys(t))
}

func TestAConfigThatCannotBeStoredIsDrained(t *testing.T) {
	w := newWorld(t)
	w.storage.fail = func(op, key string) error {
		if op == "put" && strings.HasPrefix(key, "config/") {
			return errDisk
		}
		return nil
	}
	_, err := w.Write(t.Context(), "dmo", panta(nil), configs.WriteOptions{})
	require.ErrorIs(t, err, errDisk)
	require.Zero(t, w.engine.open)
	require.True(t, w.engine.settings.Limits.Retired)
	target, err := w.Resolve(t.Context(), "dmo")
	require.NoError(t, err)
	require.Nil(t, target)
}

func TestAnAccountHasOneConfig(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	_, err := w.Write(t.Context(), "eu2", ocp(nil), configs.WriteOptions{})
	require.EqualError(t, err, `config "eu1" holds this account already, and an account has one session budget, one set of one-time codes and one guard; make a role with config=eu1 instead`)

	w.write(t, "token", pat(configs.Change{"username": "olga"}))
	_, err = w.Write(t.Context(), "token2", pat(configs.Change{"username": "olga"}), configs.WriteOptions{})
	require.ErrorContains(t, err, `config "token" holds this account already`)
	w.write(t, "anybody", pat(nil))
	w.write(t, "anybody2", pat(nil))

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
	require.EqualError(t, err, `the account is being written as config "a" at this moment; try again when that is done`)
	w.write(t, "other", panta(nil)) // nobody else waits

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = w.Write(ctx, "a", ocp(nil), configs.WriteOptions{})
	require.ErrorContains(t, err, "another write of this name is still at work")

	require.NoError(t, w.Closed(t.Context(), sessions.AccountID(retiredID(t, w))))
	require.NotEmpty(t, retiredID(t, w), "an account that is being written is not closed")
	close(goOn)
	require.NoError(t, <-first)
}

func TestARoleCannotBeginToUseAConfigThatIsBeingDeleted(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	began, goOn := make(chan struct{}), make(chan struct{})
	w.storage.fail = func(op, key string) error {
		if op == "delete" && key == "config/eu1" {
			close(began)
			<-goOn
			return errDisk
		}
		return nil
	}
	deleted := make(chan error, 1)
	go func() {
		_, err := w.Delete(context.Background(), "eu1", false)
		deleted <- err
	}()
	<-began
	written := make(chan error, 1)
	go func() { written <- w.WriteRole(context.Background(), "r", configs.RoleChange{Config: new("eu1")}) }()
	close(goOn)
	require.ErrorIs(t, <-deleted, errDisk)
	if err := <-written; err != nil { // it came before the deletion had failed
		require.EqualError(t, err, `field "config": config "eu1" is being deleted`)
	}
	require.NoError(t, w.WriteRole(t.Context(), "r", configs.RoleChange{Config: new("eu1")}))
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
		"the same password":       {change: configs.Change{"password": "s3cret-password"}},
		"a one-time code":         {change: configs.Change{"ttl": time.Minute}, o: configs.WriteOptions{OTP: providers.NewSecret("123456")}, logins: true},
		"a one-time code for nil": {o: configs.WriteOptions{OTP: providers.NewSecret("123456"), Verify: new(false)}, want: `field "otp": is for the login that verify=false leaves out`},
		"totp secret":             {change: totp, logins: true},
		"verify=false":            {change: totp, o: configs.WriteOptions{Verify: new(false)}},
		"verify=true":             {change: configs.Change{"ttl": time.Minute}, o: configs.WriteOptions{Verify: new(true)}, logins: true},
		"limits":                  {change: configs.Change{"ttl": time.Minute, "max_ttl": time.Hour, "max_sessions": 0, "linger": time.Second}},
		"logout_url":              {change: configs.Change{"logout_url": "https://eu1-m.ocp.ai/logout"}},
		"logout_url elsewhere": {
			change: configs.Change{"logout_url": "https://elsewhere.example.com/logout"},
			want:   `field "logout_url": leads to another host, which is then sent the client's secret and refresh tokens; give password with it`,
		},
		"logout_url elsewhere, another password": {
			change: configs.Change{"logout_url": "https://elsewhere.example.com/logout", "password": "guessed"}, logins: true,
		},
		"logout_url elsewhere, by who knows": {change: configs.Change{"logout_url": "https://elsewhere.example.com/logout", "password": "s3cret-password"}},
		"username":                           {change: configs.Change{"username": "peter"}, want: `field "username": an update may not change which account a config is; create another config`},
		"environment":                        {change: configs.Change{"environment": "us1"}, want: `field "environment": an update may not change which account a config is; create another config`},
		"provider":                           {change: configs.Change{"provider": "keycloak"}, want: `field "provider": an update may not change which account a config is; create another config`},
		"auth_method":                        {change: configs.Change{"auth_method": "pat", "personal_access_token": "x"}, want: `field "auth_method": an update may not change which account a config is; create another config`},
		"client_id":                          {change: configs.Change{"client_id": "other"}, logins: true},
		"client_id, in use":                  {change: configs.Change{"client_id": "other"}, open: 2, want: `field "client_id": cannot change while 2 session(s) of the account are open: their refresh tokens belong to the client that got them; revoke their leases first`},
		"inverted TTLs":                      {change: configs.Change{"ttl": time.Hour, "max_ttl": time.Minute}, want: `field "ttl": 3600s is longer than max_ttl, 60s`},
		"negative TTL":                       {change: configs.Change{"max_ttl": -time.Minute}, want: `field "max_ttl": must not be negative`},
		"negative linger":                    {change: configs.Change{"linger": -time.Minute}, want: `field "linger": must not be negative`},
		"negative limit":                     {change: configs.Change{"max_sessions": -1}, want: `field "max_sessions": must not be negative; 0 means no limit`},
		"unknown mode":                       {change: configs.Change{"session_mode": "s3cret"}, want: `field "session_mode": is not known; use dedicated or shared`},
		"linger, dedicated":                  {change: configs.Change{"linger": time.Minute, "session_mode": "dedicated"}, want: `field "linger": keeps a shared session after its last lease; with session_mode=dedicated there is none`},
		"offline_access":                     {change: configs.Change{"scopes": []string{"offline_access"}}, want: `field "scopes": offline_access is not allowed: its sessions escape the server's list and limit of sessions`},
		"no field":                           {change: configs.Change{"colour": "blue"}, want: `field "colour": is not a field of a config, or its value is of another type`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write(t, "eu1", ocp(nil))
			w.engine.open = test.open
			w.storage.notes.take()
			_, err := w.Write(t.Context(), "eu1", test.change, test.o)
			if test.want != "" {
				require.EqualError(t, err, test.want)
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

func TestWarnings(t *testing.T) {
	w := newWorld(t)
	warnings, err := w.Write(t.Context(), "dmo", panta(configs.Change{"base_url": "http://login.example.com", "allow_http": true}), configs.WriteOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{`config "dmo" has allow_http=true: credentials and tokens may cross the network unencrypted`}, warnings)

	warnings, err = w.Write(t.Context(), "token", pat(nil), configs.WriteOptions{Verify: new(true)})
	require.NoError(t, err)
	require.Equal(t, []string{
		`config "token" was stored without a check: nothing logs in with a personal access token`,
		`config "token": nobody logs in for this token: the server deactivates an account after 90 days without a login, and its personal access token with it; set username and password, and totp_secret where the account has one`,
	}, warnings)
}

func TestDelete(t *testing.T) {
	t.Run("logs out first", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		_, err := w.Delete(t.Context(), "eu1", false)
		require.NoError(t, err)
		require.Empty(t, w.keys(t))
		require.Zero(t, w.engine.open)
		require.True(t, w.engine.settings.Limits.Retired)
	})
	t.Run("refuses while the server cannot be reached", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		before := w.keys(t)
		w.engine.drainErr = errors.New("1 session is left")
		_, err := w.Delete(t.Context(), "eu1", false)
		require.EqualError(t, err, "it is not deleted: 1 session is left; try again when the server can be reached, or use force=true: then what the logouts need is kept until they are done")
		require.Equal(t, before, w.keys(t))
		require.False(t, w.engine.settings.Limits.Retired, "it is in force again")
	})
	t.Run("with force keeps what the logouts need", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		id := idOf(t, w, "eu1")
		w.engine.drainErr = errors.New("1 session is left")
		warnings, err := w.Delete(t.Context(), "eu1", true)
		require.NoError(t, err)
		require.Len(t, warnings, 1)
		require.Equal(t, []string{"retired/" + id}, w.keys(t))
		require.NotNil(t, w.engine.settings.Upstream)

		w.write(t, "eu2", ocp(nil))
		require.NoError(t, w.Closed(t.Context(), sessions.AccountID(id)))
		s, err := w.Settings(t.Context(), sessions.AccountID(id))
		require.NoError(t, err)
		require.False(t, s.Limits.Retired)
	})
	t.Run("with force leaves an account that no other client can take over", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		w.engine.drainErr = errors.New("1 session is left")
		_, err := w.Delete(t.Context(), "eu1", true)
		require.NoError(t, err)
		_, err = w.Write(t.Context(), "eu1", ocp(configs.Change{"client_id": "other"}), configs.WriteOptions{Verify: new(false)})
		require.EqualError(t, err, `field "client_id": cannot change while 1 session(s) of the account are open: their refresh tokens belong to the client that got them; revoke their leases first`)
		w.write(t, "eu1", ocp(nil))
	})
	t.Run("is refused while roles use it", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		for _, role := range []string{"b", "a"} {
			require.NoError(t, w.WriteRole(t.Context(), role, configs.RoleChange{Config: new("eu1")}))
		}
		_, err := w.Delete(t.Context(), "eu1", true)
		require.EqualError(t, err, `it is used by role "a", "b"; delete these roles first`)
		require.NoError(t, w.DeleteRole(t.Context(), "a"))
		require.NoError(t, w.DeleteRole(t.Context(), "b"))
		_, err = w.Delete(t.Context(), "eu1", false)
		require.NoError(t, err)
	})
	t.Run("of a personal access token ends no session", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "token", pat(configs.Change{"username": "olga"}))
		_, err := w.Delete(t.Context(), "token", false)
		require.NoError(t, err)
		require.Empty(t, w.keys(t))
		require.NotContains(t, w.storage.notes.take(), "drain")
	})
	t.Run("of what is not there is a success", func(t *testing.T) {
		_, err := newWorld(t).Delete(t.Context(), "eu1", false)
		require.NoError(t, err)
	})
}

func TestRoles(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(configs.Change{"scopes": []string{"a", "b"}}))
	w.write(t, "dmo", panta(nil))
	w.write(t, "token", pat(nil))
	require.NoError(t, w.WriteRole(t.Context(), "good", configs.RoleChange{Config: new("eu1"), Scopes: &[]string{"a"}, TTL: new(time.Minute)}))
	for name, test := range map[string]struct {
		role   string
		change configs.RoleChange
		want   string
	}{
		"no config":          {"r", configs.RoleChange{}, `field "config": is required; give the name of the config that this role is a view of`},
		"unknown config":     {"r", configs.RoleChange{Config: new("x")}, `field "config": there is no config "x"`},
		"a config's name":    {"dmo", configs.RoleChange{Config: new("eu1")}, `the name is taken by a config, and roles and configs share one namespace; choose another name`},
		"more scopes":        {"r", configs.RoleChange{Config: new("eu1"), Scopes: &[]string{"c"}}, `field "scopes": "c" is not one of config "eu1", which has a, b`},
		"offline_access":     {"r", configs.RoleChange{Config: new("dmo"), Scopes: &[]string{"offline_access"}}, `field "scopes": offline_access is not allowed: its sessions escape the server's list and limit of sessions`},
		"wider mode":         {"r", configs.RoleChange{Config: new("dmo"), SessionMode: new("shared")}, `field "session_mode": shared is wider than config "dmo", which is dedicated; a role may only narrow it`},
		"inverted TTLs":      {"good", configs.RoleChange{MaxTTL: new(time.Second)}, `field "ttl": 60s is longer than max_ttl, 1s`},
		"scopes of a token":  {"r", configs.RoleChange{Config: new("token"), Scopes: &[]string{"a"}}, `field "scopes": is not used: config "token" has a personal access token, whose rights are fixed`},
		"sessions for token": {"r", configs.RoleChange{Config: new("token"), SessionMode: new("dedicated")}, `field "session_mode": is not used: config "token" has a personal access token, which opens no session`},
	} {
		t.Run(name, func(t *testing.T) { require.EqualError(t, w.WriteRole(t.Context(), test.role, test.change), test.want) })
	}
	t.Run("a config cannot take a role's name", func(t *testing.T) {
		_, err := w.Write(t.Context(), "good", panta(configs.Change{"username": "peter"}), configs.WriteOptions{})
		require.EqualError(t, err, "the name is taken by a role, and roles and configs share one namespace; choose another name")
	})
	t.Run("a config cannot give less than its roles ask for", func(t *testing.T) {
		_, err := w.Write(t.Context(), "eu1", configs.Change{"scopes": []string{"b"}}, configs.WriteOptions{})
		require.EqualError(t, err, `role "good" would not fit any more: field "scopes": "a" is not one of config "eu1", which has b; change that role first`)
	})
}

func TestResolve(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(configs.Change{"scopes": []string{"b", "a"}, "ttl": time.Minute, "max_ttl": time.Hour}))
	require.NoError(t, w.WriteRole(t.Context(), "r", configs.RoleChange{
		Config: new("eu1"), Scopes: &[]string{"a"}, TTL: new(time.Second), MaxTTL: new(2 * time.Hour), SessionMode: new("dedicated"),
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

	t.Run("a hit costs no storage access", func(t *testing.T) {
		w.storage.notes.take()
		require.Same(t, config, resolve("eu1"))
		require.Same(t, role, resolve("r"))
		require.Empty(t, w.storage.notes.take())
		require.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = w.Resolve(t.Context(), "r") }), 2.0)
	})
	t.Run("a write is seen at once", func(t *testing.T) {
		w.write(t, "eu1", configs.Change{"max_ttl": 30 * time.Minute})
		require.Equal(t, 30*time.Minute, resolve("eu1").MaxTTL)
		require.Equal(t, 30*time.Minute, resolve("r").MaxTTL)
		require.NoError(t, w.WriteRole(t.Context(), "r", configs.RoleChange{TTL: new(2 * time.Second)}))
		require.Equal(t, 2*time.Second, resolve("r").TTL)
	})
	t.Run("what another node wrote is seen after Invalidate", func(t *testing.T) {
		w.write(t, "dmo", panta(nil))
		other := restarted(w.storage.Storage, 0)
		before, untouched := resolve("eu1"), resolve("dmo")
		other.write(t, "eu1", configs.Change{"ttl": 7 * time.Second})
		require.Same(t, before, resolve("eu1"))
		w.Invalidate("config/eu1")
		require.Equal(t, 7*time.Second, resolve("eu1").TTL)
		require.Same(t, untouched, resolve("dmo"), "exactly the entry is dropped")

		require.NoError(t, other.DeleteRole(t.Context(), "r"))
		w.Invalidate("role/r")
		require.Nil(t, resolve("r"))
	})
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
		"totp_digits": 6, "totp_period": int64(30), "session_mode": "shared", "max_sessions": 5, "ttl": int64(0),
		"request_timeout": int64(10), "scopes": []string{},
	} {
		require.Equal(t, want, answer[field], field)
	}
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

func retiredID(t *testing.T, w *world) string {
	t.Helper()
	for _, key := range w.keys(t) {
		if id, ok := strings.CutPrefix(key, "retired/"); ok {
			return id
		}
	}
	return ""
}

func TestTheLeasesOfAnUnusableConfigStillEnd(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	id := idOf(t, w, "eu1")
	for _, content := range []string{`{`, `{"version":99,"entry":{}}`, `{"version":1,"entry":{"account":{"provider":"ocp"}}}`} {
		require.NoError(t, w.storage.Storage.Put(t.Context(), &logical.StorageEntry{Key: "config/eu1", Value: []byte(content)}))
		w.Invalidate("config/eu1")
		s, err := w.Settings(t.Context(), sessions.AccountID(id))
		require.NoError(t, err, content)
		require.True(t, s.Limits.Retired)
	}
}
