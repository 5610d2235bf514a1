package sessions_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// rule 11: the server's list wins.

// withList is a server whose sessions the account may list, with a budget.
func withList(budget int) func(*world) {
	return func(w *world) {
		withBudget(budget)(w)
		w.limits.Capabilities.ListsSessions = true
	}
}

// loseLogin reads once, and the answer to that login is lost.
func loseLogin(t *testing.T, p *process, r sessions.Request) {
	t.Helper()
	p.faults.set(only("login", failAfter))
	_, err := p.Acquire(t.Context(), r)
	require.Error(t, err)
	p.faults.set(nil)
}

// settle lets what is under way come to its end.
func settleFor(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

const (
	person     = "Firefox/128.0"
	otherMount = "vault-plugin-secrets-panta-othermnt-abcdefghijklm-bot/1.2.3"
)

func other(scope string) sessions.Request {
	r := shared
	r.Scopes = []string{scope}
	return r
}

func TestRule11ALoginWhoseAnswerWasLostIsFoundByItsMarkAndEnded(t *testing.T) {
	inWorld(t, withList(3), func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		settleFor(20 * time.Second)
		loseLogin(t, p, other("email"))
		require.Equal(t, 2, w.openNow())
		settleFor(time.Second)
		require.Equal(t, 1, w.openNow(), "found with the token that the engine holds anyway")
		require.Equal(t, 1, w.count(&w.ended))
		st, err := p.Status(t.Context(), accountID)
		require.NoError(t, err)
		require.EqualValues(t, 1, st.Orphans)
		require.Len(t, w.records(), 1)
		require.Equal(t, 2, w.count(&w.logins), "nothing logs in for it alone")
	})
}

func TestRule11WithoutATokenTheOrphanIsEndedAfterTheNextLogin(t *testing.T) {
	inWorld(t, func(w *world) { withList(0)(w); w.limit = 0 }, func(t *testing.T, w *world, p *process) {
		loseLogin(t, p, dedicated)
		settleFor(time.Minute)
		require.Equal(t, 1, w.openNow())
		require.Zero(t, w.count(&w.listed))
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		settleFor(time.Second)
		require.Equal(t, 1, w.openNow())
		require.Equal(t, 1, w.count(&w.ended))
	})
}

func TestRule11AShortLeaseLastsUntilItsTokenHasFoundTheOrphan(t *testing.T) {
	inWorld(t, withList(5), func(t *testing.T, w *world, p *process) {
		for range 20 {
			loseLogin(t, p, dedicated)
			settleFor(10 * time.Second) // the account waits
			l, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
			require.NoError(t, p.Release(t.Context(), l.Ref), "at once: its token is all there is to ask with")
			require.Zero(t, w.openNow())
			for range 3 {
				l, err := p.Acquire(t.Context(), dedicated)
				require.NoError(t, err)
				began := time.Now()
				require.NoError(t, p.Release(t.Context(), l.Ref))
				require.Equal(t, w.latency, time.Since(began), "with nothing to find, nothing is kept")
			}
		}
	})
}

func TestRule11TheListIsAskedForBeforeABudgetIsCalledFull(t *testing.T) {
	inWorld(t, withList(2), func(t *testing.T, w *world, p *process) {
		first, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		settleFor(20 * time.Second)
		friend := w.logInSomebody("person", person)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, providers.SessionLimit, upstreamKind(t, err), "nobody could know of her")
		settleFor(time.Second)
		listed := w.count(&w.listed)
		for range 3 {
			_, err = p.Acquire(t.Context(), dedicated)
			require.Equal(t, machine.BudgetFull, reason(t, err))
		}
		require.Equal(t, listed, w.count(&w.listed), "at most one list in 10 s")
		require.Equal(t, 1, w.count(&w.denials))

		settleFor(2 * time.Minute)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.BudgetFull, reason(t, err))
		require.ErrorContains(t, err, "2 of 2 in use (1 open, 1 of people), as the server listed them at ")
		require.Equal(t, listed+1, w.count(&w.listed))
		w.logOutSomebody("person")
		settleFor(10 * time.Second)
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err, "the list shows that she is gone")
		require.False(t, friend.ended)
		require.NoError(t, p.Release(t.Context(), first.Ref))
	})
}

