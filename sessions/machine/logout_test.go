package machine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

func TestALogoutThatGetsThroughAgainBringsTheNextTwoForward(t *testing.T) {
	now := time.Now()
	a := newBenchAccount(10, benchLimits, now)
	drainAll(a, false, now)
	now = a.NextWake()
	first := logoutsIn(a.Step(Tick{}, now))
	require.Len(t, first, 1)

	// One that nobody can log out comes next, and stands in nobody's way.
	unclosable := a.logouts[0]
	unclosable.rec.Refresh = providers.Secret{}
	unclosable.rec.DiesAt = now.Add(time.Millisecond)
	a.schedule(unclosable)

	next := logoutsIn(a.Step(LoggedOut{Session: first[0]}, now))
	require.Len(t, next, 2)
	require.NotContains(t, next, unclosable.id)
	for _, s := range a.logouts {
		if s != unclosable {
			require.Greater(t, backoff(s.id, 1, logoutMost), backoff(next[1], 1, logoutMost), "the soonest are brought forward")
		}
	}
}

func logoutsIn(effects []Effect) []SessionID {
	var ids []SessionID
	for _, e := range effects {
		if logout, ok := e.(Logout); ok {
			ids = append(ids, logout.Session)
		}
	}
	return ids
}
