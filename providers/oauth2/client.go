// Package oauth2 is a client for OAuth 2.0 token endpoints (RFC 6749) and for
// the ways to end a session that Keycloak and RFC 7009 offer. There is one
// client; in what servers differ is data, a Preset.
//
// Three rules shape it. A call is one request: nothing here repeats one, and
// the HTTP library is kept from it (see http.go). Every failure says whether the
// call took effect at the server (see classify.go). And nothing that a server
// sends gets into an error but its error code and description, and these only where
// they repeat nothing that we sent (see echo.go).
package oauth2

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// defaultUserAgent is sent where no login marks its session with another.
const defaultUserAgent = "vault-plugin-secrets-panta"

// Provider makes a providers.Provider of a preset.
type Provider struct {
	preset    Preset
	transport http.RoundTripper
}

var _ providers.Provider = (*Provider)(nil)

// New returns the provider that a preset describes. Tests pass a transport that
// all its accounts then use, whatever their ca_cert; nil is the real one, which
// each account has for itself. One that fails before it has read the whole of
// a request's body, or with the dialler's error, has not acted on the request.
func New(p Preset, transport http.RoundTripper) *Provider {
	return &Provider{preset: p, transport: transport}
}

// Describe implements providers.Provider.
func (p *Provider) Describe() providers.Description { return p.preset.Description }

// Connect implements providers.Provider. A personal access token needs no
// connection; its Upstream has no Capabilities, and its calls fail.
func (p *Provider) Connect(a providers.Account) (providers.Upstream, error) {
	a, err := p.Normalize(a)
	if err != nil {
		return nil, err
	}
	connection := providers.Connection{
		Provider:       a.Provider,
		AuthMethod:     a.AuthMethod,
		TokenURL:       a.TokenURL,
		LogoutURL:      a.LogoutURL,
		RevocationURL:  a.RevocationURL,
		ClientID:       a.ClientID,
		ClientAuth:     a.ClientAuth,
		ClientSecret:   a.ClientSecret,
		PrivateKey:     a.PrivateKey,
		KeyID:          a.KeyID,
		TokenTTL:       a.TokenTTL,
		RequestTimeout: a.RequestTimeout,
		CACert:         a.CACert,
		TLSServerName:  a.TLSServerName,
	}
	if a.AuthMethod == providers.Password && p.preset.AccountEndpoint != "" {
		connection.SessionsURL = place(p.preset.AccountEndpoint, a)
	}
	c, err := p.client(connection)
	return &upstream{client: c, account: a}, err
}

// Client implements providers.Provider.
func (p *Provider) Client(c providers.Connection) (providers.Client, error) { return p.client(c) }

func (p *Provider) client(connection providers.Connection) (*client, error) {
	method, ok := p.preset.Method(connection.AuthMethod)
	if !ok {
		return nil, refuse("auth_method", "is not one of "+p.preset.Name)
	}
	c := &client{connection: connection, preset: p.preset, method: method, rules: p.preset.rules(), transport: p.transport}
	if connection.ClientAuth == providers.PrivateKeyJWT {
		var err error
		if c.key, err = parseSigningKey(connection.PrivateKey.Reveal()); err != nil {
			return nil, refuse("private_key", err.Error())
		}
	}
	if c.transport == nil {
		c.transport = newTransport(connection)
	}
	return c, nil
}

// Headers implements providers.Provider. The account is a normalized one.
func (p *Provider) Headers(a providers.Account, t providers.TokenResponse) map[string]string {
	if p.preset.Headers == nil {
		return Bearer(a, t)
	}
	return p.preset.Headers(a, t)
}

// client is the providers.Client of one connection.
type client struct {
	connection providers.Connection
	preset     Preset
	method     providers.Method
	rules      []FailureRule
	key        signingKey // for private_key_jwt
	transport  http.RoundTripper
}

// upstream is the providers.Upstream of one account.
type upstream struct {
	*client
	account providers.Account // normalized
}

var _ providers.Upstream = (*upstream)(nil)

// Connection implements providers.Upstream.
func (u *upstream) Connection() providers.Connection { return u.connection }

