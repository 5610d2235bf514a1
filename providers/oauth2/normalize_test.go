package oauth2_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
)

func secret(s string) providers.Secret { return providers.NewSecret(s) }

func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestNormalizeFillsInEndpointsAndDefaults(t *testing.T) {
	const kc = "/protocol/openid-connect/"
	for name, c := range map[string]struct {
		provider      string
		change        func(*providers.Account)
		token, logout string
	}{
		"panta dmo":              {"panta", func(*providers.Account) {}, "https://login.dmo.app.pantaindex.com/realms/panta-technology" + kc + "token", "https://login.dmo.app.pantaindex.com/realms/panta-technology" + kc + "logout"},
		"panta elsewhere":        {"panta", func(a *providers.Account) { a.Environment, a.BaseURL = "", "https://login.example.com" }, "https://login.example.com/realms/panta-technology" + kc + "token", "https://login.example.com/realms/panta-technology" + kc + "logout"},
		"ocp eu1":                {"ocp", func(a *providers.Account) { a.Environment = "eu1" }, "https://eu1-m.ocp.ai/auth/realms/master" + kc + "token", "https://eu1-m.ocp.ai/auth/realms/master" + kc + "logout"},
		"ocp us1":                {"ocp", func(a *providers.Account) { a.Environment = "us1" }, "https://us1-m.ocp.ai/auth/realms/master" + kc + "token", "https://us1-m.ocp.ai/auth/realms/master" + kc + "logout"},
		"ocp us2":                {"ocp", func(a *providers.Account) { a.Environment = "us2" }, "https://auth.us2-m.ocp.ai/auth/realms/master" + kc + "token", "https://auth.us2-m.ocp.ai/auth/realms/master" + kc + "logout"},
		"ocp ca1":                {"ocp", func(*providers.Account) {}, "https://pub.ca1.ocp.ai/auth/realms/ocp" + kc + "token", "https://pub.ca1.ocp.ai/auth/realms/ocp" + kc + "logout"},
		"ocp frankfurt":          {"ocp", func(a *providers.Account) { a.Environment = "frankfurt" }, "https://pub.frankfurt.ocp.ai/auth/realms/ocp" + kc + "token", "https://pub.frankfurt.ocp.ai/auth/realms/ocp" + kc + "logout"},
		"given fields win":       {"ocp", func(a *providers.Account) { a.BaseURL, a.Realm = "https://proxy.example.com", "mine" }, "https://proxy.example.com/auth/realms/mine" + kc + "token", "https://proxy.example.com/auth/realms/mine" + kc + "logout"},
		"logout_url wins":        {"ocp", func(a *providers.Account) { a.LogoutURL = "https://out.example.com/bye" }, "https://pub.ca1.ocp.ai/auth/realms/ocp" + kc + "token", "https://out.example.com/bye"},
		"keycloak with a prefix": {"keycloak", func(*providers.Account) {}, "https://login.example.com/auth/realms/staff" + kc + "token", "https://login.example.com/auth/realms/staff" + kc + "logout"},
		"one spelling":           {"keycloak", func(a *providers.Account) { a.BaseURL = "HTTPS://Login.Example.com.:443//" }, "https://login.example.com/realms/staff" + kc + "token", "https://login.example.com/realms/staff" + kc + "logout"},
		"loopback":               {"keycloak", func(a *providers.Account) { a.BaseURL = "http://[::1]:8085/auth" }, "http://[::1]:8085/auth/realms/staff" + kc + "token", "http://[::1]:8085/auth/realms/staff" + kc + "logout"},
		"allow_http":             {"keycloak", func(a *providers.Account) { a.BaseURL, a.AllowHTTP = "http://kc:80", true }, "http://kc/realms/staff" + kc + "token", "http://kc/realms/staff" + kc + "logout"},
		"partner":                {"partner", func(*providers.Account) {}, "https://partner.example.com/api/oauth/token", ""},
		"oauth2 keeps its slash": {"oauth2", func(*providers.Account) {}, "https://login.example.com/token/", ""},
		"oauth2 keeps its query": {"oauth2", func(a *providers.Account) { a.TokenURL = "https://login.example.com/token?tenant=~7!" }, "https://login.example.com/token?tenant=~7!", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := oauth2.New(preset(t, c.provider), nil)
			given := account(c.provider)
			c.change(&given)
			got, err := p.Normalize(given)
			require.NoError(t, err)
			assert.Equal(t, c.token, got.TokenURL)
			assert.Equal(t, c.logout, got.LogoutURL)
			assert.Equal(t, c.provider, got.Provider)
			assert.Equal(t, p.Describe().Methods[0].Name, got.AuthMethod)
			assert.Equal(t, 10*time.Second, got.RequestTimeout)
			if c.provider == "ocp" {
				assert.Equal(t, "ocp", got.ClientID)
			}
			again, err := p.Normalize(got)
			require.NoError(t, err)
			assert.Equal(t, got, again, "a normalized account normalizes to itself")
		})
	}
}

