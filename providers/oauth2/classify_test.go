package oauth2_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testPassword     = "p@ss wörd/1"
	testClientSecret = "C-secret-client"
	testRefreshToken = "R-secret-refresh"
	testTOTPSecret   = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" // RFC 6238 appendix B, SHA1
	testPAT          = "P-secret-token"
)

func preset(t *testing.T, name string) oauth2.Preset {
	t.Helper()
	for _, p := range []oauth2.Preset{presets.Panta(), presets.OCP(), presets.Partner(), presets.Keycloak(), presets.OAuth2()} {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no preset %q", name)
	return oauth2.Preset{}
}

// account returns one that each provider takes as it is.
func account(provider string) providers.Account {
	user := providers.Account{
		ClientID: "app", ClientSecret: providers.NewSecret(testClientSecret),
		Username: "alice", Password: providers.NewSecret(testPassword),
	}
	switch provider {
	case "panta":
		user.Environment, user.TenantID = "dmo", "tenant-1"
	case "ocp":
		user.Environment, user.ClientID, user.ClientSecret = "ca1", "", providers.Secret{}
	case "partner":
		return providers.Account{BaseURL: "https://partner.example.com", ClientID: "app", ClientSecret: user.ClientSecret}
	case "keycloak":
		user.BaseURL, user.Realm = "https://login.example.com/auth/", "staff"
	case "oauth2":
		user.TokenURL, user.RevocationURL = "https://login.example.com/token/", "https://login.example.com/revoke"
	}
	return user
}

// roundTrip is a transport that reads each request, keeps it, and gives the
// same answer to all of them.
type roundTrip struct {
	status int
	header map[string]string
	body   string
	err    error // instead of an answer

	calls  int
	last   *http.Request
	posted string // the body of the last request
	open   int    // bodies that were not closed
}

type body struct {
	io.Reader
	open *int
}

func (b body) Close() error {
	*b.open--
	return nil
}

func (rt *roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	posted, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	rt.calls, rt.last, rt.posted = rt.calls+1, r, string(posted)
	if rt.err != nil {
		return nil, rt.err
	}
	h := http.Header{"Content-Type": {"application/json"}}
	for name, value := range rt.header {
		h.Set(name, value)
	}
	rt.open++
	return &http.Response{StatusCode: rt.status, Header: h, Body: body{strings.NewReader(rt.body), &rt.open}, Request: r}, nil
}

func connect(t *testing.T, a providers.Account, provider string, rt http.RoundTripper) providers.Upstream {
	t.Helper()
	up, err := oauth2.New(preset(t, provider), rt).Connect(a)
	require.NoError(t, err)
	if rt, ok := rt.(*roundTrip); ok {
		t.Cleanup(func() { require.Zero(t, rt.open, "an answer that is not closed holds its connection") })
	}
	return up
}

func do(ctx context.Context, up providers.Upstream, op string) (providers.TokenResponse, error) {
	switch op {
	case "refresh":
		return up.Refresh(ctx, providers.NewSecret(testRefreshToken))
	case "logout":
		return providers.TokenResponse{}, up.Logout(ctx, providers.SessionTokens{Refresh: providers.NewSecret(testRefreshToken)})
	default:
		return up.Login(ctx, providers.LoginRequest{CodeAt: time.Unix(59, 0)})
	}
}

func asError(t *testing.T, err error) *providers.Error {
	t.Helper()
	var failure *providers.Error
	require.ErrorAs(t, err, &failure)
	assert.NotEmpty(t, failure.Message)
	assert.NotEmpty(t, failure.Advice)
	assert.NotEmpty(t, failure.Host)
	assertNoSecret(t, err)
	return failure
}

// assertNoSecret looks for our secrets, and for those of the server's answers.
func assertNoSecret(t *testing.T, err error) {
	t.Helper()
	text, jsonErr := json.Marshal(err)
	require.NoError(t, jsonErr)
	for shown := err; shown != nil; shown = errors.Unwrap(shown) {
		all := fmt.Sprintf("%v %+v %#v %s", shown, shown, shown, text)
		for _, secret := range []string{testPassword, "p%40ss", testClientSecret, testRefreshToken, testTOTPSecret, testPAT, "X-Evil", "secret-path", "287082"} {
			assert.NotContains(t, all, secret)
		}
	}
}

// vector is an answer and what it means. In its body "JWT" stands for a token with its
// claims.
type vector struct {
	Name    string            `json:"name"`
	Preset  string            `json:"preset"`  // empty: panta
	Account map[string]string `json:"account"` // fields that differ from those of account()
	Op      string            `json:"op"`      // empty: login
	Status  int               `json:"status"`  // 0: 200
	Header  map[string]string `json:"header"`
	Claims  json.RawMessage   `json:"claims"`
	Body    string            `json:"body"`

	Kind       string `json:"kind"` // empty: success
	Outcome    string `json:"outcome"`
	Message    string `json:"message"` // all of it
	Advice     string `json:"advice"`  // a part of it
	RetryAfter string `json:"retry_after"`

	// Of a success, where they are given; of a failure, what it leaves.
	AccessToken  string  `json:"access_token"`
	RefreshToken string  `json:"refresh_token"`
	ExpiresIn    string  `json:"expires_in"`
	Scope        *string `json:"scope"`
	ServerID     string  `json:"server_id"`
	ServerTime   string  `json:"server_time"`
}

// account is the one of the vector's preset, with its fields.
func (v vector) account(t *testing.T) providers.Account {
	t.Helper()
	a := account(v.Preset)
	if v.Account["auth_method"] == string(providers.ClientCredentials) {
		a.AuthMethod, a.Username, a.Password = providers.ClientCredentials, "", providers.Secret{}
	}
	for name, value := range v.Account {
		switch name {
		case "auth_method":
		case "client_auth":
			a.ClientAuth = providers.ClientAuth(value)
		case "client_id":
			a.ClientID = value
		case "client_secret":
			a.ClientSecret = providers.NewSecret(value)
		case "revocation_url":
			a.RevocationURL = value
		case "session_mark":
			a.SessionMark = new(value == "true")
		case "session_limit_message":
			a.SessionLimitMessage = value
		case "scopes":
			a.Scopes = strings.Fields(value)
		case "token_params": // name=value
			param, of, _ := strings.Cut(value, "=")
			a.TokenParams = map[string]string{param: of}
		case "token_ttl":
			life, err := time.ParseDuration(value)
			require.NoError(t, err)
			a.TokenTTL = life
		case "username":
			a.Username = value
		default:
			t.Fatalf("no field %q", name)
		}
	}
	return a
}

func TestEveryAnswerHasItsKindAndOutcome(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var vectors []vector
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&vectors), file)
		for _, v := range vectors {
			v.Preset, v.Op, v.Status = cmp.Or(v.Preset, "panta"), cmp.Or(v.Op, "login"), cmp.Or(v.Status, 200)
			if v.Claims == nil {
				v.Claims = []byte("{}")
			}
			t.Run(filepath.Base(file)+"/"+v.Name, v.test)
		}
	}
}

