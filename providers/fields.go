package providers

import (
	"maps"
	"reflect"
	"slices"
	"time"
)

// Type is what the value of a field is, and how JSON has it.
type Type int

// The types. Parse returns what stands in the comments.
const (
	Text     Type = iota // string
	List                 // []string
	Params               // map[string]string
	Number               // int
	Flag                 // bool
	Duration             // int, whole seconds
	Time                 // string, RFC 3339
)

// Field describes one field of what an operator writes.
type Field struct {
	Name     string
	Type     Type
	Required bool
	Secret   bool
	Default  string // as it would be written; empty: none
	Help     string
}

// Row is a row of a Table: a field, and where a T keeps its value.
type Row[T any] struct {
	Field

	At func(*T) any // a pointer to the value
}

// Table is the one place that says what the fields of a T are.
type Table[T any] []Row[T]

// Fields are the fields of the table.
func (t Table[T]) Fields() []Field {
	all := make([]Field, len(t))
	for i, row := range t {
		all[i] = row.Field
	}
	return all
}

// Lookup returns the row of a field.
func (t Table[T]) Lookup(name string) (Row[T], bool) {
	i := slices.IndexFunc(t, func(row Row[T]) bool { return row.Name == name })
	if i < 0 {
		return Row[T]{}, false
	}
	return t[i], true
}

// AccountFields is the table of the fields of an Account.
func AccountFields() Table[Account] {
	return Table[Account]{
		{Field{Name: "provider", Required: true, Help: "Kind of identity server: panta, ocp, partner, keycloak or oauth2. See providers/."}, func(a *Account) any { return &a.Provider }},
		{Field{Name: "environment", Help: "Environment of the provider, which sets base_url and realm: dmo for panta; eu1, us1, us2, ca1 or frankfurt for ocp."}, func(a *Account) any { return &a.Environment }},
		{Field{Name: "auth_method", Help: "How to log in: password, client_credentials or pat. The default is the first one that the provider lists."}, func(a *Account) any { return (*string)(&a.AuthMethod) }},
		{Field{Name: "base_url", Help: "Address of the identity server, without the path of its endpoints. Overrides the environment's."}, func(a *Account) any { return &a.BaseURL }},
		{Field{Name: "realm", Help: "Keycloak realm. Overrides the environment's."}, func(a *Account) any { return &a.Realm }},
		{Field{Name: "token_url", Help: "Token endpoint, RFC 6749 section 3.2. It may contain a query."}, func(a *Account) any { return &a.TokenURL }},
		{Field{Name: "logout_url", Help: "Logout endpoint of a Keycloak, if it is not the realm's standard one."}, func(a *Account) any { return &a.LogoutURL }},
		{Field{Name: "revocation_url", Help: "Revocation endpoint, RFC 7009. Without it the engine cannot end sessions or tokens. Do not set it for a Keycloak, use provider keycloak: up to Keycloak 26.0, one revocation ends all sessions of that user with that client."}, func(a *Account) any { return &a.RevocationURL }},
		{Field{Name: "client_id", Help: "OAuth 2.0 client identifier."}, func(a *Account) any { return &a.ClientID }},
		{Field{Name: "client_auth", Default: string(ClientSecretPost), Help: "How the client authenticates: post (client_secret in the body), basic (client_secret in the Authorization header, RFC 6749 section 2.3.1) or private_key_jwt (an assertion signed with private_key, RFC 7523). Set what the server expects: the engine does not try one after the other."}, func(a *Account) any { return (*string)(&a.ClientAuth) }},
		{Field{Name: "client_secret", Secret: true, Help: "Secret of the client. Not for public clients and clients with a private_key."}, func(a *Account) any { return &a.ClientSecret }},
		{Field{Name: "private_key", Secret: true, Help: "Private key of the client for client_auth=private_key_jwt, in PEM: RSA of at least 2048 bits (signs RS256), RSASSA-PSS (PS256), or P-256 (ES256)."}, func(a *Account) any { return &a.PrivateKey }},
		{Field{Name: "key_id", Help: "ID of private_key at the server (kid), if the server requires it."}, func(a *Account) any { return &a.KeyID }},
		{Field{Name: "username", Help: "Name of the user who logs in."}, func(a *Account) any { return &a.Username }},
		{Field{Name: "password", Secret: true, Help: "Password of that user."}, func(a *Account) any { return &a.Password }},
		{Field{Name: "tenant_id", Help: "Panta's client or tenant id, sent with each API request as X-CLIENT-ID."}, func(a *Account) any { return &a.TenantID }},
		{Field{Name: "totp_secret", Secret: true, Help: "Secret of the user's authenticator app, from which one-time codes are calculated. In base32 for codes with SHA1, 6 digits and 30 s; for other codes the otpauth:// URL of the QR code. Without it a person types each code as otp."}, func(a *Account) any { return &a.TOTPSecret }},
		{Field{Name: "personal_access_token", Secret: true, Help: "OCP's personal access token, created in OCP under Access Management, Personal Tokens."}, func(a *Account) any { return &a.PersonalAccessToken }},
		{Field{Name: "expires_at", Type: Time, Help: "When the personal access token ends, as its owner chose in OCP: RFC 3339, such as 2027-06-30T00:00:00Z. No lease outlives it; reads warn from 14 days before."}, func(a *Account) any { return &a.ExpiresAt }},
		{Field{Name: "scopes", Type: List, Help: "Scopes to request. offline_access is allowed only with provider oauth2: Keycloak neither lists offline sessions nor counts them towards its session limit."}, func(a *Account) any { return &a.Scopes }},
		{Field{Name: "token_params", Type: Params, Help: "Additional parameters of the login request, such as audience or resource: name=value, or a JSON object of strings. Not for secrets, because a read of the config returns them."}, func(a *Account) any { return &a.TokenParams }},
		{Field{Name: "token_ttl", Type: Duration, Help: "Lifetime of tokens that do not tell theirs: the answer has no expires_in above 0, and the token is not a JWT with iat and exp."}, func(a *Account) any { return &a.TokenTTL }},
		{Field{Name: "session_mark", Type: Flag, Default: "true", Help: "Whether the User-Agent of logins contains a mark. By the mark the engine finds the session of a login whose answer was lost in the server's list. false if a firewall before the server blocks bots; such a session then counts until the server must have dropped it."}, func(a *Account) any { return &a.SessionMark }},
		{Field{Name: "session_limit_message", Help: "Part of the error message with which the server refuses a login because of its session limit, if the engine does not recognize that message. Not case-sensitive."}, func(a *Account) any { return &a.SessionLimitMessage }},
		{Field{Name: "request_timeout", Type: Duration, Default: "10s", Help: "Time limit of one call to the server, at most 60s."}, func(a *Account) any { return &a.RequestTimeout }},
		{Field{Name: "ca_cert", Help: "Certificates of authorities to trust in addition to the system's, in PEM."}, func(a *Account) any { return &a.CACert }},
		{Field{Name: "tls_server_name", Help: "Name that the server's certificate must have, if it is not the host of its address."}, func(a *Account) any { return &a.TLSServerName }},
		{Field{Name: "allow_http", Type: Flag, Default: "false", Help: "Allow http addresses other than loopback. Passwords and tokens then cross the network unencrypted."}, func(a *Account) any { return &a.AllowHTTP }},
	}
}

