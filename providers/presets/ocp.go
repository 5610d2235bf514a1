package presets

import (
	"slices"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
)

// OCP is OCP's IAM, as its guide "API Authentication" has it: a Keycloak with
// one-time codes and a limit of five sessions, or a personal access token.
//
// The guide shows the logout of the realm master alone; that of the K8s
// environments is taken to be in their own realm.
func OCP() oauth2.Preset {
	const clientAdvice = "check client_id, and leave it out for OCP's own public client `ocp`"
	client := clientID()
	client.Default = "ocp"
	token := providers.Field{Name: "personal_access_token", Secret: true, Help: "Token made under Access Management, Personal Tokens."}
	keepAlive := providers.Field{Name: "keepalive_interval", Default: "30d", Help: "How long nobody logs in as that user before the engine does, from 1h to less than 90d. With password."}
	owner, ownerPassword := username(), password()
	owner.Help = "Name of the user whose token it is."
	ownerPassword.Help = "Password of that user."
	endpoints := []providers.Field{environment("eu1, us1, us2, ca1, frankfurt"), baseURL(), realm()}
	return oauth2.Preset{ //nolint:gosec // names of fields and endpoints, no credentials
		Name:    "ocp",
		Summary: "OCP: user and one-time code, tokens of 300 seconds, five sessions per account; or a personal access token.",
		Environments: []providers.Environment{
			{Name: "eu1", BaseURL: "https://eu1-m.ocp.ai", Realm: "master"},
			{Name: "us1", BaseURL: "https://us1-m.ocp.ai", Realm: "master"},
			{Name: "us2", BaseURL: "https://auth.us2-m.ocp.ai", Realm: "master"},
			{Name: "ca1", BaseURL: "https://pub.ca1.ocp.ai", Realm: "ocp"},
			{Name: "frankfurt", BaseURL: "https://pub.frankfurt.ocp.ai", Realm: "ocp"},
		},
		TokenEndpoint:   "{base_url}/auth/realms/{realm}/protocol/openid-connect/token",
		LogoutEndpoint:  "{base_url}/auth/realms/{realm}/protocol/openid-connect/logout",
		Logout:          oauth2.EndSession,
		LoginPause:      keycloakLoginPause,
		AccountEndpoint: "{base_url}/auth/realms/{realm}/account/sessions",
		Failures: append(keycloakFailures(),
			oauth2.FailureRule{Code: "invalid_client", Kind: providers.BadCredentials, Advice: clientAdvice},
			oauth2.FailureRule{Code: "unauthorized_client", Kind: providers.BadCredentials, Advice: clientAdvice},
		),
		Methods: []oauth2.Method{{
			Method: providers.Method{
				Name:        providers.Password,
				Mode:        providers.Shared,
				MaxSessions: 5,
				Sessions:    true,
				Fields: slices.Concat(endpoints,
					[]providers.Field{logoutURL(), client, required(username()), required(password())},
					totp(), []providers.Field{scopes()}, connection()),
			},
			OneTimeCode: true,
			Headers:     []oauth2.Header{bearer()},
		}, {
			Method: providers.Method{
				Name:     providers.PersonalAccessToken,
				Mode:     providers.Shared,
				Services: []string{"Metrics-API", "Exports-API", "miniApps spring-API", "Testing Studio", "Orchestrator", "NLU", "Environments Manager"},
				// All but the token is for logging its owner in, without which the
				// account is deactivated.
				DeactivatedAfter: 90 * 24 * time.Hour,
				Fields: slices.Concat(endpoints,
					[]providers.Field{required(token), logoutURL(), client, owner, ownerPassword}, totp(), []providers.Field{keepAlive}, connection()),
			},
			Headers: []oauth2.Header{{Name: "X-OCP-PERSONAL-ACCESS-TOKEN", Value: "{personal_access_token}"}},
		}},
	}
}
