package sessions_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	dedicated = sessions.Request{Account: accountID, Mode: providers.Dedicated}
	shared    = sessions.Request{Account: accountID, Mode: providers.Shared}
)

func TestSmoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.start()
		defer e.Stop()
		l, err := e.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.True(t, w.live(l.Token.AccessToken))
		require.NoError(t, e.Release(t.Context(), l.Ref))
		require.Zero(t, w.openNow())
		require.NoError(t, e.Release(t.Context(), l.Ref))

		l, err = e.Acquire(t.Context(), shared)
		require.NoError(t, err)
		l2, err := e.Acquire(t.Context(), shared)
		require.NoError(t, err)
		time.Sleep(290 * time.Second)
		synctest.Wait()
		require.Equal(t, 1, w.count(&w.refreshes))
		require.NoError(t, e.Release(t.Context(), l.Ref))
		require.NoError(t, e.Release(t.Context(), l2.Ref))
		require.Zero(t, w.openNow())
		synctest.Wait()
		require.Empty(t, w.records())
	})
}
