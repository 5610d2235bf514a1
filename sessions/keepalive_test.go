package sessions_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// One test for each sentence of how an account is kept alive.

const day = 24 * time.Hour

// withKeepAlive is the account of a personal access token: 30 of 90 days.
func withKeepAlive(w *world) {
	w.limits.KeepAlive, w.limits.DeactivatedAfter = 30*day, 90*day
}

func (p *process) keepAlive(t *testing.T) machine.KeepAlive {
	t.Helper()
	k, err := p.KeepAlive(t.Context(), accountID)
	require.NoError(t, err)
	return k
}

// settled lets what has begun come to its end.
func settled() {
	time.Sleep(time.Second)
	synctest.Wait()
}

func TestKeepAliveLogsInAndOutWhereNobodyElseDoes(t *testing.T) {
	inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
		settled()
		require.Equal(t, 1, w.count(&w.logins), "no login is known, so one is due at once")
		for i := 2; i <= 13; i++ {
			time.Sleep(30*day - time.Minute)
			require.Equal(t, i-1, w.count(&w.logins))
			time.Sleep(time.Minute)
			settled()
			require.Equal(t, i, w.count(&w.logins))
			require.Equal(t, i, w.count(&w.logouts))
		}
		require.Zero(t, w.openNow())
		require.Empty(t, w.records())
		k := p.keepAlive(t)
		require.Empty(t, k.Problem)
		require.Empty(t, k.Warning(time.Now()))
		require.Equal(t, k.LastLogin.Add(30*day), k.DueAt)
	})
}

func TestKeepAliveIsNotForAccountsThatNeedNone(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		time.Sleep(365 * day)
		require.Equal(t, 1, w.count(&w.logins))
		require.Empty(t, p.keepAlive(t).Warning(time.Now()))
		require.Empty(t, w.guards(t), "and its logins are not stored")
	})
}

func TestKeepAliveCountsAnyLoginOfTheAccount(t *testing.T) {
	t.Run("a reader's", func(t *testing.T) {
		inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
			settled()
			for range 10 {
				time.Sleep(29 * day)
				l, err := p.Acquire(t.Context(), shared)
				require.NoError(t, err)
				require.NoError(t, p.Release(t.Context(), l.Ref))
			}
			require.Equal(t, 11, w.count(&w.logins))
			require.Equal(t, time.Now(), p.keepAlive(t).LastLogin.Add(50*time.Millisecond), "the logout took 50 ms")
		})
	})
	t.Run("a verification's", func(t *testing.T) {
		inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
			settled()
			time.Sleep(20 * day)
			require.NoError(t, p.Verify(t.Context(), p.settings(), dedicated))
			time.Sleep(29 * day)
			require.Equal(t, 2, w.count(&w.logins))
		})
	})
	t.Run("that of the write which makes the config", func(t *testing.T) {
		setup := func(w *world) { withKeepAlive(w); w.isConfig = false }
		inWorld(t, setup, func(t *testing.T, w *world, p *process) {
			trial := p.trial()
			require.NoError(t, p.Verify(t.Context(), trial, dedicated))
			settled() // the account is closed and forgotten before its config is in force
			w.reinstate()
			require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
			time.Sleep(29 * day)
			require.Equal(t, 1, w.count(&w.logins))
		})
	})
	t.Run("one that is under way when it is due", func(t *testing.T) {
		inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
			settled()
			time.Sleep(30*day - time.Second - 20*time.Millisecond)
			l, err := p.Acquire(t.Context(), shared)
			require.NoError(t, err)
			require.NoError(t, p.Release(t.Context(), l.Ref))
			settled()
			require.Equal(t, 2, w.count(&w.logins))
		})
	})
}

func TestKeepAliveRemembersTheLastLoginAcrossRestarts(t *testing.T) {
	inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
		settled()
		last := p.keepAlive(t).LastLogin
		for range 29 {
			time.Sleep(day)
			p.restart()
			settled()
		}
		require.Equal(t, 1, w.count(&w.logins))
		require.True(t, last.Equal(p.keepAlive(t).LastLogin))
		time.Sleep(day)
		settled()
		require.Equal(t, 2, w.count(&w.logins))
	})
}

func TestKeepAliveAfterSeveralIntervalsWithoutAPluginLogsInOnce(t *testing.T) {
	inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
		settled()
		p.Stop()
		time.Sleep(80 * day)
		p.Engine = p.newEngine()
		require.Contains(t, p.keepAlive(t).Warning(time.Now()), "80 days ago, and the server deactivates an account after 90 days without one")
		require.Equal(t, 1, w.count(&w.logins), "asking does not log in")
		p.Start()
		settled()
		require.Equal(t, 2, w.count(&w.logins))
		require.Empty(t, p.keepAlive(t).Warning(time.Now()))
	})
}

