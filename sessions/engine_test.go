package sessions_test

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	dedicated = sessions.Request{Account: accountID, Mode: providers.Dedicated}
	shared    = sessions.Request{Account: accountID, Mode: providers.Shared}
)

func TestAThousandColdReadersShareOneLogin(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		var writes atomic.Int64
		p.faults.set(func(op string) fault {
			if op == "put" {
				writes.Add(1)
			}
			return none
		})
		answers := map[string]int{}
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				l, err := p.Acquire(t.Context(), shared)
				if assert.NoError(t, err) {
					mu.Lock()
					defer mu.Unlock()
					answers[l.Ref.Session]++
				}
			})
		}
		all.Wait()
		require.Len(t, answers, 1)
		require.Equal(t, 1, w.count(&w.logins))
		require.EqualValues(t, 4, writes.Load(), "the mount's id, the connection, the intent, the open session")
	})
}

func TestAThousandColdReadersShareOneError(t *testing.T) {
	inWorld(t, func(w *world) { w.config = "wrong" }, func(t *testing.T, w *world, p *process) {
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				_, err := p.Acquire(t.Context(), shared)
				assert.ErrorContains(t, err, "Invalid user credentials")
			})
		}
		all.Wait()
		require.Equal(t, 1, w.count(&w.refused))
	})
}

func TestAReaderThatGivesUpDoesNotCancelTheLoginOfTheOthers(t *testing.T) {
	inWorld(t, func(w *world) { w.latency = 5 * time.Second }, func(t *testing.T, w *world, p *process) {
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			_, err := p.Acquire(impatient, shared)
			assert.Equal(t, machine.Canceled, reason(t, err))
		})
		synctest.Wait()
		all.Go(func() {
			_, err := p.Acquire(t.Context(), shared)
			assert.NoError(t, err)
		})
		all.Wait()
		require.Equal(t, 1, w.count(&w.logins))
	})
}

func TestNobodyLogsInForAReaderWhoHasGivenUp(t *testing.T) {
	inWorld(t, func(w *world) { w.latency = 5 * time.Second }, func(t *testing.T, w *world, p *process) {
		go func() { _, _ = p.Acquire(t.Context(), dedicated) }()
		synctest.Wait()
		impatient, cancel := context.WithCancel(t.Context())
		go func() { _, _ = p.Acquire(impatient, dedicated) }() // waits for the first one's login
		synctest.Wait()
		cancel()
		time.Sleep(time.Minute)
		require.Equal(t, 1, w.count(&w.logins))
	})
}

func TestALoginThatNobodyWaitsForAnyMoreIsClosed(t *testing.T) {
	for _, r := range []sessions.Request{dedicated, shared} {
		inWorld(t, func(w *world) { w.latency = 5 * time.Second }, func(t *testing.T, w *world, p *process) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := p.Acquire(ctx, r)
			require.Equal(t, machine.Canceled, reason(t, err))
			time.Sleep(20 * time.Second)
			require.Equal(t, 1, w.count(&w.logins))
			require.Zero(t, w.openNow())
			require.Empty(t, w.records())
		})
	}
}

func TestAnotherAccountNeverWaits(t *testing.T) {
	inWorld(t, func(w *world) { w.latency = 9 * time.Second }, func(t *testing.T, w *world, p *process) {
		slow := make(chan struct{})
		go func() {
			defer close(slow)
			_, err := p.Acquire(t.Context(), dedicated)
			assert.NoError(t, err)
		}()
		synctest.Wait()
		w.mu.Lock()
		w.latency = 0
		w.mu.Unlock()
		start := time.Now()
		other := dedicated
		other.Account = "account-2"
		_, err := p.Acquire(t.Context(), other)
		require.NoError(t, err)
		require.Zero(t, time.Since(start))
		<-slow
	})
}

func TestAPanicOfAProviderIsAnErrorAndNoMore(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		settings := p.settings()
		settings.Upstream = panicking{} // its nil Upstream panics when it is called
		require.NoError(t, p.Configure(t.Context(), accountID, settings, false))
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, providers.Unknown, upstreamError(t, err).Outcome)
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