func TestNormalizeRefusesByTheFieldsName(t *testing.T) {
	type change = func(*providers.Account)
	cert := certificate(t)
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))
	totp := func(secretValue string) change {
		return func(a *providers.Account) { a.TOTPSecret = secret(secretValue) }
	}
	pat := func(a *providers.Account) {
		*a = providers.Account{AuthMethod: providers.PersonalAccessToken, Environment: "eu1", PersonalAccessToken: secret(testPAT)}
	}
	const (
		ocpUses   = "environment, base_url, realm, logout_url, client_id, username, password, totp_secret, scopes, token_params, token_ttl, session_mark, session_limit_message, request_timeout, ca_cert, tls_server_name, allow_http"
		pantaUses = "environment, base_url, realm, logout_url, client_id, client_secret, username, password, tenant_id, scopes, token_params, token_ttl, session_mark, session_limit_message, request_timeout, ca_cert, tls_server_name, allow_http"
		noBase32  = `field "totp_secret": must be base32 (letters A to Z and digits 2 to 7) as an authenticator app takes it, or an otpauth:// URL; whole, since a part of one makes no codes`
		partOfOne = noBase32
		tooShort  = `field "totp_secret": is shorter than 16 characters (80 bits), and RFC 4226 requires 128 bits; give the whole secret`
		onlyPEM   = `field "ca_cert": must be one or more certificates in PEM (-----BEGIN CERTIFICATE-----) and nothing else; a file is given as ca_cert=@file.pem`
		timeout   = `field "request_timeout": must be more than 0 and at most 60 seconds`
		realm     = `field "realm": must be the bare name of a realm: letters, digits, dot, dash and underscore`
		header    = `must be printable ASCII without spaces and line breaks, as it is sent in a header; a value read from a file often ends in a line break`
	)
	for name, c := range map[string]struct {
		provider string
		change   change
		want     string
	}{
		"another provider":          {"ocp", func(a *providers.Account) { a.Provider = "panta" }, `field "provider": is another than ocp; give ocp`},
		"unknown auth_method":       {"ocp", func(a *providers.Account) { a.AuthMethod = "magic" }, `field "auth_method": is not one of ocp; allowed: password, pat`},
		"unknown environment":       {"ocp", func(a *providers.Account) { a.Environment = "eu9" }, `field "environment": is not one of ocp; allowed: eu1, us1, us2, ca1, frankfurt`},
		"no environment":            {"panta", func(a *providers.Account) { a.Environment = "" }, `field "environment": is required, or base_url in its place; allowed: dmo`},
		"no realm at ocp":           {"ocp", func(a *providers.Account) { a.Environment, a.BaseURL = "", "https://h" }, `field "realm": is required with base_url; ocp has master and ocp`},
		"no realm":                  {"keycloak", func(a *providers.Account) { a.Realm = "" }, `field "realm": is required by keycloak`},
		"no base_url":               {"partner", func(a *providers.Account) { a.BaseURL = "" }, `field "base_url": is required by partner`},
		"no token_url":              {"oauth2", func(a *providers.Account) { a.TokenURL = "" }, `field "token_url": is required by oauth2 with auth_method password`},
		"no tenant":                 {"panta", func(a *providers.Account) { a.TenantID = "" }, `field "tenant_id": is required by panta with auth_method password`},
		"no client secret":          {"panta", func(a *providers.Account) { a.ClientSecret = secret("") }, `field "client_secret": is required by panta with auth_method password`},
		"no client id":              {"keycloak", func(a *providers.Account) { a.ClientID = "" }, `field "client_id": is required by keycloak with auth_method password`},
		"no user":                   {"ocp", func(a *providers.Account) { a.Username = "" }, `field "username": is required by ocp with auth_method password; auth_method=pat needs none`},
		"no password":               {"ocp", func(a *providers.Account) { a.Password = secret("") }, `field "password": is required by ocp with auth_method password`},
		"no token":                  {"ocp", func(a *providers.Account) { pat(a); a.PersonalAccessToken = secret("") }, `field "personal_access_token": is required by ocp with auth_method pat`},
		"pat: user":                 {"ocp", func(a *providers.Account) { pat(a); a.Username = "u" }, `field "username": is not used by ocp with auth_method pat, but with auth_method=password; used are: environment, personal_access_token, expires_at`},
		"pat: environment":          {"ocp", func(a *providers.Account) { pat(a); a.Environment = "eu9" }, `field "environment": is not one of ocp; allowed: eu1, us1, us2, ca1, frankfurt`},
		"pat: line break":           {"ocp", func(a *providers.Account) { pat(a); a.PersonalAccessToken = secret(testPAT + "\n") }, `field "personal_access_token": ` + header},
		"tenant: space":             {"panta", func(a *providers.Account) { a.TenantID = "a b" }, `field "tenant_id": ` + header},
		"password: line break":      {"panta", func(a *providers.Account) { a.Password = secret(testPassword + "\n") }, `field "password": must not contain a line break; a value read from a file often ends in one`},
		"ocp: tenant":               {"ocp", func(a *providers.Account) { a.TenantID = "t" }, `field "tenant_id": is not used by ocp with auth_method password; used are: ` + ocpUses},
		"ocp: client secret":        {"ocp", func(a *providers.Account) { a.ClientSecret = secret(testClientSecret) }, `field "client_secret": is not used by ocp with auth_method password; used are: ` + ocpUses},
		"ocp: token_url":            {"ocp", func(a *providers.Account) { a.TokenURL = "https://h/t" }, `field "token_url": is not used by ocp with auth_method password; used are: ` + ocpUses},
		"panta: totp":               {"panta", totp(testTOTPSecret), `field "totp_secret": is not used by panta with auth_method password; used are: ` + pantaUses},
		"partner: user":             {"partner", func(a *providers.Account) { a.Username = "u" }, `field "username": is not used by partner with auth_method client_credentials; used are: base_url, client_id, client_secret, scopes, token_params, token_ttl, session_mark, request_timeout, ca_cert, tls_server_name, allow_http`},
		"url: not one":              {"keycloak", func(a *providers.Account) { a.BaseURL = "https://a b" }, `field "base_url": is not a URL; give one such as https://login.example.com`},
		"url: no scheme":            {"keycloak", func(a *providers.Account) { a.BaseURL = "login.example.com" }, `field "base_url": must start with https://`},
		"url: scheme":               {"oauth2", func(a *providers.Account) { a.TokenURL = "ftp://h/t" }, `field "token_url": must start with https://`},
		"url: http, an address":     {"keycloak", func(a *providers.Account) { a.BaseURL = "http://10.0.0.1" }, `field "base_url": must start with https://; plain http is for loopback hosts, or with allow_http=true`},
		"url: http":                 {"keycloak", func(a *providers.Account) { a.BaseURL = "http://login.example.com" }, `field "base_url": must start with https://; plain http is for loopback hosts, or with allow_http=true`},
		"url: user":                 {"oauth2", func(a *providers.Account) { a.RevocationURL = "https://u:" + testPAT + "@h/r" }, `field "revocation_url": must not hold a user name or password; there are fields for them`},
		"url: query":                {"ocp", func(a *providers.Account) { a.LogoutURL = "https://h/out?x=1" }, `field "logout_url": must not have a query (?)`},
		"url: fragment":             {"keycloak", func(a *providers.Account) { a.BaseURL = "https://h/#" }, `field "base_url": must not have a fragment (#)`},
		"url: host":                 {"keycloak", func(a *providers.Account) { a.BaseURL = "https:///auth" }, `field "base_url": has no host; give one such as https://login.example.com`},
		"url: dots":                 {"keycloak", func(a *providers.Account) { a.BaseURL = "https://login.example.com.." }, `field "base_url": has a host that ends in more than one dot`},
		"url: port":                 {"keycloak", func(a *providers.Account) { a.BaseURL = "https://h:70000" }, `field "base_url": has a port that is not from 1 to 65535`},
		"url: port 0":               {"keycloak", func(a *providers.Account) { a.BaseURL = "https://h:0" }, `field "base_url": has a port that is not from 1 to 65535`},
		"realm: slash":              {"keycloak", func(a *providers.Account) { a.Realm = "a/b" }, realm},
		"realm: dots":               {"keycloak", func(a *providers.Account) { a.Realm = ".." }, realm},
		"totp: not base32":          {"ocp", totp("GEZDGNB1"), noBase32},
		"totp: blank":               {"ocp", totp(" = "), noBase32},
		"totp: hotp":                {"ocp", totp("otpauth://hotp/a?secret=" + testTOTPSecret), `field "totp_secret": the otpauth:// URL must be of type totp (otpauth://totp/…)`},
		"totp: URL without secret":  {"ocp", totp("otpauth://totp/a?period=30"), `field "totp_secret": the otpauth:// URL has no secret`},
		"totp: URL with bad secret": {"ocp", totp("otpauth://totp/a?secret=1"), noBase32},
		"totp: URL digits":          {"ocp", totp("otpauth://totp/a?digits=7&secret=" + testTOTPSecret), `field "totp_secret": the otpauth:// URL has digits other than 6 or 8`},
		"totp: URL period":          {"ocp", totp("otpauth://totp/a?period=x&secret=" + testTOTPSecret), `field "totp_secret": the otpauth:// URL has a period that is not from 1 to 300 seconds`},
		"totp: URL period 0":        {"ocp", totp("otpauth://totp/a?period=0&secret=" + testTOTPSecret), `field "totp_secret": the otpauth:// URL has a period that is not from 1 to 300 seconds`},
		"totp: URL period 301":      {"ocp", totp("otpauth://totp/a?period=301&secret=" + testTOTPSecret), `field "totp_secret": the otpauth:// URL has a period that is not from 1 to 300 seconds`},
		"totp: URL algorithm":       {"ocp", totp("otpauth://totp/a?algorithm=MD5&secret=" + testTOTPSecret), `field "totp_secret": the otpauth:// URL has an algorithm other than SHA1, SHA256 and SHA512`},
		"totp: URL encoder":         {"ocp", totp("otpauth://totp/a?encoder=steam&secret=" + testTOTPSecret), `field "totp_secret": the otpauth:// URL asks for an encoder; only codes of digits can be made`},
		"totp: URL query broken":    {"ocp", totp("otpauth://totp/a?secret=%zz"), `field "totp_secret": the otpauth:// URL cannot be read; copy it again from the QR code, or give the base32 secret alone`},
		"totp: URL broken":          {"ocp", totp("otpauth://totp/%zz?secret=" + testTOTPSecret), `field "totp_secret": the otpauth:// URL cannot be read; copy it again from the QR code, or give the base32 secret alone`},
		"totp: one character":       {"ocp", totp("G"), partOfOne},
		"totp: 25 characters":       {"ocp", totp("GEZDGNBVGY3TQOJQGEZDGNBVG"), partOfOne},
		"totp: 27 characters":       {"ocp", totp("GEZDGNBVGY3TQOJQGEZDGNBVGY3"), partOfOne},
		"totp: 30 characters":       {"ocp", totp("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQO"), partOfOne},
		"totp: a password":          {"ocp", totp("PASSWORD"), tooShort},
		"totp: 75 bits":             {"ocp", totp("GEZDGNBVGY3TQOJ"), tooShort},
		"totp: URL too short":       {"ocp", totp("otpauth://totp/a?secret=AB"), tooShort},
		"totp: URL twice":           {"ocp", totp("otpauth://totp/a?digits=6&Digits=8&secret=" + testTOTPSecret), `field "totp_secret": the otpauth:// URL has "digits" twice, with two values`},
		"totp: migration":           {"ocp", totp("otpauth-migration://offline?data=CiA"), `field "totp_secret": is an export of an authenticator app (otpauth-migration://), which holds several accounts in a form of its own; give the base32 secret or the otpauth:// URL of this one`},
		"totp: steam":               {"ocp", totp("steam://" + testTOTPSecret), `field "totp_secret": is a secret of Steam, whose codes are no TOTP; none can be made`},
		"totp: hexadecimal":         {"ocp", totp("3132333435363738393031323334353637383930"), `field "totp_secret": is hexadecimal; give the same secret in base32, as an authenticator app takes it`},
		"totp: picture":             {"ocp", totp("https://chart.googleapis.com/chart?chl=otpauth"), `field "totp_secret": is the address or the data of a picture; give the otpauth:// URL that its QR code holds, or the base32 secret`},
		"totp: another address":     {"ocp", totp("ftp:x"), `field "totp_secret": must be base32 (letters A to Z and digits 2 to 7) as an authenticator app takes it, or an otpauth:// URL`},
		"username: blanks":          {"ocp", func(a *providers.Account) { a.Username = " paula " }, `field "username": must not have blanks before or after it`},
		"username: byte order mark": {"ocp", func(a *providers.Account) { a.Username = "\ufeffpaula" }, `field "username": must not have blanks before or after it`},
		"username: zero width":      {"ocp", func(a *providers.Account) { a.Username = "paula\u200b" }, `field "username": must not have blanks before or after it`},
		"client_id: blanks":         {"panta", func(a *providers.Account) { a.ClientID = "app " }, `field "client_id": must not have blanks before or after it`},
		"environment: blanks":       {"panta", func(a *providers.Account) { a.Environment = " dmo" }, `field "environment": must not have blanks before or after it`},
		"client_auth":               {"oauth2", func(a *providers.Account) { a.ClientAuth = "magic" }, `field "client_auth": is not known; use post, basic or private_key_jwt`},
		"client_auth of panta":      {"panta", func(a *providers.Account) { a.ClientAuth = "basic" }, `field "client_auth": is not used by panta with auth_method password; used are: ` + pantaUses},
		"no private_key":            {"oauth2", func(a *providers.Account) { a.ClientAuth, a.ClientSecret = providers.PrivateKeyJWT, secret("") }, `field "private_key": is required with client_auth=private_key_jwt`},
		"private_key: no PEM": {"oauth2", func(a *providers.Account) {
			a.ClientAuth, a.ClientSecret, a.PrivateKey = providers.PrivateKeyJWT, secret(""), secret("x")
		}, `field "private_key": must be a private key in PEM (-----BEGIN PRIVATE KEY-----); a file is given as private_key=@file.pem`},
		"private_key and secret": {"oauth2", func(a *providers.Account) { a.ClientAuth, a.PrivateKey = providers.PrivateKeyJWT, secret(key) }, `field "client_secret": is not used with client_auth=private_key_jwt; take it back with an empty one`},
		"private_key alone":      {"oauth2", func(a *providers.Account) { a.PrivateKey = secret(key) }, `field "private_key": is not used with client_auth=post; set client_auth=private_key_jwt, or take it back with an empty one`},
		"key_id alone":           {"oauth2", func(a *providers.Account) { a.KeyID = "k" }, `field "key_id": is not used with client_auth=post; it names a private_key`},
		"basic without secret":   {"oauth2", func(a *providers.Account) { a.ClientAuth, a.ClientSecret = "basic", secret("") }, `field "client_secret": is required with auth_method=password and client_auth=basic`},
		"service without secret": {"oauth2", func(a *providers.Account) {
			*a = providers.Account{AuthMethod: providers.ClientCredentials, TokenURL: a.TokenURL, ClientID: "app"}
		}, `field "client_secret": is required with auth_method=client_credentials and client_auth=post`},
		"token_params: ours":    {"oauth2", func(a *providers.Account) { a.TokenParams = map[string]string{"Grant_Type": "x"} }, `field "token_params": grant_type is sent by the engine itself; leave it out`},
		"token_params: blanks":  {"oauth2", func(a *providers.Account) { a.TokenParams = map[string]string{"client_id ": "x"} }, `field "token_params": has a name with a blank before or after it`},
		"token_params: twice":   {"oauth2", func(a *providers.Account) { a.TokenParams = map[string]string{"Audience": "x", "audience": "y"} }, `field "token_params": has audience twice, in two spellings`},
		"token_params: no name": {"oauth2", func(a *providers.Account) { a.TokenParams = map[string]string{"": "x"} }, `field "token_params": has a name that is empty, or a control character; give name=value`},
		"token_url: blank":      {"oauth2", func(a *providers.Account) { a.TokenURL = "https://h/t?a=b c" }, `field "token_url": must have only printable ASCII without blanks in its query; write other characters as %20`},
		"token_url: no ASCII":   {"oauth2", func(a *providers.Account) { a.TokenURL = "https://h/t?a=ä" }, `field "token_url": must have only printable ASCII without blanks in its query; write other characters as %20`},
		"timeout: negative":     {"ocp", func(a *providers.Account) { a.RequestTimeout = -1 }, timeout},
		"timeout: too long":     {"ocp", func(a *providers.Account) { a.RequestTimeout = 61 * time.Second }, timeout},
		"token_ttl: negative":   {"oauth2", func(a *providers.Account) { a.TokenTTL = -1 }, `field "token_ttl": must be at most ten years`},
		"token_ttl: too long":   {"oauth2", func(a *providers.Account) { a.TokenTTL = 3651 * 24 * time.Hour }, `field "token_ttl": must be at most ten years`},
		"ca_cert: text":         {"ocp", func(a *providers.Account) { a.CACert = "no PEM" }, onlyPEM},
		"ca_cert: key":          {"ocp", func(a *providers.Account) { a.CACert = cert + key }, onlyPEM},
		"ca_cert: broken":       {"ocp", func(a *providers.Account) { a.CACert = cert + cert[:60] }, onlyPEM},
		"ca_cert: no x509": {"ocp", func(a *providers.Account) {
			a.CACert = "-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n"
		}, onlyPEM},
		"tls_server_name":        {"ocp", func(a *providers.Account) { a.TLSServerName = "https://h" }, `field "tls_server_name": must be a bare host name such as login.example.com`},
		"scopes: offline_access": {"ocp", func(a *providers.Account) { a.Scopes = []string{"openid", "offline_access"} }, `field "scopes": offline_access is not allowed by ocp: its sessions escape the server's list and limit of sessions`},
		"scopes: space":          {"ocp", func(a *providers.Account) { a.Scopes = []string{"openid profile"} }, `field "scopes": scope number 1 is empty or has a character that is not allowed; separate scopes by commas, as in openid,email, each of printable ASCII without blanks, quotes and backslashes`},
	} {
		t.Run(name, func(t *testing.T) {
			a := account(c.provider)
			c.change(&a)
			p := oauth2.New(preset(t, c.provider), nil)
			_, err := p.Normalize(a)
			require.EqualError(t, err, c.want)
			assertNoSecret(t, err)
			_, err = p.Connect(a)
			assert.EqualError(t, err, c.want)
		})
	}
}

