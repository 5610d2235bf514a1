package sessions_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// One test for each sentence of a rule. Crashes and random histories, which
// search for what nobody thought of, are in crash_test.go and model_test.go;
// rule 9 (forward before fetching) is shown at the doors, in package backend.

// inWorld is a test in virtual time on a world that setup may change.
func inWorld(t *testing.T, setup func(*world), test func(*testing.T, *world, *process)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		if setup != nil {
			setup(w)
		}
		p := w.start()
		defer func() { p.Stop() }()
		test(t, w, p)
	})
}

func withBudget(n int) func(*world) {
	return func(w *world) { w.limit, w.limits.MaxSessions = n, n }
}

// rule 1: every session opened is closed.

func TestRule1ASessionWhoseLeaseIsNeverRevokedIsClosedAtItsHorizon(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		time.Sleep(w.tokenLife - time.Second)
		require.Equal(t, 1, w.openNow())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Zero(t, w.openNow())
		require.Empty(t, w.records())
	})
}

func TestRule1WhatCannotBeRecordedIsClosedAtOnce(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		p.faults.set(nth("put", 4, failBefore)) // the mount's id, the connection, the intent, the open session
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.Storage, reason(t, err))
		require.True(t, isAfterLogin(t, err), "a client must not repeat it")
		time.Sleep(time.Second)
		require.Equal(t, 1, w.count(&w.logins))
		require.Zero(t, w.openNow())
		require.Empty(t, w.records())
	})
}

func TestRule1AReadThatAsksAgainAfterItsLoginIsNotToBeRepeated(t *testing.T) {
	for name, read := range map[string]func(*process) error{
		"lease":  func(p *process) error { _, err := p.Acquire(context.Background(), shared); return err },
		"static": func(p *process) error { _, err := p.Static(context.Background(), shared); return err },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) { w.tokenLife = time.Minute }, func(t *testing.T, w *world, p *process) {
				var before []sessions.Lease
				for range 3 {
					l, err := p.Acquire(t.Context(), dedicated)
					require.NoError(t, err)
					before = append(before, l)
				}
				// Logouts fail while the record of its login is written. That is written, too,
				// before its answer is given.
				w.setStorageDelay(20 * time.Second)
				p.faults.set(only("logout", failBefore))
				p.faults.watch(func(op string) {
					if op == "logout" {
						time.Sleep(5 * time.Second)
					}
				})
				answer := make(chan error, 1)
				go func() { answer <- read(p) }()
				time.Sleep(10 * time.Second)
				for _, l := range before {
					go func() { _ = p.Release(context.Background(), l.Ref) }()
				}
				time.Sleep(20 * time.Second)
				require.Equal(t, 4, w.count(&w.logins))
				w.setDown(true)
				err := <-answer
				require.True(t, isAfterLogin(t, err))
				w.setStorageDelay(0)
			})
		})
	}
}

func TestRule1ALoginWhoseAnswerWasLostCountsUntilTheServerHasDroppedIt(t *testing.T) {
	inWorld(t, withBudget(1), func(t *testing.T, w *world, p *process) {
		p.faults.set(only("login", failAfter))
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, providers.Unknown, upstreamError(t, err).Outcome)
		p.faults.set(nil)
		time.Sleep(w.idle)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.BudgetFull, reason(t, err))
		assert.Contains(t, err.Error(), "1 of 1 in use (1 unknown)")
		time.Sleep(2 * time.Minute)
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

func TestRule1ALoginWhoseAnswerIsOfNoUseIsLoggedOut(t *testing.T) {
	for _, left := range []providers.TokenResponse{
		{RefreshToken: providers.NewSecret("rt-useless")},
		{AccessToken: providers.NewSecret("at-useless")}, // where it can be revoked
	} {
		inWorld(t, nil, func(t *testing.T, w *world, p *process) {
			settings := p.settings()
			answer := &failing{err: &providers.Error{Kind: providers.Misconfigured, Outcome: providers.Happened}, got: left}
			settings.Upstream = answer
			require.NoError(t, p.Configure(t.Context(), accountID, settings, false))
			_, err := p.Acquire(t.Context(), dedicated)
			require.Equal(t, providers.Happened, upstreamError(t, err).Outcome)
			synctest.Wait()
			require.Equal(t, []string{left.RefreshToken.Reveal() + left.AccessToken.Reveal()}, answer.loggedOut)
			require.Empty(t, w.records())
		})
	}
}

// withLongTokens is a server whose tokens live a day, and which does not say how long a
// session lives that is left alone.
func withLongTokens(w *world) { w.tokenLife, w.maxAge, w.hidesIdle = 24*time.Hour, 48*time.Hour, true }

func TestRule1ASessionIsAliveAsLongAsItsToken(t *testing.T) {
	for name, end := range map[string]func(*process, sessions.Lease) error{
		"revoked":   func(p *process, l sessions.Lease) error { return p.Release(context.Background(), l.Ref) },
		"drained":   func(p *process, _ sessions.Lease) error { return p.Drain(context.Background(), accountID) },
		"restarted": func(p *process, l sessions.Lease) error { p.restart(); return p.Release(context.Background(), l.Ref) },
		"deleted": func(p *process, l sessions.Lease) error {
			_, _, _, err := p.CloseSession(context.Background(), accountID, idOf(l))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) { withBudget(1)(w); withLongTokens(w) }, func(t *testing.T, w *world, p *process) {
				l, err := p.Acquire(t.Context(), dedicated)
				require.NoError(t, err)
				time.Sleep(10 * time.Hour)
				_, err = p.Acquire(t.Context(), dedicated)
				require.Equal(t, machine.BudgetFull, reason(t, err), "it counts")

				w.setDown(true)
				require.Error(t, end(p, l))
				time.Sleep(time.Hour)
				require.Equal(t, 1, w.openNow())
				w.setDown(false)
				time.Sleep(10 * time.Minute)
				require.Zero(t, w.openNow())
				require.Equal(t, 1, w.count(&w.logouts))
				require.Empty(t, w.records())
			})
		})
	}
}

