package presets

import (
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
	return ofKeycloak("{base_url}/auth", oauth2.Preset{
		Description: providers.Description{
			Name:    "ocp",
			Summary: "OCP: user and one-time code, tokens of 300 seconds, five sessions per account; or a personal access token.",
			Environments: []providers.Environment{
				{Name: "eu1", BaseURL: "https://eu1-m.ocp.ai", Realm: "master"},
				{Name: "us1", BaseURL: "https://us1-m.ocp.ai", Realm: "master"},
				{Name: "us2", BaseURL: "https://auth.us2-m.ocp.ai", Realm: "master"},
				{Name: "ca1", BaseURL: "https://pub.ca1.ocp.ai", Realm: "ocp"},
				{Name: "frankfurt", BaseURL: "https://pub.frankfurt.ocp.ai", Realm: "ocp"},
			},
			Methods: []providers.Method{{
				Name:        providers.Password,
				Mode:        providers.Shared,
				MaxSessions: 5,
				Sessions:    true,
				Fields: withDefault(fields([]string{"username", "password"}, environments(),
					[]string{"logout_url", "client_id", "totp_secret", "session_limit_message"}, login()), "client_id", "ocp"),
				DeactivatedAfter: 90 * 24 * time.Hour,
			}, {
				Name:     providers.PersonalAccessToken,
				Mode:     providers.Shared,
				Services: []string{"Metrics-API", "Exports-API", "miniApps spring-API", "Testing Studio", "Orchestrator", "NLU", "Environments Manager"},
				Fields:   fields([]string{"personal_access_token"}, []string{"environment", "expires_at"}),
			}},
		},
		Failures: []oauth2.FailureRule{
			{Code: "invalid_client", Kind: providers.BadCredentials, Advice: clientAdvice},
			{Code: "unauthorized_client", Kind: providers.BadCredentials, Advice: clientAdvice},
		},
		Headers: func(a providers.Account, t providers.TokenResponse) map[string]string {
			if a.AuthMethod == providers.PersonalAccessToken {
				return map[string]string{"X-OCP-PERSONAL-ACCESS-TOKEN": a.PersonalAccessToken.Reveal()}
			}
			return oauth2.Bearer(a, t)
		},
	})
}
