package presets

import (
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
)

// OAuth2 is any server of RFC 6749. Its sessions can be ended where it has
// token revocation (RFC 7009), else they end by their age.
func OAuth2() oauth2.Preset {
	return oauth2.Preset{
		Description: providers.Description{ //nolint:gosec // names of fields and endpoints, no credentials
			Name:           "oauth2",
			Summary:        "Any OAuth 2.0 server.",
			TokenEndpoint:  "{token_url}",
			LogoutEndpoint: "{revocation_url}",
			Methods: []providers.Method{{
				Name:     providers.Password,
				Mode:     providers.Dedicated,
				Sessions: true,
				Fields: fields([]string{"token_url", "client_id", "username", "password"},
					[]string{"revocation_url", "session_limit_message"}, anyClient(), login()),
			}, {
				Name:     providers.ClientCredentials,
				Mode:     providers.Shared,
				Sessions: true, // some servers open one
				Fields:   fields([]string{"token_url", "client_id"}, []string{"revocation_url"}, anyClient(), login()),
			}},
		},
	}
}