type panicking struct{ providers.Upstream }

func (panicking) Capabilities() providers.Capabilities { return providers.Capabilities{Sessions: true} }

func (panicking) Connection() providers.Connection { return providers.Connection{Provider: "test"} }

func TestALedgerThatCannotBeReadIsAnErrorUntilItCan(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		p.faults.set(only("list", failBefore))
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.Storage, reason(t, err))
		p.faults.set(nil)
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

func TestAnAccountIsNotLoadedInPart(t *testing.T) {
	for failing := 1; ; failing++ {
		reads := 0
		inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
			synctest.Wait() // what the start reads is read
			p.faults.set(func(string) fault {
				if reads++; reads == failing {
					return failBefore
				}
				return none
			})
			_, err := p.Status(t.Context(), accountID)
			synctest.Wait()
			if reads < failing {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, errInjected, failing)
			_, err = p.Status(t.Context(), accountID)
			require.NoError(t, err, "the next request loads it")
		})
		if reads < failing {
			require.Greater(t, failing, 3, "records, guard and connections")
			return
		}
	}
}

// brokenDirectory cannot read its configs for once.
type brokenDirectory struct {
	*process
	once *sync.Once
}

func (d brokenDirectory) Settings(ctx context.Context, id sessions.AccountID) (s sessions.Settings, err error) {
	d.once.Do(func() { err = errInjected })
	if err != nil {
		return s, err
	}
	return d.process.Settings(ctx, id)
}

func TestAnAccountWhoseConfigCannotBeReadIsLoadedLater(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		e := p.beside(brokenDirectory{p, &sync.Once{}}, p)
		defer e.Stop()
		_, err := e.Acquire(t.Context(), dedicated)
		require.ErrorIs(t, err, errInjected)
		_, err = e.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

func TestTheLedgerIsReadOnceAtATime(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, _ *process) {
		synctest.Wait()
		lists := 0
		again := w.startWith(&faults{onStep: func(op string) {
			if op == "list" {
				lists++
			}
			time.Sleep(time.Second)
		}})
		defer again.Stop()
		synctest.Wait()
		again.Nudge() // while it is being read
		settleFor(time.Minute)
		require.Equal(t, 3, lists, "of records, connections and guards")
	})
}

func TestAPanicOfTheStorageIsAnErrorAndNoMore(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		_ = p.status(t) // the mount's id is stored
		p.faults.watch(func(op string) {
			if op == "put" {
				panic("storage")
			}
		})
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.Storage, reason(t, err))
		require.ErrorContains(t, err, "the plugin failed while it wrote, see Vault's log")
		p.faults.watch(nil)
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

func TestACorruptGuardIsAnOpenAccount(t *testing.T) {
	setup := func(w *world) {
		require.NoError(t, w.storage.Put(context.Background(), &logical.StorageEntry{Key: "guard/" + string(accountID), Value: []byte("{")}))
	}
	inWorld(t, setup, func(t *testing.T, _ *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

func TestACorruptConnectionIsRemoved(t *testing.T) {
	setup := func(w *world) {
		require.NoError(t, w.storage.Put(context.Background(), &logical.StorageEntry{Key: "connection/" + string(accountID) + "/x", Value: []byte("{")}))
	}
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		synctest.Wait()
		require.Len(t, w.connections(), 1)
		require.NotContains(t, w.connections(), "x")
	})
}

func TestACorruptRecordCountsUntilItsSessionMustBeDead(t *testing.T) {
	setup := func(w *world) {
		withBudget(1)(w)
		require.NoError(t, w.storage.Put(context.Background(), &logical.StorageEntry{
			Key: "session/" + string(accountID) + "/aaaaaaaaaaaaa", Value: []byte("{"),
		}))
	}
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.BudgetFull, reason(t, err))
		time.Sleep(32 * time.Minute)
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.Len(t, w.records(), 1)
	})
}

