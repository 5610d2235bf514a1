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
	"slices"
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

// ClientAuth is how the client authenticates at the server's endpoints.
type ClientAuth string

// The client authentication methods.
const (
	// ClientSecretPost sends client_id and client_secret in the body, RFC 6749 section 2.3.1.
	ClientSecretPost ClientAuth = "post"
	// ClientSecretBasic sends them in the Authorization header, RFC 6749 section 2.3.1.
	ClientSecretBasic ClientAuth = "basic"
	// PrivateKeyJWT sends an assertion signed with the client's key, RFC 7523 section 2.2.
	PrivateKeyJWT ClientAuth = "private_key_jwt"
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
	ClientAuth   ClientAuth
	ClientSecret Secret
	PrivateKey   Secret // PEM, for PrivateKeyJWT
	KeyID        string // of PrivateKey, where the server wants it
	Username     string
	Password     Secret
	TenantID     string

	// TOTPSecret is base32 (RFC 4648) as an authenticator app takes it, or an
	// otpauth:// URL.
	TOTPSecret Secret

	PersonalAccessToken Secret
	ExpiresAt           time.Time // of PersonalAccessToken; zero: not known
	Scopes              []string
	TokenParams         map[string]string // further parameters of the login request
	TokenTTL            time.Duration     // life of a token whose answer does not say it
	SessionMark         *bool             // nil: true; false: no mark in the login's User-Agent
	SessionLimitMessage string            // part of the server's words for its session limit, where they cannot be known

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

// Method describes one authentication method of a provider.
type Method struct {
	Name AuthMethod
	// Fields are the rows of AccountFields that this method uses, without provider
	// and auth_method; Normalize refuses any other by name.
	Fields []Field
	// Mode and MaxSessions are the defaults; MaxSessions 0 means no limit.
	Mode        Mode
	MaxSessions int
	// Sessions: a login leaves a session at the server, or may do so: at some servers
	// client credentials come with a refresh token.
	Sessions bool
	// Services lists where a personal access token works; empty otherwise.
	Services []string
	// DeactivatedAfter is how long nobody may log in to an account before the server
	// deactivates it, and its personal access tokens with it; 0: for ever.
	DeactivatedAfter time.Duration
}

// Field returns the field of that name, if the method uses it.
func (m Method) Field(name string) (Field, bool) {
	i := slices.IndexFunc(m.Fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return Field{}, false
	}
	return m.Fields[i], true
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
	// cannot.
	AccountEndpoint string
	// UserNamesIgnoreCase: PAULA and paula are one user.
	UserNamesIgnoreCase bool
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
	// Connect normalizes the account and prepares its login. It sends nothing. The
	// error is a *FieldError.
	Connect(Account) (Upstream, error)
	// Client reaches sessions over a connection that Upstream.Connection returned,
	// maybe long ago. It sends nothing. The error is a *FieldError.
	Client(Connection) (Client, error)
	// Headers returns the HTTP headers that an application sends with the
	// token, ready to use. For a personal access token the argument is empty.
	Headers(Account, TokenResponse) map[string]string
}

// Capabilities says what an account's upstream can do, so that nobody has to
// try it out.
type Capabilities struct {
	// Sessions: a login leaves a session at the server, or may do so.
	Sessions bool
	// Logout: a session that has a refresh token can be ended with it.
	Logout bool
	// RevokesAccess: a session without a refresh token can be ended with its access
	// token (RFC 7009).
	RevokesAccess bool
	// OneTimeCode: the server may ask for a one-time code; LoginRequest.OTP is understood.
	OneTimeCode bool
	// GeneratesCode: the account has a TOTP secret, every login spends a code.
	GeneratesCode bool
	// CodePeriod is the length of a code's step; 0 where OneTimeCode is false.
	CodePeriod time.Duration
	// LoginPause is how long an account is to be left alone after the answer to a
	// login: the server may refuse the next one sooner. 0: not at all.
	LoginPause time.Duration
	// ListsSessions: the server may let an account list its sessions. Whether it
	// lets this one only a try can tell.
	ListsSessions bool
}

// Connection is how the sessions of an account are reached: everything that a
// refresh, a list and a logout need, and no credential of the user. A session
// keeps the connection that opened it, whatever becomes of its config.
type Connection struct {
	Provider   string
	AuthMethod AuthMethod

	TokenURL      string
	LogoutURL     string // Keycloak's logout endpoint; empty: there is none
	RevocationURL string // RFC 7009; empty: there is none
	SessionsURL   string // of Keycloak's Account REST API; empty: there is none

	ClientID     string
	ClientAuth   ClientAuth
	ClientSecret Secret
	PrivateKey   Secret
	KeyID        string

	TokenTTL       time.Duration
	RequestTimeout time.Duration
	CACert         string
	TLSServerName  string
}

// Equal says that both reach the same server as the same client in the same way.
func (c Connection) Equal(d Connection) bool {
	return c.SameClient(d) && c.ClientAuth == d.ClientAuth && c.KeyID == d.KeyID &&
		c.ClientSecret.Reveal() == d.ClientSecret.Reveal() && c.PrivateKey.Reveal() == d.PrivateKey.Reveal() &&
		c.TokenTTL == d.TokenTTL && c.RequestTimeout == d.RequestTimeout
}

// SameClient says that they differ at most in how the client authenticates, and in
// time limits: a session of one can be refreshed and ended over the other.
func (c Connection) SameClient(d Connection) bool {
	return c.Provider == d.Provider && c.AuthMethod == d.AuthMethod && c.ClientID == d.ClientID &&
		c.TokenURL == d.TokenURL && c.LogoutURL == d.LogoutURL && c.RevocationURL == d.RevocationURL && c.SessionsURL == d.SessionsURL &&
		c.CACert == d.CACert && c.TLSServerName == d.TLSServerName
}

// Client reaches the sessions of an account over one connection. Its methods make
// one call to the server each, never repeat it, and fail with an *Error whose
// Outcome says whether the call took effect. They end at the latest when ctx does.
// Safe for concurrent use; there is nothing to close.
type Client interface {
	// Capabilities tells what the methods below can do.
	Capabilities() Capabilities
	// Refresh exchanges a refresh token (RFC 6749 section 6). An answer without
	// a refresh token means that the old one stays good; it is returned filled in.
	Refresh(ctx context.Context, refreshToken Secret) (TokenResponse, error)
	// Logout ends the session. One that is gone already is a success.
	Logout(ctx context.Context, t SessionTokens) error
	// ListSessions returns all sessions that the server holds of the account, that
	// of the access token among them (Keycloak's Account REST API). The error's kind
	// is NotAllowed where the server refuses the token: the account may not use this
	// API, or the token's session has ended meanwhile.
	ListSessions(ctx context.Context, accessToken Secret) ([]ServerSession, error)
	// EndSession ends one listed session. One that is gone already is a success.
	EndSession(ctx context.Context, accessToken Secret, serverID string) error
}

// SessionTokens are what a session can be ended with: its refresh token, or, of a
// session that has none, its newest access token.
type SessionTokens struct{ Refresh, Access Secret }

// Upstream logs one account in. What Client says holds for Login too.
type Upstream interface {
	// Client reaches what Login opens, over Connection.
	Client
	Connection() Connection
	// Login opens a session. An error of Outcome Happened may come with a response
	// whose RefreshToken is set or, where RevokesAccess, its AccessToken: that
	// session is open but of no use, and the caller closes it. A request that cannot be sent as it is (an otp
	// that is no code, or not understood; a scope that is not allowed) fails
	// with a *FieldError before anything is sent.
	Login(ctx context.Context, r LoginRequest) (TokenResponse, error)
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
	// Params are further parameters of the request (token_params), those of the
	// account included.
	Params map[string]string
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
	// RefreshToken is empty where the server gave none.
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