// Put sets the field of t to a value that Parse returned.
func (r Row[T]) Put(t *T, value any) {
	switch p := r.At(t).(type) {
	case *string:
		*p = value.(string)
	case *Secret:
		*p = NewSecret(value.(string))
	case *[]string:
		*p = append([]string(nil), value.([]string)...)
	case *map[string]string:
		*p = nil
		if params := value.(map[string]string); len(params) > 0 {
			*p = maps.Clone(params)
		}
	case **int:
		n := value.(int)
		*p = &n
	case *bool:
		*p = value.(bool)
	case **bool:
		flag := value.(bool)
		*p = &flag
	case *time.Duration:
		*p = time.Second * time.Duration(value.(int)) //nolint:durationcheck // value is a number of seconds
	case *time.Time:
		*p, _ = time.Parse(time.RFC3339, value.(string)) // Parse has checked it
	}
}

// Value returns the field of t as Parse does. Of a secret it is the value all the same.
func (r Row[T]) Value(t *T) any {
	switch p := r.At(t).(type) {
	case *string:
		return *p
	case *Secret:
		return p.Reveal()
	case *[]string:
		return append([]string{}, *p...)
	case *map[string]string:
		params := map[string]string{}
		maps.Copy(params, *p)
		return params
	case **int:
		if *p == nil {
			return 0
		}
		return **p
	case *bool:
		return *p
	case **bool:
		return *p != nil && **p
	case *time.Duration:
		return int(*p / time.Second)
	case *time.Time:
		if p.IsZero() {
			return ""
		}
		return p.UTC().Format(time.RFC3339)
	}
	return nil
}

// Given says that the field of t has a value.
func (r Row[T]) Given(t *T) bool { return !reflect.ValueOf(r.At(t)).Elem().IsZero() }
