package paths_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

func TestCredsAnswersATokenReadyToUse(t *testing.T) {
	h := newMount(t)
	h.mustWrite("config/dmo", panta(map[string]any{"scopes": "openid,email"}))
	h.engine.lease = leaseFor(300 * time.Second)
	h.engine.lease.Warnings = []string{"the token is old", "and the budget full"}

	a := h.read("creds/dmo", nil)
	require.Equal(t, map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": 300, "scope": "email openid",
		"expires_at": h.engine.lease.ExpiresAt.UTC().Format(time.RFC3339),
		"headers":    map[string]string{"Authorization": "Bearer " + token, "X-CLIENT-ID": "4711"},
		"tenant_id":  "4711", "provider": "panta", "environment": "dmo", "config": "dmo", "session_id": "ses.1",
	}, a.Data)
	require.Equal(t, 295*time.Second, a.Secret.TTL)
	require.False(t, a.Secret.Renewable)
	require.Equal(t, []string{`config "dmo": the token is old`, `config "dmo": and the budget full`}, a.Warnings)
	require.Equal(t, map[string]any{
		"secret_type": "panta_token", "version": 1, "account": string(h.engine.lease.Ref.Account), "session": "ses.1", "grant": "boot-1",
		"mode": "dedicated", "config": "dmo",
	}, a.Secret.InternalData, "ids only")
	require.Equal(t, []string{"email", "openid"}, h.engine.asked.Scopes)
	require.Equal(t, providers.Dedicated, h.engine.asked.Mode)

	t.Run("options", func(t *testing.T) {
		for _, op := range []logical.Operation{logical.ReadOperation, logical.UpdateOperation} {
			h.do(op, "creds/dmo", map[string]any{"min_ttl": "1m", "otp": "012345", "rejected": "ses.1"})
			require.Equal(t, time.Minute, h.engine.asked.MinTTL)
			require.Equal(t, "012345", h.engine.asked.OTP.Reveal())
			require.Equal(t, "ses.1", h.engine.asked.Rejected)
		}
	})
	t.Run("a role", func(t *testing.T) {
		h.mustWrite("roles/r", map[string]any{"config": "dmo", "scopes": "openid", "ttl": "1m", "max_ttl": "2m"})
		a := h.read("creds/r", nil)
		require.Equal(t, []string{"openid"}, h.engine.asked.Scopes)
		require.Equal(t, time.Minute, a.Secret.TTL)
		require.False(t, a.Secret.Renewable)
		require.Equal(t, "dmo", a.Data["config"])
	})
	t.Run("nobody", func(t *testing.T) {
		a := h.read("creds/nobody", nil)
		require.Equal(t, 400, a.status)
		require.Equal(t, "there is no role or config \"nobody\"; `vault list` at roles/ and config/ shows what there is", a.text)
	})
}

func TestRule4ALeaseNeverOutlivesItsToken(t *testing.T) {
	for name, test := range map[string]struct {
		config  map[string]any
		life    time.Duration
		min     any
		ttl     time.Duration
		warning string
	}{
		"the token's life":      {life: 300 * time.Second, ttl: 295 * time.Second},
		"the mount's default":   {life: 100 * time.Hour, ttl: 24 * time.Hour},
		"the config's ttl":      {config: map[string]any{"ttl": 60}, life: 300 * time.Second, ttl: time.Minute},
		"the config's max_ttl":  {config: map[string]any{"max_ttl": 90}, life: 300 * time.Second, ttl: 90 * time.Second},
		"longer than the token": {config: map[string]any{"ttl": 600}, life: 300 * time.Second, ttl: 295 * time.Second, warning: `config "dmo": the lease lasts 4m55s, less than the ttl of 10m0s: the bound is the remaining life of the token`},
		"longer than the mount": {config: map[string]any{"ttl": "50h"}, life: 100 * time.Hour, ttl: 48 * time.Hour, warning: `config "dmo": the lease lasts 48h0m0s, less than the ttl of 50h0m0s: the bound is max_ttl`},
		"a second":              {life: 6 * time.Second, ttl: time.Second},
		"never zero":            {life: 5 * time.Second, ttl: time.Second},
		"min_ttl beats ttl":     {config: map[string]any{"ttl": 60}, min: 120, life: 300 * time.Second, ttl: 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			h := newMount(t)
			h.mustWrite("config/dmo", panta(test.config))
			h.engine.lease = leaseFor(test.life)
			options := map[string]any{}
			if test.min != nil {
				options["min_ttl"] = test.min
			}
			a := h.read("creds/dmo", options)
			require.Equal(t, test.ttl, a.Secret.TTL)
			if test.warning == "" {
				require.Empty(t, a.Warnings)
			} else {
				require.Equal(t, []string{test.warning}, a.Warnings)
			}
		})
	}
	t.Run("min_ttl beyond max_ttl", func(t *testing.T) {
		h := newMount(t)
		h.mustWrite("config/dmo", panta(map[string]any{"max_ttl": 60}))
		require.Equal(t, `config "dmo": field "min_ttl": 2m0s is longer than the max_ttl of 1m0s that holds here`, h.read("creds/dmo", map[string]any{"min_ttl": "2m"}).text)
	})
}

