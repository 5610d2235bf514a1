package sessions_test

import (
	"context"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// Reads without a lease.

func TestStaticAThousandColdReadersMakeOneLogin(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				_, err := p.Static(t.Context(), shared)
				assert.NoError(t, err)
			})
		}
		all.Wait()
		require.Equal(t, 1, w.count(&w.logins))
	})
}

func TestStaticReadersAtEachRotationAlwaysHoldATokenForHalfItsLife(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		seen := map[string]bool{}
		for range 50 {
			st, err := p.Static(t.Context(), shared)
			require.NoError(t, err)
			require.True(t, w.live(st.Token.AccessToken))
			require.Equal(t, w.tokenLife/2, st.RotationPeriod)
			require.Equal(t, w.tokenLife, st.ExpiresAt.Sub(st.LastRotation))
			require.GreaterOrEqual(t, time.Until(st.ExpiresAt)-st.TTL, w.tokenLife/2-w.tokenLife/10-time.Second)
			require.False(t, seen[st.Session], "each read after its ttl finds the next token")
			seen[st.Session] = true
			time.Sleep(st.TTL + time.Second) // as Agent does
		}
		require.Equal(t, 1, w.count(&w.logins))
		time.Sleep(2 * w.tokenLife)
		require.Zero(t, w.openNow(), "nobody reads any more")
		require.LessOrEqual(t, w.count(&w.refreshes), 51)
	})
}

func TestStaticTTLsAreSpreadOverATenthOfTheLifeAndNeverZero(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		least, most := time.Duration(math.MaxInt64), time.Duration(0)
		seconds := map[time.Duration]int{}
		for range 1000 {
			st, err := p.Static(t.Context(), shared)
			require.NoError(t, err)
			least, most = min(least, st.TTL), max(most, st.TTL)
			seconds[st.TTL.Truncate(time.Second)]++
		}
		require.GreaterOrEqual(t, least, w.tokenLife/2)
		require.LessOrEqual(t, most, w.tokenLife/2+w.tokenLife/10)
		for second, n := range seconds {
			require.LessOrEqual(t, n, 40, "in %s", second)
		}
		time.Sleep(w.tokenLife/2 - time.Millisecond)
		st, err := p.Static(t.Context(), shared)
		require.NoError(t, err)
		require.GreaterOrEqual(t, st.TTL, time.Second)
	})
}

func TestStaticASessionIsClosedAtTheHorizonOfTheLastTokenThatSomebodyRead(t *testing.T) {
	for _, linger := range []time.Duration{0, time.Minute} {
		inWorld(t, func(w *world) { w.limits.Linger = linger }, func(t *testing.T, w *world, p *process) {
			first, err := p.Static(t.Context(), shared)
			require.NoError(t, err)
			time.Sleep(w.tokenLife/2 + time.Second) // the next token is there, and nobody reads it
			require.Equal(t, 1, w.count(&w.refreshes))
			time.Sleep(time.Until(first.ExpiresAt) + linger - time.Second)
			require.Equal(t, 1, w.openNow())
			time.Sleep(2 * time.Second)
			require.Zero(t, w.openNow())
			require.Equal(t, 1, w.count(&w.refreshes), "no token is made that nobody would read")
			require.Empty(t, w.records())
		})
	}
}

func TestStaticReadsSurviveRestartsAndDeaths(t *testing.T) {
	inWorld(t, withBudget(1), func(t *testing.T, w *world, p *process) {
		for i := range 10 {
			st, err := p.Static(t.Context(), shared)
			require.NoError(t, err)
			require.True(t, w.live(st.Token.AccessToken))
			if i%2 == 0 {
				p.restart()
			} else {
				p.faults.kill()
				p.Stop()
				p = w.start()
			}
		}
		p.Stop()
		require.Equal(t, 1, w.count(&w.logins))
	})
}

func TestStaticInAnOutageTheLiveTokenIsServedThenAClearError(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		st, err := p.Static(t.Context(), shared)
		require.NoError(t, err)
		p.setDown(true)
		time.Sleep(w.tokenLife/2 + time.Minute)
		again, err := p.Static(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, st.Session, again.Session)
		require.Len(t, again.Warnings, 1)
		require.GreaterOrEqual(t, again.TTL, time.Second)
		require.LessOrEqual(t, again.TTL, time.Until(again.ExpiresAt))
		time.Sleep(w.tokenLife / 2)
		_, err = p.Static(t.Context(), shared)
		require.ErrorContains(t, err, "cannot be reached")
		p.setDown(false)
		time.Sleep(time.Minute)
		_, err = p.Static(t.Context(), shared)
		require.NoError(t, err)
	})
}

func TestStaticASessionWithoutRefreshTokenIsReplacedByASuccessor(t *testing.T) {
	inWorld(t, func(w *world) { w.noSessions = true; w.limits.Capabilities.Sessions = false }, func(t *testing.T, w *world, p *process) {
		for range 10 {
			st, err := p.Static(t.Context(), shared)
			require.NoError(t, err)
			require.GreaterOrEqual(t, time.Until(st.ExpiresAt), w.tokenLife/2-w.tokenLife/10-time.Second)
			time.Sleep(st.TTL + time.Second)
		}
		require.InDelta(t, 10, w.count(&w.logins), 1)
	})
}