func TestKeepAliveCostsABusyAccountNoWriteForEachLogin(t *testing.T) {
	inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
		settled()
		puts := p.countPuts()
		for range 100 {
			l, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
			require.NoError(t, p.Release(t.Context(), l.Ref))
		}
		require.Equal(t, 200, puts(), "a dedicated lease costs two writes and a deletion")
		for range 30 {
			time.Sleep(day)
			l, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
			require.NoError(t, p.Release(t.Context(), l.Ref))
		}
		require.InDelta(t, 200+30*3+8, puts(), 2, "the time is stored when it is a tenth of the interval old; the connection is stored each day anew")
		require.Zero(t, w.openNow())
	})
}

func TestKeepAliveGoesByTheIntervalOfTheConfigInForce(t *testing.T) {
	inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
		settled()
		time.Sleep(5 * day)
		s := p.settings()
		s.Limits.KeepAlive = 3 * day
		require.NoError(t, p.Configure(t.Context(), accountID, s, false))
		settled()
		require.Equal(t, 2, w.count(&w.logins), "a shorter one may be over already")
		s.Limits.KeepAlive = 0
		require.NoError(t, p.Configure(t.Context(), accountID, s, false))
		time.Sleep(100 * day)
		require.Equal(t, 2, w.count(&w.logins))
		require.Empty(t, w.guards(t), "nothing is kept of an account that need not be kept alive")
	})
}

func TestAWriteOfTheConfigLeavesWhatIsStoredOfLogins(t *testing.T) {
	inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
		settled()
		puts := p.countPuts()
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		settled()
		require.Zero(t, puts())
		p.restart()
		settled()
		require.Equal(t, 1, w.count(&w.logins))
	})
}

func TestKeepAliveEndsWithItsConfig(t *testing.T) {
	inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
		settled()
		require.NoError(t, p.Drain(t.Context(), accountID))
		time.Sleep(40 * day)
		require.Equal(t, 1, w.count(&w.logins), "a drained account logs in no more")
		w.retire()
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), false))
		p.restart()
		time.Sleep(40 * day)
		require.Equal(t, 1, w.count(&w.logins))
		require.Empty(t, w.guards(t))
	})
}

func TestKeepAliveBeginsNothingWhileTheMountEnds(t *testing.T) {
	inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
		settled()
		require.NoError(t, p.DrainAll(t.Context()))
		time.Sleep(31 * day)
		require.Equal(t, 1, w.count(&w.logins))
	})
}

func TestKeepAliveWithinTheBudget(t *testing.T) {
	setup := func(w *world) { withKeepAlive(w); withBudget(1)(w); w.tokenLife = day }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		settled()
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		s := p.settings()
		s.Limits.KeepAlive = time.Hour
		require.NoError(t, p.Configure(t.Context(), accountID, s, false))
		time.Sleep(2 * time.Hour)
		require.Equal(t, 2, w.count(&w.logins))
		require.Contains(t, p.keepAlive(t).Problem, "the session budget is full: 1 of 1 in use (1 open)")
		time.Sleep(day)
		require.Empty(t, p.keepAlive(t).Problem, "it is tried again until there is room")
		require.Zero(t, w.count(&w.denials))
		require.Equal(t, 1, w.count(&w.peak))
	})
}

func TestKeepAliveTakesTheNextOneTimeCode(t *testing.T) {
	setup := func(w *world) { withKeepAlive(w); withTOTP(w) }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		settled()
		require.Equal(t, 1, w.count(&w.logins))
		s := p.settings()
		s.Limits.KeepAlive = time.Second // due again while the code of this step is spent
		require.NoError(t, p.Configure(t.Context(), accountID, s, false))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		require.InDelta(t, 11, w.count(&w.logins), 1)
		require.Zero(t, w.count(&w.codeReuses))
		require.Empty(t, p.keepAlive(t).Problem)
	})
}

func TestKeepAliveSaysWhyItCannotLogInAndTriesAgain(t *testing.T) {
	inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
		settled()
		w.setDown(true)
		time.Sleep(30 * day)
		settled()
		tries := p.countLogins()
		k := p.keepAlive(t)
		require.Equal(t, "login at : cannot be reached; it is tried again after 2000-01-31T00:05:00Z", k.Problem)
		require.Equal(t, "the login that keeps the account alive does not succeed: "+k.Problem+
			"; the last login was at 2000-01-01T00:00:00Z, 30 days ago, and the server deactivates an account after 90 days without one", k.Warning(time.Now()))
		time.Sleep(day)
		require.InDelta(t, 26, tries.Load(), 2, "after 5 minutes, doubling to an hour")
		w.setDown(false)
		time.Sleep(time.Hour)
		settled()
		require.Equal(t, 2, w.count(&w.logins))
		k = p.keepAlive(t)
		require.Empty(t, k.Problem)
		require.Empty(t, k.Warning(time.Now()))
	})
}

