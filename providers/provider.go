// Package providers talks to identity servers. It knows nothing of Vault: it
// takes an Account, logs it in, refreshes and logs out, and returns domain
// types. What a login may cost, and when one happens, is decided elsewhere
// (package sessions); a provider does each thing that it is asked exactly once
// and never repeats it.
//
// Start with Provider: Describe says what can be configured, Normalize checks
// an account and fills in its defaults, Connect returns the Upstream that
// reaches it.
package providers

import (
	"context"
	"time"
)

// AuthMethod is how an account proves who it is.
type AuthMethod string

// The authentication methods. Each provider allows its own subset.
const (
	// Password is the resource owner password credentials grant, RFC 6749 section 4.3.
	Password AuthMethod = "password"
	// ClientCredentials is the client credentials grant, RFC 6749 section 4.4.
	ClientCredentials AuthMethod = "client_credentials"
	// PersonalAccessToken is OCP's static token; nothing logs in for it.
	PersonalAccessToken AuthMethod = "pat"
)

// Account is one upstream account: where it logs in and with what. The zero
// value of a field means "not given". Field names in errors and descriptions
// are those of the config path ("client_id").
type Account struct {
	Provider    string
	Environment string
	AuthMethod  AuthMethod

	BaseURL       string
	Realm         string
	TokenURL      string
	LogoutURL     string
	RevocationURL string

	ClientID     string
	ClientSecret Secret
	Username     string
	Password     Secret
	TenantID     string

	// TOTPSecret is base32 (RFC 4648) as an authenticator app takes it, or an
	// otpauth:// URL; Normalize turns the latter into base32 and the TOTP fields.
	TOTPSecret    Secret
	TOTPDigits    int           // 6 or 8
	TOTPPeriod    time.Duration // whole seconds
	TOTPAlgorithm string        // SHA1, SHA256 or SHA512

	PersonalAccessToken Secret
	Scopes              []string

	RequestTimeout time.Duration // of one call to the server
	CACert         string        // PEM, added to the system's roots
	TLSServerName  string
	AllowHTTP      bool
}

// Principal is who logs in: the user name, or the client id where the grant
// has no user. Together with TokenURL it says which account this is.
func (a Account) Principal() string {
	if a.AuthMethod == ClientCredentials {
		return a.ClientID
	}
	return a.Username
}

// Mode says how the leases of an account use its sessions.
type Mode string

// The session modes.
const (
	// Dedicated opens a session for each lease.
	Dedicated Mode = "dedicated"
	// Shared lets any number of leases use one session.
	Shared Mode = "shared"
)

// Environment is a named preset of endpoints of a provider.
type Environment struct {
	Name    string
	BaseURL string
	Realm   string
}

// Field describes one config field of an authentication method.
type Field struct {
	Name     string
	Required bool
	Secret   bool
	Default  string // as it would be written; empty: none
	Help     string
}

// Method describes one authentication method of a provider.
type Method struct {
	Name AuthMethod
	// Fields are all fields of Account that this method uses, without provider
	// and auth_method; Normalize refuses any other by name. What the engine
	// itself makes of every config (session_mode, ttl, …) is not listed.
	Fields []Field
	// Mode and MaxSessions are the defaults; MaxSessions 0 means no limit.
	Mode        Mode
	MaxSessions int
	// Sessions: a login leaves a session at the server. False for client
	// credentials, which have nothing to refresh or log out.
	Sessions bool
	// Services lists where a personal access token works; empty otherwise.
	Services []string
	// DeactivatedAfter is how long nobody may log in to the owner of a personal
	// access token before the server deactivates the account; 0: for ever.
	DeactivatedAfter time.Duration
}

// Description is what can be configured for a provider.
type Description struct {
	Name         string
	Summary      string
	Environments []Environment
	// Endpoints are templates such as "{base_url}/api/oauth/token".
	TokenEndpoint  string
	LogoutEndpoint string // empty: none
	// AccountEndpoint is where sessions are listed and ended; empty: the server
	// cannot, and no upstream of this provider is a SessionLister.
	AccountEndpoint string
	// Methods, the default one first.
	Methods []Method
}

// Method returns the description of the named method.
func (d Description) Method(name AuthMethod) (Method, bool) {
	for _, m := range d.Methods {
		if m.Name == name {
			return m, true
		}
	}
	return Method{}, false
}

// Provider is one family of identity server.
type Provider interface {
	Describe() Description
	// Normalize fills in defaults and endpoints and checks every field. The
	// error is a *FieldError that names the field and says what is allowed; it
	// never repeats a value. A normalized account normalizes to itself. To store
	// and change an account, keep it as it was given: in a normalized one the
	// base_url of its old environment would win over a new environment.
	Normalize(Account) (Account, error)
	// Connect normalizes the account and prepares the HTTP client that reaches
	// it: its own CA and timeouts. It sends nothing. The error is a *FieldError.
	// To log in the owner of a personal access token, connect the account
	// without the token and with AuthMethod Password.
	Connect(Account) (Upstream, error)
	// Headers returns the HTTP headers that an application sends with the
	// token, ready to use. For a personal access token the argument is empty.
	Headers(Account, TokenResponse) map[string]string
}

