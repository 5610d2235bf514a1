package oauth2

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// Bounds of request_timeout.
const (
	defaultTimeout = 10 * time.Second
	maxTimeout     = 60 * time.Second
)

// Normalize implements providers.Provider. Its refusals repeat no value: what
// stands in the wrong field may be a secret.
func (p *Provider) Normalize(a providers.Account) (providers.Account, error) {
	given := a
	if a.Provider != "" && a.Provider != p.preset.Name {
		return given, refuse("provider", "is another than "+p.preset.Name+"; give "+p.preset.Name)
	}
	a.Provider = p.preset.Name
	method, err := p.chooseMethod(&a)
	if err != nil {
		return given, err
	}
	if err := refuseUnused(a, method); err != nil {
		return given, err
	}
	if err := p.fillEndpoints(&a, method); err != nil {
		return given, err
	}
	if a.ClientID == "" {
		a.ClientID = method.defaultOf("client_id")
	}
	if err := requireFields(a, method); err != nil {
		return given, err
	}
	if err := checkTexts(a); err != nil {
		return given, err
	}
	if err := normalizeTOTP(&a); err != nil {
		return given, err
	}
	if err := normalizeConnection(&a, method); err != nil {
		return given, err
	}
	if a.Scopes, err = providers.NormalizeScopes(a.Scopes); err != nil {
		return given, err
	}
	return a, nil
}

func refuse(field, problem string) error {
	return &providers.FieldError{Field: field, Problem: problem}
}

func (p *Provider) chooseMethod(a *providers.Account) (Method, error) {
	if a.AuthMethod == "" {
		a.AuthMethod = p.preset.Methods[0].Name
	}
	method, ok := p.preset.method(a.AuthMethod)
	if !ok {
		var names []string
		for _, m := range p.preset.Methods {
			names = append(names, string(m.Name))
		}
		return Method{}, refuse("auth_method", "is not one of "+p.preset.Name+"; allowed: "+strings.Join(names, ", "))
	}
	return method, nil
}

type givenField struct {
	name  string
	given bool
}

// givenFields lists the fields of an account by their names in a config, in the
// order in which they are checked.
func givenFields(a providers.Account) []givenField {
	return []givenField{
		{"environment", a.Environment != ""},
		{"base_url", a.BaseURL != ""},
		{"realm", a.Realm != ""},
		{"token_url", a.TokenURL != ""},
		{"logout_url", a.LogoutURL != ""},
		{"revocation_url", a.RevocationURL != ""},
		{"client_id", a.ClientID != ""},
		{"client_secret", !a.ClientSecret.Empty()},
		{"username", a.Username != ""},
		{"password", !a.Password.Empty()},
		{"tenant_id", a.TenantID != ""},
		{"totp_secret", !a.TOTPSecret.Empty()},
		{"totp_digits", a.TOTPDigits != 0},
		{"totp_period", a.TOTPPeriod != 0},
		{"totp_algorithm", a.TOTPAlgorithm != ""},
		{"personal_access_token", !a.PersonalAccessToken.Empty()},
		{"scopes", len(a.Scopes) > 0},
		{"request_timeout", a.RequestTimeout != 0},
		{"ca_cert", a.CACert != ""},
		{"tls_server_name", a.TLSServerName != ""},
		{"allow_http", a.AllowHTTP},
	}
}

func unused(field string, a providers.Account, m Method) error {
	names := make([]string, len(m.Fields))
	for i, f := range m.Fields {
		names[i] = f.Name
	}
	return refuse(field, fmt.Sprintf("is not used by %s with auth_method %s; used are: %s", a.Provider, a.AuthMethod, strings.Join(names, ", ")))
}

func refuseUnused(a providers.Account, m Method) error {
	for _, f := range givenFields(a) {
		// A token_url that is not used may be the one of a normalized account;
		// fillEndpoints, which knows that one, has the say about it.
		if f.given && !m.uses(f.name) && f.name != "token_url" {
			return unused(f.name, a, m)
		}
	}
	return nil
}

// requireFields comes after the endpoints and defaults have been filled in.
func requireFields(a providers.Account, m Method) error {
	given := map[string]bool{}
	for _, f := range givenFields(a) {
		given[f.name] = f.given
	}
	for _, f := range m.Fields {
		if f.Required && !given[f.Name] {
			return refuse(f.Name, fmt.Sprintf("is required by %s with auth_method %s", a.Provider, a.AuthMethod))
		}
	}
	if !a.Password.Empty() && a.Username == "" {
		return refuse("username", "is required with password")
	}
	if !a.TOTPSecret.Empty() && a.Password.Empty() {
		return refuse("password", "is required with totp_secret")
	}
	return nil
}

// fillEndpoints sets base_url and realm from the environment where they are not
// given, and makes the endpoints from them.
func (p *Provider) fillEndpoints(a *providers.Account, m Method) error {
	if m.uses("token_url") {
		return p.checkEndpoints(a)
	}
	tokenURL := a.TokenURL
	if err := p.fillFromEnvironment(a); err != nil {
		return err
	}
	if m.uses("realm") {
		if err := p.fillRealm(a); err != nil {
			return err
		}
	}
	var err error
	if a.BaseURL, err = checkURL("base_url", a.BaseURL, a.AllowHTTP); err != nil {
		return err
	}
	a.BaseURL = strings.TrimRight(a.BaseURL, "/")
	a.TokenURL = place(p.preset.TokenEndpoint, *a)
	if tokenURL != "" && tokenURL != a.TokenURL {
		return unused("token_url", *a, m)
	}
	if m.uses("logout_url") && a.LogoutURL == "" {
		a.LogoutURL = place(p.preset.LogoutEndpoint, *a)
	}
	return p.checkEndpoints(a)
}

