package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// Leases of a server that was sealed, restarted or killed log out as if nothing
// had been (rules 1 and 9).
func TestLeasesOutliveSealRestartAndCrash(t *testing.T) {
	t.Parallel()
	m := newMount(t, options{OTPPeriod: duration{time.Second}}.config(), servers.Options{Storage: "raft"})
	m.writeDMO()
	m.writeEU1(nil)
	sealed, restarted, crashed := m.mustRead("creds/dmo"), m.mustRead("creds/dmo"), m.mustRead("creds/dmo")
	shared := m.mustRead("creds/eu1")
	require.Equal(t, 3, m.panta().Sessions)
	require.Equal(t, 1, m.ocp().Logins)

	require.NoError(t, m.server.Seal(t.Context()))
	require.NoError(t, m.server.Unseal(t.Context()))
	require.Equal(t, 3, m.panta().Sessions, "a seal ends no session")
	m.revoke(sealed)
	require.Equal(t, 2, m.panta().Sessions)

	require.NoError(t, m.server.Restart(t.Context()))
	m.revoke(restarted)
	require.Equal(t, 1, m.panta().Sessions)

	m.server.Kill()
	require.NoError(t, m.server.Restart(t.Context()))
	m.revoke(crashed)
	require.Zero(t, m.panta().Sessions)

	adopted := m.mustRead("creds/eu1")
	require.NotEqual(t, shared.Data["session_id"], adopted.Data["session_id"], "a refresh makes a new generation")
	require.Equal(t, 1, m.ocp().Logins, "a stored shared session is adopted, not opened again")

	require.NoError(t, m.client.Sys().UnmountWithContext(t.Context(), servers.Mount))
	require.Zero(t, m.ocp().Sessions)
}
