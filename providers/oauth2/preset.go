package oauth2

import (
	"slices"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// Preset is one provider as data: all in which one OAuth 2.0 server differs
// from the next. See package presets for those that are built in.
type Preset struct {
	// Description has the endpoints as templates of {base_url} and {realm}, or
	// "{token_url}" and "{revocation_url}" where an account gives the whole URL. Where
	// a method has the field logout_url, that field wins over LogoutEndpoint. A method
	// with the field totp_secret sends one-time codes as the parameter `otp`.
	providers.Description

	// JSON: parameters go to the token endpoint as a JSON object of strings, as Laravel
	// Passport takes it, not as a form.
	JSON bool
	// LoginPause is that of the accounts' Capabilities.
	LoginPause time.Duration
	// Headers are what an application sends with the token; nil: Bearer.
	Headers func(providers.Account, providers.TokenResponse) map[string]string
	// Failures are looked through before the rules that hold for every server.
	Failures []FailureRule
}

// Bearer is RFC 6750 section 2.1.
func Bearer(_ providers.Account, t providers.TokenResponse) map[string]string {
	return map[string]string{"Authorization": t.TokenType + " " + t.AccessToken.Reveal()}
}

func (p Preset) environment(name string) (providers.Environment, bool) {
	i := slices.IndexFunc(p.Environments, func(e providers.Environment) bool { return e.Name == name })
	if i < 0 {
		return providers.Environment{}, false
	}
	return p.Environments[i], true
}

func (p Preset) environmentNames() string {
	names := make([]string, len(p.Environments))
	for i, e := range p.Environments {
		names[i] = e.Name
	}
	return strings.Join(names, ", ")
}

// realms lists the realms of the environments, each once.
func (p Preset) realms() []string {
	var names []string
	for _, e := range p.Environments {
		if !slices.Contains(names, e.Realm) {
			names = append(names, e.Realm)
		}
	}
	return names
}

func uses(m providers.Method, field string) bool {
	_, ok := m.Field(field)
	return ok
}
