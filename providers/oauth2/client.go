// Package oauth2 is a client for OAuth 2.0 token endpoints (RFC 6749) and for
// the ways to end a session that Keycloak and RFC 7009 offer. There is one
// client; in what servers differ is data, a Preset.
//
// Three rules shape it. A call is one request: nothing here repeats one, and
// the HTTP library is kept from it (see http.go). Every failure says whether the
// call took effect at the server (see classify.go). And nothing that a server
// sends gets into an error but its OAuth error code and description, with our
// own secrets masked in them (see mask.go).
package oauth2

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

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
func (p *Provider) Describe() providers.Description {
	methods := make([]providers.Method, len(p.preset.Methods))
	for i, m := range p.preset.Methods {
		methods[i] = m.Method
	}
	return providers.Description{
		Name:            p.preset.Name,
		Summary:         p.preset.Summary,
		Environments:    p.preset.Environments,
		TokenEndpoint:   p.preset.TokenEndpoint,
		LogoutEndpoint:  p.preset.LogoutEndpoint,
		AccountEndpoint: p.preset.AccountEndpoint,
		Methods:         methods,
	}
}

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
	if method, _ := p.preset.method(a.AuthMethod); method.Sessions && p.preset.AccountEndpoint != "" {
		connection.SessionsURL = place(p.preset.AccountEndpoint, a)
	}
	c, err := p.client(connection)
	if err != nil {
		return nil, err
	}
	return &upstream{client: c, account: a}, nil
}

// Client implements providers.Provider.
func (p *Provider) Client(c providers.Connection) (providers.Client, error) { return p.client(c) }

func (p *Provider) client(connection providers.Connection) (*client, error) {
	method, ok := p.preset.method(connection.AuthMethod)
	if !ok {
		return nil, refuse("auth_method", "is not one of "+p.preset.Name)
	}
	c := &client{
		connection: connection,
		preset:     p.preset,
		method:     method,
		rules:      slices.Concat(listerRules(), p.preset.Failures, commonRules()),
		transport:  p.transport,
	}
	if c.transport == nil {
		c.transport = newTransport(connection)
	}
	return c, nil
}

// Headers implements providers.Provider. The account is a normalized one.
func (p *Provider) Headers(a providers.Account, t providers.TokenResponse) map[string]string {
	method, _ := p.preset.method(a.AuthMethod)
	value := func(field string) string {
		switch field {
		case "access_token":
			return t.AccessToken.Reveal()
		case "token_type":
			return t.TokenType
		case "tenant_id":
			return a.TenantID
		case "personal_access_token":
			return a.PersonalAccessToken.Reveal()
		}
		return ""
	}
	headers := make(map[string]string, len(method.Headers))
	for _, h := range method.Headers {
		headers[h.Name] = expand(h.Value, value)
	}
	return headers
}

// expand puts values in the place of their names in braces. It goes over the
// template once: what looks like a name in a value stays. Every read of creds/
// comes through here, and a strings.Replacer would cost it a third of all that
// it allocates.
func expand(template string, value func(name string) string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(template, "{")
		name, after, closed := strings.Cut(rest, "}")
		if !found || !closed {
			b.WriteString(template)
			return b.String()
		}
		b.WriteString(before)
		b.WriteString(value(name))
		template = after
	}
}

