package presets

import (
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
)

// Panta is the API of Panta, as its page "Authentication" has it. It documents
// no one-time codes, so there are none.
func Panta() oauth2.Preset {
	return ofKeycloak("{base_url}", oauth2.Preset{
		Description: providers.Description{
			Name:    "panta",
			Summary: "The Panta platform: user and client, tokens of 300 seconds.",
			Environments: []providers.Environment{
				{Name: "dmo", BaseURL: "https://login.dmo.app.pantaindex.com", Realm: "panta-technology"},
			},
			Methods: []providers.Method{{
				Name:     providers.Password,
				Mode:     providers.Dedicated,
				Sessions: true,
				Fields: fields([]string{"client_id", "client_secret", "username", "password", "tenant_id"},
					environments(), []string{"logout_url", "session_limit_message"}, login()),
			}},
		},
		Headers: func(a providers.Account, t providers.TokenResponse) map[string]string {
			headers := oauth2.Bearer(a, t)
			headers["X-CLIENT-ID"] = a.TenantID
			return headers
		},
	})
}
