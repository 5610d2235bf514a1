package sessions_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// What a review of the rules found: interleavings that no story and no random
// history had come across.

var (
	_ sync.Mutex
	_ sessions.Request
	_ machine.Reason
)

func TestRule4AnUnmeetableMinTTLOnAnAgeingSessionIsRefusedWithoutAStorm(t *testing.T) {
	setup := func(w *world) { withBudget(1)(w); w.maxAge = 40 * time.Minute }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		for range 15 {
			_, err := p.Acquire(t.Context(), shared)
			require.NoError(t, err)
			time.Sleep(time.Minute)
		}
		before := w.count(&w.refreshes)
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		r := shared
		r.MinTTL = 10 * time.Minute
		_, err := p.Acquire(ctx, r)
		require.Equal(t, machine.TooShort, reason(t, err))
		require.LessOrEqual(t, w.count(&w.refreshes)-before, 2)
	})
}

func TestRule4AMinTTLOfTheWholeLifeIsRefusedWithoutAStorm(t *testing.T) {
	for _, request := range []sessions.Request{shared, dedicated} {
		inWorld(t, nil, func(t *testing.T, w *world, p *process) {
			p.faults.watch(func(op string) {
				if op == "put" {
					time.Sleep(10 * time.Millisecond)
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			r := request
			r.MinTTL = 295 * time.Second
			for range 3 {
				_, err := p.Acquire(ctx, r)
				require.Equal(t, machine.TooShort, reason(t, err))
			}
			assert.LessOrEqual(t, w.count(&w.refreshes)+w.count(&w.logins), 2)
		})
	}
}

func TestRule6ALongerCodePeriodDoesNotLockTheAccount(t *testing.T) {
	inWorld(t, withTOTP, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		w.mu.Lock()
		w.codePeriod, w.limits.Capabilities.CodePeriod = time.Minute, time.Minute
		w.mu.Unlock()
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		time.Sleep(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		_, err = p.Acquire(ctx, dedicated)
		require.NoError(t, err)
	})
}

func TestRule1TheServersIdleTimeIsRememberedOverARestart(t *testing.T) {
	for _, name := range []string{"nothing left in ledger", "generation two"} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) { withBudget(2)(w); w.idle = 8 * time.Hour }, func(t *testing.T, w *world, p *process) {
				l, err := p.Acquire(t.Context(), shared)
				require.NoError(t, err)
				if name == "generation two" {
					r := shared
					r.Rejected = l.Ref.Session
					_, err = p.Acquire(t.Context(), r)
					require.NoError(t, err)
				} else {
					require.NoError(t, p.Release(t.Context(), l.Ref))
				}
				p.restart()
				p.faults.set(only("login", failAfter))
				_, err = p.Acquire(t.Context(), dedicated)
				require.Error(t, err)
				p.faults.set(nil)
				time.Sleep(40 * time.Minute)
				require.Empty(t, w.unlisted(), "open at the server, unknown to the ledger")
			})
		})
	}
}

func TestRule7AConfigWriteDoesNotEndTheMinuteAfterASessionLimit(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		w.limit = 1
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Error(t, err)
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		_, _ = p.Acquire(t.Context(), dedicated)
		require.Equal(t, 1, w.count(&w.denials), "two in a row lock the user out")
	})
}

func TestRule6ThatAnAccountAsksForCodesIsNotForgotten(t *testing.T) {
	setup := func(w *world) { w.codePeriod = 30 * time.Second; w.limits.Capabilities.OneTimeCode = true }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.Error(t, err)
		r := dedicated
		r.OTP = providers.NewSecret("123456")
		_, err = p.Acquire(t.Context(), r)
		require.NoError(t, err)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.CodeNeeded, reason(t, err))
		require.Equal(t, 1, w.count(&w.refused))
	})
}

func TestRule6ATypedCodeIsNotRefusedForTheCodelessLoginOfAnother(t *testing.T) {
	setup := func(w *world) { w.codePeriod = 30 * time.Second; w.limits.Capabilities.OneTimeCode = true }
	inWorld(t, setup, func(t *testing.T, _ *world, p *process) {
		go func() { _, _ = p.Acquire(t.Context(), shared) }()
		time.Sleep(10 * time.Millisecond)
		r := shared
		r.OTP = providers.NewSecret("123456")
		_, err := p.Acquire(t.Context(), r)
		require.NoError(t, err)
	})
}

func TestStopBeginsNoLogin(t *testing.T) {
	inWorld(t, func(w *world) { w.latency = 6 * time.Second }, func(t *testing.T, _ *world, p *process) {
		begun, stopped := 0, false
		var mu sync.Mutex
		p.faults.watch(func(op string) {
			mu.Lock()
			defer mu.Unlock()
			if op == "login" && stopped {
				begun++
			}
		})
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { _, _ = p.Acquire(t.Context(), dedicated) })
		}
		time.Sleep(time.Second)
		mu.Lock()
		stopped = true
		mu.Unlock()
		start := time.Now()
		p.Stop()
		all.Wait()
		require.Less(t, time.Since(start), 10*time.Second, "it waits for the login that is under way, and for no other")
		require.Zero(t, begun)
	})
}