// client is the providers.Client of one connection.
type client struct {
	connection providers.Connection
	preset     Preset
	method     Method
	rules      []FailureRule
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
		ListsSessions: c.connection.SessionsURL != "",
		OneTimeCode:   c.method.OneTimeCode,
	}
	if can.Sessions {
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

// logoutURL is where sessions are ended; empty: they cannot be.
func (c *client) logoutURL() string {
	if c.preset.Logout == Revocation {
		return c.connection.RevocationURL
	}
	return c.connection.LogoutURL
}

// Login implements providers.Upstream by the password grant (RFC 6749 section
// 4.3) or the client credentials grant (section 4.4).
func (u *upstream) Login(ctx context.Context, r providers.LoginRequest) (providers.TokenResponse, error) {
	params := u.clientParams()
	switch u.method.Name {
	case providers.Password:
		params["grant_type"] = "password"
		params["username"] = u.account.Username
		params["password"] = u.account.Password.Reveal()
	case providers.ClientCredentials:
		params["grant_type"] = "client_credentials"
	case providers.PersonalAccessToken:
		return providers.TokenResponse{}, u.cannot(Login, "a personal access token has no login", "send the headers of the token")
	}
	scopes, err := providers.NormalizeScopes(r.Scopes)
	if err != nil {
		return providers.TokenResponse{}, err
	}
	if len(scopes) == 0 {
		scopes = u.account.Scopes
	}
	if len(scopes) > 0 {
		params["scope"] = strings.Join(scopes, " ")
	}
	code, origin, err := u.code(r)
	if err != nil {
		return providers.TokenResponse{}, err
	}
	if origin != noCode {
		params["otp"] = code.Reveal()
	}
	if r.UserAgent == "" {
		r.UserAgent = defaultUserAgent
	}
	try := u.attempt(Login, u.account.TokenURL, u.account.Password, u.account.TOTPSecret, code)
	try.code = origin
	got, failure := u.token(ctx, try, params, r.UserAgent)
	if failure != nil {
		return got, failure
	}
	return got, nil
}

// Refresh implements providers.Upstream by RFC 6749 section 6.
func (c *client) Refresh(ctx context.Context, refreshToken providers.Secret) (providers.TokenResponse, error) {
	if !c.Capabilities().Sessions {
		return providers.TokenResponse{}, c.cannot(Refresh, "this account has no sessions, so there is nothing to refresh", "log in instead")
	}
	params := c.clientParams()
	params["grant_type"] = "refresh_token"
	params["refresh_token"] = refreshToken.Reveal()
	got, failure := c.token(ctx, c.attempt(Refresh, c.connection.TokenURL, refreshToken), params, defaultUserAgent)
	if got.RefreshToken.Empty() && (failure == nil || failure.Outcome == providers.Happened) {
		got.RefreshToken = refreshToken
	}
	if failure != nil {
		return got, failure
	}
	return got, nil
}

// Logout implements providers.Upstream. Keycloak answers 204 for a session that
// is gone already, and RFC 7009 section 2.2 has 200 for a token that is not known.
func (c *client) Logout(ctx context.Context, t providers.SessionTokens) error {
	refreshToken := t.Refresh
	if !c.Capabilities().Logout {
		return c.cannot(Logout, "this account's sessions cannot be ended", "let the session end by its age")
	}
	if refreshToken.Empty() {
		return c.cannot(Logout, "the server gave this session no refresh token, with which it could be ended", "let the session end by its age")
	}
	params := c.clientParams()
	if c.preset.Logout == Revocation {
		params["token"] = refreshToken.Reveal()
		params["token_type_hint"] = "refresh_token"
	} else {
		params["refresh_token"] = refreshToken.Reveal()
	}
	try := c.attempt(Logout, c.logoutURL(), refreshToken)
	a, failure := c.post(ctx, try, params, Form, defaultUserAgent)
	if failure != nil {
		return failure
	}
	return asError(a, try.loggedOut(a))
}

// asError notes the server's clock in the failure that an answer was.
func asError(a answer, failure *providers.Error) error {
	if failure == nil {
		return nil
	}
	failure.ServerTime = a.date()
	return failure
}

// token makes a call to the token endpoint and reads its answer.
func (c *client) token(ctx context.Context, try attempt, params map[string]string, userAgent string) (providers.TokenResponse, *providers.Error) {
	a, failure := c.post(ctx, try, params, c.method.Encoding, userAgent)
	if failure != nil {
		return providers.TokenResponse{}, failure
	}
	got, failure := try.tokens(a)
	if !c.method.Sessions {
		// RFC 6749 section 4.4.3: a client credentials answer should have no
		// refresh token. One that comes all the same is of no use to an account
		// that is described as having no sessions.
		got.RefreshToken = providers.Secret{}
	}
	if failure != nil {
		failure.ServerTime = a.date()
		return got, failure
	}
	if try.op == Login && c.preset.Logout == EndSession && c.method.Sessions && got.RefreshToken.Empty() {
		failure := try.failed(providers.Protocol, providers.Happened, "the answer has no refresh_token, without which its session cannot be ended",
			"have refresh tokens switched on for client_id at the identity server (Keycloak: Use refresh tokens)")
		failure.ServerTime = a.date()
		return providers.TokenResponse{}, failure
	}
	got.ServerTime = a.date()
	fillFromClaims(&got)
	if got.Scope == "" {
		got.Scope = params["scope"]
	}
	if !c.method.Sessions {
		got.ServerID = ""
	}
	return got, nil
}

// clientParams authenticates the client in the body (RFC 6749 section 2.3.1):
// the one way that all our servers document. It is never probed for, because
// a probe would be a login.
func (c *client) clientParams() map[string]string {
	params := map[string]string{"client_id": c.connection.ClientID}
	if !c.connection.ClientSecret.Empty() {
		params["client_secret"] = c.connection.ClientSecret.Reveal()
	}
	return params
}

// attempt prepares a call. Sent are the secrets that go out with it besides the
// client's.
func (c *client) attempt(op Op, endpoint string, sent ...providers.Secret) attempt {
	return attempt{
		op:       op,
		endpoint: endpoint,
		method:   c.method,
		rules:    c.rules,
		limit:    maxAnswer,
		mask:     newMask(append(sent, c.connection.ClientSecret)...),
	}
}

// cannot refuses a call that Capabilities rules out.
func (c *client) cannot(op Op, message, advice string) *providers.Error {
	return c.attempt(op, c.connection.TokenURL).
		failed(providers.Protocol, providers.DidNotHappen, message, advice)
}

// attempt is what is known of a call while it is made: whom it goes to, and what
// its errors need.
type attempt struct {
	op       Op
	endpoint string
	method   Method
	rules    []FailureRule
	code     codeOrigin
	mask     mask
	limit    int // of the answer's body, in bytes
}

// failed makes the error of a call. message may hold what the server sent: it is
// masked and cut here, so that no path into an error goes round that.
func (t attempt) failed(kind providers.Kind, outcome providers.Outcome, message, advice string) *providers.Error {
	return &providers.Error{
		Kind:    kind,
		Outcome: outcome,
		Op:      string(t.op),
		Host:    t.host(),
		Message: t.mask.clean(message),
		Advice:  advice,
	}
}

// host is whom we call; Normalize has parsed the endpoint before.
func (t attempt) host() string {
	u, err := url.Parse(t.endpoint)
	if err != nil {
		return ""
	}
	return u.Host
}

// endpointField names the config field that decides where a call goes.
func (t attempt) endpointField() string {
	switch {
	case t.op == Logout && t.method.uses("revocation_url"):
		return "revocation_url"
	case t.op == Logout && t.method.uses("logout_url"):
		return "base_url or logout_url"
	case t.op == List, t.op == End:
		return "base_url or realm"
	case t.method.uses("token_url"):
		return "token_url"
	default:
		return "base_url"
	}
}
