package presets

import (
	"net/http"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
)

// Keycloak is any realm of any Keycloak server. A server of the days of the
// /auth prefix has it in its base_url.
func Keycloak() oauth2.Preset {
	return ofKeycloak("{base_url}", oauth2.Preset{
		Description: providers.Description{
			Name:    "keycloak",
			Summary: "Any Keycloak realm.",
			Methods: []providers.Method{{
				Name:     providers.Password,
				Mode:     providers.Dedicated,
				Sessions: true,
				Fields: fields([]string{"base_url", "realm", "client_id", "username", "password"},
					[]string{"logout_url", "totp_secret", "session_limit_message"}, anyClient(), login()),
			}, {
				Name:     providers.ClientCredentials,
				Mode:     providers.Shared,
				Sessions: true, // some servers open one
				Fields:   fields([]string{"base_url", "realm", "client_id"}, []string{"logout_url"}, anyClient(), login()),
			}},
		},
	})
}

// ofKeycloak completes the preset of a Keycloak, whose realms are under base.
func ofKeycloak(base string, p oauth2.Preset) oauth2.Preset {
	p.TokenEndpoint = base + "/realms/{realm}/protocol/openid-connect/token"
	p.LogoutEndpoint = base + "/realms/{realm}/protocol/openid-connect/logout"
	p.AccountEndpoint = base + "/realms/{realm}/account/sessions"
	p.UserNamesIgnoreCase = true
	p.LoginPause = keycloakLoginPause
	p.Failures = append(keycloakFailures(), p.Failures...)
	return p
}

// keycloakLoginPause: with brute-force protection a Keycloak answers a login before
// it has let go of it, and refuses the next one as if its password were wrong. Of
// 100 logins one after the other 26.4.7 refused 66 without a pause, 6 with 50 ms,
// none with 200 ms (docs/keycloak.md).
const keycloakLoginPause = 250 * time.Millisecond

// keycloakFailures are Keycloak's own words. Their status differs by release, which
// therefore decides nothing (docs/keycloak.md).
func keycloakFailures() []oauth2.FailureRule {
	limit := oauth2.FailureRule{Op: oauth2.Login, Kind: providers.SessionLimit, Advice: oauth2.SessionLimitAdvice}
	ofKeycloak18, ofKeycloak24 := limit, limit
	ofKeycloak18.Code = "generic_authentication_error"
	ofKeycloak24.Status, ofKeycloak24.FreeText = http.StatusForbidden, true
	return []oauth2.FailureRule{
		{
			Op: oauth2.Login, Code: "invalid_grant", Has: []string{"account disabled"}, Kind: providers.BadCredentials,
			Advice: "have the user enabled at the identity server",
		},
		{
			Op: oauth2.Login, Code: "invalid_grant", Has: []string{"account is not fully set up"}, Kind: providers.BadCredentials,
			Advice: "log in once with a browser as username and do what is asked there (a new password, a missing name or e-mail address)",
		},
		{
			Code: "unauthorized_client", Has: []string{"direct access grants"}, Kind: providers.Misconfigured,
			Advice: "have direct access grants switched on for client_id at the identity server",
		},
		{
			Code: "unauthorized_client", Has: []string{"service account"}, Kind: providers.Misconfigured,
			Advice: "have service accounts switched on for client_id at the identity server",
		},
		{
			Code: "invalid_request", Has: []string{"https required"}, Kind: providers.Misconfigured,
			Advice: "the realm wants TLS: let base_url start with https://",
		},
		// The session limit is worded by the realm. Taking another refusal for it costs a
		// pause; taking it for another leads to a second denial, and two in a row lock the
		// user out.
		ofKeycloak18, ofKeycloak24,
	}
}
