package backend_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

func TestAnAccountIsKeptAliveByTheActiveNodeAlone(t *testing.T) {
	server := iam.New(iam.Demo())
	storage := &logical.InmemStorage{}
	account := func() iam.AccountStats { return server.AccountStats(iam.DemoSwarmRealm, iam.DemoOCPUser) }
	config := eu1()
	config["keepalive_interval"], config["verify"] = "30d", false

	// Nothing is known of the account's logins, so one is due at once.
	first := start(t, server, storage)
	first.write("config/eu1", config)
	require.Eventually(t, func() bool { return first.read("config/eu1").Data["last_login"] != nil }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { return account().Sessions == 0 }, time.Minute, time.Millisecond)
	require.Equal(t, 1, account().Logins)
	last := first.read("config/eu1").Data["last_login"]
	first.Cleanup(t.Context())

	system := logical.TestSystemView()
	system.ReplicationStateVal = consts.ReplicationPerformanceStandby
	standby := startWith(t, server.Transport(), storage, system)
	require.Equal(t, last, standby.read("config/eu1").Data["last_login"], "a standby tells what is stored")
	require.Empty(t, standby.read("config/eu1").Warnings)

	next := start(t, server, storage)
	require.Equal(t, last, next.read("config/eu1").Data["last_login"], "and so does the next life")
	_, err := next.do(logical.DeleteOperation, "config/eu1", nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		keys, err := logical.CollectKeys(t.Context(), storage)
		return err == nil && !slices.ContainsFunc(keys, func(key string) bool {
			return !strings.HasPrefix(key, "mount/") && !strings.HasPrefix(key, "session/") // where the used code is remembered
		})
	}, time.Minute, time.Millisecond, "nothing is kept of the account")
	require.Equal(t, 1, account().Logins)
	next.requireNoSecret()
	standby.requireNoSecret()
}