func TestAStopBeginsNoLoginForAReaderWhoseAccountIsStillBeingLoaded(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		p.Stop()
		time.Sleep(w.tokenLife) // there is a session to log out, with which the stop waits
		again := w.startWith(&faults{onStep: func(string) { time.Sleep(time.Second) }})
		logins := again.countLogins()
		refused := make(chan error, 1)
		go func() {
			_, err := again.Acquire(t.Context(), dedicated)
			refused <- err
		}()
		time.Sleep(2500 * time.Millisecond)
		again.Stop()
		require.Equal(t, machine.Canceled, reason(t, <-refused))
		require.Zero(t, logins.Load())
	})
}

func TestTheMountsIDIsMadeOnce(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		p.Stop()
		require.NoError(t, w.storage.Delete(t.Context(), "mount/id"))
		n := 0
		var mu sync.Mutex
		p.faults.watch(func(op string) {
			if op == "get" || op == "put" {
				mu.Lock()
				n++
				d := time.Duration(n) * time.Millisecond
				if op == "put" && n%2 == 1 {
					d = 50 * time.Millisecond
				}
				mu.Unlock()
				time.Sleep(d)
			}
		})
		p.Engine = p.newEngine()
		p.Start()
		puts := 0
		p.faults.set(func(op string) fault {
			if op == "put" {
				puts++
			}
			return none
		})
		var all sync.WaitGroup
		for _, id := range []sessions.AccountID{"a1", "a2", "a3"} {
			all.Go(func() { _, _ = p.InUse(t.Context(), id) })
		}
		all.Wait()
		require.Equal(t, 1, puts, "one mount, one id")
	})
}

func TestRule8ASuccessorIsOpenedInTimeAlsoAfterARestart(t *testing.T) {
	setup := func(w *world) { withBudget(2)(w); w.maxAge = 20 * time.Minute }
	inWorld(t, setup, func(t *testing.T, _ *world, p *process) {
		for range 8 {
			_, err := p.Acquire(t.Context(), shared)
			require.NoError(t, err)
			time.Sleep(time.Minute)
		}
		p.restart()
		shortest := time.Hour
		for range 120 {
			l, err := p.Acquire(t.Context(), shared)
			require.NoError(t, err)
			shortest = min(shortest, time.Until(l.Until))
			time.Sleep(7 * time.Second)
		}
		require.Greater(t, shortest, 60*time.Second)
	})
}

func TestRule3TheLastReleaseLeavesTheSessionToAReaderWhoWaitsForIt(t *testing.T) {
	inWorld(t, withTOTP, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		time.Sleep(40 * time.Second)
		r := shared
		r.MinTTL = 290 * time.Second
		done := make(chan error)
		go func() { _, err := p.Acquire(t.Context(), r); done <- err }()
		time.Sleep(10 * time.Millisecond)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		require.NoError(t, <-done)
		require.Equal(t, 1, w.count(&w.logins))
	})
}

func TestRule12AReaderOfSomethingElseCannotUseTheForcedRefreshUp(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		r := dedicated
		r.Rejected = l.Ref.Session
		_, err = p.Acquire(t.Context(), r)
		require.NoError(t, err)
		r = shared
		r.Rejected = l.Ref.Session
		newer, err := p.Acquire(t.Context(), r)
		require.NoError(t, err)
		require.NotEqual(t, l.Ref.Session, newer.Ref.Session)
	})
}

func TestRule12AnotherLoginDoesNotUnlockForcedRefreshes(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		stop := time.Now().Add(9 * time.Second)
		go func() {
			for time.Now().Before(stop) {
				d, err := p.Acquire(t.Context(), dedicated)
				if err == nil {
					_ = p.Release(t.Context(), d.Ref)
				}
			}
		}()
		for time.Now().Before(stop) {
			r := shared
			r.Rejected = l.Ref.Session
			l, err = p.Acquire(t.Context(), r)
			require.NoError(t, err)
			time.Sleep(time.Millisecond)
		}
		require.LessOrEqual(t, w.count(&w.refreshes), 1)
	})
}

func TestRule4TooShortIsForgottenWhenTheConfigIsWritten(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		r := shared
		r.MinTTL = 10 * time.Minute
		_, err := p.Acquire(t.Context(), r)
		require.Equal(t, machine.TooShort, reason(t, err))
		w.mu.Lock()
		w.tokenLife = time.Hour
		w.mu.Unlock()
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		_, err = p.Acquire(t.Context(), r)
		require.NoError(t, err)
	})
}