// Capabilities says what an account's upstream can do, so that nobody has to
// try it out.
type Capabilities struct {
	// Sessions: a login leaves a session at the server, with a refresh token.
	Sessions bool
	// Logout: that session can be ended. Where false, it ends by age alone and
	// Logout is not to be called.
	Logout bool
	// OneTimeCode: the server may ask for a one-time code; LoginRequest.OTP is understood.
	OneTimeCode bool
	// GeneratesCode: the account has a TOTP secret, every login spends a code.
	GeneratesCode bool
	// CodePeriod is the length of a code's step; 0 where OneTimeCode is false.
	CodePeriod time.Duration
	// LoginPause is how long an account is to be left alone after the answer to a
	// login: the server may refuse the next one sooner. 0: not at all.
	LoginPause time.Duration
	// ListsSessions: the upstream is a SessionLister. Whether the server lets this
	// account list its sessions only a try can tell.
	ListsSessions bool
}

// Upstream reaches one account. Its methods make one call to the server each,
// never repeat it, and fail with an *Error whose Outcome says whether the call
// took effect. They end at the latest when ctx does. Safe for concurrent use;
// there is nothing to close.
type Upstream interface {
	// Capabilities tells what the methods below can do for this account. The
	// upstream of a personal access token can do nothing: its calls all fail.
	Capabilities() Capabilities
	// Login opens a session. An error of Outcome Happened may come with a
	// response whose RefreshToken is set: that session is open but of no use,
	// and the caller closes it. A request that cannot be sent as it is (an otp
	// that is no code, or not understood; a scope that is not allowed) fails
	// with a *FieldError before anything is sent.
	Login(ctx context.Context, r LoginRequest) (TokenResponse, error)
	// Refresh exchanges a refresh token (RFC 6749 section 6). An answer without
	// a refresh token means that the old one stays good; it is returned filled in.
	Refresh(ctx context.Context, refreshToken Secret) (TokenResponse, error)
	// Logout ends the session. One that is gone already is a success.
	Logout(ctx context.Context, refreshToken Secret) error
}

// SessionLister is an Upstream whose server can tell an account's sessions and
// end one by its id: Keycloak's Account REST API. Its calls are made with an
// access token of the account, and keep the rules of Upstream's.
type SessionLister interface {
	// ListSessions returns all sessions that the server holds of the account,
	// that of the access token among them. The error's kind is NotAllowed where
	// the server refuses the token: the account may not use this API, or the
	// token's session has ended meanwhile.
	ListSessions(ctx context.Context, accessToken Secret) ([]ServerSession, error)
	// EndSession ends one session. One that is gone already is a success.
	EndSession(ctx context.Context, accessToken Secret, serverID string) error
}

// ServerSession is a session as the server lists it.
type ServerSession struct {
	// ID is the server's own: the sid of its tokens (TokenResponse.ServerID).
	ID string
	// UserAgent is what the server kept of the login's: our mark, where it kept it.
	UserAgent string
	// Clients are the OAuth 2.0 clients that use it.
	Clients   []string
	IPAddress string
	// StartedAt and LastAccess are by the server's clock, to the second;
	// ExpiresAt is the end of its maximum age.
	StartedAt, LastAccess, ExpiresAt time.Time
	// Current: it is the session of the access token that was used.
	Current bool
}

// LoginRequest is what varies from one login of an account to the next.
type LoginRequest struct {
	// Scopes to ask for; where empty, those of the account.
	Scopes []string
	// UserAgent carries the mark of the session, by which Keycloak lists it.
	UserAgent string
	// OTP is a one-time code typed by a person, 6 or 8 digits. Where it is empty
	// and the account has a TOTP secret, the code is generated for the instant
	// CodeAt, which then must be set.
	OTP    Secret
	CodeAt time.Time
}

// TokenResponse is the server's answer to a login or a refresh, RFC 6749
// section 5.1, checked: AccessToken is set and fit for a header, ExpiresIn is
// positive and at most ten years.
type TokenResponse struct {
	AccessToken Secret
	TokenType   string // as a header wants it: "Bearer"
	// ExpiresIn is the life of the access token, counted from receipt: expires_in,
	// or what lies between the token's claims iat and exp, if that is less.
	ExpiresIn time.Duration
	// RefreshToken is empty where the grant has none. A login at a server whose
	// logout needs it fails without it, with outcome Happened.
	RefreshToken Secret
	// RefreshExpiresIn is how long the server keeps the session if it is left
	// alone (Keycloak's refresh_expires_in); 0 where it did not say.
	RefreshExpiresIn time.Duration
	// ServerID is the server's id of the session: Keycloak's session_state, else
	// the access token's claim sid; empty where neither is there. It is not
	// verified: it only serves to find the session in the server's own list.
	ServerID string
	// ServerTime is the server's clock when it answered, to the second: the
	// header Date, else the access token's claim iat; zero where neither is there.
	ServerTime time.Time
	// Scope is space-separated, RFC 6749 section 3.3. Where the server did not
	// say, it is what the access token itself claims, else what was asked for.
	Scope string
}
