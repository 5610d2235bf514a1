package store

import (
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// The prefixes of the entries. Those that hold secrets are seal-wrapped.
const (
	ConfigPrefix  = "config/"
	RolePrefix    = "role/"
	ClaimPrefix   = "account/"
	RetiredPrefix = "retired/"
)

// Account is an upstream account as it was configured: the fields that were
// given, before defaults.
type Account struct {
	Provider            string        `json:"provider"`
	Environment         string        `json:"environment,omitempty"`
	AuthMethod          string        `json:"auth_method,omitempty"`
	BaseURL             string        `json:"base_url,omitempty"`
	Realm               string        `json:"realm,omitempty"`
	TokenURL            string        `json:"token_url,omitempty"`
	LogoutURL           string        `json:"logout_url,omitempty"`
	RevocationURL       string        `json:"revocation_url,omitempty"`
	ClientID            string        `json:"client_id,omitempty"`
	ClientSecret        string        `json:"client_secret,omitempty"`
	Username            string        `json:"username,omitempty"`
	Password            string        `json:"password,omitempty"`
	TenantID            string        `json:"tenant_id,omitempty"`
	TOTPSecret          string        `json:"totp_secret,omitempty"`
	TOTPDigits          int           `json:"totp_digits,omitempty"`
	TOTPPeriod          time.Duration `json:"totp_period,omitempty"`
	TOTPAlgorithm       string        `json:"totp_algorithm,omitempty"`
	PersonalAccessToken string        `json:"personal_access_token,omitempty"`
	Scopes              []string      `json:"scopes,omitempty"`
	RequestTimeout      time.Duration `json:"request_timeout,omitempty"`
	CACert              string        `json:"ca_cert,omitempty"`
	TLSServerName       string        `json:"tls_server_name,omitempty"`
	AllowHTTP           bool          `json:"allow_http,omitempty"`
}

// Config is an account and how it is used.
type Config struct {
	Account     Account       `json:"account"`
	SessionMode string        `json:"session_mode,omitempty"` // empty: the method's default
	MaxSessions *int          `json:"max_sessions,omitempty"` // nil: the method's default
	Linger      time.Duration `json:"linger,omitempty"`
	TTL         time.Duration `json:"ttl,omitempty"`
	MaxTTL      time.Duration `json:"max_ttl,omitempty"`
	KeepAlive   time.Duration `json:"keepalive_interval,omitempty"` // 0: the default
}

// Role is a narrower view of a config.
type Role struct {
	Config      string        `json:"config"`
	Scopes      []string      `json:"scopes,omitempty"`
	TTL         time.Duration `json:"ttl,omitempty"`
	MaxTTL      time.Duration `json:"max_ttl,omitempty"`
	SessionMode string        `json:"session_mode,omitempty"` // empty: the config's
}

// Claim says which configs name an account: one that logs in, and one with a
// personal access token. It counts only as far as those configs say the same.
type Claim struct {
	Config string `json:"config,omitempty"`
	Token  string `json:"token,omitempty"`
}

// Retired is what the logouts of an account without config need: no password.
type Retired struct {
	Account Account `json:"account"`
}

// Entries are the collections of configured things.
type Entries struct {
	Configs Collection[Config]
	Roles   Collection[Role]
	Claims  Collection[Claim]
	Retired Collection[Retired]
}

// NewEntries returns the collections in a storage.
func NewEntries(storage logical.Storage) Entries {
	return Entries{
		Configs: NewCollection[Config](storage, ConfigPrefix, 1),
		Roles:   NewCollection[Role](storage, RolePrefix, 1),
		Claims:  NewCollection[Claim](storage, ClaimPrefix, 1),
		Retired: NewCollection[Retired](storage, RetiredPrefix, 1),
	}
}