func TestRule10ADrainIsAnsweredAlsoIfTheConfigIsWrittenMeanwhile(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- p.Drain(ctx, accountID) }()
		time.Sleep(10 * time.Millisecond)
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), false))
		for range 20 {
			_, err = p.Acquire(t.Context(), shared)
			require.NoError(t, err)
			time.Sleep(time.Minute)
		}
		require.EqualError(t, <-done, "the config was written again meanwhile; try again")
	})
}

func TestRule7ASessionLimitDoesNotShortenTheGuard(t *testing.T) {
	inWorld(t, func(w *world) { w.config = "wrong" }, func(t *testing.T, w *world, p *process) {
		for _, closed := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute} {
			_, err := p.Acquire(t.Context(), dedicated)
			require.Equal(t, machine.Upstream, reason(t, err))
			time.Sleep(closed + time.Second)
		}
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.Upstream, reason(t, err)) // closed for 8 min
		w.mu.Lock()
		w.limit = 1
		w.sessions["person"] = &upstreamSession{started: time.Now(), used: time.Now(), lost: true}
		w.mu.Unlock()
		w.setConfig("right")
		trial := p.settings()
		w.setConfig("wrong")
		require.Error(t, p.Verify(t.Context(), trial, dedicated))
		refused := w.count(&w.refused)
		time.Sleep(2 * time.Minute)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.Guarded, reason(t, err))
		require.Equal(t, refused, w.count(&w.refused), "no login while the guard is closed")
	})
}

type panicDirectory struct {
	*process
	once *sync.Once
}

func (d panicDirectory) Settings(ctx context.Context, id sessions.AccountID) (s sessions.Settings, err error) {
	d.once.Do(func() { panic("directory") })
	return d.process.Settings(ctx, id)
}

func TestAPanicWhileLoadingIsAnErrorOnce(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		e := p.beside(panicDirectory{p, &sync.Once{}}, nil)
		e.Start()
		defer e.Stop()
		_, err := e.Acquire(t.Context(), dedicated)
		require.Error(t, err)
		time.Sleep(time.Hour)
		e.Nudge()
		_, err = e.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

type slowDirectory struct {
	*process
	delay time.Duration
	n     *int
}

func (d slowDirectory) Settings(ctx context.Context, id sessions.AccountID) (s sessions.Settings, err error) {
	s, err = d.process.Settings(ctx, id)
	*d.n++
	if *d.n > 1 {
		time.Sleep(d.delay)
	}
	return s, err
}

func TestAVerificationDoesNotUndoAConfigure(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		w.retire()
		n := 0
		e := p.beside(slowDirectory{p, time.Second, &n}, nil)
		defer e.Stop()
		_, _ = e.InUse(t.Context(), accountID)
		var all sync.WaitGroup
		trial := p.trial()
		all.Go(func() { _ = e.Verify(t.Context(), trial, shared) })
		time.Sleep(100 * time.Millisecond)
		w.reinstate()
		require.NoError(t, e.Configure(t.Context(), accountID, p.settings(), true))
		all.Wait()
		_, err := e.Acquire(t.Context(), shared)
		require.NoError(t, err)
	})
}

func TestRule4AnAnswerBehindASlowWriteIsStillGood(t *testing.T) {
	inWorld(t, func(w *world) { w.tokenLife = 20 * time.Second }, func(t *testing.T, _ *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		slow := true
		p.faults.watch(func(op string) {
			if op == "put" && slow {
				slow = false
				time.Sleep(25 * time.Second)
			}
		})
		go func() { _, _ = p.Acquire(t.Context(), dedicated) }()
		time.Sleep(10 * time.Millisecond)
		r := shared
		r.Rejected = "unknown.1" // the machine decides, not the hot path
		l, err := p.Acquire(t.Context(), r)
		require.NoError(t, err)
		require.Greater(t, time.Until(l.Until), time.Second)
	})
}

func TestRule1AGrantThatLiesBehindASlowWriteUntilItsReaderHasLeftIsGivenBack(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		first, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		w.setStorageDelay(5 * time.Second)
		go func() { _, _ = p.Acquire(t.Context(), dedicated) }()
		synctest.Wait() // the dedicated session's intent is being written

		late := shared
		late.Rejected = "unknown.1" // the machine decides, not the hot path
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = p.Acquire(ctx, late)
		require.Equal(t, machine.Canceled, reason(t, err))
		require.Equal(t, 2, p.session(t, first).Leases, "the answer is on its way")
		time.Sleep(10 * time.Second)
		require.Equal(t, 1, p.session(t, first).Leases)
	})
}