func TestNormalizeTakesWhatIsOnABound(t *testing.T) {
	for name, c := range map[string]struct {
		provider string
		change   func(*providers.Account)
	}{
		"the longest timeout":   {"ocp", func(a *providers.Account) { a.RequestTimeout = 60 * time.Second }},
		"the longest token_ttl": {"oauth2", func(a *providers.Account) { a.TokenTTL = 3650 * 24 * time.Hour }},
		"the first port":        {"keycloak", func(a *providers.Account) { a.BaseURL = "https://h:1" }},
		"the last port":         {"keycloak", func(a *providers.Account) { a.BaseURL = "https://h:65535" }},
		"the shortest secret":   {"ocp", func(a *providers.Account) { a.TOTPSecret = secret("GEZDGNBVGY3TQOJQ") }},
		"the shortest period": {"ocp", func(a *providers.Account) {
			a.TOTPSecret = secret("otpauth://totp/a?period=1&secret=" + testTOTPSecret)
		}},
		"the longest period": {"ocp", func(a *providers.Account) {
			a.TOTPSecret = secret("otpauth://totp/a?period=300&secret=" + testTOTPSecret)
		}},
	} {
		a := account(c.provider)
		c.change(&a)
		_, err := oauth2.New(preset(t, c.provider), nil).Normalize(a)
		require.NoError(t, err, name)
	}
}

