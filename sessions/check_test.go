package sessions_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// A live check of an account (check/ in the API).

var liveCheck = sessions.CheckRequest{Account: accountID}

// outcomes is how the steps of a report ended, in their order.
func outcomes(r sessions.CheckReport) map[string]sessions.StepOutcome {
	all := map[string]sessions.StepOutcome{}
	for _, s := range r.Steps {
		all[s.Name] = s.Outcome
	}
	return all
}

func TestACheckLogsInListsRefreshesAndLogsOut(t *testing.T) {
	inWorld(t, withList(5), func(t *testing.T, w *world, p *process) {
		w.logInSomebody("person", person)
		w.logInSomebody("neighbour", otherMount)
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		report, err := p.Check(t.Context(), liveCheck)
		require.NoError(t, err)
		for _, s := range report.Steps {
			require.Equal(t, sessions.StepOK, s.Outcome, "%+v", s)
			require.Equal(t, w.latency, s.Took, s.Name)
		}
		require.Len(t, report.Steps, 4)
		require.Equal(t, []int{2, 1, 1, 1}, []int{w.count(&w.logins), w.count(&w.refreshes), w.count(&w.logouts), w.openNow()})

		require.Equal(t, machine.AccessGranted, report.Listing)
		require.Len(t, report.Listed, 4)
		owners := map[machine.Owner]int{}
		for _, l := range report.Listed {
			owners[l.Owner]++
		}
		require.Equal(t, map[machine.Owner]int{machine.ThisMount: 2, machine.OtherMount: 1, machine.People: 1}, owners)
		require.Equal(t, "3 of 5 (1 open, 1 of other mounts, 1 of people)", usageOf(report.Usage))
		require.Equal(t, "the server's clock is as this machine's", report.Clock.String())
	})
}

func TestACheckObeysTheBudget(t *testing.T) {
	inWorld(t, withBudget(1), func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		report, err := p.Check(t.Context(), liveCheck)
		require.NoError(t, err)
		require.False(t, report.OK())
		require.Equal(t, map[string]sessions.StepOutcome{"login": "failed", "account_sessions": "skipped", "refresh": "skipped", "logout": "skipped"}, outcomes(report))
		require.Contains(t, report.Steps[0].Message, "the session budget is full: 1 of 1 in use (1 open)")
		require.Zero(t, report.Steps[0].Took, "nothing was sent; an earlier login's time is not the check's")
		require.Equal(t, 1, w.count(&w.logins))
	})
}

func TestACheckSpendsAOneTimeCode(t *testing.T) {
	inWorld(t, withTOTP, func(t *testing.T, w *world, p *process) {
		for range 2 {
			report, err := p.Check(t.Context(), liveCheck)
			require.NoError(t, err)
			require.True(t, report.OK(), "%+v", report.Steps)
			require.Equal(t, w.latency, report.Steps[0].Took, "waiting for the next code is not the server's time")
		}
		require.Zero(t, w.count(&w.codeReuses))
	})
}

func TestACheckOfAGuardedAccountAsksForForce(t *testing.T) {
	inWorld(t, func(w *world) { w.config = "wrong" }, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.Error(t, err)
		refused := w.count(&w.refused)
		_, err = p.Check(t.Context(), liveCheck)
		require.Equal(t, machine.Guarded, reason(t, err))
		require.Equal(t, refused, w.count(&w.refused), "nothing is tried")

		forced := liveCheck
		forced.Force = true
		report, err := p.Check(t.Context(), forced)
		require.NoError(t, err)
		require.Equal(t, sessions.StepFailed, report.Steps[0].Outcome)
		require.Equal(t, refused+1, w.count(&w.refused))

		w.setPassword("wrong") // it is right now
		report, err = p.Check(t.Context(), forced)
		require.NoError(t, err)
		require.True(t, report.OK(), "%+v", report.Steps)
		_, err = p.Acquire(t.Context(), shared)
		require.NoError(t, err, "a check that succeeds reopens the guard")
	})
}

