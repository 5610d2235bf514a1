package configs_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

const day = 24 * time.Hour

// owned is a personal access token with what its owner's login needs.
func owned(more configs.Change) configs.Change {
	return with(pat(configs.Change{"username": "olga", "password": "s3cret-password"}), more)
}

func (w *world) warnings(t *testing.T, name string, change configs.Change, o configs.WriteOptions) []string {
	t.Helper()
	warnings, err := w.Write(t.Context(), name, change, o)
	require.NoError(t, err)
	return warnings
}

func (w *world) reading(t *testing.T, name string) configs.Reading {
	t.Helper()
	r, found, err := w.Read(t.Context(), name)
	require.NoError(t, err)
	require.True(t, found)
	return r
}

func (w *world) kept(t *testing.T) []sessions.AccountID {
	t.Helper()
	ids, err := w.KeptAlive(t.Context())
	require.NoError(t, err)
	return ids
}

func TestTheOwnerOfATokenIsLoggedInAsTheWriteIsVerified(t *testing.T) {
	w := newWorld(t)
	require.Empty(t, w.warnings(t, "token", owned(configs.Change{"totp_secret": "GEZDGNBVGY3TQOJQ"}), configs.WriteOptions{}))
	require.Equal(t, providers.Dedicated, w.engine.asked.Mode, "no reader wants the session")
	require.Equal(t, 5, w.engine.verified.Limits.MaxSessions)
	require.True(t, w.engine.verified.Limits.Capabilities.GeneratesCode)
	id := idOf(t, w, "token")

	var changes []string
	for _, note := range w.storage.notes.take() {
		if note == "verify" || note[:3] == "put" || note[:3] == "con" || note[:3] == "del" {
			changes = append(changes, note)
		}
	}
	require.Equal(t, []string{
		"put retired/" + id, "verify", "put account/" + id, "put config/token", "configure reopen", "delete retired/" + id,
	}, changes, "the same order as for any account")
	require.Equal(t, sessions.Limits{
		MaxSessions: 5, RequestTimeout: 10 * time.Second, Capabilities: w.engine.settings.Limits.Capabilities,
		KeepAlive: 30 * day, DeactivatedAfter: 90 * day,
	}, w.engine.settings.Limits)
	require.Equal(t, []sessions.AccountID{sessions.AccountID(id)}, w.kept(t))

	t.Run("the logout after a death needs no token", func(t *testing.T) {
		next := newWorld(t)
		next.engine.verifyErr, next.engine.open = errors.New("dead"), 1
		_, err := next.Write(t.Context(), "token", owned(nil), configs.WriteOptions{})
		require.Error(t, err)
		entry, err := next.storage.Storage.Get(t.Context(), "retired/"+retiredID(t, next))
		require.NoError(t, err)
		require.NotContains(t, string(entry.Value), "s3cret")
		s, err := next.Settings(t.Context(), sessions.AccountID(id))
		require.NoError(t, err)
		require.True(t, s.Upstream.Capabilities().Logout)
	})
}

func TestWhichWritesOfATokenLogItsOwnerIn(t *testing.T) {
	for name, test := range map[string]struct {
		change configs.Change
		o      configs.WriteOptions
		logins bool
		want   string
	}{
		"empty":                {change: configs.Change{}, logins: true},
		"password":             {change: configs.Change{"password": "new"}, logins: true},
		"totp_secret":          {change: configs.Change{"totp_secret": "GEZDGNBVGY3TQOJQ"}, logins: true},
		"another token":        {change: configs.Change{"personal_access_token": "other"}},
		"the interval":         {change: configs.Change{"keepalive_interval": time.Hour}},
		"verify=false":         {change: configs.Change{"password": "new"}, o: configs.WriteOptions{Verify: new(false)}},
		"verify=true":          {change: configs.Change{"max_ttl": time.Hour}, o: configs.WriteOptions{Verify: new(true)}, logins: true},
		"a typed code":         {change: configs.Change{}, o: configs.WriteOptions{OTP: providers.NewSecret("123456")}, logins: true},
		"no owner's login":     {change: configs.Change{"password": ""}},
		"too short":            {change: configs.Change{"keepalive_interval": time.Hour - time.Second}, want: `field "keepalive_interval": must be at least an hour`},
		"too long":             {change: configs.Change{"keepalive_interval": 90 * day}, want: `field "keepalive_interval": must be less than 90 days, after which the server deactivates an account that nobody logs in to`},
		"a limit":              {change: configs.Change{"max_sessions": 1}, want: `field "max_sessions": is not used with auth_method=pat, which opens no session`},
		"a code without login": {change: configs.Change{"password": ""}, o: configs.WriteOptions{OTP: providers.NewSecret("123456")}, want: `field "otp": is not used with auth_method=pat; nothing logs in`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write(t, "token", owned(nil))
			w.storage.notes.take()
			_, err := w.Write(t.Context(), "token", test.change, test.o)
			if test.want != "" {
				require.EqualError(t, err, test.want)
				require.NotContains(t, w.storage.notes.take(), "put config/token")
				return
			}
			require.NoError(t, err)
			if test.logins {
				require.Contains(t, w.storage.notes.take(), "verify")
			} else {
				require.NotContains(t, w.storage.notes.take(), "verify")
			}
		})
	}
}