func TestNormalizeTakesATOTPSecretInAnyUsualForm(t *testing.T) {
	p := oauth2.New(preset(t, "ocp"), nil)
	code := func(given string) string {
		rt := &roundTrip{status: 200, body: `{"access_token":"a","refresh_token":"r","expires_in":300}`}
		a := account("ocp")
		a.TOTPSecret = secret(given)
		got, err := p.Normalize(a)
		require.NoError(t, err, given)
		assert.Equal(t, given, got.TOTPSecret.Reveal(), "as given")
		_, err = connect(t, a, "ocp", rt).Login(t.Context(), providers.LoginRequest{CodeAt: time.Unix(1234567890, 0)})
		require.NoError(t, err)
		return form(t, rt)["otp"]
	}
	for _, given := range []string{
		testTOTPSecret, "gezd gnbv gy3t qojq gezd gnbv gy3t qojq", testTOTPSecret + "======", "GEZD-GNBV-GY3T-QOJQ-GEZD-GNBV-GY3T-QOJQ",
		"otpauth://totp/OCP:alice?secret=" + testTOTPSecret + "&issuer=OCP&digits=6&period=30&algorithm=SHA1",
		" otpauth://totp/OCP:alice?secret=" + testTOTPSecret + "\n", "otpauth://totp/a?SECRET=" + testTOTPSecret + "&Algorithm=HmacSHA1",
	} {
		assert.Equal(t, "005924", code(given), "RFC 6238 appendix B: %s", given)
	}
	const sha256 = "otpauth://totp/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA&digits=8&"
	for _, algorithm := range []string{"algorithm=SHA256", "Algorithm=SHA-256", "ALGORITHM=HmacSHA256", "algorithm=hmac-sha-256"} {
		assert.Equal(t, "91819424", code(sha256+algorithm), algorithm)
	}
}