func TestRule1AGrantWhoseReaderLeavesAtTheMomentOfTheAnswerIsGivenBack(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		err := p.AcquireAndLeave(t.Context(), accountID, machine.Want{Mode: providers.Dedicated}, func() {
			time.Sleep(w.latency)
			synctest.Wait()
			require.Equal(t, 1, w.openNow())
		})
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.Zero(t, w.openNow())
		require.Equal(t, 1, w.count(&w.logins))
	})
}

func TestARequestWhoseAccountIsDroppedMeanwhileLooksItUpAgain(t *testing.T) {
	inWorld(t, (*world).retire, func(t *testing.T, w *world, p *process) {
		lookups, err := p.AcquireAfter(t.Context(), accountID, machine.Want{Mode: providers.Dedicated}, func() {
			synctest.Wait() // the account, which no config names, is dropped
			w.reinstate()
		})
		require.NoError(t, err)
		require.Equal(t, 2, lookups)
		require.Equal(t, 1, w.openNow())
	})
}

func TestAnAccountThatIsUsedAgainIsNotForgotten(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.NoError(t, p.Forget(t.Context(), accountID))
		require.Equal(t, 1, p.Loaded())
		require.NoError(t, p.Release(t.Context(), l.Ref))
		require.Zero(t, w.openNow())
	})
}

func TestAConfigWhoseAccountIsDroppedMeanwhileIsPutInForce(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		settings := p.settings()
		w.retire()
		lookups, err := p.ConfigureAfter(t.Context(), accountID, settings, synctest.Wait)
		require.NoError(t, err)
		require.Greater(t, lookups, 1)
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

// The answer to a reader lies behind the next reader's intent: there its token expires,
// and that of the second try, too.
func TestAReaderWhoseTokensExpireBehindSlowWritesIsToldThatLoginsHappened(t *testing.T) {
	inWorld(t, func(w *world) { w.tokenLife = 24 * time.Second }, func(t *testing.T, w *world, p *process) {
		_ = p.status(t)
		w.setStorageDelay(10 * time.Second)
		refused := make(chan error, 6)
		for range cap(refused) {
			go func() {
				_, err := p.Acquire(t.Context(), dedicated)
				refused <- err
			}()
		}
		slow := 0
		for range cap(refused) {
			if err := <-refused; err != nil && reason(t, err) == machine.Storage {
				require.ErrorContains(t, err, "so slow that tokens expire")
				require.True(t, isAfterLogin(t, err))
				slow++
			}
		}
		require.Positive(t, slow)
	})
}

func TestRule4AnAnswerThatIsTooOldIsGivenBackAndAskedForAgain(t *testing.T) {
	for behind, again := range map[time.Duration]int{26 * time.Second: 0, 26*time.Second + time.Millisecond: 1} {
		inWorld(t, func(w *world) { w.tokenLife = time.Minute }, func(t *testing.T, w *world, p *process) {
			_, err := p.Acquire(t.Context(), dedicated) // the connection is stored
			require.NoError(t, err)
			p.slowPut(3, behind) // the intent of the next reader, before the answer to the first
			r := dedicated
			r.MinTTL = 30 * time.Second
			answered := make(chan sessions.Lease, 1)
			go func() {
				l, err := p.Acquire(t.Context(), r)
				assert.NoError(t, err)
				answered <- l
			}()
			time.Sleep(time.Millisecond)
			_, err = p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
			l := <-answered
			settleFor(time.Second)
			require.True(t, w.live(l.Token.AccessToken))
			require.Equal(t, 3+again, w.count(&w.logins))
			require.Equal(t, again, w.count(&w.logouts))
		})
	}
}

// counted counts the logins with a scope.
type counted struct {
	*upstream

	scope  string
	logins *atomic.Int64
}

func (c counted) Login(ctx context.Context, r providers.LoginRequest) (providers.TokenResponse, error) {
	if slices.Contains(r.Scopes, c.scope) {
		c.logins.Add(1)
	}
	return c.upstream.Login(ctx, r)
}

func TestRule4AnAnswerThatIsTooOldIsAskedForAgainOnce(t *testing.T) {
	inWorld(t, func(w *world) { w.tokenLife = 32 * time.Second }, func(t *testing.T, w *world, p *process) {
		var logins atomic.Int64
		s := p.settings()
		s.Upstream = counted{s.Upstream.(*upstream), "late", &logins}
		require.NoError(t, p.Configure(t.Context(), accountID, s, false))
		w.setStorageDelay(14 * time.Second)
		others, cancel := context.WithCancel(t.Context())
		go func() { // each answer lies behind the intent of one of them
			for others.Err() == nil {
				go func() { _, _ = p.Acquire(others, dedicated) }()
				time.Sleep(9 * time.Second)
			}
		}()
		r := other("late")
		r.Mode = providers.Dedicated
		_, err := p.Acquire(t.Context(), r)
		require.ErrorContains(t, err, "so slow that tokens expire")
		require.True(t, isAfterLogin(t, err))
		require.EqualValues(t, 2, logins.Load())
		cancel()
		w.setStorageDelay(0)
		time.Sleep(2 * time.Minute)
	})
}

func TestStaticAnAnswerThatIsTooOldIsAskedForAgain(t *testing.T) {
	inWorld(t, func(w *world) { w.tokenLife = 30 * time.Second }, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated) // the connection is stored
		require.NoError(t, err)
		p.slowPut(3, 26*time.Second) // the intent of the next reader, before the answer to the first
		go func() {
			time.Sleep(time.Millisecond)
			_, _ = p.Acquire(t.Context(), dedicated)
		}()
		st, err := p.Static(t.Context(), shared)
		require.NoError(t, err)
		require.True(t, w.live(st.Token.AccessToken))
		require.Equal(t, 1, w.count(&w.refreshes))
	})
}

