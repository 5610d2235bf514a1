package sessions_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// What an operator sees of an account and its sessions, and can do about them.

// status returns the account's status.
func (p *process) status(t *testing.T) sessions.Status {
	t.Helper()
	st, err := p.Status(t.Context(), accountID)
	require.NoError(t, err)
	return st
}

// session returns the status of a lease's session.
func (p *process) session(t *testing.T, l sessions.Lease) sessions.SessionStatus {
	t.Helper()
	st, found, err := p.Session(t.Context(), accountID, idOf(l))
	require.NoError(t, err)
	require.True(t, found)
	return st
}

func idOf(l sessions.Lease) machine.SessionID {
	id, _, _ := splitRef(l.Ref.Session)
	return machine.SessionID(id)
}

func TestTheStatusOfASession(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		began := time.Now()
		request := shared
		request.Scopes = []string{"email"}
		l, err := p.Acquire(t.Context(), request)
		require.NoError(t, err)
		_, err = p.Acquire(t.Context(), request)
		require.NoError(t, err)
		st := p.session(t, l)
		require.Regexp(t, `^[a-z2-7]{8}-`+string(st.ID)+`$`, st.Mark)
		opened := began.Add(w.latency)
		want := machine.SessionStatus{
			ID: idOf(l), State: machine.StateOpen, Mode: providers.Shared, Scopes: []string{"email"}, Generation: 1, Leases: 2,
			OpenedAt: began, ExpiresAt: opened.Add(w.tokenLife), Horizon: opened.Add(w.tokenLife), DiesAt: opened.Add(w.idle + time.Minute),
		}
		require.Equal(t, want, st.SessionStatus)
		require.Equal(t, map[machine.State]int{machine.StateOpen: 1}, p.status(t).States)

		time.Sleep(w.tokenLife/2 + time.Second)
		st = p.session(t, l)
		require.Equal(t, 2, st.Generation)
		require.Equal(t, opened.Add(w.tokenLife/2+w.latency), st.RefreshedAt)

		refreshed := st.RefreshedAt
		p.restart()
		synctest.Wait()
		st = p.session(t, l)
		require.Zero(t, st.Leases)
		require.True(t, st.EarlierLeases, "leases from before the start are not known by name")
		require.Zero(t, st.ExpiresAt, "no token is held until a reader comes")
		require.True(t, refreshed.Equal(st.RefreshedAt))
		require.NotZero(t, st.Horizon)
	})
}

func TestTheStatusOfAnAccount(t *testing.T) {
	inWorld(t, withBudget(3), func(t *testing.T, _ *world, p *process) {
		require.Equal(t, sessions.Status{Usage: machine.Usage{Limit: 3}, Listing: machine.AccessNone, States: map[machine.State]int{}}, p.status(t))
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		p.faults.set(only("login", failAfter))
		_, err = p.Acquire(t.Context(), dedicated)
		require.Error(t, err)
		p.faults.set(nil)
		require.Equal(t, sessions.Status{
			Usage: machine.Usage{Limit: 3, Open: 1, Unknown: 1}, Clock: machine.Clock{Known: true}, Listing: machine.AccessNone,
			States:      map[machine.State]int{machine.StateOpen: 1, machine.StateUnknown: 1},
			PausedUntil: time.Now().Add(10 * time.Second), PauseReason: "login at : no answer",
		}, p.status(t))
	})
}

func TestAPendingLogoutSaysSinceWhenAndWhyAcrossARestart(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		w.setDown(true)
		since := time.Now()
		require.Error(t, p.Release(t.Context(), l.Ref))
		for range 2 {
			st := p.session(t, l)
			require.Equal(t, machine.StateWaiting, st.State)
			require.True(t, since.Equal(st.ClosingAt))
			require.GreaterOrEqual(t, st.Tries, 1)
			require.Equal(t, 1, st.Revocations)
			require.Equal(t, "logout at : cannot be reached", st.LastError)
			require.NotZero(t, st.LogoutAt)
			require.True(t, since.Equal(p.status(t).OldestLogout))
			p.restart()
			time.Sleep(time.Second)
		}
	})
}

