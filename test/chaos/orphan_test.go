package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// kill -9 of Vault alone leaves its plugins to themselves. One that went on
// refreshing and logging out would do so with sessions that the plugin of the
// next Vault has taken over (rule 8: one refresh at a time).
func TestThePluginEndsWithItsVault(t *testing.T) {
	t.Parallel()
	plugin, err := servers.Plugin(t.Context())
	require.NoError(t, err)
	v := servers.RunVault(t, servers.Options{Storage: "raft", Plugin: plugin})
	running, err := v.Plugins()
	require.NoError(t, err)
	require.Len(t, running, 1)

	v.KillAlone()
	require.Eventually(t, func() bool {
		orphans, err := v.Orphans()
		return err == nil && len(orphans) == 0
	}, 2*time.Second, 10*time.Millisecond, "the plugin outlives its Vault")
}