// TestStatuses is the table of DESIGN section 3. Clients of Vault repeat 412,
// 429 and 5xx, so what may have been a login is a 400.
func TestStatuses(t *testing.T) {
	refusal := func(reason machine.Reason) error {
		return &sessions.Error{Reason: reason, Message: "it failed", Advice: "do something"}
	}
	type row struct {
		err  error
		want int
	}
	rows := map[string]row{
		"guarded":         {refusal(machine.Guarded), 400},
		"code needed":     {refusal(machine.CodeNeeded), 400},
		"code spent":      {refusal(machine.CodeSpent), 429},
		"budget full":     {refusal(machine.BudgetFull), 429},
		"too short":       {refusal(machine.TooShort), 400},
		"too soon":        {refusal(machine.TooSoon), 429},
		"after a login":   {&sessions.Error{Reason: machine.Storage, AfterLogin: true}, 400},
		"closed":          {refusal(machine.Closed), 400},
		"invalid":         {refusal(machine.Invalid), 400},
		"canceled":        {refusal(machine.Canceled), 400},
		"storage":         {refusal(machine.Storage), 500},
		"another error":   {errors.New("it failed"), 500},
		"a refused field": {&sessions.Error{Message: "it failed", Err: &providers.FieldError{Field: "otp"}}, 400},
		"its cause is another's": {&sessions.Error{
			Reason: machine.Storage, Message: "it failed", Err: &providers.FieldError{Field: "password"},
		}, 500},
	}
	for kind, want := range map[providers.Kind]int{
		providers.BadCredentials: 400, providers.SessionGone: 400, providers.SessionLimit: 429,
		providers.Throttled: 429, providers.Unavailable: 503, providers.Protocol: 502,
	} {
		rows[kind.String()] = row{upstream(kind, providers.DidNotHappen), want}
		rows[kind.String()+", unknown"] = row{upstream(kind, providers.Unknown), 400}
		rows[kind.String()+", happened"] = row{upstream(kind, providers.Happened), 400}
	}
	h := newMount(t)
	h.mustWrite("config/dmo", panta(nil))
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			h.engine.err = r.err
			a := h.read("creds/dmo", nil)
			require.Equal(t, r.want, a.status)
			require.Equal(t, fmt.Sprintf(`config "dmo": %s`, r.err), a.text)
		})
	}
}

func TestWhatHealsVaultsStorageIsSaid(t *testing.T) {
	h := newMount(t)
	internal := h.lease()
	for text, advice := range map[string]string{
		"cannot write to storage during setup": "; this Vault serves the mount with a plugin that was replaced while it ran: seal and unseal it, restart it, or have it step down",
		"cannot write to readonly storage":     "; this node may not write: ask the active node of the primary cluster",
		"disk on fire":                         "",
	} {
		h.engine.err = &sessions.Error{Reason: machine.Storage, Message: "writing: " + text} // as text, as it crosses gRPC
		require.Equal(t, `config "dmo": writing: `+text+advice, h.read("creds/dmo", nil).text)
		require.Equal(t, `config "dmo": writing: `+text+advice, h.revoke(internal).text)
	}
}