func TestAKeepAliveIsRefusedWhereItIsOfNoUse(t *testing.T) {
	w := newWorld(t)
	_, err := w.Write(t.Context(), "eu1", ocp(configs.Change{"keepalive_interval": day}), configs.WriteOptions{})
	require.EqualError(t, err, `field "keepalive_interval": is not used with auth_method=password: it is for the owner of a personal access token, whose account dies where nobody logs in`)
	_, err = w.Write(t.Context(), "dmo", panta(configs.Change{"keepalive_interval": day}), configs.WriteOptions{})
	require.ErrorContains(t, err, `field "keepalive_interval": is not used with auth_method=password`)
	require.Empty(t, w.keys(t))
}

func TestAnAccountWithTwoConfigsIsKeptAliveByTheLoginOfOneAtTheIntervalOfTheOther(t *testing.T) {
	for name, token := range map[string]configs.Change{
		"with a password of its own":   owned(configs.Change{"keepalive_interval": 7 * day}),
		"whose owner alone is written": pat(configs.Change{"username": "olga", "keepalive_interval": 7 * day}),
	} {
		for _, first := range []string{"eu1", "token"} {
			t.Run(name+", after "+first, func(t *testing.T) {
				w := newWorld(t)
				writes := map[string]func(){
					"eu1":   func() { w.write(t, "eu1", ocp(configs.Change{"max_sessions": 4, "totp_secret": "GEZDGNBVGY3TQOJQ"})) },
					"token": func() { w.write(t, "token", with(configs.Change{}, token)) },
				}
				writes[first]()
				delete(writes, first)
				for _, write := range writes {
					write()
				}
				in := w.engine.settings
				require.Equal(t, 4, in.Limits.MaxSessions)
				require.Equal(t, 7*day, in.Limits.KeepAlive)
				require.True(t, in.Upstream.Capabilities().GeneratesCode, "it is the login of the password config")
				require.Len(t, w.kept(t), 1)
				require.Empty(t, w.reading(t, "token").Warnings)

				_, err := w.Delete(t.Context(), "token", false)
				require.NoError(t, err)
				require.Zero(t, w.engine.settings.Limits.KeepAlive)
				require.NotContains(t, w.storage.notes.take(), "drain", "the sessions of the other config live on")
				require.Empty(t, w.kept(t))
			})
		}
	}
}

func TestAWriteOfATokenBesideAPasswordConfig(t *testing.T) {
	t.Run("is verified within the budget of that one", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(configs.Change{"max_sessions": 2}))
		w.storage.notes.take()
		w.write(t, "token", owned(nil))
		require.Equal(t, 2, w.engine.verified.Limits.MaxSessions)
		require.Contains(t, w.storage.notes.take(), "configure", "and says nothing about the login of that one: its guard stays")
	})
	t.Run("that cannot be stored leaves that one alone", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		w.storage.fail = func(op, key string) error {
			if op == "put" && key == "config/token" {
				return errDisk
			}
			return nil
		}
		_, err := w.Write(t.Context(), "token", owned(nil), configs.WriteOptions{})
		require.ErrorIs(t, err, errDisk)
		require.NotContains(t, w.storage.notes.take(), "drain")
		require.False(t, w.engine.settings.Limits.Retired)
	})
	t.Run("must log in as the same client", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		_, err := w.Write(t.Context(), "token", owned(configs.Change{"client_id": "other"}), configs.WriteOptions{})
		require.EqualError(t, err, `field "client_id": is another than that of config "eu1", which names the same account: one client's sessions cannot be logged out by another`)
	})
}