func TestStaticReadsTouchNeitherStorageNorServer(t *testing.T) {
	p := newPlant()
	e := p.engine()
	defer e.Stop()
	_, err := e.Static(t.Context(), shared)
	require.NoError(t, err)
	operations, calls := p.operations.Load(), p.calls.Load()
	allocations := testing.AllocsPerRun(1000, func() {
		if _, err := e.Static(t.Context(), shared); err != nil {
			t.Fatal(err)
		}
	})
	require.LessOrEqual(t, allocations, 4.0)
	require.Equal(t, operations, p.operations.Load())
	require.Equal(t, calls, p.calls.Load())
}

func TestStaticReadersAndLeasesShareOneSession(t *testing.T) {
	inWorld(t, withBudget(1), func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		st, err := p.Static(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, l.Ref.Session, st.Session)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		require.Equal(t, 1, w.openNow(), "held without a lease")
		require.Zero(t, p.session(t, l).Leases)
		require.True(t, p.session(t, l).StaticRead)
	})
}

func TestSessionsAreSharedPerScopesAndParameters(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		sessionIDs := map[string]bool{}
		for _, params := range []map[string]string{nil, {"audience": "a"}, {"audience": "b"}, {"audience": "a", "resource": "b"}, {"resource": "b", "audience": "a"}} {
			r := shared
			r.Params = params
			l, err := p.Acquire(t.Context(), r)
			require.NoError(t, err)
			sessionIDs[l.Ref.Session] = true
		}
		require.Len(t, sessionIDs, 4)
	})
}

// rule 12, whoever asks.

func TestRule12MinTTLForcesOneTokenIn10Seconds(t *testing.T) {
	for name, setup := range map[string]func(*world){
		"refreshes": nil,
		"logins": func(w *world) {
			w.noSessions, w.limits.Capabilities.Sessions = true, false
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, setup, func(t *testing.T, w *world, p *process) {
				r := shared
				r.MinTTL = w.tokenLife - 6*time.Second // a second less than the longest lease
				began := time.Now()
				for range 30 {
					l, err := p.Acquire(t.Context(), r)
					require.NoError(t, err)
					require.GreaterOrEqual(t, time.Until(l.Until), r.MinTTL)
					time.Sleep(1100 * time.Millisecond)
				}
				forced := w.count(&w.logins) + w.count(&w.refreshes)
				require.LessOrEqual(t, forced, int(time.Since(began)/(10*time.Second))+1)
				require.InDelta(t, 30*10, time.Since(began).Seconds(), 10, "nobody waits longer")
			})
		})
	}
}

func TestRule12MinTTLDoesNotPileUpSessionsThatNothingCanEnd(t *testing.T) {
	setup := func(w *world) { w.noRefreshTokens, w.limits.Capabilities.Logout = true, false }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		r := shared
		r.MinTTL = w.tokenLife - 6*time.Second
		for range 20 {
			_, err := p.Acquire(t.Context(), r)
			require.NoError(t, err)
			n, err := p.InUse(t.Context(), accountID)
			require.NoError(t, err)
			require.LessOrEqual(t, n, 2)
			time.Sleep(1100 * time.Millisecond)
		}
	})
}

func TestRule12AReaderWhoseTurnComesTooLateIsToldWhen(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		r := shared
		r.MinTTL = w.tokenLife - 6*time.Second
		_, err := p.Acquire(t.Context(), r)
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = p.Acquire(ctx, r)
		require.Equal(t, machine.TooSoon, reason(t, err))
		require.ErrorContains(t, err, "try again after 2000-01-01T00:00:10Z")
		require.Zero(t, w.count(&w.refreshes))
	})
}

func TestRule8ALearntTokenLifeIsLearntAnew(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		r := shared
		r.MinTTL = 30 * time.Minute
		_, err = p.Acquire(t.Context(), r)
		require.Equal(t, machine.TooShort, reason(t, err))
		w.mu.Lock()
		w.tokenLife = time.Hour
		w.mu.Unlock()
		time.Sleep(16 * time.Minute)
		_, err = p.Acquire(t.Context(), r)
		require.NoError(t, err)
	})
}

func TestStaticAnOlderTokenThatSomebodyReadMakesNoNewOnes(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		st, err := p.Static(t.Context(), shared)
		require.NoError(t, err)
		time.Sleep(10 * time.Second)
		r := shared
		r.Rejected = st.Session
		l, err := p.Acquire(t.Context(), r)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		time.Sleep(time.Until(st.ExpiresAt) - time.Second)
		require.Equal(t, 1, w.openNow(), "held for whom it was read by")
		require.Equal(t, 1, w.count(&w.refreshes), "and nobody waits for a newer token than the one that was rejected")
		time.Sleep(2 * time.Second)
		require.Zero(t, w.openNow())
	})
}
