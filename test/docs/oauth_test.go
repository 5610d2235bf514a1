package docs

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/oauthservers"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// The servers of test/oauthservers that stand for those of examples/.

// before is a Vault with the plugin before a server of test/oauthservers, which
// answers where the document says one of the addresses.
func (w *world) before(server string, config oauthservers.Config, addresses ...string) {
	w.t.Helper()
	s := oauthservers.Run(w.t, server, config)
	plugin, err := servers.Plugin(w.t.Context())
	require.NoError(w.t, err)
	v := servers.RunVault(w.t, servers.Options{Server: "vault", Storage: "inmem", Plugin: plugin})
	var pairs []string
	for _, address := range addresses {
		pairs = append(pairs, address, s.URL)
	}
	w.shells[""] = newShell(w.t, w.dir, w.environment(v))
	w.shells[""].typed = strings.NewReplacer(pairs...).Replace
}

func (w *world) auth0() {
	w.t.Helper()
	w.before("fosite", oauthservers.Config{
		TokenPath: "/oauth/token", RevocationPath: "/oauth/revoke", TokenLife: oauthservers.In(time.Hour), RefreshScope: "offline_access",
		Users: map[string]string{"paula@example.com": "paulas-password"},
		Clients: []oauthservers.Client{
			service("machine", "client_secret_post", "", "https://api.example.com"),
			service("machine-of-many", "client_secret_post", "", "https://orders.example.com", "https://stock.example.com"),
			{
				ID: "app", Secret: "secret-of-app", AuthMethod: "client_secret_post", GrantTypes: []string{"password", "refresh_token"},
				Scope: "openid offline_access", Audience: []string{"https://api.example.com"},
			},
		},
	}, "https://acme.eu.auth0.com")
}

func (w *world) entraID() {
	w.t.Helper()
	entra := service("entra", "client_secret_post", "https://graph.microsoft.com/.default https://vault.azure.net/.default")
	entra.ID = "6731de76-14a6-49ae-97bc-6eba6914391e"
	w.before("oidc-provider", oauthservers.Config{
		TokenPath: "/acme.onmicrosoft.com/oauth2/v2.0/token", TokenLife: oauthservers.In(time.Hour), Clients: []oauthservers.Client{entra},
	}, "https://login.microsoftonline.com")
}

func (w *world) okta() {
	w.t.Helper()
	private, public, err := oauthservers.NewKey("RS256", "key-1")
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(filepath.Join(w.dir, "key.pem"), []byte(private), 0o600))
	keyed := service("0oa1service", "private_key_jwt", "okta.users.read")
	keyed.Secret, keyed.SigningAlg, keyed.JWKS = "", "RS256", public
	orders := service("orders", "client_secret_basic", "orders.read")
	orders.ID = "0oa2orders"
	w.before("oidc-provider", oauthservers.Config{
		TokenPath: "/v1/token", RevocationPath: "/v1/revoke", TokenLife: oauthservers.In(time.Hour),
		Clients: []oauthservers.Client{keyed, orders},
	}, "https://acme.okta.com/oauth2/default", "https://acme.okta.com/oauth2")
}

func (w *world) salesforce() {
	w.t.Helper()
	consumer := service("consumer", "client_secret_post", "api")
	consumer.ID = "3MVG9consumer"
	w.before("authlib", oauthservers.Config{
		TokenPath: "/services/oauth2/token", RevocationPath: "/services/oauth2/revoke", Clients: []oauthservers.Client{consumer},
	}, "https://acme.my.salesforce.com")
}

func (w *world) hydra() {
	w.t.Helper()
	w.before("fosite", oauthservers.Config{
		TokenPath: "/oauth2/token", RevocationPath: "/oauth2/revoke", TokenLife: oauthservers.In(time.Hour),
		Clients: []oauthservers.Client{service("jobs", "client_secret_basic", "jobs.run", "https://reports.example.com")},
	}, "https://hydra.example.com")
}

// service is a client of the client credentials grant.
func service(name, authMethod, scope string, audience ...string) oauthservers.Client {
	return oauthservers.Client{
		ID: name, Secret: "secret-of-" + name, AuthMethod: authMethod,
		GrantTypes: []string{"client_credentials"}, Scope: scope, Audience: audience,
	}
}