func TestTheStatusSaysWhyAnAccountIsClosedToLogins(t *testing.T) {
	inWorld(t, func(w *world) { w.config = "wrong" }, func(t *testing.T, _ *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.Error(t, err)
		g := p.status(t).Guard
		require.Equal(t, 1, g.Strikes)
		require.Equal(t, "Invalid user credentials", g.Reason)
		require.Equal(t, time.Now().Add(30*time.Second), g.ClosedUntil)
	})
}

func TestTheStatusHoldsNoSecret(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		all, err := p.Sessions(t.Context(), accountID)
		require.NoError(t, err)
		require.Len(t, all, 1)
		encoded, err := json.Marshal([]any{all, p.status(t)})
		require.NoError(t, err)
		for _, printed := range []string{string(encoded), fmt.Sprintf("%+v %+v", all, p.status(t))} {
			require.NotContains(t, printed, "at-s1")
			require.NotContains(t, printed, "rt-s1")
		}
	})
}

func TestAccountsAreThoseWithSessions(t *testing.T) {
	for name, setup := range map[string]func(*world){
		"in the ledger": nil,
		"in memory": func(w *world) {
			w.noSessions = true
			w.limits.Capabilities = providers.Capabilities{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, setup, func(t *testing.T, _ *world, p *process) {
				_ = p.status(t)
				ids, err := p.Accounts(t.Context())
				require.NoError(t, err)
				require.Empty(t, ids)
				_, err = p.Acquire(t.Context(), shared)
				require.NoError(t, err)
				ids, err = p.Accounts(t.Context())
				require.NoError(t, err)
				require.Equal(t, []sessions.AccountID{accountID}, ids)
			})
		})
	}
}

func TestEachAccountIsListedOnceInOrder(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		want := []sessions.AccountID{"a", "b", "c", "d", "e", "f"}
		for _, id := range want {
			r := dedicated
			r.Account = id
			_, err := p.Acquire(t.Context(), r)
			require.NoError(t, err)
		}
		ids, err := p.Accounts(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, ids)
	})
}

func TestALedgerThatCannotBeListedIsAnError(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		p.faults.set(only("list", failBefore))
		_, err := p.Accounts(t.Context())
		require.ErrorIs(t, err, errInjected)
		_, err = p.Status(t.Context(), accountID)
		require.ErrorIs(t, err, errInjected)
		_, err = p.Sessions(t.Context(), accountID)
		require.ErrorIs(t, err, errInjected)
		_, found, err := p.Session(t.Context(), accountID, "nobody")
		require.ErrorIs(t, err, errInjected)
		require.False(t, found)
		_, _, found, err = p.CloseSession(t.Context(), accountID, "nobody")
		require.ErrorIs(t, err, errInjected)
		require.False(t, found)
		_, err = p.InUse(t.Context(), accountID)
		require.ErrorIs(t, err, errInjected)
		require.ErrorIs(t, p.DrainAll(t.Context()), errInjected)
	})
}

func TestLookingNeverLogsIn(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		calls := p.countLogins()
		_ = p.status(t)
		_, err := p.Sessions(t.Context(), accountID)
		require.NoError(t, err)
		_, _, found, err := p.CloseSession(t.Context(), accountID, "nobody")
		require.NoError(t, err)
		require.False(t, found)
		require.Zero(t, calls.Load())
		require.Zero(t, w.count(&w.logins))
	})
}

func TestAnOperatorLogsASessionOutWhateverLeasesAreOnIt(t *testing.T) {
	inWorld(t, withBudget(1), func(t *testing.T, w *world, p *process) {
		first, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		second, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		before, after, found, err := p.CloseSession(t.Context(), accountID, idOf(first))
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, 2, before.Leases)
		require.Equal(t, machine.StateEnded, after.State)
		require.Zero(t, w.openNow())
		require.Empty(t, w.records())
		for _, l := range []sessions.Lease{first, second} {
			require.NoError(t, p.Release(t.Context(), l.Ref), "what is gone is a success")
		}
		third, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.NotEqual(t, idOf(first), idOf(third))
	})
}