func TestAPasswordConfigThatCannotBeStoredLeavesTheTokenKeptAlive(t *testing.T) {
	w := newWorld(t)
	w.write(t, "token", owned(nil))
	w.storage.fail = func(op, key string) error {
		if op == "put" && key == "config/eu1" {
			return errDisk
		}
		return nil
	}
	_, err := w.Write(t.Context(), "eu1", ocp(nil), configs.WriteOptions{})
	require.ErrorIs(t, err, errDisk)
	require.Equal(t, 30*day, w.engine.settings.Limits.KeepAlive)
	require.False(t, w.engine.settings.Limits.Retired)
}

func TestDeletingThePasswordConfigOfATokensAccount(t *testing.T) {
	t.Run("leaves the login to the token's config", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "token", owned(nil))
		w.write(t, "eu1", ocp(configs.Change{"max_sessions": 4}))
		warnings, err := w.Delete(t.Context(), "eu1", false)
		require.NoError(t, err)
		require.Empty(t, warnings)
		require.Equal(t, 30*day, w.engine.settings.Limits.KeepAlive)
		require.Equal(t, 5, w.engine.settings.Limits.MaxSessions)
		require.False(t, w.engine.settings.Limits.Retired)
	})
	t.Run("warns where that has none", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		w.write(t, "token", pat(configs.Change{"username": "olga"}))
		warnings, err := w.Delete(t.Context(), "eu1", false)
		require.NoError(t, err)
		require.Equal(t, []string{`config "token" has a personal access token of the same account, and nobody logs in for it any more: the server deactivates an account after 90 days without a login; set its username and password`}, warnings)
		require.True(t, w.engine.settings.Limits.Retired)
		require.Empty(t, w.kept(t))
	})
}

func TestDeletingATokenLogsItsOwnerOut(t *testing.T) {
	w := newWorld(t)
	w.write(t, "token", owned(nil))
	id := idOf(t, w, "token")
	w.engine.drainErr = errors.New("1 session is left")
	w.engine.settings = sessions.Settings{}
	_, err := w.Delete(t.Context(), "token", false)
	require.ErrorContains(t, err, "it is not deleted: 1 session is left")
	require.Equal(t, 30*day, w.engine.settings.Limits.KeepAlive, "it is in force again")

	warnings, err := w.Delete(t.Context(), "token", true)
	require.NoError(t, err)
	require.Len(t, warnings, 1)
	require.Equal(t, []string{"retired/" + id}, w.keys(t))
	require.True(t, w.engine.settings.Limits.Retired)
	require.NotNil(t, w.engine.settings.Upstream)

	next := newWorld(t)
	next.write(t, "token", owned(nil))
	_, err = next.Delete(t.Context(), "token", false)
	require.NoError(t, err)
	require.Empty(t, next.keys(t))
	require.Contains(t, next.storage.notes.take(), "drain")
}

func TestATokenWhoseOwnersPasswordIsTakenOutIsStillLoggedOut(t *testing.T) {
	w := newWorld(t)
	w.write(t, "token", owned(nil))
	id := idOf(t, w, "token")
	require.Equal(t, 1, w.engine.open)
	require.Len(t, w.warnings(t, "token", configs.Change{"password": ""}, configs.WriteOptions{}), 1)
	require.True(t, w.engine.settings.Limits.Retired)
	require.NotNil(t, w.engine.settings.Upstream, "what is open can be closed")
	require.Contains(t, w.keys(t), "retired/"+id)

	w.write(t, "token", configs.Change{"password": "s3cret-password"})
	require.False(t, w.engine.settings.Limits.Retired)
	require.NotContains(t, w.keys(t), "retired/"+id)
}