func TestRule1WhatWeHoldIsUsedOnceAlsoWhereTheServerShouldHaveDroppedTheSession(t *testing.T) {
	for name, setup := range map[string]func(*world){
		"its token outlives what the server told": func(w *world) { w.tokenLife, w.maxAge = 24*time.Hour, 48*time.Hour },
		"its access token has expired":            withoutRefreshTokens(true),
	} {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", down ", down), func(t *testing.T) {
				inWorld(t, setup, func(t *testing.T, w *world, p *process) {
					l, err := p.Acquire(t.Context(), dedicated)
					require.NoError(t, err)
					logouts := p.countCalls("logout")
					time.Sleep(w.tokenLife - time.Millisecond)
					require.Zero(t, logouts.Load())
					w.setDown(down)
					time.Sleep(time.Minute)
					require.EqualValues(t, 1, logouts.Load(), "and is not repeated")
					require.NoError(t, p.Release(t.Context(), l.Ref))
					require.Empty(t, w.records())
				})
			})
		}
	}
}

func TestRule1TheEndOfAMountLogsEverySessionOut(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		for range 5 {
			_, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
		}
		w.setDown(true)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		time.AfterFunc(10*time.Second, func() { w.setDown(false) })
		require.NoError(t, p.DrainAll(ctx))
		require.Zero(t, w.openNow())
		require.Empty(t, w.records())
	})
}

func TestRule1TheEndOfAMountReportsWhatRemained(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		w.setDown(true)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		require.ErrorContains(t, p.DrainAll(ctx), "1 session could not be logged out: ")
	})
}

// rule 2: never over budget.

func TestRule1TheEndOfAMountReportsLoginsOfUnknownOutcome(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		p.faults.set(only("login", failAfter))
		_, err := p.Acquire(t.Context(), dedicated)
		require.Error(t, err)
		require.ErrorContains(t, p.DrainAll(t.Context()), "sessions that cannot be logged out end by age: 1")
	})
}

func TestRule2NeverOverBudget(t *testing.T) {
	inWorld(t, withBudget(5), func(t *testing.T, w *world, p *process) {
		var full atomic.Int64
		var all sync.WaitGroup
		for range 12 {
			all.Go(func() {
				if _, err := p.Acquire(t.Context(), dedicated); err != nil {
					assert.Equal(t, machine.BudgetFull, reason(t, err))
					full.Add(1)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 7, full.Load())
		require.Equal(t, 5, w.count(&w.logins), "a full budget costs no login")
		require.Zero(t, w.count(&w.denials))
	})
}

func TestRule2AFullBudgetSaysWhatToDo(t *testing.T) {
	inWorld(t, withBudget(1), func(t *testing.T, _ *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		_, err = p.Acquire(t.Context(), dedicated)
		require.EqualError(t, err, "the session budget is full: 1 of 1 in use (1 open), the next is free at the latest at "+
			l.ExpiresAt.UTC().Format(time.RFC3339)+
			", unless it is used further; revoke leases that are not needed, use session_mode=shared, or raise max_sessions if the server allows more")
		require.NoError(t, p.Release(t.Context(), l.Ref))
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

func TestRule2AFullBudgetIsSaidAtOnceAlsoWhereACodeIsSpent(t *testing.T) {
	setup := func(w *world) { withBudget(1)(w); withTOTP(w) }
	inWorld(t, setup, func(t *testing.T, _ *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		start := time.Now()
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.BudgetFull, reason(t, err))
		require.Zero(t, time.Since(start))
	})
}

func TestRule2APendingLogoutCountsAlsoAfterItsConfigWasMadeAgain(t *testing.T) {
	inWorld(t, withBudget(1), func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		w.setDown(true)
		require.Error(t, p.Release(t.Context(), l.Ref))
		require.Error(t, p.Drain(t.Context(), accountID))
		w.retire()
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), false))
		w.reinstate()
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.BudgetFull, reason(t, err))
		assert.Contains(t, err.Error(), "1 waiting for logout")
	})
}