// Capabilities implements providers.Client.
func (c *client) Capabilities() providers.Capabilities {
	can := providers.Capabilities{
		Sessions:      c.method.Sessions,
		Logout:        c.method.Sessions && c.logoutURL() != "",
		RevokesAccess: c.method.Sessions && c.connection.RevocationURL != "",
		ListsSessions: c.connection.SessionsURL != "",
		OneTimeCode:   uses(c.method, "totp_secret"),
	}
	if c.method.Name == providers.Password {
		can.LoginPause = c.preset.LoginPause
	}
	return can
}

// Capabilities implements providers.Client.
func (u *upstream) Capabilities() providers.Capabilities {
	can := u.client.Capabilities()
	if can.OneTimeCode {
		can.GeneratesCode = !u.account.TOTPSecret.Empty()
		can.CodePeriod = codePeriod(u.account)
	}
	return can
}

// logoutURL is where sessions are ended, by Keycloak's way or by RFC 7009: no preset
// has both; empty: they cannot be.
func (c *client) logoutURL() string {
	return cmp.Or(c.connection.LogoutURL, c.connection.RevocationURL)
}

// Login implements providers.Upstream by the password grant (RFC 6749 section
// 4.3) or the client credentials grant (section 4.4).
func (u *upstream) Login(ctx context.Context, r providers.LoginRequest) (providers.TokenResponse, error) {
	scopes, err := providers.NormalizeScopes(r.Scopes)
	if err != nil {
		return providers.TokenResponse{}, err
	}
	code, origin, err := u.code(r)
	if err != nil {
		return providers.TokenResponse{}, err
	}
	try := u.attempt(Login, u.account.TokenURL)
	try.code, try.limitMessage = origin, u.account.SessionLimitMessage
	try.marked = u.account.SessionMark != nil && *u.account.SessionMark
	further := u.account.TokenParams
	if len(r.Params) > 0 {
		further = r.Params
	}
	params := map[string]string{}
	for name, value := range further {
		params[name] = value
		try.echo.addWords(name, value)
	}
	params["grant_type"] = string(u.method.Name) // they have the grants' names
	if u.method.Name == providers.Password {
		params["username"] = u.account.Username
		params["password"] = u.account.Password.Reveal()
	}
	if len(scopes) == 0 {
		scopes = u.account.Scopes
	}
	try.echo.addWords(scopes...)
	if len(scopes) > 0 {
		params["scope"] = strings.Join(scopes, " ")
	}
	if origin != noCode {
		params["otp"] = code.Reveal()
	}
	if r.UserAgent == "" {
		r.UserAgent = defaultUserAgent
	}
	return u.token(ctx, try, params, r.UserAgent)
}

// Refresh implements providers.Client by RFC 6749 section 6.
func (c *client) Refresh(ctx context.Context, refreshToken providers.Secret) (providers.TokenResponse, error) {
	params := map[string]string{"grant_type": "refresh_token", "refresh_token": refreshToken.Reveal()}
	return c.token(ctx, c.attempt(Refresh, c.connection.TokenURL), params, defaultUserAgent)
}

// Logout implements providers.Client. Keycloak answers 204 for a session that
// is gone already, and RFC 7009 section 2.2 has 200 for a token that is not known.
func (c *client) Logout(ctx context.Context, t providers.SessionTokens) error {
	revokes := c.Capabilities().RevokesAccess
	params := map[string]string{}
	switch {
	case c.connection.LogoutURL != "" && !t.Refresh.Empty():
		params["refresh_token"] = t.Refresh.Reveal()
	case revokes && !t.Refresh.Empty():
		params["token"], params["token_type_hint"] = t.Refresh.Reveal(), "refresh_token"
	case revokes && !t.Access.Empty():
		params["token"], params["token_type_hint"] = t.Access.Reveal(), "access_token"
	default:
		return c.attempt(Logout, c.connection.TokenURL).cannotBeMade()
	}
	try := c.attempt(Logout, c.logoutURL())
	a, failure := c.post(ctx, try, params, false, defaultUserAgent)
	if failure != nil {
		return failure
	}
	return try.loggedOut(a)
}