func TestATypedCodeSaysWhoTypedIt(t *testing.T) {
	h := newMount(t)
	h.mustWrite("config/eu1", ocp(nil))
	person := func(entity, accessor string) string {
		_, err := h.handler.HandleRequest(t.Context(), &logical.Request{
			Operation: logical.UpdateOperation, Path: "creds/eu1", Storage: h.storage, Data: map[string]any{"otp": "123456"},
			EntityID: entity, ClientTokenAccessor: accessor,
		})
		require.NoError(t, err)
		return h.engine.asked.Person
	}
	h.engine.lease = leaseFor(300 * time.Second)
	require.Equal(t, person("e1", "a"), person("e1", "b"), "a person with several tokens")
	require.NotEqual(t, person("e1", "a"), person("e2", "a"))
	require.NotEqual(t, person("", "a"), person("", "b"), "tokens without entity, such as root's")
	require.NotContains(t, person("", "accessor-1"), "accessor-1")
	h.read("creds/eu1", nil)
	require.Empty(t, h.engine.asked.Person)
}

func TestAPersonalAccessToken(t *testing.T) {
	h := newMount(t)
	h.mustWrite("config/token", personal(nil))
	h.mustWrite("roles/nlu", map[string]any{"config": "token", "ttl": "10m"})
	h.mustWrite("roles/day", map[string]any{"config": "token", "ttl": "24h"})
	a := h.read("creds/nlu", nil)
	require.Len(t, a.Data["services"], 7)
	delete(a.Data, "services")
	require.Equal(t, map[string]any{
		"personal_access_token": pat, "token_type": "pat", "headers": map[string]string{"X-OCP-PERSONAL-ACCESS-TOKEN": pat},
		"tenant_id": "", "provider": "ocp", "environment": "eu1", "config": "token",
	}, a.Data)
	require.Equal(t, 10*time.Minute, a.Secret.TTL)
	require.Equal(t, []string{`config "token": the end of this lease revokes nothing: a personal access token is valid until it ends or is deleted in OCP`}, a.Warnings)
	require.Equal(t, time.Hour, h.read("creds/token", nil).Secret.TTL, "so that a new one reaches its readers")
	require.Equal(t, 24*time.Hour, h.read("creds/day", nil).Secret.TTL, "as the role says")

	for field, value := range map[string]any{"min_ttl": 5, "otp": "123456", "rejected": "ses.1"} {
		refused := h.read("creds/token", map[string]any{field: value})
		require.Equal(t, 400, refused.status)
		require.Contains(t, refused.text, `config "token": field "`+field+`": `)
		h.requireNoSecret(refused)
	}
	require.Equal(t, 204, h.revoke(a.Secret.InternalData).status)
	require.Zero(t, h.engine.released)
	require.Equal(t, 400, h.renew(a.Secret.InternalData).status)
}