func TestRule2ASessionThatNobodyHoldsMakesRoom(t *testing.T) {
	setup := func(w *world) { withBudget(1)(w); w.limits.Linger = time.Hour }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		require.Equal(t, 1, w.openNow(), "it lingers")
		other := shared
		other.Scopes = []string{"email"}
		_, err = p.Acquire(t.Context(), other)
		require.NoError(t, err)
		require.Equal(t, 1, w.openNow())
	})
}

func TestRule2ASessionLingersNoLongerThanTheServerKeepsIt(t *testing.T) {
	setup := func(w *world) { withBudget(1)(w); w.limits.Linger = 24 * time.Hour }
	inWorld(t, func(w *world) { setup(w); w.hidesIdle, w.idle = true, 48*time.Hour }, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		time.Sleep(30 * time.Minute)
		require.Equal(t, 1, w.openNow())
		time.Sleep(10 * time.Minute)
		require.Zero(t, w.openNow())
		require.Empty(t, w.records())
	})
	inWorld(t, func(w *world) { setup(w); w.limits.Capabilities.Logout = false }, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		dropped := time.Now().Add(w.idle + time.Minute)
		time.Sleep(20 * time.Minute)
		_, err = p.Acquire(t.Context(), other("email"))
		require.ErrorContains(t, err, "the next is free at the latest at "+dropped.UTC().Format(time.RFC3339))
		w.killAll() // it cannot be closed, so nobody is to blame
		time.Sleep(20 * time.Minute)
		_, err = p.Acquire(t.Context(), other("email"))
		require.NoError(t, err)
		w.killAll()
	})
}

// rule 3: dedicated and shared.

func TestRule3TheEndOfADedicatedLeaseLogsOutItsSessionAndNoOther(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		first, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		second, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.NotEqual(t, first.Ref.Session, second.Ref.Session)
		require.NoError(t, p.Release(t.Context(), first.Ref))
		require.False(t, w.live(first.Token.AccessToken))
		require.True(t, w.live(second.Token.AccessToken))
	})
}

func TestRule3TheLastOfTheSharedLeasesLogsOut(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		first, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		second, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), first.Ref))
		require.NoError(t, p.Release(t.Context(), first.Ref), "twice is once")
		require.True(t, w.live(second.Token.AccessToken))
		require.NoError(t, p.Release(t.Context(), second.Ref))
		require.Zero(t, w.openNow())
	})
}

func TestRule3LingerKeepsASharedSessionAfterItsLastLease(t *testing.T) {
	inWorld(t, func(w *world) { w.limits.Linger = time.Minute }, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		time.Sleep(59 * time.Second)
		require.Equal(t, 1, w.openNow())
		time.Sleep(2 * time.Second)
		require.Zero(t, w.openNow())
	})
}

func TestRule3AfterARestartTheFirstReaderAdoptsTheSharedSession(t *testing.T) {
	inWorld(t, withBudget(1), func(t *testing.T, w *world, p *process) {
		before, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		p.restart()
		after, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, 1, w.count(&w.logins))
		require.Equal(t, 1, w.count(&w.refreshes))

		// The old lease is not known by name: the new one's end leaves it alone.
		require.NoError(t, p.Release(t.Context(), after.Ref))
		require.NoError(t, p.Release(t.Context(), before.Ref))
		require.True(t, w.live(before.Token.AccessToken))
		time.Sleep(time.Until(before.ExpiresAt) + time.Second)
		require.Zero(t, w.openNow())
	})
}

func TestRule3AfterARestartTheFirstReaderAdoptsASessionOfALongToken(t *testing.T) {
	inWorld(t, func(w *world) { withBudget(1)(w); withLongTokens(w) }, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		time.Sleep(10 * time.Hour)
		p.restart()
		after, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, 1, w.count(&w.logins))
		require.Equal(t, 1, w.count(&w.refreshes))
		require.True(t, w.live(after.Token.AccessToken))
	})
}

func TestRule3TheVerifiedSessionIsKeptAMinuteForItsFirstReader(t *testing.T) {
	inWorld(t, withTOTP, func(t *testing.T, w *world, p *process) {
		require.NoError(t, p.Verify(t.Context(), p.settings(), shared))
		time.Sleep(50 * time.Second)
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, 1, w.count(&w.logins))
	})
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		require.NoError(t, p.Verify(t.Context(), p.settings(), shared))
		time.Sleep(61 * time.Second)
		require.Zero(t, w.openNow())
	})
}

func TestRule3ALeaseOnALongerTokenKeepsItsPlace(t *testing.T) {
	inWorld(t, withBudget(1), func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		w.mu.Lock()
		w.tokenLife = time.Minute // an administrator has shortened it
		w.mu.Unlock()
		time.Sleep(160 * time.Second) // the newest token is of the middle of the first one's life
		w.setDown(true)
		time.Sleep(50 * time.Second) // and expires
		w.setDown(false)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.BudgetFull, reason(t, err))
		require.True(t, w.live(l.Token.AccessToken))
	})
}

// rule 4: a lease never outlives its token.

func TestRule4ALeaseNeverOutlivesItsToken(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, w.tokenLife, time.Until(l.ExpiresAt))
		require.Equal(t, 5*time.Second, l.ExpiresAt.Sub(l.Until))
	})
}