func TestAnOperatorIsToldWhenTheServerCannotBeReached(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		w.setDown(true)
		for range 5 { // each time: nothing is released here, as a lease is in the end
			_, after, found, err := p.CloseSession(t.Context(), accountID, idOf(l))
			require.True(t, found)
			require.ErrorContains(t, err, "the session could not be logged out: logout at : cannot be reached; it stays in the logout queue and is tried again until ")
			require.Equal(t, machine.StateWaiting, after.State)
			require.Zero(t, after.Leases)
			time.Sleep(time.Second)
		}
		w.setDown(false)
		began := time.Now()
		_, _, _, err = p.CloseSession(t.Context(), accountID, idOf(l))
		require.NoError(t, err)
		require.Zero(t, w.openNow())
		require.Equal(t, w.latency, time.Since(began), "at once, and not when the queue comes to it")
	})
}

func TestAnOperatorDoesNotWaitForTheCodeOfASessionThatIsClosed(t *testing.T) {
	inWorld(t, withTOTP, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		for range 2 { // again, while only its code is held
			began := time.Now()
			_, after, found, err := p.CloseSession(t.Context(), accountID, idOf(l))
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, machine.StateEnded, after.State)
			require.LessOrEqual(t, time.Since(began), w.latency)
		}
		require.Equal(t, 1, w.count(&w.logouts))
	})
}

func TestTheSessionsOfAnAccountAreListedByAge(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		var opened []machine.SessionID
		for range 12 {
			l, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
			opened = append(opened, idOf(l))
		}
		all, err := p.Sessions(t.Context(), accountID)
		require.NoError(t, err)
		var listed []machine.SessionID
		for _, s := range all {
			listed = append(listed, s.ID)
		}
		require.Equal(t, opened, listed)
	})
}

func TestWhatHappensIsLoggedAtItsLevel(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		var log bytes.Buffer
		e := sessions.New(sessions.Options{
			Storage: w.storage, Directory: p, Version: "1",
			Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &log, DisableTime: true}),
		})
		defer e.Stop()
		l, err := e.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.NoError(t, e.Release(t.Context(), l.Ref))
		w.setPassword("changed upstream")
		_, err = e.Acquire(t.Context(), dedicated)
		require.Error(t, err)
		synctest.Wait()
		for _, line := range []string{
			`\[DEBUG\] sessions: session opened: config=dmo account=account-1 session=\w+`,
			`\[DEBUG\] sessions: session closed: config=dmo account=account-1 session=\w+`,
			`\[WARN\]  sessions: account guarded: config=dmo account=account-1 session=\w+ detail="login at : Invalid user credentials"`,
		} {
			require.Regexp(t, "(?m)^"+line+"$", log.String())
		}
	})
}

func TestAnOperatorDropsALoginWhoseAnswerWasLost(t *testing.T) {
	inWorld(t, withBudget(1), func(t *testing.T, w *world, p *process) {
		p.faults.set(only("login", failAfter))
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, providers.Unknown, upstreamError(t, err).Outcome)
		p.faults.set(nil)
		w.killAll() // as a person did, who then says so
		all, err := p.Sessions(t.Context(), accountID)
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, machine.StateUnknown, all[0].State)

		before, after, found, err := p.CloseSession(t.Context(), accountID, all[0].ID)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, machine.StateUnknown, before.State)
		require.Equal(t, machine.StateEnded, after.State)
		require.Zero(t, p.status(t).Usage.Taken())
		time.Sleep(10 * time.Second) // the pause after a lost login
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