func TestNormalizeTakesABundleOfCertificates(t *testing.T) {
	a := account("ocp")
	a.CACert = "# the first\n" + certificate(t) + "\n# the second\n" + certificate(t)
	_, err := oauth2.New(preset(t, "ocp"), nil).Normalize(a)
	require.NoError(t, err)
}

func TestNormalizeChangesNothingTheSecondTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"panta", "ocp", "partner", "keycloak", "oauth2"}).Draw(t, "provider")
		a := account(name)
		if rapid.Bool().Draw(t, "own base_url") && a.TokenURL == "" {
			a.BaseURL = rapid.SampledFrom([]string{"https://H/", "https://h:8443/auth//", "http://127.0.0.1:1"}).Draw(t, "base_url")
		}
		if name == "ocp" || name == "keycloak" {
			a.TOTPSecret = secret(rapid.SampledFrom([]string{"", "gezd gnbv gy3t qojq", "otpauth://totp/x?secret=gezdgnbvgy3tqojq&period=60"}).Draw(t, "totp_secret"))
		}
		a.Scopes = rapid.SliceOf(rapid.SampledFrom([]string{"a", "b", "c"})).Draw(t, "scopes")
		for _, p := range presets.All() {
			if p.Describe().Name != name {
				continue
			}
			once, err := p.Normalize(a)
			if err != nil {
				t.Fatal(err)
			}
			twice, err := p.Normalize(once)
			if err != nil {
				t.Fatal(err)
			}
			assert.Equal(t, once, twice)
		}
	})
}