func TestRule4ALeaseBelowOneSecondIsNeverAnswered(t *testing.T) {
	inWorld(t, func(w *world) { w.tokenLife = 5 * time.Second }, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.Equal(t, machine.TooShort, reason(t, err))
		time.Sleep(time.Second)
		require.Zero(t, w.openNow())
	})
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		for range 3000 {
			time.Sleep(200 * time.Millisecond)
			l, err := p.Acquire(t.Context(), shared)
			require.NoError(t, err)
			require.GreaterOrEqual(t, time.Until(l.Until), time.Second)
			require.NoError(t, p.Release(t.Context(), l.Ref))
		}
	})
}

func TestRule4MinTTLIsMetOrRefused(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		r := shared
		r.MinTTL = 200 * time.Second
		_, err := p.Acquire(t.Context(), r)
		require.NoError(t, err)
		time.Sleep(120 * time.Second)
		l, err := p.Acquire(t.Context(), r)
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Until(l.Until), r.MinTTL)
		require.Equal(t, 1, w.count(&w.logins))

		r.MinTTL = 296 * time.Second
		_, err = p.Acquire(t.Context(), r)
		require.EqualError(t, err, "min_ttl 4m56s cannot be met: a lease on a new token of this server lasts 4m55s; ask for a min_ttl that is not longer than that")
		require.Equal(t, 1, w.count(&w.logins), "and that costs no login")
	})
}

func TestRule4TheLifeOfTokensIsLearntAnew(t *testing.T) {
	inWorld(t, func(w *world) { w.tokenLife = time.Minute }, func(t *testing.T, w *world, p *process) {
		r := shared
		r.MinTTL = 100 * time.Second
		_, err := p.Acquire(t.Context(), r)
		require.Equal(t, machine.TooShort, reason(t, err))
		w.mu.Lock()
		w.tokenLife = 300 * time.Second // an administrator has changed it
		w.mu.Unlock()
		_, err = p.Acquire(t.Context(), r)
		require.Equal(t, machine.TooShort, reason(t, err), "what was learnt is believed for a while: no login for each read")
		require.Equal(t, 1, w.count(&w.logins))
		time.Sleep(15 * time.Minute)
		l, err := p.Acquire(t.Context(), r)
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Until(l.Until), r.MinTTL)
	})
}

// rule 5: revocation is idempotent.

func TestRule5RevocationIsIdempotent(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		w.killAll()
		for range 3 {
			require.NoError(t, p.Release(t.Context(), l.Ref), "gone upstream counts as done")
		}
	})
}

func TestRule5AFailedLogoutIsVisibleThreeTimesAndThenTheQueues(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		w.setDown(true)
		for range 3 {
			require.ErrorContains(t, p.Release(t.Context(), l.Ref), "it stays in the logout queue and is tried again until")
			time.Sleep(10 * time.Second)
		}
		p.restart() // the tries are in the ledger
		require.NoError(t, p.Release(t.Context(), l.Ref))
		require.Equal(t, 1, w.openNow())
		time.Sleep(5 * time.Minute)
		w.setDown(false)
		time.Sleep(7 * time.Minute)
		require.Zero(t, w.openNow())
		require.Empty(t, w.records())
		require.Equal(t, 1, w.count(&w.logouts))
	})
}

func TestRule5AServerThatStaysDownLetsTheSessionDieOfAge(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		w.setDown(true)
		require.Error(t, p.Release(t.Context(), l.Ref))
		time.Sleep(w.idle)
		require.Len(t, w.records(), 1)
		time.Sleep(2 * time.Minute)
		require.Empty(t, w.records())
	})
}

func TestRule5TheQueueOfLogoutsDoesNotWaitForItsBackOffOnceTheServerIsBack(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		var leases []sessions.Lease
		for range 10 {
			l, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
			leases = append(leases, l)
		}
		w.setDown(true)
		for _, l := range leases {
			require.Error(t, p.Release(t.Context(), l.Ref))
		}
		_, err := p.Acquire(t.Context(), dedicated)
		require.Error(t, err)
		time.Sleep(15 * time.Minute)
		w.setDown(false)
		require.Equal(t, 10, w.openNow())
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		require.Equal(t, 1, w.openNow(), "only the new one")
	})
}

// rule 6: a one-time code is used once.

func TestRule6AOneTimeCodeIsUsedOnce(t *testing.T) {
	inWorld(t, withTOTP, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		p.restart()
		start := time.Now()
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.InDelta(t, 30, time.Since(start).Seconds(), 1, "it waits for the next step")
		require.Zero(t, w.count(&w.codeReuses))
	})
}

func TestRule6ACodeOfALoginThatWasRefusedIsSpentToo(t *testing.T) {
	setup := func(w *world) { withTOTP(w); w.config = "wrong" }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.Upstream, reason(t, err))
		w.setConfig("right")
		p.restart()
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		start := time.Now()
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.Greater(t, time.Since(start), 25*time.Second)
	})
}

