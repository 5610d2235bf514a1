package presets

import (
	"net/http"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
)

// Partner is the partner API, as its page "Authentication" has it: client
// credentials in JSON, a token of an hour, neither refresh nor logout.
func Partner() oauth2.Preset {
	return oauth2.Preset{
		Description: providers.Description{ //nolint:gosec // names of fields and endpoints, no credentials
			Name:          "partner",
			Summary:       "The partner API: client credentials, tokens of 3600 seconds.",
			TokenEndpoint: "{base_url}/api/oauth/token",
			Methods: []providers.Method{{
				Name:   providers.ClientCredentials,
				Mode:   providers.Shared,
				Fields: fields([]string{"base_url", "client_id", "client_secret"}, login()),
			}},
		},
		Failures: passportFailures(),
		JSON:     true,
	}
}

// passportFailures are refusals of Laravel, on which the partner API's tokens
// show it to run, that come with a `message` and without an OAuth error.
func passportFailures() []oauth2.FailureRule {
	return []oauth2.FailureRule{
		{
			Status: http.StatusUnprocessableEntity, NotOAuth: true, Kind: providers.BadCredentials,
			Advice: "check the form of client_id and client_secret: the server could not read one of them",
		},
	}
}
