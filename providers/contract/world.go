package contract

import (
	"encoding/base32"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/hashicorp/go-cleanhttp"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
)

// world is a scenario's realm and users, and what there is to try things with.
type world struct {
	*testing.T
	Server
	release iam.Release
	realm   string
	row     Row

	alice string // has the account roles
	bob   string // has not
	carol string // has them and a second factor
}

// account is a user of the realm as provider ocp takes it.
func (w *world) account(username string) providers.Account {
	return providers.Account{
		BaseURL: w.Origin, Realm: w.realm,
		Username: username, Password: providers.NewSecret(password),
	}
}

func (w *world) connect(p oauth2.Preset, a providers.Account) providers.Upstream {
	w.Helper()
	up, err := oauth2.New(p, w.Transport).Connect(a)
	require.NoError(w, err)
	return up
}

// ocp connects a user by provider ocp.
func (w *world) ocp(username string) upstream {
	w.Helper()
	return upstream{w, w.connect(presets.OCP(), w.account(username))}
}

// upstream is an account's, with failures that end the scenario.
type upstream struct {
	w *world
	providers.Upstream
}

func (u upstream) login() providers.TokenResponse { u.w.Helper(); return u.loginAs("") }

func (u upstream) loginAs(userAgent string) providers.TokenResponse {
	u.w.Helper()
	got, err := u.Login(u.w.Context(), providers.LoginRequest{UserAgent: userAgent, CodeAt: time.Now()})
	require.NoError(u.w, err)
	return got
}

// tryLogin returns the failure of a login, or nil.
func (u upstream) tryLogin() error {
	_, err := u.Login(u.w.Context(), providers.LoginRequest{CodeAt: time.Now()})
	return err
}

func (u upstream) refresh(got providers.TokenResponse) providers.TokenResponse {
	u.w.Helper()
	again, err := u.Refresh(u.w.Context(), got.RefreshToken)
	require.NoError(u.w, err)
	return again
}

func (u upstream) tryRefresh(got providers.TokenResponse) error {
	_, err := u.Refresh(u.w.Context(), got.RefreshToken)
	return err
}

func (u upstream) logout(got providers.TokenResponse) {
	u.w.Helper()
	require.NoError(u.w, u.Logout(u.w.Context(), providers.SessionTokens{Refresh: got.RefreshToken}))
}

// list returns the listed sessions by id.
func (u upstream) list(with providers.TokenResponse) map[string]providers.ServerSession {
	u.w.Helper()
	list, err := u.ListSessions(u.w.Context(), with.AccessToken)
	require.NoError(u.w, err)
	byID := make(map[string]providers.ServerSession, len(list))
	for _, s := range list {
		byID[s.ID] = s
	}
	require.Len(u.w, byID, len(list), "an id is listed twice")
	return byID
}

func (u upstream) end(with providers.TokenResponse, id string) {
	u.w.Helper()
	require.NoError(u.w, u.EndSession(u.w.Context(), with.AccessToken, id))
}

// refused wants a failure that surely did nothing, with the server's words in it.
func (w *world) refused(err error, kind providers.Kind, words string) {
	w.Helper()
	var failure *providers.Error
	require.ErrorAs(w, err, &failure)
	require.Equal(w, kind.String(), failure.Kind.String(), failure.Message)
	require.Equal(w, providers.DidNotHappen, failure.Outcome)
	require.Contains(w, failure.Message, words)
}

// reply is a raw answer, for what the provider does not show.
type reply struct {
	status int
	header http.Header
	raw    string
	fields map[string]any
}

func (r reply) text(field string) string { s, _ := r.fields[field].(string); return s }

func (w *world) send(method, address, body string, header map[string]string) reply {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), method, address, strings.NewReader(body))
	require.NoError(w, err)
	request.Header.Set("Accept", "application/json")
	for name, value := range header {
		request.Header.Set(name, value)
	}
	if host := header["Host"]; host != "" {
		request.Host = host
	}
	response, err := w.transport().RoundTrip(request)
	require.NoError(w, err)
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	require.NoError(w, err)
	r := reply{status: response.StatusCode, header: response.Header, raw: string(raw)}
	_ = json.Unmarshal(raw, &r.fields) // what is not an object has no fields
	return r
}

func (w *world) transport() http.RoundTripper {
	if w.Transport == nil {
		return cleanhttp.DefaultTransport()
	}
	return w.Transport
}

func (w *world) realmURL() string { return w.Origin + "/auth/realms/" + w.realm }

// post sends a form to one of the realm's OpenID Connect endpoints.
func (w *world) post(endpoint string, form, header map[string]string) reply {
	w.Helper()
	values := url.Values{}
	for name, value := range form {
		values.Set(name, value)
	}
	all := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	maps.Copy(all, header)
	return w.send(http.MethodPost, w.realmURL()+"/protocol/openid-connect/"+endpoint, values.Encode(), all)
}

// loginForm is alice's login with the public client, and some fields more.
func (w *world) loginForm(more ...string) map[string]string {
	form := map[string]string{"grant_type": "password", "client_id": public, "username": w.alice, "password": password}
	for i := 0; i < len(more); i += 2 {
		form[more[i]] = more[i+1]
	}
	return form
}

// answers wants an OAuth error as the release words it.
func (w *world) answers(r reply, want iam.Answer) {
	w.Helper()
	w.answered(r, want.Status, want.Error, want.Description)
}

func (w *world) answered(r reply, status int, code, description string) {
	w.Helper()
	require.Equal(w, status, r.status, r.raw)
	require.Equal(w, code, r.text("error"), r.raw)
	require.Equal(w, description, r.text("error_description"), r.raw)
}

// claims are those of a token; nobody checks its signature here.
func (w *world) claims(token providers.Secret) jwt.MapClaims {
	w.Helper()
	claims := jwt.MapClaims{}
	_, _, err := jwt.NewParser().ParseUnverified(token.Reveal(), claims)
	require.NoError(w, err)
	return claims
}

// atOnce does something n times at once and returns what came of it.
func atOnce(n int, do func() error) []error {
	results := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { results[i] = do() })
	}
	all.Wait()
	return results
}

func succeeded(results []error) (n int) {
	for _, err := range results {
		if err == nil {
			n++
		}
	}
	return n
}

// otpauth is a totp_secret whose codes are good for a period.
func otpauth(secret string, period time.Duration) providers.Secret {
	return providers.NewSecret(fmt.Sprintf("otpauth://totp/contract?secret=%s&period=%d", secret, int(period/time.Second)))
}

// base32Of is a raw one-time code secret as an authenticator app takes it.
func base32Of(raw string) providers.Secret {
	return providers.NewSecret(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(raw)))
}

// code is carol's one-time code at an instant.
func (w *world) code(at time.Time) string {
	w.Helper()
	code, err := totp.GenerateCodeCustom(base32Of(rawSecret).Reveal(), at, totp.ValidateOpts{Period: uint(period / time.Second), Digits: otp.DigitsSix})
	require.NoError(w, err)
	return code
}