func (v vector) test(t *testing.T) {
	rt := &roundTrip{status: v.Status, header: v.Header, body: strings.ReplaceAll(v.Body, "JWT", token(string(v.Claims)))}
	got, err := do(t.Context(), connect(t, v.account(t), v.Preset, rt), v.Op)
	assert.Equal(t, 1, rt.calls, "requests")
	if v.Kind != "" {
		failure := asError(t, err)
		assert.Equal(t, v.Kind, failure.Kind.String())
		assert.Equal(t, v.Outcome, failure.Outcome.String())
		assert.Equal(t, v.Op, failure.Op)
		assert.Contains(t, failure.Advice, v.Advice)
		assert.Equal(t, v.RefreshToken, got.RefreshToken.Reveal())
		assert.Equal(t, v.AccessToken, got.AccessToken.Reveal())
		assert.Equal(t, duration(t, v.RetryAfter), failure.RetryAfter)
		if v.Message != "" {
			assert.Equal(t, v.Message, failure.Message)
		}
		return
	}
	require.NoError(t, err)
	if v.Op == "logout" {
		return
	}
	assertUsable(t, got)
	if v.ExpiresIn != "" {
		assert.Equal(t, duration(t, v.ExpiresIn), got.ExpiresIn)
	}
	if v.AccessToken != "" {
		assert.Equal(t, v.AccessToken, got.AccessToken.Reveal())
	}
	if v.RefreshToken != "" {
		assert.Equal(t, v.RefreshToken, got.RefreshToken.Reveal())
	}
	if v.Scope != nil {
		assert.Equal(t, *v.Scope, got.Scope)
	}
	if v.ServerID != "" {
		assert.Equal(t, v.ServerID, got.ServerID)
	}
	if v.ServerTime != "" {
		assert.Equal(t, v.ServerTime, got.ServerTime.Format(time.RFC3339))
	}
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err)
	return d
}

