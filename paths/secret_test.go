package paths_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// stored is internal data as Vault gives it back: through JSON.
func stored(internal map[string]any) map[string]any {
	raw, err := json.Marshal(internal)
	if err != nil {
		panic(err)
	}
	var back map[string]any
	if err := json.Unmarshal(raw, &back); err != nil {
		panic(err)
	}
	return back
}

func (h *house) renew(internal map[string]any, issued time.Time) answer {
	h.t.Helper()
	return h.handle(&logical.Request{
		Operation: logical.RenewOperation, Path: "creds/r", Storage: h.storage,
		Data: map[string]any{"access_token": token, "session_id": "ses.1"}, // Vault sends what was answered
		Secret: &logical.Secret{
			InternalData: stored(internal),
			LeaseOptions: logical.LeaseOptions{IssueTime: issued, Renewable: true, Increment: time.Hour},
		},
	})
}

func (h *house) revoke(internal map[string]any) answer {
	h.t.Helper()
	return h.handle(&logical.Request{
		Operation: logical.RevokeOperation, Path: "creds/r", Storage: h.storage,
		Secret: &logical.Secret{InternalData: stored(internal)},
	})
}

// renewable is a house with a lease of a renewable role.
func renewable(t *testing.T) (*house, map[string]any) {
	t.Helper()
	h := newHouse(t)
	h.mustWrite("config/dmo", panta(nil))
	h.mustWrite("roles/r", map[string]any{"config": "dmo", "renewable": true, "ttl": "1m", "max_ttl": "20m"})
	h.engine.lease = leaseFor(300 * time.Second)
	h.read("creds/r", nil)
	h.engine.lease.Ref.Account = h.engine.asked.Account
	return h, h.read("creds/r", nil).Secret.InternalData
}

func TestRule4ARenewalBringsANewTokenThatTheLeaseCannotOutlive(t *testing.T) {
	h, internal := renewable(t)
	h.engine.lease.Ref.Session = "ses.2"
	issued := time.Now().Add(-10 * time.Minute)

	a := h.renew(internal, issued)
	require.Equal(t, 200, a.status, a.text)
	require.Equal(t, token, a.Data["access_token"])
	require.Equal(t, "ses.2", a.Data["session_id"])
	require.Equal(t, "ses.2", a.Secret.InternalData["session"])
	require.Equal(t, time.Minute, a.Secret.TTL)
	// The caller's increment of an hour beats TTL; MaxTTL counts from the issue.
	require.InDelta(t, 600+295, a.Secret.MaxTTL.Seconds(), 1)
	require.Equal(t, "ses.1", h.engine.ref.Session)

	t.Run("up to max_ttl", func(t *testing.T) {
		a := h.renew(internal, time.Now().Add(-19*time.Minute))
		require.Equal(t, 20*time.Minute, a.Secret.MaxTTL)
		require.LessOrEqual(t, a.Secret.TTL, time.Minute)
		a = h.renew(internal, time.Now().Add(-20*time.Minute))
		require.Equal(t, 400, a.status)
		require.Equal(t, `config "dmo": the lease cannot be renewed: its max_ttl is over; read creds again`, a.text)
	})
}

func TestWhatCannotBeRenewedSaysWhy(t *testing.T) {
	for name, test := range map[string]struct {
		change func(h *house)
		want   string
	}{
		"role gone":     {func(h *house) { h.do(logical.DeleteOperation, "roles/r", nil) }, `config "dmo": the lease cannot be renewed: role "r" does not exist any more; its session lives until the lease ends`},
		"not renewable": {func(h *house) { h.mustWrite("roles/r", map[string]any{"renewable": false}) }, `config "dmo": the lease cannot be renewed: "r" is not renewable any more; read creds again`},
		"another config": {func(h *house) {
			h.mustWrite("config/eu1", ocp(nil))
			h.mustWrite("roles/r", map[string]any{"config": "eu1"})
		}, `config "dmo": the lease cannot be renewed: "r" names another account now; read creds again`},
		"session gone": {func(h *house) {
			h.engine.err = &sessions.Error{Reason: machine.LeaseGone, Message: "the session is gone"}
		}, `config "dmo": the session is gone`},
	} {
		t.Run(name, func(t *testing.T) {
			h, internal := renewable(t)
			test.change(h)
			a := h.renew(internal, time.Now())
			require.Equal(t, 400, a.status)
			require.Equal(t, test.want, a.text)
		})
	}
}

func TestRule5Revocation(t *testing.T) {
	h, internal := renewable(t)
	require.Equal(t, 204, h.revoke(internal).status)
	require.Equal(t, 1, h.engine.released)
	require.Equal(t, h.engine.lease.Ref, h.engine.ref)

	t.Run("needs neither role nor config", func(t *testing.T) {
		h.do(logical.DeleteOperation, "roles/r", nil)
		h.do(logical.DeleteOperation, "config/dmo", nil)
		require.Equal(t, 204, h.revoke(internal).status)
	})
	t.Run("fails with a plain error", func(t *testing.T) {
		h.engine.err = &sessions.Error{Reason: machine.Upstream, Message: "logout failed", Err: logical.ErrInvalidRequest}
		resp, err := h.doors.HandleRequest(t.Context(), &logical.Request{
			Operation: logical.RevokeOperation, Storage: h.storage, Secret: &logical.Secret{InternalData: stored(internal)},
		})
		require.Nil(t, resp, "Vault prints it")
		require.EqualError(t, err, `config "dmo": logout failed`)
		require.NotErrorIs(t, err, logical.ErrInvalidRequest, "Vault would give up at once")
		require.NoError(t, errors.Unwrap(err))
	})
	t.Run("releases what it cannot read, and says so", func(t *testing.T) {
		for name, broken := range map[string]map[string]any{
			"no version":    {"secret_type": "panta_token"},
			"newer version": {"secret_type": "panta_token", "version": 2},
			"other types":   {"secret_type": "panta_token", "version": 1, "account": 5},
		} {
			h.log.Reset()
			a := h.revoke(broken)
			require.Equal(t, 200, a.status, name)
			require.Len(t, a.Warnings, 1)
			require.Contains(t, h.log.String(), "released without a logout")
			require.Equal(t, 400, h.renew(broken, time.Now()).status)
		}
	})
}
