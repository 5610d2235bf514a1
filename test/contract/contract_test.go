// Package contract_test tries the contract of providers/contract on real
// Keycloaks. make test-keycloak runs it, once for each release.
package contract_test

import (
	"flag"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/contract"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

func TestKeycloakKeepsTheContract(t *testing.T) {
	release := os.Getenv("KEYCLOAK")
	if release == "" {
		t.Skip("make test-keycloak runs this: KEYCLOAK=<release> says which Keycloak to start")
	}
	k := servers.RunKeycloak(t, release)
	made := &realms{k: k, once: map[string]func() error{}}
	contract.Environments(t, contract.Config{
		Release: k.Release,
		Run:     func(t *testing.T, scenario func(*testing.T)) { t.Helper(); scenario(t) },
		Realm:   func(_ *testing.T, r iam.Realm) contract.Server { return server(k, r.Name) },
		Report:  report,
	}, servers.TOTPPeriod)
	contract.Test(t, contract.Config{
		Release: k.Release,
		Run: func(t *testing.T, scenario func(*testing.T)) {
			t.Helper()
			t.Parallel()
			scenario(t)
		},
		Realm:  made.get,
		Report: report,
	})
}

func report(t *testing.T, group, scenario string) contract.Row {
	t.Helper()
	return servers.Report(t, group, scenario)
}

// TestMain lets scenarios that wait for a code or for a session's end wait
// beside each other, however few processors there are.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	m.Run()
}

// realms makes each realm once, for whoever asks first.
type realms struct {
	k    *servers.Keycloak
	mu   sync.Mutex
	once map[string]func() error
}

func (r *realms) get(t *testing.T, realm iam.Realm) contract.Server {
	t.Helper()
	r.mu.Lock()
	create, known := r.once[realm.Name]
	if !known {
		ctx := t.Context()
		create = sync.OnceValue(func() error { return r.k.CreateRealm(ctx, realm) })
		r.once[realm.Name] = create
	}
	r.mu.Unlock()
	require.NoError(t, create())
	return server(r.k, realm.Name)
}

func server(k *servers.Keycloak, realm string) contract.Server {
	return contract.Server{
		Origin:      k.Origin,
		PantaPrefix: "/auth",
		Sessions: func(t *testing.T, username string) int {
			t.Helper()
			n, err := k.Sessions(t.Context(), realm, username)
			require.NoError(t, err)
			return n
		},
		Disable: func(t *testing.T, username string) {
			t.Helper()
			require.NoError(t, k.UpdateUser(t.Context(), realm, username, map[string]any{"enabled": false}))
		},
	}
}
