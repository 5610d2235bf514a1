package e2e

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// Client credentials open a session where the release or the client is so: it is
// recorded and logged out with its last lease, as any other (rule 1).
func useService(s *identity) {
	const reads = 50
	m := s.mount(servers.Options{})
	m.write("config/service", map[string]any{
		"provider": "keycloak", "auth_method": "client_credentials", "base_url": s.baseURL, "realm": s.realm,
		"client_id": "service", "client_secret": "service-secret", "verify": false,
	})
	const account = "service-account-service"
	most := 0
	for range reads {
		lease := m.mustRead("creds/service")
		n, err := s.sessions(account)
		require.NoError(s, err)
		most = max(most, n)
		m.revoke(lease)
	}
	require.Equal(s, 1, most)
	eventually(s, 5*time.Second, "no session is left", s.hasSessions(account, 0))
	s.row.Found(fmt.Sprintf("%d logins", s.loginsOf("service")))
}