func TestRule6WhereTheNextCodeComesTooLateItSaysWhen(t *testing.T) {
	inWorld(t, withTOTP, func(t *testing.T, _ *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		_, err = p.Acquire(ctx, dedicated)
		require.Equal(t, machine.CodeSpent, reason(t, err))
		require.Zero(t, time.Since(start), "and it says so at once")
		assert.ErrorContains(t, err, "try again after 2000-01-01T00:00:30Z")
	})
}

func TestRule6ATypedCodeIsUsedOnceToo(t *testing.T) {
	setup := func(w *world) { w.codePeriod = 30 * time.Second; w.limits.Capabilities.OneTimeCode = true }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		r := dedicated
		_, err := p.Acquire(t.Context(), r)
		require.Equal(t, machine.Upstream, reason(t, err), "the first goes without")
		_, err = p.Acquire(t.Context(), r)
		require.Equal(t, machine.CodeNeeded, reason(t, err))
		require.Equal(t, 1, w.count(&w.refused), "no further call upstream")

		r.OTP = providers.NewSecret("123456")
		_, err = p.Acquire(t.Context(), r)
		require.NoError(t, err, "the person who types one gets in")
		p.restart()
		_, err = p.Acquire(t.Context(), r)
		require.Equal(t, machine.CodeSpent, reason(t, err))
		require.Zero(t, w.count(&w.codeReuses))
	})
}

func TestRule6ATypedCodeIsRefusedWhereItCannotBeMeant(t *testing.T) {
	r := dedicated
	r.OTP = providers.NewSecret("123456")
	inWorld(t, withTOTP, func(t *testing.T, _ *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		r := shared
		r.OTP = providers.NewSecret("123456")
		_, err = p.Acquire(t.Context(), r)
		require.EqualError(t, err, "otp is refused: the config has a totp_secret, from which the codes are made; leave otp out")
	})
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		_, err := p.Acquire(t.Context(), r)
		require.EqualError(t, err, "otp is refused: this provider takes no one-time codes; leave otp out")
	})
	inWorld(t, func(w *world) { w.limits.Capabilities.OneTimeCode = true }, func(t *testing.T, _ *world, p *process) {
		r := r
		r.OTP = providers.NewSecret("12 34 56")
		_, err := p.Acquire(t.Context(), r)
		require.EqualError(t, err, "otp is not a one-time code, and was not sent; give the 6 or 8 digits that the authenticator shows")
	})
}

func TestRule6ALoginIsNotSentLongAfterItsIntent(t *testing.T) {
	inWorld(t, withTOTP, func(t *testing.T, w *world, p *process) {
		w.setStorageDelay(40 * time.Second)
		_, err := p.Acquire(t.Context(), dedicated)
		require.Error(t, err)
		time.Sleep(2 * time.Minute) // the reader has gone, its intent is stored
		require.Zero(t, w.count(&w.logins)+w.count(&w.refused), "its code is too old")
		w.setStorageDelay(0)
		time.Sleep(2 * time.Minute)
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

// rule 7: no lock-outs by us.

func TestRule7BadCredentialsCloseTheAccountForAGrowingTime(t *testing.T) {
	inWorld(t, func(w *world) { w.config = "wrong" }, func(t *testing.T, w *world, p *process) {
		for i, closed := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 15 * time.Minute} {
			_, err := p.Acquire(t.Context(), dedicated)
			require.Equal(t, machine.Upstream, reason(t, err))
			require.Equal(t, i+1, w.count(&w.refused))
			_, err = p.Acquire(t.Context(), dedicated)
			require.Equal(t, machine.Guarded, reason(t, err))
			time.Sleep(closed - time.Second)
			p.restart()
			_, err = p.Acquire(t.Context(), dedicated)
			require.Equal(t, machine.Guarded, reason(t, err), "it survives a restart")
			require.Equal(t, i+1, w.count(&w.refused))
			time.Sleep(2 * time.Second)
		}
		w.setConfig("right")
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err, "a config write reopens it")
	})
}

func TestRule7LiveSessionsOfAClosedAccountAreServedAndRefreshed(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		w.setPassword("changed")
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.Upstream, reason(t, err))
		time.Sleep(200 * time.Second)
		_, err = p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, 1, w.count(&w.refreshes))
	})
}

func TestRule7ARefusedVerificationCountsInTheGuard(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		w.setConfig("wrong")
		trial := p.settings()
		require.Error(t, p.Verify(t.Context(), trial, dedicated))
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.Guarded, reason(t, err))
	})
}

func TestRule7ASessionLimitOfTheServerIsAFullBudgetForAMinute(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		w.limit = 1
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, providers.SessionLimit, upstreamError(t, err).Kind)
		for range 5 {
			p.restart()
			_, err = p.Acquire(t.Context(), dedicated)
			require.Equal(t, machine.BudgetFull, reason(t, err))
			time.Sleep(11 * time.Second)
		}
		require.Equal(t, 1, w.count(&w.denials))
	})
}

func TestRule7AServerThatIsDownIsAskedEverMoreSeldom(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		w.setDown(true)
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, providers.Unavailable, upstreamError(t, err).Kind)
		start := time.Now()
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, providers.Unavailable, upstreamError(t, err).Kind)
		require.Zero(t, time.Since(start), "reads meanwhile fail at once")
		w.setDown(false)
		time.Sleep(2 * time.Second)
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

