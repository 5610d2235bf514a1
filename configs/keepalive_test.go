package configs_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

const day = 24 * time.Hour

func (w *world) reading(t *testing.T, name string) configs.Reading {
	t.Helper()
	r, found, err := w.Read(t.Context(), name)
	require.NoError(t, err)
	require.True(t, found)
	return r
}

func TestAnAccountIsKeptAliveByTheConfigThatLogsIn(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(configs.Change{"keepalive_interval": "30d"}))
	w.write(t, "us1", ocp(configs.Change{"environment": "us1"}))
	w.write(t, "dmo", panta(configs.Change{"keepalive_interval": "1h"}))
	kept, err := w.KeptAlive(t.Context())
	require.NoError(t, err)
	require.Len(t, kept, 2, "0, the default, is off")
	s, err := w.Settings(t.Context(), sessions.AccountID(idOf(t, w, "eu1")))
	require.NoError(t, err)
	require.Equal(t, 30*day, s.Limits.KeepAlive)
	require.Equal(t, 90*day, s.Limits.DeactivatedAfter)

	w.write(t, "eu1", configs.Change{"keepalive_interval": 0})
	kept, err = w.KeptAlive(t.Context())
	require.NoError(t, err)
	require.Len(t, kept, 1)
}

func TestALoginCarriesNoMarkWhereTheConfigSaysSo(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	require.False(t, w.engine.settings.Limits.NoMark)
	w.write(t, "eu1", configs.Change{"session_mark": false})
	require.True(t, w.engine.settings.Limits.NoMark)
}

func TestAKeepAliveIsRefusedWhereItIsOfNoUse(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]struct {
		change configs.Change
		want   string
	}{
		"too often":          {ocp(configs.Change{"keepalive_interval": "59m"}), `field "keepalive_interval": must be at least an hour, or 0`},
		"too late":           {ocp(configs.Change{"keepalive_interval": "90d"}), `field "keepalive_interval": must be less than 90 days, after which the server deactivates an account that nobody logs in to`},
		"a token":            {pat(configs.Change{"keepalive_interval": "1d"}), `field "keepalive_interval": is not used with auth_method=pat`},
		"client credentials": {partner(configs.Change{"keepalive_interval": "1d"}), `field "keepalive_interval": is not used with auth_method=client_credentials`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.Write(t.Context(), "x", test.change, configs.WriteOptions{})
			require.EqualError(t, err, test.want+"; nothing was stored")
		})
	}
	require.Empty(t, w.keys(t))
}

func TestAReadShowsHowAnAccountIsKeptAlive(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(configs.Change{"keepalive_interval": "2h"}))
	fields := w.reading(t, "eu1").Fields
	require.Equal(t, 7200, fields["keepalive_interval"])
	require.NotContains(t, fields, "last_login", "none is known")
	require.NotContains(t, fields, "keepalive_error")

	w.engine.alive = sessions.KeepAlive{LastLogin: time.Date(2026, 11, 1, 12, 0, 0, 5, time.FixedZone("", 3600)), Problem: "no"}
	reading := w.reading(t, "eu1")
	require.Equal(t, "2026-11-01T11:00:00Z", reading.Fields["last_login"])
	require.Equal(t, "no", reading.Fields["keepalive_error"])
	require.Len(t, reading.Warnings, 1)
	require.Contains(t, reading.Warnings[0], `config "eu1": `)

	w.engine.aliveErr = errDisk
	_, found, err := w.Read(t.Context(), "eu1")
	require.ErrorIs(t, err, errDisk)
	require.False(t, found)
}

func TestWhoTypesCodesIsWarnedThatTheEngineCannot(t *testing.T) {
	w := newWorld(t)
	warnings, err := w.Write(t.Context(), "eu1", ocp(configs.Change{"keepalive_interval": "30d"}), configs.WriteOptions{OTP: providers.NewSecret("123456")})
	require.NoError(t, err)
	require.Equal(t, []string{`config "eu1": the engine cannot type a one-time code, so it may not be able to keep the account alive: set totp_secret, or write the config with otp=… in time`}, warnings)
}

func TestAConfigThatCannotBeReadHidesNoOtherFromBeingKeptAlive(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(configs.Change{"keepalive_interval": "30d"}))
	w.write(t, "us1", ocp(configs.Change{"environment": "us1", "keepalive_interval": "30d"}))
	next := restarted(w.storage.Storage, 0)
	next.storage.fail = func(_, key string) error {
		if key == "config/eu1" {
			return errDisk
		}
		return nil
	}
	kept, err := next.KeptAlive(t.Context())
	require.ErrorIs(t, err, errDisk)
	require.Len(t, kept, 1)
}

func TestAStartReadsAConfigOnceThatKeepsNothingAlive(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	next := restarted(w.storage.Storage, 0)
	_, err := next.KeptAlive(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"list config/", "get config/eu1"}, next.storage.notes.take())
}

func TestTheEndsOfTokensAreKnownAfterAStart(t *testing.T) {
	w := newWorld(t)
	w.write(t, "token", pat(configs.Change{"expires_at": "2099-01-01T00:00:00Z"}))
	w.write(t, "endless", pat(nil))
	want := map[string]time.Time{"token": time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)}
	require.Equal(t, want, w.TokenEnds())

	next := restarted(w.storage.Storage, 0)
	require.Empty(t, next.TokenEnds())
	_, err := next.KeptAlive(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, next.TokenEnds())
	next.write(t, "token", configs.Change{"expires_at": nil})
	require.Empty(t, next.TokenEnds())
	_, err = w.Delete(t.Context(), "token", false)
	require.NoError(t, err)
	require.Empty(t, w.TokenEnds())
}