func TestTheLedgerIsNotReadAgainOnceItWasRead(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		synctest.Wait()
		read := 0
		p.faults.watch(func(string) { read++ })
		p.Nudge()
		synctest.Wait()
		require.Zero(t, read)
	})
}

func TestAnAccountThatHasNothingToDoIsLeftAlone(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		p.Stop()
		var asked atomic.Int64
		e := sessions.New(sessions.Options{
			Storage: w.storage, Directory: p, Providers: p, Logger: hclog.NewNullLogger(), Version: "1",
			Now: func() time.Time { asked.Add(1); return time.Now() },
		})
		defer e.Stop()
		lease, err := e.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.NoError(t, e.Release(t.Context(), lease.Ref))
		time.Sleep(2 * time.Minute) // then its connection is removed, too
		require.Empty(t, w.connections())
		before := asked.Load()
		time.Sleep(time.Hour)
		require.Equal(t, before, asked.Load(), "timers for the session that has ended are stopped")
	})
}

func TestAWriteThatStorageDoesNotAnswerIsGivenUp(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_ = p.status(t)
		w.mu.Lock()
		w.storageHangs = true
		w.mu.Unlock()
		began := time.Now()
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.Storage, reason(t, err))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 30*time.Second, time.Since(began))
		w.mu.Lock()
		w.storageHangs = false
		w.mu.Unlock()
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

func TestRule3AKeptSessionDoesNotMakeRoomForALoginThatIsRefused(t *testing.T) {
	setup := func(w *world) { withTOTP(w); withBudget(1)(w) }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		require.NoError(t, p.Verify(t.Context(), p.settings(), shared))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := p.Acquire(ctx, dedicated)
		require.Equal(t, machine.CodeSpent, reason(t, err))
		require.Equal(t, 1, w.openNow(), "the verified session is kept for its first reader")
		_, err = p.Acquire(ctx, shared)
		require.NoError(t, err)
	})
}

func TestRule10ALoginThatADrainStoppedDoesNotRefuseTheNextReaders(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		_, err := p.InUse(t.Context(), accountID) // loaded
		require.NoError(t, err)
		p.faults.watch(func(op string) {
			if op == "put" {
				time.Sleep(time.Second)
			}
		})
		go func() { _, _ = p.Acquire(t.Context(), shared) }()
		time.Sleep(10 * time.Millisecond)
		go func() {
			ctx, c := context.WithTimeout(t.Context(), 30*time.Second)
			defer c()
			_ = p.Drain(ctx, accountID)
		}()
		time.Sleep(10 * time.Millisecond)
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), false))
		_, err = p.Acquire(t.Context(), shared)
		require.NoError(t, err)
	})
}

func TestRule8ARefreshComesBeforeTheRefreshTokenDies(t *testing.T) {
	inWorld(t, func(w *world) { w.tokenLife, w.idle = 2*time.Hour, 30*time.Minute }, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		time.Sleep(100 * time.Minute)
		require.True(t, w.live(l.Token.AccessToken))
	})
}

func TestRule8ClientCredentialsSayThatTheirServerIsDown(t *testing.T) {
	setup := func(w *world) {
		w.noSessions = true
		w.limits.Capabilities.Sessions, w.limits.Capabilities.Logout = false, false
	}
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		w.setDown(true)
		time.Sleep(200 * time.Second)
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.NotEmpty(t, l.Warnings)
	})
}

// hanging is a server that answers no logout.
type hanging struct{ *upstream }

func (h hanging) Logout(ctx context.Context, _ providers.SessionTokens) error {
	<-ctx.Done()
	return &providers.Error{Kind: providers.Unavailable, Outcome: providers.Unknown, Op: "logout", Message: "no answer"}
}

func revokeAsVaultDoes(p *process, l sessions.Lease) bool {
	wait := 10 * time.Second
	for range 6 {
		ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
		err := p.Release(ctx, l.Ref)
		cancel()
		if err == nil {
			return true
		}
		time.Sleep(wait)
		wait *= 2
	}
	return false
}

