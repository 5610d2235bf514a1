package paths_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

func checkedHouse(t *testing.T) *mount {
	t.Helper()
	h := newMount(t)
	h.mustWrite("config/eu1", ocp(nil))
	h.mustWrite("roles/reader", map[string]any{"config": "eu1", "scopes": "email"})
	return h
}

func TestACheckReportsEachStep(t *testing.T) {
	h := checkedHouse(t)
	h.engine.report = sessions.CheckReport{
		Steps: []sessions.CheckStep{
			{Name: sessions.LoginStep, Outcome: sessions.StepOK, Took: 212 * time.Millisecond},
			{Name: sessions.ListStep, Outcome: sessions.StepSkipped, Message: "not allowed", Advice: "allow it"},
			{Name: sessions.RefreshStep, Outcome: sessions.StepFailed, Took: 9 * time.Millisecond, Message: "refused", Advice: "log in again"},
			{Name: sessions.LogoutStep, Outcome: sessions.StepOK, Took: 4 * time.Millisecond},
		},
		Clock:   machine.Clock{Known: true, Drift: -2 * time.Minute},
		Listing: machine.AccessGranted,
		Listed: []machine.Listing{
			{ServerSession: providers.ServerSession{ID: "x", StartedAt: time.Unix(1, 0), Clients: []string{"ocp"}, IPAddress: "10.0.0.1"}, Owner: machine.People, Standing: machine.Foreign},
			{Owner: machine.ThisMount, Standing: machine.Stray, Mount: "mnt", Attempt: "abc"},
		},
		Usage: machine.Usage{Limit: 5, Open: 1, Unknown: 1, People: 1, Strays: 1},
	}
	a := h.read("check/eu1", nil)
	require.Equal(t, 200, a.status, a.text)
	assert.Equal(t, false, a.Data["ok"])
	assert.Equal(t, "ok, 212 ms", a.Data["login"])
	assert.Equal(t, "skipped: not allowed; allow it", a.Data["account_sessions"])
	assert.Equal(t, "failed, 9 ms: refused; log in again", a.Data["refresh"])
	assert.Equal(t, "the server's clock is 2m0s behind this machine's", a.Data["clock"])
	assert.Equal(t, -120, a.Data["clock_drift"])
	assert.Equal(t, "4 of 5 in use (1 open, 1 unknown, 1 stray, 1 of people)", a.Data["budget"])
	assert.Equal(t, 4, a.Data["in_use"])
	assert.Equal(t, "allowed", a.Data["account_api"])
	require.Len(t, a.Data["sessions"], 2)
	assert.Equal(t, map[string]any{
		"owner": "people", "standing": "foreign", "session": "", "mount": "", "started_at": "1970-01-01T00:00:01Z", "clients": []string{"ocp"}, "ip_address": "10.0.0.1", "ended": false,
	}, a.Data["sessions"].([]any)[0])
	require.Len(t, a.Warnings, 2)
	assert.Equal(t, `config "eu1": the server's clock is 2m0s behind this machine's; one-time codes fail when clocks differ: have the clock that is wrong set (NTP)`, a.Warnings[0])
	assert.Contains(t, a.Warnings[1], `config "eu1": 1 session(s) at the server have this mount's mark, but its ledger never held them`)
}

func TestACheckPassesItsOptionsOn(t *testing.T) {
	h := checkedHouse(t)
	for _, step := range []string{sessions.LoginStep, sessions.ListStep, sessions.RefreshStep, sessions.LogoutStep} {
		h.engine.report.Steps = append(h.engine.report.Steps, sessions.CheckStep{Name: step, Outcome: sessions.StepOK})
	}
	a := h.do("update", "check/reader", map[string]any{"otp": "123456", "force": true, "end_orphans": "true"})
	require.Equal(t, 200, a.status, a.text)
	assert.Equal(t, []string{"email"}, h.engine.checked.Scopes)
	assert.Equal(t, "123456", h.engine.checked.OTP.Reveal())
	assert.True(t, h.engine.checked.Force && h.engine.checked.EndStrays)
	assert.Equal(t, "eu1", a.Data["config"])
}

func TestChecksThatAreRefused(t *testing.T) {
	h := checkedHouse(t)
	h.mustWrite("config/token", personal(nil))
	guarded := &sessions.Error{Reason: machine.Guarded, Message: "the account is closed", Advice: "correct the config"}
	for _, c := range []struct {
		path   string
		data   map[string]any
		err    error
		status int
		text   string
	}{
		{"check/none", nil, nil, 400, "there is no role or config \"none\"; `vault list` at roles/ and config/ shows what there is"},
		{"check/token", nil, nil, 400, `config "token": there is nothing to check: nothing logs in with a personal access token; try it at an API, with the headers that creds/token answers`},
		{"check/eu1", map[string]any{"forced": true}, nil, 400, `check "eu1": field "forced": is not a field of this path; perhaps you mean "force"`},
		{"check/eu1", map[string]any{"force": "maybe"}, nil, 400, `check "eu1": field "force": must be true or false`},
		{"check/eu1", nil, guarded, 400, `config "eu1": the account is closed; try one login all the same with force=true, or correct the config`},
		{"check/a b", nil, nil, 400, `field "name": "a b" is not a name; one has letters, digits, "_", "-" and ".", and begins and ends with a letter, digit or "_"`},
	} {
		h.engine.err = c.err
		a := h.read(c.path, c.data)
		assert.Equal(t, c.status, a.status, c.path)
		assert.Equal(t, c.text, a.text, c.path)
		h.requireNoSecret(a)
	}
	assert.Equal(t, "correct the config", guarded.Advice, "what others see of the refusal stays")
}