func TestRule11SessionsOfPeopleAndOtherMountsAreCountedAndNeverTouched(t *testing.T) {
	inWorld(t, withList(4), func(t *testing.T, w *world, p *process) {
		friend, neighbour := w.logInSomebody("person", person), w.logInSomebody("neighbour", otherMount)
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		settleFor(time.Second)
		require.Equal(t, 1, w.count(&w.listed), "one list, behind the answer of a login on an account with a limit")
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.BudgetFull, reason(t, err))
		require.ErrorContains(t, err, "4 of 4 in use (2 open, 1 of other mounts, 1 of people)")
		require.Zero(t, w.count(&w.denials), "the server's limit is never found out by hitting it")
		require.False(t, friend.ended || neighbour.ended)
	})
}

func TestRule11SessionsOfPeopleCountUntilTheServerMustHaveDroppedThem(t *testing.T) {
	inWorld(t, withList(2), func(t *testing.T, w *world, p *process) {
		w.logInSomebody("person", person)
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		settleFor(time.Second)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.BudgetFull, reason(t, err))
		require.NoError(t, p.Release(t.Context(), l.Ref))
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		settleFor(32 * time.Minute)
		a, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		b, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.True(t, w.live(a.Token.AccessToken) && w.live(b.Token.AccessToken))
		require.Zero(t, w.count(&w.denials))
	})
}

func TestRule11AMarkThatTheLedgerNeverHeldIsReportedAndLeftAlone(t *testing.T) {
	inWorld(t, withList(3), func(t *testing.T, w *world, p *process) {
		first, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		settleFor(time.Second)
		w.expectsStrays.Store(true)
		stray := w.logInSomebody("stray", p.markOf(first, "abcdefghijklm"))
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		settleFor(20 * time.Second)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.BudgetFull, reason(t, err))
		require.ErrorContains(t, err, "3 of 3 in use (2 open, 1 stray)")
		require.False(t, stray.ended)
		require.NoError(t, p.Release(t.Context(), first.Ref))

		report, err := p.Check(t.Context(), sessions.CheckRequest{Account: accountID})
		require.NoError(t, err)
		require.True(t, report.OK(), "%+v", report.Steps)
		require.Equal(t, 1, report.Usage.Strays)
		require.False(t, stray.ended, "a check reports it")

		p.faults.set(only("end session", failBefore))
		report, err = p.Check(t.Context(), sessions.CheckRequest{Account: accountID, EndStrays: true})
		require.NoError(t, err)
		require.Equal(t, sessions.StepFailed, outcomes(report)["account_sessions"])
		require.Len(t, report.Listed, 3, "what was listed is reported all the same")
		require.False(t, stray.ended)
		p.faults.set(nil)

		report, err = p.Check(t.Context(), sessions.CheckRequest{Account: accountID, EndStrays: true})
		require.NoError(t, err)
		require.True(t, report.OK(), "%+v", report.Steps)
		require.Zero(t, report.Usage.Strays)
		require.True(t, stray.ended, "and ends it where an operator asks for that")
		require.True(t, slices.ContainsFunc(report.Listed, func(l machine.Listing) bool { return l.Standing == machine.Stray && l.Ended }), "and says so")
	})
}

func TestRule11AMarkThatCannotBeLookedUpIsLeftAlone(t *testing.T) {
	for fails, ended := range map[string]bool{"": true, "list": false, "get": false} { // of the storage
		t.Run(fails, func(t *testing.T) {
			inWorld(t, withList(9), func(t *testing.T, w *world, p *process) {
				w.expectsStrays.Store(ended)
				l, err := p.Acquire(t.Context(), dedicated)
				require.NoError(t, err)
				elsewhere := dedicated
				elsewhere.Account = "account-2"
				_, err = p.Acquire(t.Context(), elsewhere)
				require.NoError(t, err)
				settleFor(20 * time.Second)
				stray := w.logInSomebody("stray", p.markOf(l, "abcdefghijklm"))
				p.faults.set(only(fails, failBefore))
				report, err := p.Check(t.Context(), sessions.CheckRequest{Account: accountID, EndStrays: true})
				require.NoError(t, err)
				require.True(t, report.OK(), "%+v", report.Steps)
				require.Equal(t, ended, stray.ended)
			})
		})
	}
}