func TestRetryAfterMayBeADate(t *testing.T) {
	at := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	rt := &roundTrip{status: 429, header: map[string]string{"Retry-After": at}}
	_, err := do(t.Context(), connect(t, account("ocp"), "ocp", rt), "login")
	assert.InDelta(t, 90, asError(t, err).RetryAfter.Seconds(), 5)
}

func TestAdviceFitsTheCodeThatWasSent(t *testing.T) {
	refused := &roundTrip{status: 401, body: `{"error":"invalid_grant","error_description":"bad 287082"}`}
	withSecret := account("ocp")
	withSecret.TOTPSecret = providers.NewSecret(testTOTPSecret)

	_, err := do(t.Context(), connect(t, withSecret, "ocp", refused), "login")
	assert.Contains(t, asError(t, err).Advice, "totp_secret (and this machine's clock)")

	_, err = connect(t, account("ocp"), "ocp", refused).Login(t.Context(), providers.LoginRequest{OTP: providers.NewSecret("287082")})
	assert.Contains(t, asError(t, err).Advice, "newest code as otp")

	_, err = do(t.Context(), connect(t, account("ocp"), "ocp", refused), "login")
	var failure *providers.Error
	require.ErrorAs(t, err, &failure)
	assert.Contains(t, failure.Advice, "set totp_secret or give otp")
}

// Servers that do not keep to the codes of RFC 6749 may mean the user or the client.
func TestTheAdviceToARefusedLoginFitsWhatTheServerSaid(t *testing.T) {
	const (
		user   = "check username and password"
		locked = user + "; the server says the same of an account that is locked"
		client = "check client_id and client_secret, and that the client may use this auth_method"
	)
	for body, advice := range map[string]string{
		`{"error":"invalid_grant"}`:  locked,
		`{"error":"unauthorized"}`:   user + "; or " + client,
		`{"error":"invalid_client"}`: client,
	} {
		rt := &roundTrip{status: 401, body: body}
		_, err := do(t.Context(), connect(t, account("panta"), "panta", rt), "login")
		assert.Equal(t, advice, assertFailed(t, err, providers.BadCredentials, providers.DidNotHappen).Advice, body)
	}
}

// broken is a transport whose answers break off.
type broken struct{ body string }

func (b broken) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(io.MultiReader(strings.NewReader(b.body), iotest.ErrReader(io.ErrUnexpectedEOF))),
	}, nil
}

func TestAnAnswerThatCannotBeReadSaysWhatItIs(t *testing.T) {
	page := map[string]string{"Content-Type": "text/html; charset=utf-8"}
	xhtml := map[string]string{"Content-Type": "application/xhtml+xml"}
	for _, c := range []struct {
		answer http.RoundTripper
		what   string
	}{
		{&roundTrip{status: 200, body: "[]"}, "something that is not a JSON object"},
		{&roundTrip{status: 200, body: strings.Repeat(" ", 1<<20+1)}, "more than the 1024 KiB that an answer may have"},
		{broken{granted}, "an answer that breaks off"},
		{&roundTrip{status: 200, header: page, body: "<html>"}, "a web page"},
		{&roundTrip{status: 200, header: xhtml, body: "<html>"}, "a web page"},
		{&roundTrip{status: 200}, "nothing"},
	} {
		_, err := do(t.Context(), connect(t, account("keycloak"), "keycloak", c.answer), "login")
		failure := assertFailed(t, err, providers.Protocol, providers.Unknown)
		assert.Equal(t, "the server answered 200 with "+c.what, failure.Message)
	}
}

func TestAMessageIsCut(t *testing.T) {
	rt := &roundTrip{status: 400, body: `{"error":"invalid_grant","error_description":"` + strings.Repeat("long ", 1000) + `"}`}
	_, err := do(t.Context(), connect(t, account("panta"), "panta", rt), "login")
	message := asError(t, err).Message
	assert.Len(t, []rune(strings.TrimSuffix(message, "…")), 500)
}