func TestKeepAliveLocksNobodyOut(t *testing.T) {
	inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
		settled()
		w.setPassword("changed by its owner")
		time.Sleep(40 * day)
		for range 20 {
			time.Sleep(time.Minute)
			p.restart()
			settled()
		}
		require.InDelta(t, 10, w.count(&w.refused), 1, "a refused login is tried again after a day, whatever restarts")
		require.Contains(t, p.keepAlive(t).Problem, "the server has refused a login: Invalid user credentials; it is tried again after ")
		w.setConfig("changed by its owner")
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		settled()
		require.Equal(t, 2, w.count(&w.logins), "or when the config is written")
		require.Empty(t, p.keepAlive(t).Problem)
	})
}

func TestKeepAliveCannotTypeACode(t *testing.T) {
	setup := func(w *world) {
		withKeepAlive(w)
		w.codePeriod = 30 * time.Second
		w.limits.Capabilities.OneTimeCode = true
	}
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		settled()
		time.Sleep(10 * day)
		require.Equal(t, 1, w.count(&w.refused), "one login shows it")
		require.Contains(t, p.keepAlive(t).Warning(time.Now()), "the account asks for a one-time code")
		p.restart()
		synctest.Wait()
		require.Regexp(t, "the account asks for (a one-time code|one-time codes)", p.keepAlive(t).Warning(time.Now()))
		typed := dedicated
		typed.OTP = providers.NewSecret("123456")
		require.NoError(t, p.Verify(t.Context(), p.settings(), typed))
		time.Sleep(25 * day)
		require.Equal(t, 1, w.count(&w.refused), "a login with a typed code keeps the account alive too")
		require.Contains(t, p.keepAlive(t).Warning(time.Now()), "the account asks for one-time codes, which only a person can type", "but not the next time")
	})
}

func TestKeepAliveTakesNoSecondPlaceInTheBudgetWhileOneLoginIsLost(t *testing.T) {
	setup := func(w *world) { withKeepAlive(w); withBudget(5)(w) }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		settled()
		time.Sleep(30*day - time.Minute)
		p.faults.set(only("login", failAfter))
		for range 60 {
			time.Sleep(time.Minute)
			n, err := p.InUse(t.Context(), accountID)
			require.NoError(t, err)
			require.LessOrEqual(t, n, 1)
		}
		p.faults.set(nil)
		time.Sleep(time.Hour)
		require.Empty(t, p.keepAlive(t).Problem)
		require.Zero(t, w.count(&w.agedOut))
	})
}

func TestKeepAliveMakesNoReaderWaitLong(t *testing.T) {
	inWorld(t, withKeepAlive, func(t *testing.T, _ *world, p *process) {
		time.Sleep(20 * time.Millisecond) // in the middle of its login
		start := time.Now()
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.Less(t, time.Since(start), 100*time.Millisecond, "a reader who comes in time gets its session")
		require.NoError(t, p.Release(t.Context(), l.Ref))
	})
}

func TestKeepAliveAClockThatWasWrongCostsOneLogin(t *testing.T) {
	setup := func(w *world) { withKeepAlive(w); w.ahead = 200 * day }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		settled()
		w.stepClock(0) // the stored login lies 200 days ahead
		p.restart()
		settled()
		require.Equal(t, 2, w.count(&w.logins))
		time.Sleep(29 * day)
		require.Equal(t, 2, w.count(&w.logins))
		time.Sleep(2 * day)
		require.Equal(t, 3, w.count(&w.logins))
	})
}

func TestKeepAliveIsAskedForWithoutLoadingTheAccount(t *testing.T) {
	inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
		settled()
		p.Stop()
		standby := p.newEngine() // not started: rule 9
		defer standby.Stop()
		time.Sleep(40 * day)
		k, err := standby.KeepAlive(t.Context(), accountID)
		require.NoError(t, err)
		assert.Equal(t, 30*day, k.Interval)
		assert.Equal(t, 40, int(time.Since(k.LastLogin)/day))
		time.Sleep(40 * day)
		require.Equal(t, 1, w.count(&w.logins))
	})
}

func TestKeepAliveIsAskedForWhileTheAccountIsBeingLoaded(t *testing.T) {
	inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
		settled()
		stored := p.keepAlive(t)
		p.Stop()
		again := w.startWith(&faults{onStep: func(string) { time.Sleep(time.Second) }})
		defer again.Stop()
		time.Sleep(4500 * time.Millisecond) // the accounts are listed, and the first is being loaded
		require.Zero(t, again.Loaded())
		require.WithinDuration(t, stored.LastLogin, again.keepAlive(t).LastLogin, 0)
	})
}