// token makes a call to the token endpoint and reads its answer.
func (c *client) token(ctx context.Context, try *attempt, params map[string]string, userAgent string) (providers.TokenResponse, error) {
	a, failure := c.post(ctx, try, params, c.preset.JSON, userAgent)
	if failure != nil {
		return providers.TokenResponse{}, failure
	}
	got, failure := try.tokens(a)
	if !try.serverTime.IsZero() {
		got.ServerTime = try.serverTime
	}
	if !c.method.Sessions { // the partner API documents neither refresh nor logout
		got.RefreshToken, got.ServerID = providers.Secret{}, ""
	}
	switch {
	case !got.RefreshToken.Empty():
	case try.op == Refresh && (failure == nil || failure.Outcome == providers.Happened):
		got.RefreshToken = providers.NewSecret(params["refresh_token"])
	case try.op == Login && failure == nil && c.needsRefreshToken():
		failure = try.failed(providers.Misconfigured, providers.Happened, "the answer has no refresh_token, without which its session cannot be ended",
			"have refresh tokens switched on for client_id at the identity server (Keycloak: Use refresh tokens)")
	}
	if failure != nil {
		return c.leftBehind(try, got, failure), failure
	}
	if got.Scope == "" {
		got.Scope = params["scope"]
	}
	return got, nil
}

// needsRefreshToken: a password login at a Keycloak opens a session that only its
// refresh token surely ends. Client credentials open one where they come with one.
func (c *client) needsRefreshToken() bool {
	return c.connection.LogoutURL != "" && c.method.Name == providers.Password
}

// leftBehind returns the tokens that a failed call left at the server and that can end
// there what it opened. A login of no use that left nothing that anybody could close
// or count is the same as none.
func (c *client) leftBehind(try *attempt, got providers.TokenResponse, failure *providers.Error) providers.TokenResponse {
	var left providers.TokenResponse
	switch can := c.Capabilities(); {
	case !got.RefreshToken.Empty() && (can.Logout || try.op == Refresh):
		left.RefreshToken = got.RefreshToken
	case got.RefreshToken.Empty() && can.RevokesAccess:
		left.AccessToken = got.AccessToken
	}
	if failure.Outcome == providers.Happened && try.op == Login &&
		left.RefreshToken.Empty() && left.AccessToken.Empty() && !c.needsRefreshToken() {
		failure.Outcome = providers.DidNotHappen
	}
	return left
}

// attempt prepares a call.
func (c *client) attempt(op Op, endpoint string) *attempt {
	return &attempt{client: c, op: op, endpoint: endpoint}
}

// attempt is what is known of a call while it is made: whom it goes to, what was sent,
// and what its errors need.
type attempt struct {
	*client
	op           Op
	endpoint     string
	code         codeOrigin
	marked       bool   // session_mark
	limitMessage string // session_limit_message
	echo         echo
	serverTime   time.Time // of the answer; zero where it does not say
}

// failed makes the error of a call.
func (t *attempt) failed(kind providers.Kind, outcome providers.Outcome, message, advice string) *providers.Error {
	return &providers.Error{
		Kind:       kind,
		Outcome:    outcome,
		ServerTime: t.serverTime,
		Op:         string(t.op),
		Host:       t.host(),
		Message:    printable(message, maxMessage),
		Advice:     advice,
	}
}

// maxMessage is how much of a message an error keeps, in characters.
const maxMessage = 500

// host is whom we call; Normalize has parsed the endpoint before.
func (t *attempt) host() string {
	u, err := url.Parse(t.endpoint)
	if err != nil {
		return ""
	}
	return u.Host
}

// endpointField names the config field that decides where a call goes.
func (t *attempt) endpointField() string {
	switch {
	case t.op == Logout && uses(t.method, "revocation_url"):
		return "revocation_url"
	case t.op == Logout && uses(t.method, "logout_url"):
		return "base_url or logout_url"
	case t.op == List, t.op == End:
		return "base_url or realm"
	case uses(t.method, "token_url"):
		return "token_url"
	default:
		return "base_url"
	}
}

// endpointFields names all the config fields that decide where a call goes.
func (t *attempt) endpointFields() string {
	all := []string{"environment", "base_url", "realm", "token_url"}
	if t.op == Logout {
		all = []string{"environment", "base_url", "realm", "logout_url", "revocation_url"}
	}
	used := strings.Join(slices.DeleteFunc(all, func(field string) bool { return !uses(t.method, field) }), ", ")
	if last := strings.LastIndex(used, ", "); last > 0 {
		used = used[:last] + " or" + used[last+1:]
	}
	return used
}