func TestRule5ManyLeasesAtAServerThatHangsAreReleasedBeforeVaultGivesUp(t *testing.T) {
	for n, timeout := range map[int]time.Duration{600: 10 * time.Second, 200: 30 * time.Second} {
		t.Run(timeout.String(), func(t *testing.T) {
			setup := func(w *world) {
				w.tokenLife, w.idle, w.maxAge = 5*time.Hour, 10*time.Hour, 20*time.Hour
				w.limits.RequestTimeout = timeout
			}
			inWorld(t, setup, func(t *testing.T, _ *world, p *process) {
				var leases []sessions.Lease
				for range n {
					l, err := p.Acquire(t.Context(), dedicated)
					require.NoError(t, err)
					leases = append(leases, l)
				}
				s := p.settings()
				s.Upstream = hanging{s.Upstream.(*upstream)}
				require.NoError(t, p.Configure(t.Context(), accountID, s, false))
				var mu sync.Mutex
				irrevocable := 0
				var all sync.WaitGroup
				slots := make(chan struct{}, 200)
				for _, l := range leases {
					all.Go(func() {
						slots <- struct{}{}
						defer func() { <-slots }()
						if !revokeAsVaultDoes(p, l) {
							mu.Lock()
							defer mu.Unlock()
							irrevocable++
						}
					})
				}
				all.Wait()
				require.Zero(t, irrevocable, "of %d leases", n)
			})
		})
	}
}

func TestRule2AConfigWriteDoesNotForgetThePeople(t *testing.T) {
	inWorld(t, withList(2), func(t *testing.T, w *world, p *process) {
		w.logInSomebody("person", person)
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		settleFor(time.Second)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.BudgetFull, reason(t, err))
		require.Zero(t, w.count(&w.denials))
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		_, err = p.Acquire(t.Context(), dedicated)
		require.Error(t, err)
		require.Zero(t, w.count(&w.denials), "a login was sent although it was known that there is no room")
		_ = l
	})
}

func TestRule11ABudgetIsNotCalledFullWithoutAListWhileATokenOfAnOpenSessionCouldAsk(t *testing.T) {
	inWorld(t, withList(3), func(t *testing.T, w *world, p *process) {
		first, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		settleFor(20 * time.Second)
		w.logInSomebody("a", person)
		w.logInSomebody("b", person)
		w.limit = 4
		second, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		settleFor(time.Second)
		require.NoError(t, p.Release(t.Context(), second.Ref)) // its token was the newest
		w.logOutSomebody("a")
		w.logOutSomebody("b")
		settleFor(20 * time.Second)
		require.True(t, w.live(first.Token.AccessToken))
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err, "they have logged out 20 s ago, and nobody asked")
	})
}

func TestCheckListsWithItsOwnToken(t *testing.T) {
	inWorld(t, withList(9), func(t *testing.T, w *world, p *process) {
		w.mu.Lock()
		w.listDelay = 5 * time.Second
		w.mu.Unlock()
		_, err := p.Acquire(t.Context(), dedicated) // its list is under way
		require.NoError(t, err)
		settleFor(time.Second)
		var report sessions.CheckReport
		var all sync.WaitGroup
		all.Go(func() {
			var err error
			report, err = p.Check(t.Context(), sessions.CheckRequest{Account: accountID})
			if err != nil {
				t.Error(err)
			}
		})
		settleFor(time.Second) // the check has a session and waits for a list
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		all.Wait()
		require.True(t, report.OK(), "%+v", report.Steps)
	})
}

// mayNotEnd is an account with the role view-profile alone.
type mayNotEnd struct {
	*upstream
	ends *int
}

func (m mayNotEnd) EndSession(context.Context, providers.Secret, string) error {
	*m.ends++
	return &providers.Error{Kind: providers.NotAllowed, Outcome: providers.DidNotHappen, Op: "end session", Message: "the server answered 403"}
}

func TestRule11AnAccountThatMayListAndNotEndIsAskedEverMoreSeldom(t *testing.T) {
	inWorld(t, withList(5), func(t *testing.T, w *world, p *process) {
		ends := 0
		s := p.settings()
		s.Upstream = mayNotEnd{s.Upstream.(*upstream), &ends}
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.NoError(t, p.Configure(t.Context(), accountID, s, false))
		settleFor(20 * time.Second)
		loseLogin(t, p, other("email"))
		settleFor(20 * time.Minute)
		synctest.Wait()
		if l := w.count(&w.listed); l > 20 {
			t.Errorf("%d lists, %d ends in 20 minutes", l, ends)
		}
	})
}

// slowEnds is a server that does not answer when a session is to be ended.
type slowEnds struct{ *upstream }

