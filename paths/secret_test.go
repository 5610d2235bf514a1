package paths_test

import (
	"encoding/json"
	"errors"
	"maps"
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

func (h *mount) renew(internal map[string]any) answer {
	h.t.Helper()
	return h.handle(&logical.Request{
		Operation: logical.RenewOperation, Path: "creds/dmo", Storage: h.storage,
		Data: map[string]any{"access_token": token, "session_id": "ses.1"}, // Vault sends what was answered
		Secret: &logical.Secret{
			InternalData: stored(internal),
			LeaseOptions: logical.LeaseOptions{IssueTime: time.Now(), Renewable: true, Increment: time.Hour},
		},
	})
}

func (h *mount) revoke(internal map[string]any) answer {
	h.t.Helper()
	return h.handle(&logical.Request{
		Operation: logical.RevokeOperation, Path: "creds/r", Storage: h.storage,
		Secret: &logical.Secret{InternalData: stored(internal)},
	})
}

// lease is what Vault keeps of a lease on config dmo.
func (h *mount) lease() map[string]any {
	h.t.Helper()
	h.mustWrite("config/dmo", panta(nil))
	h.engine.lease = leaseFor(300 * time.Second)
	return h.read("creds/dmo", nil).Secret.InternalData
}

func TestRule4ARenewalOfALeaseFromBeforeSaysReadAgain(t *testing.T) {
	h := newMount(t)
	a := h.renew(h.lease())
	require.Equal(t, 400, a.status)
	require.Equal(t, "the lease cannot be renewed, since a renewal brings no client a new token; read the credentials again", a.text)
}

func TestRule5Revocation(t *testing.T) {
	h := newMount(t)
	internal := h.lease()
	require.Equal(t, 204, h.revoke(internal).status)
	require.Equal(t, 1, h.engine.released)
	require.Equal(t, h.engine.lease.Ref, h.engine.ref)

	t.Run("needs no config", func(t *testing.T) {
		h.do(logical.DeleteOperation, "config/dmo", nil)
		require.Equal(t, 204, h.revoke(internal).status)
	})
	t.Run("fails with a plain error", func(t *testing.T) {
		h.engine.err = &sessions.Error{Reason: machine.Upstream, Message: "logout failed", Err: logical.ErrInvalidRequest}
		resp, err := h.handler.HandleRequest(t.Context(), &logical.Request{
			Operation: logical.RevokeOperation, Storage: h.storage, Secret: &logical.Secret{InternalData: stored(internal)},
		})
		require.Nil(t, resp, "Vault prints it")
		require.EqualError(t, err, `config "dmo": logout failed`)
		require.NotErrorIs(t, err, logical.ErrInvalidRequest, "Vault would give up at once")
		require.NoError(t, errors.Unwrap(err))
	})
	t.Run("releases what it cannot read, and says so", func(t *testing.T) {
		for name, change := range map[string]map[string]any{
			"no version":    {"version": nil},
			"newer version": {"version": 2},
			"another type":  {"account": 5},
			"no account":    {"account": ""},
			"a path":        {"account": "../x"},
			"session":       {"session": "abc"},
			"grant":         {"grant": "nonsense"},
		} {
			h.log.Reset()
			h.engine.err = errors.New("nobody is to be asked")
			a := h.revoke(with(maps.Clone(internal), change))
			require.Equal(t, 200, a.status, name)
			require.Len(t, a.Warnings, 1)
			require.Contains(t, h.log.String(), "released without a logout")
		}
	})
}
