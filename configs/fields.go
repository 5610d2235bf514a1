package configs

import (
	"reflect"
	"slices"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// Change is the fields that a write gives, by their names. A value is a string,
// []string, int, bool or time.Duration. An empty one takes the field back.
type Change map[string]any

// fieldsOfUse say how an account is used, whatever its provider.
func fieldsOfUse() []string {
	return []string{"session_mode", "max_sessions", "linger", "ttl", "max_ttl"}
}

// at points to a field of an entry; nil: there is no such field.
func at(e *store.Config, field string) any {
	a := &e.Account
	switch field {
	case "provider":
		return &a.Provider
	case "environment":
		return &a.Environment
	case "auth_method":
		return &a.AuthMethod
	case "base_url":
		return &a.BaseURL
	case "realm":
		return &a.Realm
	case "token_url":
		return &a.TokenURL
	case "logout_url":
		return &a.LogoutURL
	case "revocation_url":
		return &a.RevocationURL
	case "client_id":
		return &a.ClientID
	case "client_secret":
		return &a.ClientSecret
	case "username":
		return &a.Username
	case "password":
		return &a.Password
	case "tenant_id":
		return &a.TenantID
	case "totp_secret":
		return &a.TOTPSecret
	case "totp_digits":
		return &a.TOTPDigits
	case "totp_period":
		return &a.TOTPPeriod
	case "totp_algorithm":
		return &a.TOTPAlgorithm
	case "personal_access_token":
		return &a.PersonalAccessToken
	case "scopes":
		return &a.Scopes
	case "request_timeout":
		return &a.RequestTimeout
	case "ca_cert":
		return &a.CACert
	case "tls_server_name":
		return &a.TLSServerName
	case "allow_http":
		return &a.AllowHTTP
	case "session_mode":
		return &e.SessionMode
	case "max_sessions":
		return &e.MaxSessions
	case "linger":
		return &e.Linger
	case "ttl":
		return &e.TTL
	case "max_ttl":
		return &e.MaxTTL
	case keepAliveField:
		return &e.KeepAlive
	}
	return nil
}

// apply puts the given fields into an entry.
func (change Change) apply(e *store.Config) error {
	for field, value := range change {
		fits := false
		switch p := at(e, field).(type) {
		case *string:
			*p, fits = value.(string)
		case *[]string:
			*p, fits = value.([]string)
		case *bool:
			*p, fits = value.(bool)
		case *int:
			*p, fits = value.(int)
		case **int:
			var n int
			n, fits = value.(int)
			*p = &n
		case *time.Duration:
			*p, fits = value.(time.Duration)
		}
		if !fits {
			return refuse(field, "is not a field of a config, or its value is of another type")
		}
	}
	return nil
}

// identity is the given fields that say which account it is.
func (change Change) identity() []string {
	var given []string
	for _, field := range []string{"provider", "environment", "auth_method", "base_url", "realm", "token_url", "client_id", "username"} {
		if _, ok := change[field]; ok {
			given = append(given, field)
		}
	}
	return given
}

func accountOf(a store.Account) providers.Account {
	return providers.Account{
		Provider:            a.Provider,
		Environment:         a.Environment,
		AuthMethod:          providers.AuthMethod(a.AuthMethod),
		BaseURL:             a.BaseURL,
		Realm:               a.Realm,
		TokenURL:            a.TokenURL,
		LogoutURL:           a.LogoutURL,
		RevocationURL:       a.RevocationURL,
		ClientID:            a.ClientID,
		ClientSecret:        providers.NewSecret(a.ClientSecret),
		Username:            a.Username,
		Password:            providers.NewSecret(a.Password),
		TenantID:            a.TenantID,
		TOTPSecret:          providers.NewSecret(a.TOTPSecret),
		TOTPDigits:          a.TOTPDigits,
		TOTPPeriod:          a.TOTPPeriod,
		TOTPAlgorithm:       a.TOTPAlgorithm,
		PersonalAccessToken: providers.NewSecret(a.PersonalAccessToken),
		Scopes:              slices.Clone(a.Scopes),
		RequestTimeout:      a.RequestTimeout,
		CACert:              a.CACert,
		TLSServerName:       a.TLSServerName,
		AllowHTTP:           a.AllowHTTP,
	}
}

func entryOf(a providers.Account) store.Account {
	return store.Account{
		Provider:            a.Provider,
		Environment:         a.Environment,
		AuthMethod:          string(a.AuthMethod),
		BaseURL:             a.BaseURL,
		Realm:               a.Realm,
		TokenURL:            a.TokenURL,
		LogoutURL:           a.LogoutURL,
		RevocationURL:       a.RevocationURL,
		ClientID:            a.ClientID,
		ClientSecret:        a.ClientSecret.Reveal(),
		Username:            a.Username,
		Password:            a.Password.Reveal(),
		TenantID:            a.TenantID,
		TOTPSecret:          a.TOTPSecret.Reveal(),
		TOTPDigits:          a.TOTPDigits,
		TOTPPeriod:          a.TOTPPeriod,
		TOTPAlgorithm:       a.TOTPAlgorithm,
		PersonalAccessToken: a.PersonalAccessToken.Reveal(),
		Scopes:              a.Scopes,
		RequestTimeout:      a.RequestTimeout,
		CACert:              a.CACert,
		TLSServerName:       a.TLSServerName,
		AllowHTTP:           a.AllowHTTP,
	}
}

// loginDiffers says whether a login would go otherwise: to another place, over
// another connection, or with other credentials or scopes.
func loginDiffers(a, b providers.Account) bool {
	return !reflect.DeepEqual(loginPart(a), loginPart(b))
}

func loginPart(a providers.Account) providers.Account {
	a.Environment, a.BaseURL, a.Realm = "", "", "" // they are in TokenURL
	a.LogoutURL, a.RevocationURL, a.TenantID = "", "", ""
	a.RequestTimeout = 0
	return a
}

// accountID is the account's id; empty for a personal access token that names
// no user, which shares its account with nobody that we know.
func accountID(a providers.Account) sessions.AccountID {
	if a.Principal() == "" {
		return ""
	}
	return sessions.AccountOf(a)
}

// withoutLogin leaves what a logout needs.
func withoutLogin(a store.Account) store.Account {
	a.Password, a.TOTPSecret, a.PersonalAccessToken = "", "", ""
	a.TOTPDigits, a.TOTPPeriod, a.TOTPAlgorithm = 0, 0, ""
	return a
}