func TestACheckExplainsARefusedCodeByClocksThatDiffer(t *testing.T) {
	inWorld(t, withTOTP, func(t *testing.T, w *world, p *process) {
		w.mu.Lock()
		w.clockAhead, w.password = 4*time.Minute, "another" // Keycloak says the same of a wrong code
		w.mu.Unlock()
		report, err := p.Check(t.Context(), liveCheck)
		require.NoError(t, err)
		require.Contains(t, report.Steps[0].Advice, "the server's clock is 4m0s ahead of this machine's, which makes one-time codes fail")
		require.Equal(t, 4*time.Minute, report.Clock.Drift)
		_, err = p.Acquire(t.Context(), shared)
		require.Equal(t, machine.Guarded, reason(t, err))
		require.ErrorContains(t, err, "the server's clock is 4m0s ahead", "the guard says so too")
	})
}

func TestACheckOfAServerWithoutSessionsOnlyLogsIn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.noSessions = true
		w.limits.Capabilities = providers.Capabilities{}
	}, func(t *testing.T, _ *world, p *process) {
		report, err := p.Check(t.Context(), liveCheck)
		require.NoError(t, err)
		require.True(t, report.OK())
		require.Equal(t, map[string]sessions.StepOutcome{"login": "ok", "account_sessions": "skipped", "refresh": "skipped", "logout": "skipped"}, outcomes(report))
		require.Empty(t, p.status(t).States, "its token is not kept")
	})
}

func TestACheckSaysThatTheServerHasNoList(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, _ *world, p *process) {
		report, err := p.Check(t.Context(), liveCheck)
		require.NoError(t, err)
		require.Equal(t, map[string]sessions.StepOutcome{"login": "ok", "account_sessions": "skipped", "refresh": "ok", "logout": "ok"}, outcomes(report))
		require.Equal(t, "this server has no list of an account's sessions; the ledger alone counts", report.Steps[1].Message)
	})
}

func TestACheckSaysThatTheListIsNotAllowed(t *testing.T) {
	inWorld(t, withList(3), func(t *testing.T, w *world, p *process) {
		w.noRoles = true
		report, err := p.Check(t.Context(), liveCheck)
		require.NoError(t, err)
		require.True(t, report.OK(), "it is no failure: the ledger alone counts")
		require.Equal(t, sessions.StepSkipped, outcomes(report)["account_sessions"])
		require.Equal(t, machine.AccessNone, report.Listing)
	})
}

func TestACheckSaysWhyAStepIsSkipped(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*world)
		want map[string]string // by step
	}{
		"no login": {func(w *world) { w.config = "wrong" }, map[string]string{
			sessions.ListStep: "there was no login", sessions.RefreshStep: "there was no login", sessions.LogoutStep: "there was no login",
		}},
		"no sessions": {func(w *world) { w.noSessions, w.limits.Capabilities = true, providers.Capabilities{} }, map[string]string{
			sessions.ListStep:    "a login of this kind leaves no session at the server",
			sessions.RefreshStep: "a login of this kind leaves no session at the server",
			sessions.LogoutStep:  "a login of this kind leaves no session at the server",
		}},
		"no list": {withBudget(3), map[string]string{
			sessions.ListStep: "this server has no list of an account's sessions; the ledger alone counts",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, c.set, func(t *testing.T, _ *world, p *process) {
				report, err := p.Check(t.Context(), liveCheck)
				require.NoError(t, err)
				said := map[string]string{}
				for _, s := range report.Steps {
					if s.Outcome == sessions.StepSkipped {
						said[s.Name] = s.Message
					}
				}
				require.Equal(t, c.want, said)
			})
		})
	}
}

func TestACheckThatIsGivenUpLeavesNoSession(t *testing.T) {
	for _, op := range []string{"login", "list sessions", "refresh", "logout"} {
		inWorld(t, withList(3), func(t *testing.T, w *world, p *process) {
			p.faults.set(only(op, failAfter))
			report, err := p.Check(t.Context(), liveCheck)
			require.NoError(t, err)
			require.False(t, report.OK(), op)
			p.faults.set(nil)
			settleFor(time.Minute)
			_, err = p.Acquire(t.Context(), shared)
			require.NoError(t, err)
			settleFor(20 * time.Second)
			require.Equal(t, 1, w.openNow(), op)
		})
	}
}

func usageOf(u machine.Usage) string {
	return fmt.Sprintf("%d of %d (%s)", u.Taken(), u.Limit, u)
}