func TestWarningsAboutATokensAccount(t *testing.T) {
	const nobody = `config "token": nobody logs in for this token: the server deactivates an account after 90 days without a login, and its personal access token with it; set username and password, and totp_secret where the account has one`
	for name, test := range map[string]struct {
		config configs.Change
		o      configs.WriteOptions
		alive  sessions.KeepAlive
		write  []string
		read   []string
	}{
		"nobody's":   {config: pat(nil), write: []string{nobody}, read: []string{nobody}},
		"user alone": {config: pat(configs.Change{"username": "olga"}), write: []string{nobody}, read: []string{nobody}},
		"interval without login": {
			config: pat(configs.Change{"keepalive_interval": day}), write: []string{nobody}, read: []string{nobody},
		},
		"all is well": {config: owned(nil), alive: sessions.KeepAlive{LastLogin: time.Now()}},
		"a typed code": {
			config: owned(nil), o: configs.WriteOptions{OTP: providers.NewSecret("123456")}, alive: sessions.KeepAlive{LastLogin: time.Now()},
			write: []string{`config "token": the engine cannot type a one-time code, so it may not be able to keep the account alive: set totp_secret, or write the config with otp=… before 90 days have passed`},
		},
		"it fails": {
			config: owned(nil), alive: sessions.KeepAlive{Problem: "no"},
			write: []string{`config "token": the login that keeps the account alive does not succeed: no; no login of the account is known, and the server deactivates an account after 90 days without one`},
			read:  []string{`config "token": the login that keeps the account alive does not succeed: no; no login of the account is known, and the server deactivates an account after 90 days without one`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.engine.alive = test.alive
			require.Equal(t, test.write, w.warnings(t, "token", test.config, test.o))
			require.Equal(t, test.read, w.reading(t, "token").Warnings)
		})
	}
	t.Run("none for an account that logs in", func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		require.Empty(t, w.reading(t, "eu1").Warnings)
		require.NotContains(t, w.reading(t, "eu1").Fields, "keepalive_interval")
	})
}

func TestAReadOfATokenShowsHowItsAccountIsKeptAlive(t *testing.T) {
	w := newWorld(t)
	w.write(t, "token", owned(nil))
	fields := w.reading(t, "token").Fields
	require.EqualValues(t, 30*24*3600, fields["keepalive_interval"], "the default of the providers' description")
	require.NotContains(t, fields, "last_login", "none is known")
	require.NotContains(t, fields, "keepalive_error")
	require.Equal(t, "30d", defaultOf(t, "keepalive_interval"))

	w.engine.alive = sessions.KeepAlive{LastLogin: time.Date(2026, 11, 1, 12, 0, 0, 5, time.FixedZone("", 3600)), Problem: "no"}
	w.write(t, "token", configs.Change{"keepalive_interval": 2 * time.Hour})
	fields = w.reading(t, "token").Fields
	require.EqualValues(t, 7200, fields["keepalive_interval"])
	require.Equal(t, "2026-11-01T11:00:00Z", fields["last_login"])
	require.Equal(t, "no", fields["keepalive_error"])

	w.write(t, "token", configs.Change{"keepalive_interval": time.Duration(0)})
	require.EqualValues(t, 30*24*3600, w.reading(t, "token").Fields["keepalive_interval"], "0 takes it back")
}

// defaultOf is what the description of OCP's personal access tokens says.
func defaultOf(t *testing.T, field string) string {
	t.Helper()
	ocp, _ := registry{}.Lookup("ocp")
	method, _ := ocp.Describe().Method(providers.PersonalAccessToken)
	for _, f := range method.Fields {
		if f.Name == field {
			return f.Default
		}
	}
	return ""
}

func TestAnAccountThatCannotBeReadHidesNoOtherFromBeingKeptAlive(t *testing.T) {
	w := newWorld(t)
	w.write(t, "token", owned(nil))
	id := idOf(t, w, "token")
	w.write(t, "other", with(owned(nil), configs.Change{"username": "otto"}))
	w.write(t, "dmo", panta(nil))
	require.Len(t, w.kept(t), 2)
	w.storage.fail = func(_, key string) error {
		if key == "account/"+id {
			return errDisk
		}
		return nil
	}
	ids, err := w.KeptAlive(t.Context())
	require.ErrorIs(t, err, errDisk)
	require.Len(t, ids, 1)
	require.NotEqual(t, id, string(ids[0]))
}