func TestRule7DuringAPauseNoCallGoesOut(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		calls := p.countLogins()
		w.setDown(true)
		for range 10 {
			_, err := p.Acquire(t.Context(), dedicated)
			require.Equal(t, providers.Unavailable, upstreamError(t, err).Kind)
		}
		require.EqualValues(t, 1, calls.Load())
		for range 3600 {
			_, err := p.Acquire(t.Context(), dedicated)
			require.Error(t, err)
			time.Sleep(time.Second)
		}
		require.Less(t, calls.Load(), int64(3600/20), "ever more seldom, up to half a minute and a spread")
	})
}

func TestRule7AThrottledAccountWaitsAsTold(t *testing.T) {
	for _, c := range []struct {
		kind        providers.Kind
		told, waits time.Duration
	}{
		{providers.Throttled, 0, 5 * time.Second},
		{providers.Throttled, 2 * time.Minute, 2 * time.Minute},
		{providers.Throttled, 24 * time.Hour, 15 * time.Minute},
		{providers.Unavailable, 2 * time.Minute, 2 * time.Minute},
		{providers.Unavailable, 24 * time.Hour, 15 * time.Minute},
	} {
		inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
			settings := p.settings()
			answer := &failing{err: &providers.Error{Kind: c.kind, Outcome: providers.DidNotHappen, RetryAfter: c.told}}
			settings.Upstream = answer
			require.NoError(t, p.Configure(t.Context(), accountID, settings, false))
			_, err := p.Acquire(t.Context(), dedicated)
			require.Error(t, err)
			time.Sleep(c.waits - time.Second)
			require.NoError(t, p.Configure(t.Context(), accountID, settings, true), "a config write does not end it")
			_, err = p.Acquire(t.Context(), dedicated)
			require.Equal(t, c.kind, upstreamError(t, err).Kind)
			require.EqualValues(t, 1, answer.logins.Load())
			time.Sleep(2 * time.Second)
			_, err = p.Acquire(t.Context(), dedicated)
			require.Error(t, err)
			require.EqualValues(t, 2, answer.logins.Load())
		})
	}
}

func TestRule7NoCallIsRepeatedBeforeTheServerWantsIt(t *testing.T) {
	setup := func(w *world) {
		withBudget(5)(w)
		w.limits.Capabilities.ListsSessions = true
		w.tokenLife, w.retryAfter = time.Hour, 10*time.Minute
	}
	for _, op := range []string{"login", "refresh", "logout", "list sessions"} {
		t.Run(op, func(t *testing.T) {
			inWorld(t, setup, func(t *testing.T, _ *world, p *process) {
				var calls []time.Time
				p.faults.set(func(crossing string) fault {
					if crossing != op {
						return none
					}
					calls = append(calls, time.Now())
					return failBefore
				})
				l, err := p.Acquire(t.Context(), shared)
				require.Equal(t, op == "login", err != nil)
				if op == "logout" {
					require.Error(t, p.Release(t.Context(), l.Ref))
				}
				for range 59 * 60 {
					time.Sleep(time.Second)
					if op == "login" {
						_, err = p.Acquire(t.Context(), shared)
						require.Error(t, err)
					}
				}
				p.faults.set(nil)
				require.Greater(t, len(calls), 1)
				for i := range calls[1:] {
					require.GreaterOrEqual(t, calls[i+1].Sub(calls[i]), 10*time.Minute)
				}
			})
		})
	}
}

func TestRule7TheNextLoginWaitsUntilTheServerHasLetGoOfTheLastOne(t *testing.T) {
	inWorld(t, func(w *world) { w.limits.Capabilities.LoginPause = 250 * time.Millisecond }, func(t *testing.T, w *world, p *process) {
		began := time.Now()
		for range 4 {
			_, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
		}
		require.Equal(t, 4*w.latency+3*250*time.Millisecond, time.Since(began))
		time.Sleep(time.Second)
		began = time.Now()
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.Equal(t, w.latency, time.Since(began), "nobody waits for a login of long ago")
	})
}

func TestRule7ScopesThatTheServerDoesNotKnowRestAlone(t *testing.T) {
	inWorld(t, func(w *world) { w.unknownScope = "nosuch" }, func(t *testing.T, w *world, p *process) {
		for range 3 {
			_, err := p.Acquire(t.Context(), other("nosuch"))
			require.Equal(t, providers.Protocol, upstreamKind(t, err))
		}
		require.Equal(t, 1, w.count(&w.refused), "they rest")
		_, err := p.Acquire(t.Context(), other("email"))
		require.NoError(t, err, "the others do not")
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		_, err = p.Acquire(t.Context(), other("nosuch"))
		require.Error(t, err)
		require.Equal(t, 2, w.count(&w.refused), "and whoever writes the config has mended them, perhaps")
	})
}

// rule 8: refresh once.