func TestKeepAliveOfAConfigThatCannotBeReadIsAnError(t *testing.T) {
	inWorld(t, withKeepAlive, func(t *testing.T, _ *world, p *process) {
		e := p.beside(brokenDirectory{p, &sync.Once{}}, p)
		defer e.Stop()
		_, err := e.KeepAlive(t.Context(), accountID)
		require.ErrorIs(t, err, errInjected)
		_, err = e.KeepAlive(t.Context(), accountID)
		require.NoError(t, err)
	})
}

func TestKeepAliveOfAnAccountThatCannotBeReadIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		withKeepAlive(w)
		p := w.startWith(&faults{choose: func(string) fault { return failBefore }})
		defer p.Stop()
		settled()
		require.Zero(t, w.count(&w.logins))
		p.faults.set(nil)
		p.Nudge()
		settled()
		require.Equal(t, 1, w.count(&w.logins))
	})
}

func TestWhatAStartCouldNotReadIsReadWithTheNextNudge(t *testing.T) {
	for name, op := range map[string]string{"which accounts there are": "list", "an account": "get"} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world, p *process) {
				_, err := p.Acquire(t.Context(), dedicated)
				require.NoError(t, err)
				p.Stop()
				time.Sleep(w.tokenLife) // its lease has ended meanwhile
				again := w.startWith(&faults{choose: only(op, failBefore)})
				defer again.Stop()
				settled()
				require.Zero(t, again.Loaded())
				again.faults.set(nil)
				again.Nudge()
				settled()
				require.Zero(t, w.openNow())
			})
		})
	}
}

func TestWhatAStartCouldNotTidyUpIsTidiedUpWithTheNextNudge(t *testing.T) {
	for name, test := range map[string]struct {
		list  int // of the start that fails
		after time.Duration
	}{
		"a connection": {list: 2, after: time.Second},
		"a guard":      {list: 3, after: 2 * time.Minute}, // then there is no connection any more
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
				time.Sleep(test.after)
				p.Stop()
				w.retire()
				left := len(w.connections()) + len(w.guards(t))
				require.Positive(t, left)
				again := w.startWith(&faults{choose: nth("list", test.list, failBefore)})
				defer again.Stop()
				settleFor(3 * time.Hour)
				require.Equal(t, left, len(w.connections())+len(w.guards(t)))
				again.Nudge()
				settleFor(3 * time.Hour)
				require.Empty(t, w.connections())
				require.Empty(t, w.guards(t))
			})
		})
	}
}

func TestKeepAliveTellsHowMuchTimeIsLeft(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	k := machine.KeepAlive{Interval: 30 * day, DeactivatedAfter: 90 * day}
	for name, test := range map[string]struct {
		last    time.Duration // ago; 0: not known
		problem string
		want    string
	}{
		"recent":           {last: day},
		"not known yet":    {},
		"74 days":          {last: 75*day - time.Second},
		"75 days":          {last: 75 * day, want: "the last login was at 2026-09-11T12:00:00Z, 75 days ago, and the server deactivates an account after 90 days without one"},
		"it fails":         {last: day, problem: "no", want: "the login that keeps the account alive does not succeed: no; the last login was at 2026-11-24T12:00:00Z, 1 day ago, and the server deactivates an account after 90 days without one"},
		"it never went":    {problem: "no", want: "the login that keeps the account alive does not succeed: no; no login of the account is known, and the server deactivates an account after 90 days without one"},
		"nobody logs in":   {last: 80 * day},
		"no deadline":      {last: 80 * day},
		"and no deadlines": {problem: "no", want: "the login that keeps the account alive does not succeed: no; no login of the account is known"},
	} {
		t.Run(name, func(t *testing.T) {
			k := k
			if test.last > 0 {
				k.LastLogin = now.Add(-test.last)
			}
			k.Problem = test.problem
			switch name {
			case "nobody logs in":
				k.Interval = 0
			case "no deadline", "and no deadlines":
				k.DeactivatedAfter = 0
			}
			require.Equal(t, test.want, k.Warning(now))
		})
	}
}

// guards lists the guard entries in storage.
func (w *world) guards(t *testing.T) []string {
	t.Helper()
	keys, err := w.storage.List(t.Context(), "guard/")
	require.NoError(t, err)
	return keys
}

// countPuts counts the writes from now on.
func (p *process) countPuts() func() int {
	n := 0
	p.faults.watch(func(op string) {
		if op == "put" {
			n++
		}
	})
	return func() int {
		p.faults.mu.Lock()
		defer p.faults.mu.Unlock()
		return n
	}
}
