package e2e

import (
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// OCP allows five sessions. Twelve that ask at once get five; the others are
// told so, and the server never gets to say it (rule 2).
func TestTwelveDedicatedReadsAtOnceNeverMakeMoreThanFiveSessions(t *testing.T) {
	t.Parallel()
	m := newMount(t, options{OTPPeriod: duration{time.Second}}.config(), servers.Options{})
	m.writeEU1(map[string]any{"session_mode": "dedicated"})

	var (
		readers sync.WaitGroup
		leases  [12]*api.Secret
		errs    [12]error
	)
	for i := range leases {
		readers.Go(func() { leases[i], errs[i] = m.read("creds/eu1") })
	}
	readers.Wait()

	var served []*api.Secret
	for i, err := range errs {
		if err == nil {
			served = append(served, leases[i])
			continue
		}
		status, sentences := refusal(t, err)
		require.Equal(t, 429, status, sentences)
		require.Contains(t, sentences[0], `config "eu1": the session budget is full: 5 of 5 in use (5 open), the next is free at the latest at `)
	}
	require.Len(t, served, iam.DemoSessionLimit)
	stats := m.ocp()
	require.Equal(t, iam.DemoSessionLimit, stats.PeakSessions)
	require.Zero(t, stats.LimitDenials+stats.RefusedLogins+stats.CodeReuses)

	for _, lease := range served {
		m.revoke(lease)
	}
	require.Zero(t, m.ocp().Sessions)
}
