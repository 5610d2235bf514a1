package sessions_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
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

// openInEach opens a session in each of some accounts.
func openInEach(t *testing.T, p *process, accounts int) {
	t.Helper()
	for i := range accounts {
		r := dedicated
		r.Account = sessions.AccountID(fmt.Sprintf("account-%02d", i))
		_, err := p.Acquire(t.Context(), r)
		require.NoError(t, err)
	}
}

func TestTheEndOfAMountClosesThirtyTwoAccountsAtOnce(t *testing.T) {
	for accounts, took := range map[int]time.Duration{64: 100 * time.Millisecond, 65: 150 * time.Millisecond} { // logouts take 50
		inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
			openInEach(t, p, accounts)
			began := time.Now()
			require.NoError(t, p.DrainAll(t.Context()))
			require.Equal(t, took, time.Since(began))
		})
	}
}

func TestRule1TheEndOfAMountNamesEachAccountOnceInOrder(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		openInEach(t, p, 9)
		w.setDown(true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var named []string
		for line := range strings.Lines(p.DrainAll(ctx).Error()) {
			account, _, _ := strings.Cut(line, ":")
			named = append(named, account)
		}
		require.Equal(t, []string{
			"account account-00", "account account-01", "account account-02", "account account-03", "account account-04",
			"account account-05", "account account-06", "account account-07", "account account-08",
		}, named)
	})
}

func TestRule1TheEndOfAMountSaysWhatFailedLast(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		w.setLatency(2 * time.Second)
		w.setDown(true)
		go func() {
			time.Sleep(10 * time.Second)
			p.faults.set(only("logout", failAfter))
			w.setDown(false)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		err = p.DrainAll(ctx)
		require.ErrorContains(t, err, "no answer")
	})
}

func TestAPanicAtTheEndOfAMountIsLoggedAndNoMore(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		var log bytes.Buffer
		var broken atomic.Bool
		e := sessions.New(sessions.Options{
			Storage: w.storage, Directory: p, Providers: p, Version: "1", Logger: hclog.New(&hclog.LoggerOptions{Output: &log}),
			Now: func() time.Time {
				if broken.Load() {
					panic("the clock")
				}
				return time.Now()
			},
		})
		defer e.Stop()
		l, err := e.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		broken.Store(true)
		require.EqualError(t, e.DrainAll(t.Context()), "account account-1: the plugin failed while it closed its sessions, see Vault's log")
		broken.Store(false)
		require.Contains(t, log.String(), `panic: please report this: in="the end of the mount" panic="the clock"`)
		require.NoError(t, e.Release(t.Context(), l.Ref))
		require.Zero(t, w.openNow())
	})
}