func TestRule8ASharedTokenIsRefreshedAtHalfItsLife(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		time.Sleep(149 * time.Second)
		require.Zero(t, w.count(&w.refreshes))
		time.Sleep(2 * time.Second)
		require.Equal(t, 1, w.count(&w.refreshes))
		start := time.Now()
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Zero(t, time.Since(start), "no reader waits")
		require.Greater(t, time.Until(l.ExpiresAt), 295*time.Second)
	})
}

func TestRule8WithoutLeasesNothingIsRefreshed(t *testing.T) {
	inWorld(t, func(w *world) { w.limits.Linger = time.Hour }, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		time.Sleep(10 * time.Minute)
		require.Zero(t, w.count(&w.refreshes))
		_, err = p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, 1, w.count(&w.refreshes))
		require.Equal(t, 1, w.count(&w.logins))
	})
}

func TestRule8AValidTokenIsServedWhileTheServerIsDownAndSaysSo(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		w.setDown(true)
		time.Sleep(250 * time.Second)
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Len(t, l.Warnings, 1)
		require.Contains(t, l.Warnings[0], "the token could not be refreshed and is served until it expires")
		time.Sleep(60 * time.Second)
		_, err = p.Acquire(t.Context(), shared)
		require.Equal(t, providers.Unavailable, upstreamError(t, err).Kind)
		w.setDown(false)
		time.Sleep(40 * time.Second)
		_, err = p.Acquire(t.Context(), shared)
		require.NoError(t, err, "it recovers without a hand")
	})
}

func TestRule8ARotatedTokenIsStoredBeforeItIsHandedOut(t *testing.T) {
	inWorld(t, func(w *world) { w.rotate = true }, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		p.faults.set(only("put", failBefore))
		time.Sleep(200 * time.Second)
		require.Equal(t, 1, w.count(&w.refreshes))
		again, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, l.Ref.Session, again.Ref.Session, "the old one is still served")
		p.faults.set(nil)
		time.Sleep(60 * time.Second)
		newer, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.NotEqual(t, l.Ref.Session, newer.Ref.Session)
		require.Equal(t, 1, w.count(&w.refreshes), "and not refreshed twice")
	})
}

func TestRule8ARefusedRefreshIsLoggedOutAllTheSame(t *testing.T) {
	setup := func(w *world) { withBudget(1)(w); w.rotate = true }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		p.faults.set(only("refresh", failAfter)) // rotated, but we never learn it
		time.Sleep(151 * time.Second)
		p.faults.set(nil)
		time.Sleep(10 * time.Second)
		_, err = p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, 1, w.openNow())
		require.Equal(t, 2, w.count(&w.logins))
		require.Zero(t, w.count(&w.denials))
	})
}

func TestRule8ASuccessorIsOpenedBeforeTheMaximumAge(t *testing.T) {
	setup := func(w *world) { withBudget(2)(w); w.maxAge = 20 * time.Minute }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		for range 60 {
			time.Sleep(time.Minute)
			start := time.Now()
			l, err := p.Acquire(t.Context(), shared)
			require.NoError(t, err)
			require.Zero(t, time.Since(start), "no reader waits")
			require.Greater(t, time.Until(l.Until), 60*time.Second)
		}
		require.LessOrEqual(t, w.count(&w.logins), 5)
	})
}

func TestRule8WithoutRoomForASuccessorTheNextReadOpensANewOne(t *testing.T) {
	setup := func(w *world) { withBudget(1)(w); w.maxAge = 20 * time.Minute }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		for range 120 {
			time.Sleep(30 * time.Second)
			l, err := p.Acquire(t.Context(), shared)
			require.NoError(t, err)
			require.True(t, w.live(l.Token.AccessToken))
		}
		require.Zero(t, w.count(&w.denials))
	})
}

func TestRule8ClientCredentialsGetANewTokenAtHalfLife(t *testing.T) {
	setup := func(w *world) {
		w.noSessions = true
		w.limits.Capabilities = providers.Capabilities{}
	}
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		first, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		time.Sleep(200 * time.Second)
		second, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.NotEqual(t, first.Token.AccessToken, second.Token.AccessToken)
		require.Equal(t, 2, w.count(&w.logins))
		require.Empty(t, w.records(), "nothing to close, nothing in the ledger")
		require.NoError(t, p.Release(t.Context(), first.Ref))
		require.NoError(t, p.Release(t.Context(), second.Ref))
	})
}

// rule 10: deleting a config.

func TestRule10DrainRefusesWhileTheServerCannotBeReached(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		w.setDown(true)
		require.ErrorContains(t, p.Drain(t.Context(), accountID), "1 session could not be logged out: ")
		w.setDown(false)
		require.NoError(t, p.Drain(t.Context(), accountID))
		require.Zero(t, w.openNow())
		_, err = p.Acquire(t.Context(), shared)
		require.Equal(t, machine.Closed, reason(t, err))
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), false))
		_, err = p.Acquire(t.Context(), shared)
		require.NoError(t, err)
	})
}

func TestRule10LeasesThatAreLeftBehindStillRevoke(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		w.setDown(true)
		require.Error(t, p.Drain(t.Context(), accountID))
		w.retire()
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), false))
		p.restart()
		w.setDown(false)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		require.Zero(t, w.openNow())
	})
}