func TestStopRefusesReadersAndRecordsWhatIsUnderWay(t *testing.T) {
	inWorld(t, func(w *world) { w.latency = 5 * time.Second }, func(t *testing.T, w *world, p *process) {
		answered := make(chan error)
		go func() {
			_, err := p.Acquire(t.Context(), dedicated)
			answered <- err
		}()
		synctest.Wait()
		go p.restart()
		require.NoError(t, <-answered, "the login that was under way may finish")
		synctest.Wait()
		w.mu.Lock()
		recorded := len(w.recorded)
		w.mu.Unlock()
		require.Equal(t, 1, recorded)
		time.Sleep(10 * time.Minute)
	})
}

func TestAStopDuringTheFirstReadingIsNoFailure(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		for _, id := range []sessions.AccountID{accountID, "account-2"} {
			r := dedicated
			r.Account = id
			_, err := p.Acquire(t.Context(), r)
			require.NoError(t, err)
		}
		p.Stop()
		var log bytes.Buffer
		p.faults.watch(func(string) { time.Sleep(time.Second) })
		e := sessions.New(sessions.Options{
			Storage: &faultyStorage{Storage: p.storage, process: p}, Directory: p, Providers: p, Version: "1",
			Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: &log}),
		})
		e.Start()
		time.Sleep(4500 * time.Millisecond) // the first account is being loaded
		e.Stop()
		require.Equal(t, 1, e.Loaded())
		require.Empty(t, log.String())
	})
}

func TestAnAccountThatAnotherRequestHasAddedMeanwhileIsKept(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		first, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.True(t, p.AddAccount(accountID))
		again, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, first.Ref.Session, again.Ref.Session, "it still knows its sessions' tokens")
	})
}

func TestAnAccountThatWasDroppedHearsNothingMore(t *testing.T) {
	setup := func(w *world) { withList(5)(w); w.listDelay = 30 * time.Second }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		w.logInSomebody("stray", p.markOf(l, "abcdefghijklm")) // the world fails where a stray is reported
		settleFor(time.Second)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		w.retire()
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), false))
		settleFor(time.Second)
		require.Zero(t, p.Loaded())
		settleFor(time.Minute) // the list comes in
		require.Equal(t, 1, w.count(&w.listed))
	})
}

func TestNoAccountIsAddedAfterAStop(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		p.Stop()
		require.False(t, p.AddAccount(accountID))
		_, err := p.Acquire(t.Context(), shared)
		require.Equal(t, machine.Canceled, reason(t, err))
		require.Zero(t, p.Loaded())
	})
}

func TestStopCutsOffACallThatTakesTooLong(t *testing.T) {
	setup := func(w *world) { w.latency, w.limits.RequestTimeout = time.Hour, time.Hour }
	inWorld(t, setup, func(t *testing.T, _ *world, p *process) {
		answered := make(chan error, 1)
		go func() {
			_, err := p.Acquire(t.Context(), dedicated)
			answered <- err
		}()
		synctest.Wait()
		began := time.Now()
		p.Stop()
		require.Equal(t, 15*time.Second, time.Since(began))
		require.Equal(t, machine.Canceled, reason(t, <-answered))
	})
}

func TestBadReferencesAreRefused(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		for _, ref := range []string{"x", "s3cret-token", "x.", ".1", "x.0", "x.-1", "x.y"} {
			r := shared
			r.Rejected = ref
			_, err := p.Static(t.Context(), r)
			require.Equal(t, machine.Invalid, reason(t, err))
			require.Equal(t, machine.Invalid, reason(t, p.Verify(t.Context(), p.settings(), r)))
			_, err = p.Acquire(t.Context(), r)
			require.EqualError(t, err, "rejected: a session_id has the form <session>.<generation>, such as ykq25wq3rdyw7.1; give that of the answer whose token was refused, not the token")
		}
		require.Error(t, p.Release(t.Context(), sessions.LeaseRef{Account: accountID, Session: "x.1", Grant: "none"}))
		require.Error(t, p.Release(t.Context(), sessions.LeaseRef{Account: accountID, Session: "x", Grant: "x-1"}))
		require.NoError(t, p.Release(t.Context(), sessions.LeaseRef{Account: accountID, Session: "x.1", Grant: "x-1"}), "what is gone is a success")
	})
}