// place makes an endpoint of its template.
func place(template string, a providers.Account) string {
	return strings.NewReplacer("{base_url}", a.BaseURL, "{realm}", a.Realm).Replace(template)
}

func (p *Provider) fillFromEnvironment(a *providers.Account) error {
	names := make([]string, len(p.preset.Environments))
	for i, e := range p.preset.Environments {
		names[i] = e.Name
	}
	allowed := strings.Join(names, ", ")
	switch {
	case a.Environment != "":
		environment, ok := p.preset.environment(a.Environment)
		if !ok {
			return refuse("environment", "is not one of "+p.preset.Name+"; allowed: "+allowed)
		}
		if a.BaseURL == "" {
			a.BaseURL = environment.BaseURL
		}
		if a.Realm == "" {
			a.Realm = environment.Realm
		}
	case a.BaseURL == "" && len(names) > 0:
		return refuse("environment", "is required, or base_url in its place; allowed: "+allowed)
	case a.BaseURL == "":
		return refuse("base_url", "is required by "+p.preset.Name)
	}
	return nil
}

// fillRealm takes the realm that all environments of a provider have, and checks it.
func (p *Provider) fillRealm(a *providers.Account) error {
	known := p.preset.realms()
	switch {
	case a.Realm != "":
	case len(known) == 1:
		a.Realm = known[0]
	case len(known) > 1:
		return refuse("realm", "is required with base_url; "+p.preset.Name+" has "+strings.Join(known, " and "))
	default:
		return refuse("realm", "is required by "+p.preset.Name)
	}
	if !regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`).MatchString(a.Realm) {
		return refuse("realm", "must be the bare name of a realm: letters, digits, dot, dash and underscore")
	}
	return nil
}

func (p *Provider) checkEndpoints(a *providers.Account) error {
	for _, e := range []struct {
		field string
		url   *string
	}{{"token_url", &a.TokenURL}, {"logout_url", &a.LogoutURL}, {"revocation_url", &a.RevocationURL}} {
		if *e.url == "" {
			continue
		}
		checked, err := checkURL(e.field, *e.url, a.AllowHTTP)
		if err != nil {
			return err
		}
		*e.url = checked
	}
	return nil
}

// checkURL refuses what is not a plain address of a server, and returns it in
// one spelling, so that one account is not taken for two: scheme and host in
// lower case, no default port. The path stays as it is, since to some servers a
// slash at its end makes another address.
func checkURL(field, text string, allowHTTP bool) (string, error) {
	u, err := url.Parse(text)
	if err != nil { // the error would repeat the URL, which may hold a password
		return "", refuse(field, "is not a URL; give one such as https://login.example.com")
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname())
	switch {
	case scheme != "https" && scheme != "http":
		return "", refuse(field, "must start with https://")
	case u.User != nil:
		return "", refuse(field, "must not hold a user name or password; there are fields for them")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return "", refuse(field, "must not have a query or a fragment (? or #)")
	case host == "":
		return "", refuse(field, "has no host; give one such as https://login.example.com")
	case scheme == "http" && !allowHTTP && !isLoopback(host):
		return "", refuse(field, "must start with https://; plain http is for loopback hosts, or with allow_http=true")
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", refuse(field, "has a port that is not from 1 to 65535")
		}
		if usual := map[string]string{"https": "443", "http": "80"}; port != usual[scheme] {
			host += ":" + port
		}
	}
	return scheme + "://" + host + u.EscapedPath(), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkTexts refuses characters that cannot be sent where the field goes.
func checkTexts(a providers.Account) error {
	for _, f := range []struct{ name, value string }{
		{"client_id", a.ClientID},
		{"client_secret", a.ClientSecret.Reveal()},
		{"username", a.Username},
		{"password", a.Password.Reveal()},
	} {
		if strings.ContainsAny(f.value, "\r\n\x00") { // RFC 6749 appendix A
			return refuse(f.name, "must not contain a line break; a value read from a file often ends in one")
		}
	}
	for _, f := range []struct{ name, value string }{
		{"tenant_id", a.TenantID},
		{"personal_access_token", a.PersonalAccessToken.Reveal()},
	} {
		if f.value != "" && !fitsHeader(f.value) {
			return refuse(f.name, "must be printable ASCII without spaces and line breaks, as it is sent in a header; a value read from a file often ends in a line break")
		}
	}
	return nil
}

func normalizeConnection(a *providers.Account, m Method) error {
	if a.RequestTimeout == 0 && m.uses("request_timeout") {
		a.RequestTimeout = defaultTimeout
	}
	if a.RequestTimeout < 0 || a.RequestTimeout > maxTimeout {
		return refuse("request_timeout", "must be more than 0 and at most 60 seconds")
	}
	if a.CACert != "" && !onlyCertificates(a.CACert) {
		return refuse("ca_cert", "must be one or more certificates in PEM (-----BEGIN CERTIFICATE-----) and nothing else")
	}
	if a.TLSServerName != "" && !regexp.MustCompile(`^[A-Za-z0-9._:-]+$`).MatchString(a.TLSServerName) {
		return refuse("tls_server_name", "must be a bare host name such as login.example.com")
	}
	return nil
}

// onlyCertificates says whether a PEM text holds certificates that can be read,
// and no other block. Text between the blocks is usual in bundles.
func onlyCertificates(text string) bool {
	rest := []byte(text)
	for n := 0; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return n > 0 && !strings.Contains(string(rest), "-----BEGIN")
		}
		if block.Type != "CERTIFICATE" {
			return false
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return false
		}
	}
}