func TestNoLeaseOutlivesAPersonalAccessToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newMount(t)
		end := time.Now().Add(15 * 24 * time.Hour)
		warning := `config "token": the personal access token ends at ` + end.UTC().Format(time.RFC3339) + `; make a new one in OCP and write it with its expires_at`
		h.mustWrite("config/token", personal(map[string]any{"expires_at": end.Format(time.RFC3339)}))
		require.Equal(t, end.Format(time.RFC3339), h.read("config/token", nil).Data["expires_at"])
		require.Empty(t, h.read("config/token", nil).Warnings)
		require.Len(t, h.read("creds/token", nil).Warnings, 1)

		time.Sleep(25 * time.Hour)
		require.Equal(t, []string{warning}, h.read("config/token", nil).Warnings)
		require.Equal(t, warning, h.read("creds/token", nil).Warnings[0])
		require.Equal(t, []string{warning}, h.read("static-creds/token", nil).Warnings)
		require.Equal(t, warning, h.write("config/token", map[string]any{"ttl": 0}).Warnings[0])

		time.Sleep(time.Until(end.Add(-time.Minute)))
		a := h.read("creds/token", nil)
		require.Equal(t, time.Minute, a.Secret.TTL)
		require.Equal(t, 60, a.Data["expires_in"])
		require.Equal(t, 60, h.read("static-creds/token", nil).Data["ttl"])

		time.Sleep(time.Minute)
		for _, path := range []string{"creds/token", "static-creds/token"} {
			a := h.read(path, nil)
			require.Equal(t, 400, a.status)
			require.Equal(t, `config "token": the personal access token has ended at `+end.UTC().Format(time.RFC3339)+`; make a new one in OCP and write it with its expires_at`, a.text)
		}
		require.Equal(t, 200, h.write("config/token", map[string]any{"ttl": 60}).status, "it can be repaired field by field, with a warning")
		h.mustWrite("config/token", map[string]any{"personal_access_token": "another", "expires_at": nil})
		require.Equal(t, "another", h.read("creds/token", nil).Data["personal_access_token"])
	})
}

func TestStaticCredsAnswerWhenToReadAgain(t *testing.T) {
	h := newMount(t)
	h.mustWrite("config/eu1", ocp(map[string]any{"scopes": "openid", "token_params": "audience=a"}))
	h.mustWrite("roles/r", map[string]any{"config": "eu1", "token_params": "resource=r"})
	h.mustWrite("config/dmo", panta(nil))
	lease := leaseFor(300 * time.Second)
	h.engine.static = sessions.StaticToken{
		Token: lease.Token, ExpiresAt: lease.ExpiresAt, Session: "ses.3", TTL: 170 * time.Second, RotationPeriod: 150 * time.Second,
		LastRotation: time.Unix(1_800_000_000, 5), Warnings: []string{"the token is old"},
	}
	a := h.read("static-creds/r", nil)
	require.Equal(t, 200, a.status, a.text)
	require.Nil(t, a.Secret, "there is no lease")
	require.Equal(t, map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": 300, "scope": "email openid",
		"expires_at": lease.ExpiresAt.UTC().Format(time.RFC3339),
		"headers":    map[string]string{"Authorization": "Bearer " + token},
		"tenant_id":  "", "provider": "ocp", "environment": "eu1", "config": "eu1", "session_id": "ses.3",
		"ttl": 170, "rotation_period": 150, "last_vault_rotation": "2027-01-15T08:00:00Z",
	}, a.Data)
	require.Equal(t, []string{`config "eu1": the token is old`}, a.Warnings)
	require.Equal(t, []string{"openid"}, h.engine.asked.Scopes)
	require.Equal(t, map[string]string{"audience": "a", "resource": "r"}, h.engine.asked.Params)

	h.mustWrite("roles/own", map[string]any{"config": "eu1", "session_mode": "dedicated"})
	for name, config := range map[string]string{"dmo": "dmo", "own": "eu1"} {
		a := h.read("static-creds/"+name, nil)
		require.Equal(t, 400, a.status)
		require.Equal(t, `config "`+config+`": session_mode is dedicated: each lease has a session of its own, and an answer without a lease would have none; read creds/`+name+`, or write a config with session_mode=shared`, a.text)
	}
	h.engine.err = upstream(providers.Unavailable, providers.DidNotHappen)
	require.Equal(t, 503, h.read("static-creds/eu1", nil).status)
	require.Equal(t, 400, h.read("static-creds/nobody", nil).status)
	require.Equal(t, 400, h.read("static-creds/eu1", map[string]any{"min_ttl": 5}).status)

	h.mustWrite("config/token", personal(nil))
	a = h.read("static-creds/token", nil)
	require.Equal(t, pat, a.Data["personal_access_token"])
	require.Equal(t, 3600, a.Data["ttl"])
	require.Equal(t, 3600, a.Data["rotation_period"])
	require.Nil(t, a.Secret)
	require.Empty(t, a.Warnings)
}
