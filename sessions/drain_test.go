package sessions_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

func TestRule1TheEndOfAMountClosesTheSessionsOfHoweverManyAccounts(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		const accounts = 100 // more than are drained side by side
		for i := range accounts {
			r := dedicated
			r.Account = sessions.AccountID(fmt.Sprintf("account-%d", i))
			_, err := p.Acquire(t.Context(), r)
			require.NoError(t, err)
		}
		require.Equal(t, accounts, w.openNow())
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		begin := time.Now()
		require.NoError(t, p.DrainAll(ctx))
		require.Zero(t, w.openNow())
		require.Less(t, time.Since(begin), time.Second, "none waits for the end of the time that there is")
	})
}

func TestRule1TheEndOfAMountSaysHowManySessionsAreLeft(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		for range 2 {
			_, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
		}
		w.setDown(true)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		require.ErrorContains(t, p.DrainAll(ctx), "sessions that are left: 2")
	})
}

func TestRule1TheEndOfAMountSaysWhatItCannotReadAfterwards(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		w.retire()
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), false))
		p.faults.set(func(op string) fault {
			if op == "list" && w.count(&w.logouts) > 0 {
				return failBefore
			}
			return none
		})
		require.Error(t, p.DrainAll(t.Context()))
		require.Zero(t, w.openNow())
	})
}
