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
	Name    string
	Summary string
	// Environments may be empty; then every account names its own endpoints.
	Environments []providers.Environment
	// TokenEndpoint is where logins and refreshes go: a template of {base_url}
	// and {realm}, or "{token_url}" where an account gives the whole URL.
	TokenEndpoint string
	// LogoutEndpoint is a template as above, or "{revocation_url}"; empty: none.
	// Where the method has the field logout_url, that field wins.
	LogoutEndpoint string
	Logout         LogoutStyle
	// LoginPause is that of the accounts' Capabilities.
	LoginPause time.Duration
	// AccountEndpoint is the sessions resource of Keycloak's Account REST API: a
	// template of {base_url} and {realm}; empty: the server has none.
	AccountEndpoint string
	// UserNamesIgnoreCase is that of the Description.
	UserNamesIgnoreCase bool
	// Methods, the default one first.
	Methods []Method
	// Failures are looked through before the rules that hold for every server.
	Failures []FailureRule
}

// Method is an authentication method and how it goes over the wire. Its name
// also says the grant; personal access tokens have none and call nobody.
type Method struct {
	providers.Method
	Encoding Encoding
	// OneTimeCode: the server understands the parameter `otp`.
	OneTimeCode bool
	// Headers are what an application sends with the token.
	Headers []Header
}

// Header is an HTTP header, and how its value is made.
type Header struct {
	Name  string
	Value func(providers.Account, providers.TokenResponse) string
}

// Encoding is how the parameters of a request to the token endpoint are written.
type Encoding int

const (
	// Form is application/x-www-form-urlencoded, as RFC 6749 has it.
	Form Encoding = iota
	// JSON is an object of strings, as Laravel Passport takes it.
	JSON
)

// LogoutStyle is how a session is ended.
type LogoutStyle int

const (
	// NoLogout is for a server that cannot end a session.
	NoLogout LogoutStyle = iota
	// EndSession is Keycloak's logout endpoint, which takes a refresh token.
	EndSession
	// Revocation is RFC 7009, of the refresh token.
	Revocation
)

func (p Preset) method(name providers.AuthMethod) (Method, bool) {
	i := slices.IndexFunc(p.Methods, func(m Method) bool { return m.Name == name })
	if i < 0 {
		return Method{}, false
	}
	return p.Methods[i], true
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

func (m Method) defaultOf(field string) string {
	i := slices.IndexFunc(m.Fields, func(f providers.Field) bool { return f.Name == field })
	if i < 0 {
		return ""
	}
	return m.Fields[i].Default
}

// logsIn is false for a personal access token, which has no endpoint.
func (m Method) logsIn() bool { return m.Name != providers.PersonalAccessToken }

func (m Method) requires(field string) bool {
	return slices.ContainsFunc(m.Fields, func(f providers.Field) bool { return f.Name == field && f.Required })
}

func (m Method) uses(field string) bool {
	return slices.ContainsFunc(m.Fields, func(f providers.Field) bool { return f.Name == field })
}
