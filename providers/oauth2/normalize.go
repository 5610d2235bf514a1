package oauth2

import (
	"cmp"
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
	if err := cmp.Or(p.refuseUnused(a, method), checkTexts(a), p.fillEndpoints(&a, method)); err != nil {
		return given, err
	}
	fillDefaults(&a, method)
	if err := cmp.Or(
		p.requireFields(a, method),
		checkClientAuth(a),
		checkConnection(a),
		providers.CheckTokenParams(a.TokenParams),
		p.Describe().CheckScopes(a.Scopes),
		checkTOTP(a),
	); err != nil {
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

func (p *Provider) chooseMethod(a *providers.Account) (providers.Method, error) {
	if a.AuthMethod == "" {
		a.AuthMethod = p.preset.Methods[0].Name
	}
	method, ok := p.preset.Method(a.AuthMethod)
	if !ok {
		var names []string
		for _, m := range p.preset.Methods {
			names = append(names, string(m.Name))
		}
		return providers.Method{}, refuse("auth_method", "is not one of "+p.preset.Name+"; allowed: "+strings.Join(names, ", "))
	}
	return method, nil
}

func (p *Provider) unused(field string, m providers.Method) error {
	names := make([]string, len(m.Fields))
	for i, f := range m.Fields {
		names[i] = f.Name
	}
	elsewhere := ""
	for _, other := range p.preset.Methods {
		if uses(other, field) {
			elsewhere = ", but with auth_method=" + string(other.Name)
		}
	}
	return refuse(field, fmt.Sprintf("is not used by %s with auth_method %s%s; used are: %s", p.preset.Name, m.Name, elsewhere, strings.Join(names, ", ")))
}

func (p *Provider) refuseUnused(a providers.Account, m providers.Method) error {
	for _, row := range providers.AccountFields() {
		switch row.Name {
		case "provider", "auth_method":
			continue
		case "token_url":
			// It may be that of a normalized account; fillEndpoints, which knows that
			// one, has the say about it.
			if m.Name != providers.PersonalAccessToken {
				continue
			}
		}
		if row.Given(&a) && !uses(m, row.Name) {
			return p.unused(row.Name, m)
		}
	}
	return nil
}

// requireFields comes after the endpoints and defaults have been filled in. Whoever
// names no user may mean an auth_method without one.
func (p *Provider) requireFields(a providers.Account, m providers.Method) error {
	for _, row := range providers.AccountFields() {
		if f, _ := m.Field(row.Name); !f.Required || row.Given(&a) {
			continue
		}
		without := ""
		for _, other := range p.preset.Methods {
			if row.Name == "username" && !uses(other, row.Name) {
				without = "; auth_method=" + string(other.Name) + " needs none"
			}
		}
		return refuse(row.Name, fmt.Sprintf("is required by %s with auth_method %s%s", a.Provider, a.AuthMethod, without))
	}
	return nil
}

// fillDefaults fills in what is not given, except the endpoints.
func fillDefaults(a *providers.Account, m providers.Method) {
	if a.ClientID == "" {
		f, _ := m.Field("client_id")
		a.ClientID = f.Default
	}
	if a.ClientAuth == "" && uses(m, "client_auth") {
		a.ClientAuth = providers.ClientSecretPost
	}
	if a.SessionMark == nil && uses(m, "session_mark") {
		mark := true
		a.SessionMark = &mark
	}
	if a.RequestTimeout == 0 && uses(m, "request_timeout") {
		a.RequestTimeout = defaultTimeout
	}
}

func checkTOTP(a providers.Account) error {
	if a.TOTPSecret.Empty() {
		return nil
	}
	_, err := parseTOTP(a.TOTPSecret.Reveal())
	return err
}

// checkClientAuth checks that the client has what its way to prove itself needs, and
// nothing else that is secret.
func checkClientAuth(a providers.Account) error {
	with := "client_auth=" + string(a.ClientAuth)
	switch a.ClientAuth {
	case providers.PrivateKeyJWT:
		if !a.ClientSecret.Empty() {
			return refuse("client_secret", "is not used with "+with+"; take it back with an empty one")
		}
		if a.PrivateKey.Empty() {
			return refuse("private_key", "is required with "+with)
		}
		if _, err := parseSigningKey(a.PrivateKey.Reveal()); err != nil {
			return refuse("private_key", err.Error())
		}
		return nil
	case "", providers.ClientSecretPost, providers.ClientSecretBasic:
	default:
		return refuse("client_auth", "is not known; use post, basic or private_key_jwt")
	}
	switch {
	case !a.PrivateKey.Empty():
		return refuse("private_key", "is not used with "+with+"; set client_auth=private_key_jwt, or take it back with an empty one")
	case a.KeyID != "":
		return refuse("key_id", "is not used with "+with+"; it names a private_key")
	case a.ClientSecret.Empty() && (a.AuthMethod == providers.ClientCredentials || a.ClientAuth == providers.ClientSecretBasic):
		return refuse("client_secret", "is required with auth_method="+string(a.AuthMethod)+" and "+with)
	}
	return nil
}

// fillEndpoints sets base_url and realm from the environment where they are not
// given, and makes the endpoints from them.
func (p *Provider) fillEndpoints(a *providers.Account, m providers.Method) error {
	environment, known := p.preset.environment(a.Environment)
	switch {
	case a.Environment != "" && !known:
		return refuse("environment", "is not one of "+p.preset.Name+"; allowed: "+p.preset.environmentNames())
	case m.Name == providers.PersonalAccessToken: // it needs no endpoint
		return nil
	case uses(m, "token_url"):
		return checkEndpoints(a)
	}
	a.BaseURL, a.Realm = cmp.Or(a.BaseURL, environment.BaseURL), cmp.Or(a.Realm, environment.Realm)
	switch {
	case a.BaseURL == "" && len(p.preset.Environments) > 0:
		return refuse("environment", "is required, or base_url in its place; allowed: "+p.preset.environmentNames())
	case a.BaseURL == "":
		return refuse("base_url", "is required by "+p.preset.Name)
	case uses(m, "realm"):
		if err := p.fillRealm(a); err != nil {
			return err
		}
	}
	var err error
	if a.BaseURL, err = checkURL("base_url", a.BaseURL, *a); err != nil {
		return err
	}
	a.BaseURL = strings.TrimRight(a.BaseURL, "/")
	given := a.TokenURL
	a.TokenURL = place(p.preset.TokenEndpoint, *a)
	if given != "" && given != a.TokenURL {
		return p.unused("token_url", m)
	}
	if uses(m, "logout_url") && a.LogoutURL == "" {
		a.LogoutURL = place(p.preset.LogoutEndpoint, *a)
	}
	return checkEndpoints(a)
}

// place makes an endpoint of its template.
func place(template string, a providers.Account) string {
	return strings.NewReplacer("{base_url}", a.BaseURL, "{realm}", a.Realm).Replace(template)
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

func checkEndpoints(a *providers.Account) error {
	for _, e := range []struct {
		field string
		url   *string
	}{{"token_url", &a.TokenURL}, {"logout_url", &a.LogoutURL}, {"revocation_url", &a.RevocationURL}} {
		if *e.url == "" {
			continue
		}
		checked, err := checkURL(e.field, *e.url, *a)
		if err != nil {
			return err
		}
		*e.url = checked
	}
	return nil
}

// checkURL refuses what is not a plain address of a server, and returns it in
// one spelling, so that one account is not taken for two: scheme and host in
// lower case, no default port, no dot at the end of the host. The path stays as it is, since to some servers a
// slash at its end makes another address. A token endpoint may have a query (RFC
// 6749 section 3.2).
func checkURL(field, text string, a providers.Account) (string, error) {
	u, err := url.Parse(text)
	if err != nil { // the error would repeat the URL, which may hold a password
		return "", refuse(field, "is not a URL; give one such as https://login.example.com")
	}
	scheme, host := strings.ToLower(u.Scheme), strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	switch {
	case scheme != "https" && scheme != "http":
		return "", refuse(field, "must start with https://")
	case u.User != nil:
		return "", refuse(field, "must not hold a user name or password; there are fields for them")
	case strings.Contains(text, "#"):
		return "", refuse(field, "must not have a fragment (#)")
	case field != "token_url" && (u.RawQuery != "" || u.ForceQuery):
		return "", refuse(field, "must not have a query (?)")
	case strings.ContainsFunc(u.RawQuery, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", refuse(field, "must have only printable ASCII without blanks in its query; write other characters as %20")
	case host == "":
		return "", refuse(field, "has no host; give one such as https://login.example.com")
	case strings.HasSuffix(host, "."): // there is no such name, and taken again it would be another
		return "", refuse(field, "has a host that ends in more than one dot")
	case scheme == "http" && !a.AllowHTTP && !isLoopback(host):
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
	address := scheme + "://" + host + u.EscapedPath()
	if u.RawQuery != "" {
		address += "?" + u.RawQuery
	}
	return address, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkTexts refuses characters that cannot be sent where the field goes, and blanks
// around what is no secret: a copied name that nobody sees them in.
func checkTexts(a providers.Account) error {
	for _, row := range providers.AccountFields() {
		value, isText := row.Value(&a).(string)
		if !isText || row.Name == "ca_cert" {
			continue
		}
		switch {
		case row.Name == "personal_access_token" || row.Name == "tenant_id":
			if value != "" && !fitsHeader(value) {
				return refuse(row.Name, "must be printable ASCII without spaces and line breaks, as it is sent in a header; a value read from a file often ends in a line break")
			}
		case row.Name == "private_key" || row.Name == "totp_secret": // they are read as a whole
		case strings.ContainsAny(value, "\r\n\x00"): // RFC 6749 appendix A
			return refuse(row.Name, "must not contain a line break; a value read from a file often ends in one")
		case !row.Secret && providers.HasBlankEnds(value):
			return refuse(row.Name, "must not have blanks before or after it")
		}
	}
	return nil
}

func checkConnection(a providers.Account) error {
	if a.RequestTimeout < 0 || a.RequestTimeout > maxTimeout {
		return refuse("request_timeout", "must be more than 0 and at most 60 seconds")
	}
	if a.TokenTTL < 0 || a.TokenTTL > maxLife {
		return refuse("token_ttl", "must be at most ten years")
	}
	if a.CACert != "" && !onlyCertificates(a.CACert) {
		return refuse("ca_cert", "must be one or more certificates in PEM (-----BEGIN CERTIFICATE-----) and nothing else; a file is given as ca_cert=@file.pem")
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