func TestRule6ADroppedLoginStillSpentItsCode(t *testing.T) {
	inWorld(t, withTOTP, func(t *testing.T, w *world, p *process) {
		p.faults.set(only("login", failAfter))
		_, err := p.Acquire(t.Context(), dedicated)
		require.Error(t, err)
		p.faults.set(nil)
		w.killAll()
		all, err := p.Sessions(t.Context(), accountID)
		require.NoError(t, err)
		_, _, _, err = p.CloseSession(t.Context(), accountID, all[0].ID)
		require.NoError(t, err)
		p.restart()
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.Zero(t, w.count(&w.codeReuses))
	})
}

func TestAnOperatorsDeleteWaitsForALoginThatIsUnderWay(t *testing.T) {
	for name, lost := range map[string]bool{"answered": false, "lost": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) { w.latency = 5 * time.Second }, func(t *testing.T, w *world, p *process) {
				if lost {
					p.faults.set(only("login", failAfter))
				}
				go func() { _, _ = p.Acquire(t.Context(), shared) }()
				synctest.Wait()
				all, err := p.Sessions(t.Context(), accountID)
				require.NoError(t, err)
				require.Equal(t, machine.StateOpening, all[0].State)
				_, after, _, err := p.CloseSession(t.Context(), accountID, all[0].ID)
				if lost {
					require.ErrorContains(t, err, "the login of this session was under way and had no answer: login at : no answer; delete it again to drop it")
					require.Equal(t, machine.StateUnknown, after.State)
					p.faults.set(nil)
					return
				}
				require.NoError(t, err)
				require.Equal(t, machine.StateEnded, after.State)
				require.NotContains(t, w.records(), string(all[0].ID))
			})
		})
	}
}

func TestASessionThatNothingCanLogOutEndsByAge(t *testing.T) {
	setup := func(w *world) {
		withBudget(2)(w)
		w.limits.Capabilities.Logout = false
	}
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		_, after, _, err := p.CloseSession(t.Context(), accountID, idOf(l))
		require.NoError(t, err)
		require.Equal(t, machine.StateAgeing, after.State)
		require.NotZero(t, after.DiesAt)
		st := p.status(t)
		require.Equal(t, map[machine.State]int{machine.StateAgeing: 1}, st.States)
		require.Equal(t, 1, st.Usage.Taken())
		require.Zero(t, st.OldestLogout, "there is no logout to wait for")
		w.killAll() // it cannot be closed, so nobody is to blame
	})
}

func TestAnOperatorWhoGivesUpIsForgotten(t *testing.T) {
	inWorld(t, func(w *world) { w.latency = 5 * time.Second }, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, _, err = p.CloseSession(ctx, accountID, idOf(l))
		require.Equal(t, machine.Canceled, reason(t, err))
		time.Sleep(10 * time.Second)
		require.Zero(t, w.openNow(), "the logout goes on")
	})
}

func TestAReaderIsWarnedWhenTheBudgetIsNearlyFull(t *testing.T) {
	for most, want := range map[int][]int{
		5:  {4, 5},
		10: {8, 9, 10},
		2:  {2},
		1:  nil, // one session is no budget
		0:  nil, // no limit
	} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			inWorld(t, withBudget(most), func(t *testing.T, _ *world, p *process) {
				var warned []int
				for n := 1; n <= max(most, 3) && (most == 0 || n <= most); n++ {
					l, err := p.Acquire(t.Context(), dedicated)
					require.NoError(t, err)
					if len(l.Warnings) > 0 {
						require.Equal(t, []string{fmt.Sprintf("the session budget is nearly full: %d of %d in use (%d open); use session_mode=shared, revoke leases that are not needed, or raise max_sessions if the server allows more", n, most, n)}, l.Warnings)
						warned = append(warned, n)
					}
				}
				require.Equal(t, want, warned)
			})
		})
	}
	t.Run("also a reader without a lease", func(t *testing.T) {
		inWorld(t, withBudget(2), func(t *testing.T, _ *world, p *process) {
			_, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
			for _, warnings := range []int{1, 0} { // of the second it opens none
				st, err := p.Static(t.Context(), shared)
				require.NoError(t, err)
				require.Len(t, st.Warnings, warnings)
			}
		})
	})
	t.Run("whose session is only refreshed is not", func(t *testing.T) {
		inWorld(t, withBudget(2), func(t *testing.T, w *world, p *process) {
			_, err := p.Acquire(t.Context(), shared)
			require.NoError(t, err)
			_, err = p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
			time.Sleep(time.Minute)
			longer := shared
			longer.MinTTL = w.tokenLife - 30*time.Second
			l, err := p.Acquire(t.Context(), longer)
			require.NoError(t, err)
			require.Equal(t, 1, w.count(&w.refreshes))
			require.Empty(t, l.Warnings)
		})
	})
	t.Run("who only shares a session is not", func(t *testing.T) {
		inWorld(t, withBudget(2), func(t *testing.T, _ *world, p *process) {
			_, err := p.Acquire(t.Context(), shared)
			require.NoError(t, err)
			_, err = p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
			l, err := p.Acquire(t.Context(), shared)
			require.NoError(t, err)
			require.Empty(t, l.Warnings)
		})
	})
}