func (s slowEnds) EndSession(ctx context.Context, _ providers.Secret, _ string) error {
	<-ctx.Done()
	return &providers.Error{Kind: providers.Unavailable, Outcome: providers.Unknown, Op: "end session", Message: "no answer"}
}

func TestRule2AFullBudgetIsSaidSoonWhereOrphansCannotBeEnded(t *testing.T) {
	inWorld(t, withList(2), func(t *testing.T, _ *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		s := p.settings()
		s.Upstream = slowEnds{s.Upstream.(*upstream)}
		require.NoError(t, p.Configure(t.Context(), accountID, s, false))
		settleFor(20 * time.Second)
		loseLogin(t, p, other("email"))
		settleFor(30 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		began := time.Now()
		_, err = p.Acquire(ctx, other("phone"))
		require.Equal(t, machine.BudgetFull, reason(t, err), "after %s: %v", time.Since(began), err)
		require.Less(t, time.Since(began), 30*time.Second)
	})
}

// stuck is a server that answers no logout.
type stuck struct{ *upstream }

func (h stuck) Logout(ctx context.Context, _ providers.SessionTokens) error {
	<-ctx.Done()
	return &providers.Error{Kind: providers.Unavailable, Outcome: providers.Unknown, Op: "logout", Message: "no answer"}
}

func TestRule1TheEndOfAMountSaysHowManySessionsRemainAtAServerThatHangs(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		for range 100 {
			_, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
		}
		s := p.settings()
		s.Upstream = stuck{s.Upstream.(*upstream)}
		require.NoError(t, p.Configure(t.Context(), accountID, s, false))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		err := p.DrainAll(ctx)
		require.ErrorContains(t, err, "100")
		w.trouble = time.Now().Add(10 * time.Hour)
	})
}

func TestRule11ADroppedLoginThatDidHappenIsNotReportedAsACopyOfTheStorage(t *testing.T) {
	inWorld(t, withList(4), func(t *testing.T, w *world, p *process) {
		loseLogin(t, p, dedicated) // no token: nobody can look for it
		settleFor(20 * time.Second)
		for id := range w.records() {
			_, _, _, err := p.CloseSession(t.Context(), accountID, machine.SessionID(id))
			require.NoError(t, err)
		}
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		settleFor(20 * time.Second) // the world fails where a stray is reported
		require.Equal(t, 1, w.openNow(), "it is found by its mark")
	})
}

// noRefresh is a server whose client has refresh tokens switched off.
type noRefresh struct{ *upstream }

func (n noRefresh) Login(ctx context.Context, r providers.LoginRequest) (providers.TokenResponse, error) {
	got, err := n.upstream.Login(ctx, r)
	got.RefreshToken, got.RefreshExpiresIn = providers.Secret{}, 0
	return got, err
}

func TestRule5AReleaseOfAKeptSessionThatNothingCanLogOutIsAnswered(t *testing.T) {
	inWorld(t, withList(5), func(t *testing.T, w *world, p *process) {
		s := p.settings()
		s.Upstream = noRefresh{s.Upstream.(*upstream)}
		loseLogin(t, p, dedicated)
		settleFor(10 * time.Second)
		require.NoError(t, p.Configure(t.Context(), accountID, s, false))
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		w.mu.Lock()
		w.trouble = time.Now().Add(time.Hour) // nothing can log it out
		w.mu.Unlock()
		require.NoError(t, p.Release(ctx, l.Ref))
		require.NoError(t, p.Release(ctx, l.Ref), "again")
	})
}

// A storage that does not answer must not keep Clean beyond its time.
func TestTheEndOfAMountEndsWhenStorageDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.start()
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		p.faults.kill()
		p.Stop()
		hang := make(chan struct{})
		gets := 0
		f := &faults{onStep: func(op string) {
			if op == "get" {
				gets++
				<-hang
			}
		}}
		q := w.startWith(f)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- q.DrainAll(ctx) }()
		time.Sleep(5 * time.Minute)
		var ended bool
		select {
		case err := <-done:
			require.Error(t, err)
			ended = true
		default:
		}
		close(hang)
		synctest.Wait()
		q.Stop()
		require.True(t, ended, "DrainAll still hangs 5 minutes after its 30 s")
	})
}

// An orphan whose end failed is tried again although its login was dropped.
func TestAnOrphanWhoseLoginWasDroppedIsEndedAlsoWhereItsEndFailedOnce(t *testing.T) {
	inWorld(t, func(w *world) { withList(0)(w); w.limit = 0 }, func(t *testing.T, w *world, p *process) {
		loseLogin(t, p, dedicated)
		all, err := p.Sessions(t.Context(), accountID)
		require.NoError(t, err)
		require.Len(t, all, 1)
		_, _, _, err = p.CloseSession(t.Context(), accountID, all[0].ID)
		require.NoError(t, err)
		settleFor(30 * time.Second)
		p.faults.set(only("end session", failBefore))
		_, err = p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		settleFor(time.Second)
		p.faults.set(nil)
		require.Equal(t, 2, w.openNow())
		for range 20 { // readers keep the shared session, and its token, alive
			settleFor(30 * time.Second)
			_, err = p.Acquire(t.Context(), shared)
			require.NoError(t, err)
		}
		require.Equal(t, 1, w.openNow(), "the orphan is still open; lists asked for: %d, ends: %d", w.count(&w.listed), w.count(&w.ended))
	})
}