func TestRule11AListThatRacesWithALoginBuriesNoLiveSession(t *testing.T) {
	inWorld(t, withList(5), func(t *testing.T, w *world, p *process) {
		w.listDelay = 3 * time.Second
		first, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		settleFor(time.Second) // the list is made, its answer is on its way
		second, err := p.Acquire(t.Context(), other("email"))
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), first.Ref)) // and gone from the ledger
		settleFor(20 * time.Second)
		require.True(t, w.live(second.Token.AccessToken))
		again, err := p.Acquire(t.Context(), other("email"))
		require.NoError(t, err)
		require.Equal(t, second.Ref.Session, again.Ref.Session)
		report, err := p.Check(t.Context(), sessions.CheckRequest{Account: accountID})
		require.NoError(t, err)
		require.Zero(t, report.Usage.Strays+report.Usage.People, "what is just being opened or closed is nobody else's")
	})
}

func TestRule11ASessionThatTheServerDoesNotListAnyMoreIsGone(t *testing.T) {
	inWorld(t, withList(3), func(t *testing.T, w *world, p *process) {
		first, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		settleFor(20 * time.Second)
		w.killAll() // by an administrator
		_, err = p.Acquire(t.Context(), other("email"))
		require.NoError(t, err)
		settleFor(time.Second)
		require.Len(t, w.records(), 1)
		again, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.NotEqual(t, first.Ref.Session, again.Ref.Session, "readers get no dead token")
		require.True(t, w.live(again.Token.AccessToken))
	})
}

func TestRule11APendingLogoutOfASessionThatIsGoneFreesItsPlace(t *testing.T) {
	inWorld(t, withList(2), func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		p.faults.set(only("logout", failBefore))
		require.Error(t, p.Release(t.Context(), l.Ref))
		w.killAll()
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		settleFor(20 * time.Second)
		require.Len(t, w.records(), 1)
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

func TestRule11AnUnknownLoginThatIsNotListedStillCounts(t *testing.T) {
	inWorld(t, withList(2), func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		settleFor(20 * time.Second)
		loseLogin(t, p, other("email"))
		w.mu.Lock()
		for id, s := range w.sessions { // the server is still at work on that login
			if s.lost {
				delete(w.sessions, id)
				defer func() { w.mu.Lock(); w.sessions[id] = s; w.mu.Unlock() }()
			}
		}
		w.mu.Unlock()
		settleFor(4 * time.Minute)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.BudgetFull, reason(t, err))
		require.ErrorContains(t, err, "2 of 2 in use (1 open, 1 unknown)")
		require.Less(t, w.count(&w.listed), 12, "it is looked for ever more seldom")
	})
}

func TestRule11TheComparisonAfterALoginMakesNoReaderWait(t *testing.T) {
	inWorld(t, withList(5), func(t *testing.T, w *world, p *process) {
		w.listDelay = 8 * time.Second
		began := time.Now()
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		_, err = p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, w.latency, time.Since(began))
		require.Equal(t, 0, w.count(&w.listed), "the list is asked for behind the answer")
		settleFor(time.Second)
		require.Equal(t, 1, w.count(&w.listed))
	})
}

func TestRule11WhereTheListIsRefusedTheLedgerAloneCounts(t *testing.T) {
	inWorld(t, withList(2), func(t *testing.T, w *world, p *process) {
		w.noRoles = true
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		settleFor(20 * time.Second)
		loseLogin(t, p, other("email"))
		settleFor(4 * time.Minute)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.BudgetFull, reason(t, err))
		require.Equal(t, 1, w.count(&w.listed), "the refusal is remembered")

		w.mu.Lock()
		w.noRoles = false
		w.mu.Unlock()
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		settleFor(time.Second)
		require.Equal(t, 1, w.count(&w.ended), "or until the config is written")
	})
}

func TestRule11ARefusalOfATokenWhoseSessionHasEndedSaysNothingAboutTheAccount(t *testing.T) {
	inWorld(t, withList(3), func(t *testing.T, w *world, p *process) {
		w.latency = time.Second
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		settleFor(500 * time.Millisecond)
		w.killAll()
		require.NoError(t, p.Release(t.Context(), l.Ref))
		settleFor(20 * time.Second)
		loseLogin(t, p, dedicated)
		settleFor(20 * time.Second)
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		settleFor(20 * time.Second)
		require.Equal(t, 1, w.count(&w.ended), "the next token is tried")
	})
}

func TestRule11AListWithoutTheSessionThatAskedForItIsNotBelieved(t *testing.T) {
	inWorld(t, withList(5), func(t *testing.T, w *world, p *process) {
		first, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		settleFor(20 * time.Second)
		w.mu.Lock()
		w.emptyLists = true
		w.mu.Unlock()
		second, err := p.Acquire(t.Context(), other("email"))
		require.NoError(t, err)
		settleFor(20 * time.Second)
		require.True(t, w.live(first.Token.AccessToken) && w.live(second.Token.AccessToken))
		require.Len(t, w.records(), 2)
	})
}