func TestAReaderIsWarnedOfClocksThatMakeCodesFail(t *testing.T) {
	for name, test := range map[string]struct {
		ahead  time.Duration
		codes  bool
		warned bool
	}{
		"far ahead": {30 * time.Second, true, true},
		"near":      {5 * time.Second, true, false},
		"no codes":  {30 * time.Second, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			setup := func(w *world) {
				w.ahead = test.ahead
				w.limits.Capabilities.GeneratesCode = test.codes
				w.limits.Capabilities.CodePeriod = 30 * time.Second
			}
			inWorld(t, setup, func(t *testing.T, _ *world, p *process) {
				l, err := p.Acquire(t.Context(), dedicated)
				require.NoError(t, err)
				if !test.warned {
					require.Empty(t, l.Warnings)
					return
				}
				require.Equal(t, []string{"the server's clock is 30s behind this machine's; one-time codes are made for the server's clock, as far as it is to be believed; have the clock that is wrong set (NTP)"}, l.Warnings)
			})
		})
	}
}

// What cannot be read is not taken for what is not there: an account is loaded whole or
// not at all.
func TestAnAccountWhoseStorageFailsIsNotLoaded(t *testing.T) {
	ask := map[string]func(*testing.T, *process) error{
		"the status":           func(t *testing.T, p *process) error { _, err := p.Status(t.Context(), accountID); return err },
		"how it is kept alive": func(t *testing.T, p *process) error { _, err := p.KeepAlive(t.Context(), accountID); return err },
		"all accounts":         func(t *testing.T, p *process) error { _, err := p.Accounts(t.Context()); return err },
		"an operator's closing": func(t *testing.T, p *process) error {
			_, _, _, err := p.CloseSession(t.Context(), accountID, "x")
			return err
		},
		"a release": func(t *testing.T, p *process) error {
			return p.Release(t.Context(), sessions.LeaseRef{Account: accountID, Session: "x.1", Grant: "x-1"})
		},
		"a config's write": func(t *testing.T, p *process) error { return p.Configure(t.Context(), accountID, p.settings(), true) },
	}
	for name, ask := range ask {
		t.Run(name, func(t *testing.T) {
			inWorld(t, withKeepAlive, func(t *testing.T, w *world, p *process) {
				_, err := p.Acquire(t.Context(), shared)
				require.NoError(t, err)
				p.faults.kill()
				p.Stop()
				for at := 1; ; at++ {
					q := &process{world: w, faults: &faults{at: at, kind: failBefore}}
					q.Engine = q.newEngine() // not started: nothing else reads
					err := ask(t, q)
					crossings := q.faults.count
					q.faults.kill()
					q.Stop()
					if crossings < at {
						require.NoError(t, err)
						require.Greater(t, at, 1)
						return
					}
					require.ErrorIs(t, err, errInjected, "access %d", at)
				}
			})
		})
	}
}
