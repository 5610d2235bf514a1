package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/oauthservers"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// A Keycloak knows a client by its public key ("Signed JWT"), and verifies each
// assertion: of logins, refreshes and logouts.
func TestAKeycloakVerifiesTheAssertionsOfAClient(t *testing.T) {
	t.Parallel()
	if os.Getenv("KEYCLOAK") == "" {
		t.Skip("make test-keycloak runs this: the emulator verifies no assertions")
	}
	k, err := keycloak()
	require.NoError(t, err)
	realm := iam.Realm{Name: "assertions", PathPrefix: "/auth"}
	for _, algorithm := range []string{"RS256", "PS256", "ES256"} {
		realm.Users = append(realm.Users, iam.User{Username: strings.ToLower(algorithm), Password: "password"})
	}
	require.NoError(t, k.CreateRealm(t.Context(), realm))
	issuer, err := k.Issuer(t.Context(), realm.Name)
	require.NoError(t, err)
	m := newMount(t, iam.Demo(), servers.Options{})
	for _, user := range realm.Users {
		algorithm := strings.ToUpper(user.Username)
		t.Run(algorithm, func(t *testing.T) {
			row := servers.Report(t, "client authentication", "private_key_jwt, "+algorithm+": login, refresh, logout, client credentials")
			if issuer != k.BaseURL+"/realms/"+realm.Name {
				row.Cannot("it is set up with another address than it is called by, and an assertion is for one address")
				return
			}
			m := &mount{tb: t, server: m.server, client: m.client, upstream: m.upstream}
			private, public, err := oauthservers.NewKey(algorithm, "key-1")
			require.NoError(t, err)
			keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_ = json.NewEncoder(w).Encode(public)
			}))
			t.Cleanup(keys.Close)
			require.NoError(t, k.CreateClient(t.Context(), realm.Name, map[string]any{
				"clientId": user.Username, "enabled": true, "publicClient": false, "clientAuthenticatorType": "client-jwt",
				"directAccessGrantsEnabled": true, "serviceAccountsEnabled": true,
				"attributes": map[string]any{
					"use.jwks.url": "true", "jwks.url": keys.URL, "token.endpoint.auth.signing.alg": algorithm,
				},
			}))
			config := map[string]any{
				"provider": "keycloak", "base_url": k.BaseURL, "realm": realm.Name, "client_id": user.Username,
				"client_auth": "private_key_jwt", "private_key": private, "key_id": "key-1",
			}
			person := maps.Clone(config)
			person["username"], person["password"] = user.Username, user.Password
			m.write("config/"+user.Username, person)
			hasSessions := func(want int) {
				eventually(t, 10*time.Second, "sessions at the server", func() error {
					n, err := k.Sessions(t.Context(), realm.Name, user.Username)
					if err == nil && n != want {
						err = fmt.Errorf("%d, want %d", n, want)
					}
					return err
				})
			}
			hasSessions(0) // the verifying login is logged out
			lease := m.mustRead("creds/" + user.Username)
			hasSessions(1)
			m.revoke(lease)
			hasSessions(0)
			check := m.mustRead("check/" + user.Username)
			require.Contains(t, check.Data["refresh"], "ok")
			hasSessions(0)

			service := maps.Clone(config)
			service["auth_method"] = "client_credentials"
			m.write("config/service-"+user.Username, service)
			m.mustRead("creds/service-" + user.Username)
		})
	}
}