// rule 12: a refused token is replaced once.

func TestRule12ARejectedTokenIsReplacedOnce(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		r := shared
		r.Rejected = l.Ref.Session
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				newer, err := p.Acquire(t.Context(), r)
				if assert.NoError(t, err) {
					assert.NotEqual(t, l.Ref.Session, newer.Ref.Session)
				}
			})
		}
		all.Wait()
		require.Equal(t, 1, w.count(&w.refreshes), "shared by all who ask")

		newest, err := p.Acquire(t.Context(), r)
		require.NoError(t, err, "an older generation is a plain read")
		r.Rejected = newest.Ref.Session
		again, err := p.Acquire(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, newest.Ref.Session, again.Ref.Session, "at most one in ten seconds")
		time.Sleep(10 * time.Second)
		again, err = p.Acquire(t.Context(), r)
		require.NoError(t, err)
		require.NotEqual(t, newest.Ref.Session, again.Ref.Session)
		require.Equal(t, 1, w.count(&w.logins))
	})
}

func TestRule12ARejectedTokenWhoseSessionIsGoneGetsANewSession(t *testing.T) {
	inWorld(t, withBudget(1), func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		w.killAll()
		r := shared
		r.Rejected = l.Ref.Session
		newer, err := p.Acquire(t.Context(), r)
		require.NoError(t, err)
		require.True(t, w.live(newer.Token.AccessToken))
	})
}

func TestRule12OfADedicatedSessionItClosesTheRejectedOneAndOpensAnother(t *testing.T) {
	inWorld(t, withBudget(1), func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		r := dedicated
		r.Rejected = l.Ref.Session
		newer, err := p.Acquire(t.Context(), r)
		require.NoError(t, err)
		require.True(t, w.live(newer.Token.AccessToken))
		require.False(t, w.live(l.Token.AccessToken))
	})
}

func TestRule12ClientCredentialsGetOneNewTokenInTenSeconds(t *testing.T) {
	setup := func(w *world) { w.noSessions = true; w.limits.Capabilities = providers.Capabilities{} }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		for range 20 {
			r := shared
			r.Rejected = l.Ref.Session
			l, err = p.Acquire(t.Context(), r)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, w.count(&w.logins), 3)
	})
}

// only injects a fault into every crossing of one sort.
func only(op string, f fault) func(string) fault {
	return func(crossing string) fault {
		if crossing == op {
			return f
		}
		return none
	}
}

// nth injects a fault into one crossing of a sort, counted from 1.
func nth(op string, n int, f fault) func(string) fault {
	crossed := 0
	return func(crossing string) fault {
		if crossing == op {
			crossed++
		}
		if crossing == op && crossed == n {
			return f
		}
		return none
	}
}

// slowPut has one write of the storage take that long, counted from 1.
func (p *process) slowPut(n int, takes time.Duration) {
	is := nth("put", n, failBefore)
	p.faults.watch(func(op string) {
		if is(op) != none {
			time.Sleep(takes)
		}
	})
}

func (f *faults) set(choose func(string) fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.choose = choose
}

func (w *world) reinstate() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isConfig = true
}

// isAfterLogin says that a login has happened for what was refused.
func isAfterLogin(tb testing.TB, err error) bool {
	tb.Helper()
	var refusal *sessions.Error
	require.ErrorAs(tb, err, &refusal)
	return refusal.AfterLogin
}

// upstreamError returns what the server said.
func upstreamError(tb testing.TB, err error) *providers.Error {
	tb.Helper()
	var failure *providers.Error
	require.ErrorAs(tb, err, &failure)
	return failure
}

// failing is an upstream whose logins all fail alike.
type failing struct {
	noList

	err       *providers.Error
	got       providers.TokenResponse
	logins    atomic.Int64
	loggedOut []string
}

func (f *failing) Capabilities() providers.Capabilities {
	return providers.Capabilities{Sessions: true, Logout: true, RevokesAccess: true}
}

func (f *failing) Login(context.Context, providers.LoginRequest) (providers.TokenResponse, error) {
	f.logins.Add(1)
	return f.got, f.err
}

func (f *failing) Refresh(context.Context, providers.Secret) (providers.TokenResponse, error) {
	return providers.TokenResponse{}, f.err
}

func (f *failing) Logout(_ context.Context, token providers.SessionTokens) error {
	f.loggedOut = append(f.loggedOut, token.Refresh.Reveal()+token.Access.Reveal())
	return nil
}

// countLogins counts the calls that go out for a login, answered or not.
func (p *process) countLogins() *atomic.Int64 { return p.countCalls("login") }

func (p *process) countCalls(sort string) *atomic.Int64 {
	var calls atomic.Int64
	p.faults.set(func(op string) fault {
		if op == sort {
			calls.Add(1)
		}
		return none
	})
	return &calls
}

// upstreamKind is the kind of a refusal of the server's.
func upstreamKind(t *testing.T, err error) providers.Kind {
	t.Helper()
	var upstream *providers.Error
	require.ErrorAs(t, err, &upstream)
	return upstream.Kind
}
