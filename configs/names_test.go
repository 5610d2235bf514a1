package configs

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestANameIsForgottenWhenNobodyWantsIt(t *testing.T) {
	n := names{held: map[string]*name{}}
	unlock, err := n.lock(t.Context(), "a")
	require.NoError(t, err)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = n.lock(over, "a")
	require.ErrorIs(t, err, context.Canceled)
	require.Contains(t, n.held, "a")
	unlock()
	require.Empty(t, n.held)
}

func TestANameIsHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := names{held: map[string]*name{}}
		unlock, err := n.lock(t.Context(), "a")
		require.NoError(t, err)
		had := false
		go func() {
			unlock, err := n.lock(t.Context(), "a")
			if err == nil {
				had = true
				unlock()
			}
		}()
		synctest.Wait()
		require.False(t, had)
		unlock()
		synctest.Wait()
		require.True(t, had)
		require.Empty(t, n.held)
	})
}