func TestRule2ASessionThatIsSupersededWhileItLingersIsClosedAtOnce(t *testing.T) {
	setup := func(w *world) {
		withoutRefreshTokens(true)(w)
		w.tokenLife, w.limits.Linger = time.Hour, 40*time.Minute
	}
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		time.Sleep(20 * time.Minute)
		longer := shared
		longer.MinTTL = 50 * time.Minute
		_, err = p.Acquire(t.Context(), longer)
		require.NoError(t, err)
		require.Equal(t, 2, w.count(&w.logins))
		time.Sleep(time.Second)
		require.Equal(t, 1, w.openNow())
	})
}

func TestRule3TheEndOfAReleasedLeasesTokenDoesNotBeginTheLingerAgain(t *testing.T) {
	setup := func(w *world) { w.tokenLife, w.limits.Linger = 10*time.Minute, 8*time.Minute }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		time.Sleep(4 * time.Minute)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		time.Sleep(8*time.Minute - time.Second)
		require.Equal(t, 1, w.openNow())
		time.Sleep(2 * time.Second)
		require.Zero(t, w.openNow())
	})
}

func TestRule8WhereNoSuccessorMayLogInTheSessionIsRefreshedAlthoughItsTokensLiveShorter(t *testing.T) {
	setup := func(w *world) { w.tokenLife, w.maxAge = 10*time.Minute, 28*time.Minute }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		for range 20 {
			_, err := p.Acquire(t.Context(), shared)
			require.NoError(t, err)
			time.Sleep(time.Minute - time.Second)
		}
		require.Equal(t, 3, w.count(&w.refreshes))
		w.setPassword("changed upstream")
		_, err := p.Acquire(t.Context(), dedicated)
		require.Error(t, err)
		time.Sleep(25 * time.Second) // the account is closed for 30
		require.Equal(t, 4, w.count(&w.refreshes))
		require.Equal(t, 1, w.count(&w.logins))
	})
}

func TestRule4AMinTTLThatIsExactlyTheLeaseOfANewTokenIsMet(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		longest := shared
		longest.MinTTL = w.tokenLife - 5*time.Second
		_, err = p.Acquire(t.Context(), longest)
		require.NoError(t, err)
		require.Equal(t, 1, w.count(&w.refreshes))
		longest.Mode = providers.Dedicated
		_, err = p.Acquire(t.Context(), longest)
		require.NoError(t, err)
	})
}

func TestRule4TokensThatExpireWithinSecondsAreOfNoUseAndNotAskedForAgainAtOnce(t *testing.T) {
	inWorld(t, func(w *world) { w.tokenLife = 5 * time.Second }, func(t *testing.T, w *world, p *process) {
		for range 3 {
			_, err := p.Acquire(t.Context(), shared)
			require.Error(t, err)
		}
		require.Equal(t, 1, w.count(&w.logins))
		time.Sleep(10 * time.Second)
		require.Zero(t, w.openNow())
		_, err := p.Acquire(t.Context(), shared)
		require.Equal(t, machine.TooShort, reason(t, err))
		require.Equal(t, 2, w.count(&w.logins))
	})
}

func TestRule12ANewerTokenOfWhatNothingEndsCanBeHadAtHalfItsLife(t *testing.T) {
	setup := func(w *world) { withoutRefreshTokens(false)(w); w.limits.Linger = time.Hour }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		time.Sleep(w.tokenLife / 2)
		longer := shared
		longer.MinTTL = w.tokenLife * 3 / 4
		began := time.Now()
		_, err = p.Acquire(t.Context(), longer)
		require.NoError(t, err)
		require.Equal(t, w.latency, time.Since(began))
		require.Equal(t, 2, w.count(&w.logins))
	})
}

func TestAnAccountThatNeedNotBeKeptAliveStoresNoLogin(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		require.NoError(t, p.Verify(t.Context(), p.settings(), shared))
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Empty(t, w.guards(t))
	})
}

func TestRule5ARevocationThatVaultRepeatsIsTriedAtOnce(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		w.setDown(true)
		require.Error(t, p.Release(t.Context(), l.Ref))
		w.setDown(false)
		began := time.Now()
		require.NoError(t, p.Release(t.Context(), l.Ref))
		require.Zero(t, w.openNow())
		require.Equal(t, w.latency, time.Since(began), "not when the queue comes to it")
	})
}