func TestRule11WithoutMarksOurOwnSessionsAreKnownByTheServersID(t *testing.T) {
	inWorld(t, withList(3), func(t *testing.T, w *world, p *process) {
		w.marksLost = true
		for _, scope := range []string{"a", "b", "c"} {
			_, err := p.Acquire(t.Context(), other(scope))
			require.NoError(t, err)
			settleFor(20 * time.Second)
		}
		require.Equal(t, 3, w.openNow())
		_, err := p.Acquire(t.Context(), other("d"))
		require.ErrorContains(t, err, "3 of 3 in use (3 open)")
	})
}

func TestRule11AfterAStartTheListIsComparedWithTheFirstToken(t *testing.T) {
	inWorld(t, func(w *world) { withList(0)(w); w.limit = 0 }, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		settleFor(time.Minute)
		require.Equal(t, 1, w.count(&w.listed))
		p.faults.set(only("login", dieAfter))
		_, err = p.Acquire(t.Context(), other("email"))
		require.Error(t, err)
		p.Stop()
		*p = *w.start()
		require.Equal(t, 2, w.openNow())
		again, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, sessionOf(l.Token.AccessToken), sessionOf(again.Token.AccessToken), "adopted by a refresh")
		settleFor(time.Second)
		require.Equal(t, 1, w.openNow(), "what the crash left is found and ended")
	})
}

func TestRule11ADrainFirstEndsWhatOnlyTheListCanEnd(t *testing.T) {
	inWorld(t, withList(5), func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		settleFor(time.Second)
		loseLogin(t, p, other("email"))
		require.Equal(t, 2, w.openNow())
		require.NoError(t, p.Drain(t.Context(), accountID))
		require.Zero(t, w.openNow())
		require.Equal(t, 1, w.count(&w.ended))
	})
}

func TestRule11ADrainDoesNotWaitForAListThatFails(t *testing.T) {
	inWorld(t, withList(5), func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		settleFor(time.Second)
		p.faults.set(func(op string) fault {
			if op == "login" || op == "list sessions" {
				return failAfter
			}
			return none
		})
		_, err = p.Acquire(t.Context(), other("email"))
		require.Error(t, err)
		began := time.Now()
		require.NoError(t, p.Drain(t.Context(), accountID))
		require.Less(t, time.Since(began), 5*time.Second)
		require.Equal(t, 1, w.openNow(), "the one that nobody can close")
	})
}

func TestRule11AServerThatReportsItsLimitIsAskedWhoHoldsTheSessions(t *testing.T) {
	inWorld(t, withList(3), func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		settleFor(20 * time.Second)
		w.logInSomebody("a", person)
		w.logInSomebody("b", person)
		_, err = p.Acquire(t.Context(), other("email"))
		require.Equal(t, providers.SessionLimit, upstreamKind(t, err))
		settleFor(2 * time.Minute)
		_, err = p.Acquire(t.Context(), other("email"))
		require.ErrorContains(t, err, "3 of 3 in use (1 open, 2 of people)")
		require.Equal(t, 1, w.count(&w.denials))
	})
}

func TestRule11ACopyOfAnOldStorageEndsNoSessionOfItsOriginal(t *testing.T) {
	inWorld(t, withList(5), func(t *testing.T, w *world, p *process) {
		theirs, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		snapshot := w.copyStorage(t)
		for range 40 { // people go on reading from the original, which goes on refreshing
			settleFor(time.Minute)
			theirs, err = p.Acquire(t.Context(), shared)
			require.NoError(t, err)
		}
		younger, err := p.Acquire(t.Context(), other("email"))
		require.NoError(t, err)
		require.Equal(t, 2, w.openNow())

		w.storage = snapshot
		w.expectsStrays.Store(true)
		restored := w.start()
		settleFor(10 * time.Second)
		ours, err := restored.Acquire(t.Context(), shared)
		require.NoError(t, err)
		settleFor(time.Minute)
		require.NoError(t, restored.Release(t.Context(), ours.Ref))
		report, err := restored.Check(t.Context(), liveCheck)
		require.NoError(t, err)
		require.Equal(t, 2, report.Usage.Strays, "both of the original's are seen and counted: %+v", report.Listed)
		restored.Stop()
		require.True(t, w.live(theirs.Token.AccessToken) && w.live(younger.Token.AccessToken))
		require.Zero(t, w.count(&w.ended))
	})
}
