package oauth2_test

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
)

const granted = `{"access_token":"at","expires_in":300,"refresh_expires_in":1800,"refresh_token":"rt","token_type":"bearer","scope":"openid"}`

func form(t *testing.T, rt *roundTrip) map[string]string {
	t.Helper()
	assert.Equal(t, "application/x-www-form-urlencoded", rt.last.Header.Get("Content-Type"))
	values, err := url.ParseQuery(rt.posted)
	require.NoError(t, err)
	params := map[string]string{}
	for name := range values {
		assert.Len(t, values[name], 1, name)
		params[name] = values.Get(name)
	}
	return params
}

func TestAPasswordLoginSendsWhatTheProviderDocuments(t *testing.T) {
	rt := &roundTrip{status: 200, body: granted}
	got, err := connect(t, account("panta"), "panta", rt).Login(t.Context(), providers.LoginRequest{UserAgent: "mark-bot/1.0.0"})
	require.NoError(t, err)
	assert.Equal(t, http.MethodPost, rt.last.Method)
	assert.Equal(t, "https://login.dmo.app.pantaindex.com/realms/panta-technology/protocol/openid-connect/token", rt.last.URL.String())
	assert.Equal(t, map[string]string{
		"grant_type": "password", "client_id": "app", "client_secret": testClientSecret,
		"username": "alice", "password": testPassword,
	}, form(t, rt))
	assert.Equal(t, "application/json", rt.last.Header.Get("Accept"))
	assert.Equal(t, "mark-bot/1.0.0", rt.last.Header.Get("User-Agent"))
	assert.Empty(t, rt.last.Header.Get("Authorization"))
	assert.Nil(t, rt.last.GetBody, "net/http could send the request again")
	assert.Equal(t, providers.TokenResponse{
		AccessToken: providers.NewSecret("at"), TokenType: "Bearer", ExpiresIn: 300 * time.Second,
		RefreshToken: providers.NewSecret("rt"), RefreshExpiresIn: 1800 * time.Second, Scope: "openid",
	}, got)
}

func TestALoginWithoutAMarkSaysWhoWeAre(t *testing.T) {
	rt := &roundTrip{status: 200, body: granted}
	_, err := do(t.Context(), connect(t, account("panta"), "panta", rt), "login")
	require.NoError(t, err)
	assert.Equal(t, "vault-plugin-secrets-panta", rt.last.Header.Get("User-Agent"))
}

func TestAPublicClientSendsNoSecret(t *testing.T) {
	rt := &roundTrip{status: 200, body: granted}
	_, err := do(t.Context(), connect(t, account("ocp"), "ocp", rt), "login")
	require.NoError(t, err)
	assert.Equal(t, "https://pub.ca1.ocp.ai/auth/realms/ocp/protocol/openid-connect/token", rt.last.URL.String())
	assert.Equal(t, map[string]string{"grant_type": "password", "client_id": "ocp", "username": "alice", "password": testPassword}, form(t, rt))
}

func TestClientCredentialsGoAsJSONWhereTheProviderWantsThat(t *testing.T) {
	rt := &roundTrip{status: 200, body: `{"token_type":"Bearer","expires_in":3600,"access_token":"at"}`}
	got, err := do(t.Context(), connect(t, account("partner"), "partner", rt), "login")
	require.NoError(t, err)
	assert.Equal(t, "https://partner.example.com/api/oauth/token", rt.last.URL.String())
	assert.Equal(t, "application/json", rt.last.Header.Get("Content-Type"))
	assert.Equal(t, "application/json", rt.last.Header.Get("Accept"))
	assert.JSONEq(t, `{"grant_type":"client_credentials","client_id":"app","client_secret":"C-secret-client"}`, rt.posted)
	assert.Equal(t, 3600*time.Second, got.ExpiresIn)
	assert.True(t, got.RefreshToken.Empty())
}

func TestClientCredentialsGoAsAFormElsewhere(t *testing.T) {
	rt := &roundTrip{status: 200, body: granted}
	a := service()
	a.Scopes = []string{"b", "a"}
	got, err := do(t.Context(), connect(t, a, "keycloak", rt), "login")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"grant_type": "client_credentials", "client_id": "app", "client_secret": testClientSecret, "scope": "a b"}, form(t, rt))
	assert.Equal(t, "rt", got.RefreshToken.Reveal(), "Keycloak 9 opens a session, which is to be closed again")
}

func TestARefreshSendsTheTokenAndNoPassword(t *testing.T) {
	rt := &roundTrip{status: 200, body: granted}
	got, err := do(t.Context(), connect(t, account("panta"), "panta", rt), "refresh")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{
		"grant_type": "refresh_token", "client_id": "app", "client_secret": testClientSecret, "refresh_token": testRefreshToken,
	}, form(t, rt))
	assert.Equal(t, "rt", got.RefreshToken.Reveal())
}

func TestARefreshWithoutANewRefreshTokenKeepsTheOld(t *testing.T) {
	rt := &roundTrip{status: 200, body: `{"access_token":"at","expires_in":300}`}
	got, err := do(t.Context(), connect(t, account("panta"), "panta", rt), "refresh")
	require.NoError(t, err)
	assert.Equal(t, testRefreshToken, got.RefreshToken.Reveal())
}

func TestALogoutSendsTheRefreshTokenToTheRealm(t *testing.T) {
	rt := &roundTrip{status: 204}
	_, err := do(t.Context(), connect(t, account("ocp"), "ocp", rt), "logout")
	require.NoError(t, err)
	assert.Equal(t, "https://pub.ca1.ocp.ai/auth/realms/ocp/protocol/openid-connect/logout", rt.last.URL.String())
	assert.Equal(t, map[string]string{"client_id": "ocp", "refresh_token": testRefreshToken}, form(t, rt))
	assert.Equal(t, "vault-plugin-secrets-panta", rt.last.Header.Get("User-Agent"))

	a := account("panta")
	a.LogoutURL = "https://elsewhere.example.com/logout"
	_, err = do(t.Context(), connect(t, a, "panta", rt), "logout")
	require.NoError(t, err)
	assert.Equal(t, a.LogoutURL, rt.last.URL.String())
	assert.Equal(t, testClientSecret, form(t, rt)["client_secret"])
}

func TestARevocationIsRFC7009(t *testing.T) {
	rt := &roundTrip{status: 200}
	_, err := do(t.Context(), connect(t, account("oauth2"), "oauth2", rt), "logout")
	require.NoError(t, err)
	assert.Equal(t, "https://login.example.com/revoke", rt.last.URL.String())
	assert.Equal(t, map[string]string{
		"client_id": "app", "client_secret": testClientSecret, "token": testRefreshToken, "token_type_hint": "refresh_token",
	}, form(t, rt))
}

func TestCapabilitiesSayWhatAnAccountCanDo(t *testing.T) {
	noRevocation := account("oauth2")
	noRevocation.RevocationURL = ""
	generates := account("ocp")
	generates.TOTPSecret = providers.NewSecret("otpauth://totp/a?period=60&secret=" + testTOTPSecret)
	for _, c := range []struct {
		name     string
		provider string
		account  providers.Account
		want     providers.Capabilities
	}{
		{"panta", "panta", account("panta"), providers.Capabilities{Sessions: true, Logout: true, ListsSessions: true, LoginPause: 250 * time.Millisecond}},
		{"ocp", "ocp", account("ocp"), providers.Capabilities{Sessions: true, Logout: true, ListsSessions: true, LoginPause: 250 * time.Millisecond, OneTimeCode: true, CodePeriod: 30 * time.Second}},
		{"ocp that makes codes", "ocp", generates, providers.Capabilities{Sessions: true, Logout: true, ListsSessions: true, LoginPause: 250 * time.Millisecond, OneTimeCode: true, GeneratesCode: true, CodePeriod: 60 * time.Second}},
		{"partner", "partner", account("partner"), providers.Capabilities{}},
		{"keycloak", "keycloak", account("keycloak"), providers.Capabilities{Sessions: true, Logout: true, ListsSessions: true, LoginPause: 250 * time.Millisecond, OneTimeCode: true, CodePeriod: 30 * time.Second}},
		{"keycloak client credentials", "keycloak", service(), providers.Capabilities{Sessions: true, Logout: true}},
		{"oauth2", "oauth2", account("oauth2"), providers.Capabilities{Sessions: true, Logout: true, RevokesAccess: true}},
		{"oauth2 without revocation_url", "oauth2", noRevocation, providers.Capabilities{Sessions: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rt := &roundTrip{}
			up := connect(t, c.account, c.provider, rt)
			assert.Equal(t, c.want, up.Capabilities())
			if !c.want.Logout {
				_, err := do(t.Context(), up, "logout")
				failure := asError(t, err)
				assert.Equal(t, providers.Protocol, failure.Kind)
				assert.Equal(t, providers.DidNotHappen, failure.Outcome)
			}
			assert.Zero(t, rt.calls)
		})
	}
}

func service() providers.Account {
	return providers.Account{
		AuthMethod: providers.ClientCredentials, BaseURL: "https://login.example.com", Realm: "staff",
		ClientID: "app", ClientSecret: providers.NewSecret(testClientSecret),
	}
}

func pat() providers.Account {
	return providers.Account{Environment: "ca1", AuthMethod: providers.PersonalAccessToken, PersonalAccessToken: providers.NewSecret(testPAT)}
}

func TestACodeIsMadeForTheInstantThatIsAsked(t *testing.T) {
	a := account("ocp")
	a.TOTPSecret = providers.NewSecret(testTOTPSecret)
	rt := &roundTrip{status: 200, body: granted}
	up := connect(t, a, "ocp", rt)
	for at, code := range map[int64]string{59: "287082", 1111111109: "081804", 1234567890: "005924"} { // RFC 6238 appendix B, 6 digits
		_, err := up.Login(t.Context(), providers.LoginRequest{CodeAt: time.Unix(at, 0)})
		require.NoError(t, err)
		assert.Equal(t, code, form(t, rt)["otp"])
	}
}

func TestACodeIsMadeAsTheURLSays(t *testing.T) {
	// RFC 6238 appendix B, at 59 s.
	for options, code := range map[string]string{"algorithm=SHA1": "94287082", "algorithm=SHA256": "46119246", "algorithm=HmacSHA512": "90693936"} {
		seed := strings.Repeat("12345678901234567890", 4)[:map[string]int{"SHA1": 20, "SHA256": 32, "HmacSHA512": 64}[strings.TrimPrefix(options, "algorithm=")]]
		a := account("ocp")
		a.TOTPSecret = providers.NewSecret("otpauth://totp/a?digits=8&" + options + "&secret=" + base32.StdEncoding.EncodeToString([]byte(seed)))
		rt := &roundTrip{status: 200, body: granted}
		_, err := connect(t, a, "ocp", rt).Login(t.Context(), providers.LoginRequest{CodeAt: time.Unix(59, 0)})
		require.NoError(t, err)
		assert.Equal(t, code, form(t, rt)["otp"], options)
	}
}

func TestACodeHasThePeriodOfItsURL(t *testing.T) {
	for period, at := range map[string]int64{"1": 1, "300": 599} { // the second step of RFC 6238 appendix B
		a := account("ocp")
		a.TOTPSecret = providers.NewSecret("otpauth://totp/a?period=" + period + "&secret=" + testTOTPSecret)
		rt := &roundTrip{status: 200, body: granted}
		_, err := connect(t, a, "ocp", rt).Login(t.Context(), providers.LoginRequest{CodeAt: time.Unix(at, 0)})
		require.NoError(t, err, period)
		assert.Equal(t, "287082", form(t, rt)["otp"], period)
	}
}

func TestATypedCodeIsSentAsItIs(t *testing.T) {
	rt := &roundTrip{status: 200, body: granted}
	_, err := connect(t, account("ocp"), "ocp", rt).Login(t.Context(), providers.LoginRequest{OTP: providers.NewSecret("012345")})
	require.NoError(t, err)
	assert.Equal(t, "012345", form(t, rt)["otp"])
}

func TestTheScopesOfALoginWinOverThoseOfTheAccount(t *testing.T) {
	a := account("keycloak")
	a.Scopes = []string{"profile", "openid"}
	rt := &roundTrip{status: 200, body: `{"access_token":"at","expires_in":300,"refresh_token":"rt"}`}
	up := connect(t, a, "keycloak", rt)
	for _, c := range []struct {
		scopes []string
		want   string
	}{{nil, "openid profile"}, {[]string{"b", "a", "b"}, "a b"}} {
		got, err := up.Login(t.Context(), providers.LoginRequest{Scopes: c.scopes})
		require.NoError(t, err)
		assert.Equal(t, c.want, form(t, rt)["scope"])
		assert.Equal(t, c.want, got.Scope, "where the server does not say, it is what was asked for")
	}
}

func TestALoginForAScopeThatIsNoneIsNotSent(t *testing.T) {
	rt := &roundTrip{status: 200, body: granted}
	_, err := connect(t, account("keycloak"), "keycloak", rt).Login(t.Context(), providers.LoginRequest{Scopes: []string{"a b"}})
	require.ErrorContains(t, err, `field "scopes": scope number 1 is empty or has a character that is not allowed`)
	assert.Zero(t, rt.calls)
}

func token(claims string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"none"}`)) + "." + part([]byte(claims)) + "."
}

func TestAnAnswerIsReadAsWellAsItCanBe(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       providers.TokenResponse // besides the access token
	}{
		{"the least", `{"access_token":"at","expires_in":1}`, providers.TokenResponse{ExpiresIn: time.Second}},
		{"numbers as strings", `{"access_token":"at","expires_in":"300","refresh_token":"rt","refresh_expires_in":"1800"}`, providers.TokenResponse{ExpiresIn: 300 * time.Second, RefreshToken: providers.NewSecret("rt"), RefreshExpiresIn: 1800 * time.Second}},
		{"a session without an end", `{"access_token":"at","expires_in":300,"refresh_token":"rt","refresh_expires_in":0}`, providers.TokenResponse{ExpiresIn: 300 * time.Second, RefreshToken: providers.NewSecret("rt")}},
		{"ten years", `{"access_token":"at","expires_in":315360000,"token_type":"BEARER"}`, providers.TokenResponse{ExpiresIn: 10 * 365 * 24 * time.Hour}},
		{"scope as the server says", `{"access_token":"` + token(`{"scope":"from the token"}`) + `","expires_in":1,"scope":"b a"}`, providers.TokenResponse{ExpiresIn: time.Second, Scope: "b a"}},
		{"scope as the token says", `{"access_token":"` + token(`{"scope":"b a"}`) + `","expires_in":1}`, providers.TokenResponse{ExpiresIn: time.Second, Scope: "b a"}},
		{"scopes as the token says", `{"access_token":"` + token(`{"scopes":["bookings:create","bookings:delete",7]}`) + `","expires_in":1}`, providers.TokenResponse{ExpiresIn: time.Second, Scope: "bookings:create bookings:delete"}},
		{"scope that is no scope", `{"access_token":"at","expires_in":1,"scope":"a\u0000 \"b\""}`, providers.TokenResponse{ExpiresIn: time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rt := &roundTrip{status: 200, body: c.body}
			got, err := do(t.Context(), connect(t, account("oauth2"), "oauth2", rt), "login")
			require.NoError(t, err)
			assert.False(t, got.AccessToken.Empty())
			c.want.AccessToken, c.want.TokenType = got.AccessToken, "Bearer"
			assert.Equal(t, c.want, got)
		})
	}
}

func TestScopesAreKeptUpToSixteenKiB(t *testing.T) {
	for length, kept := range map[int]bool{16<<10 - 2: true, 16<<10 - 1: false} { // with their quotes
		scope := strings.Repeat("s", length)
		rt := &roundTrip{status: 200, body: `{"access_token":"at","expires_in":1,"scope":"` + scope + `"}`}
		got, err := do(t.Context(), connect(t, account("oauth2"), "oauth2", rt), "login")
		require.NoError(t, err)
		assert.Equal(t, kept, got.Scope == scope, length)
		assert.Equal(t, !kept, got.Scope == "", length)
	}
}

// The answers are those of the providers' documents; the partner's token has the
// claims of its example.
func TestTheDocumentedAnswersAreRead(t *testing.T) {
	passport := token(`{"aud":"9b1e82a7-0a59-4e7e-add5-b9ffa37aade1","jti":"81755a","iat":1710220031.583112,"nbf":1710220031.583114,"exp":1710223631.577478,
		"sub":"","scopes":["bookings:create","bookings:delete"],"user_id":"842902db","partner_id":"f31120ee","is_test":false}`)
	for provider, c := range map[string]struct {
		body string
		want providers.TokenResponse // besides the access token
	}{
		"panta": {
			`{"access_token":"eyJhbGciOi...","expires_in":300,"refresh_token":"...","token_type":"Bearer"}`,
			providers.TokenResponse{ExpiresIn: 300 * time.Second, RefreshToken: providers.NewSecret("...")},
		},
		"partner": {
			`{"token_type":"Bearer","expires_in":3600,"access_token":"` + passport + `"}`,
			providers.TokenResponse{
				ExpiresIn: 3600 * time.Second, Scope: "bookings:create bookings:delete",
				ServerTime: time.Date(2024, 3, 12, 5, 7, 11, 0, time.UTC),
			},
		},
		"ocp": {
			`{"access_token":"eyJhbGciOiJSUzI1NiIsInR5cCIgO...","expires_in":300,"refresh_expires_in":1800,"refresh_token":"eyJhbGciOiJIUzI1NiIsInR5cCIgO...",
			"token_type":"bearer","not-before-policy":0,"session_state":"6d4e82a1-2d6d-402a-9d52-f3f99d7a477c","scope":"openid"}`,
			providers.TokenResponse{
				ExpiresIn: 300 * time.Second, RefreshExpiresIn: 1800 * time.Second, Scope: "openid",
				RefreshToken: providers.NewSecret("eyJhbGciOiJIUzI1NiIsInR5cCIgO..."), ServerID: "6d4e82a1-2d6d-402a-9d52-f3f99d7a477c",
			},
		},
	} {
		rt := &roundTrip{status: 200, body: c.body}
		got, err := do(t.Context(), connect(t, account(provider), provider, rt), "login")
		require.NoError(t, err)
		assert.False(t, got.AccessToken.Empty())
		c.want.AccessToken, c.want.TokenType = got.AccessToken, "Bearer"
		assert.Equal(t, c.want, got, provider)
	}
}

func TestHeadersAreReadyToSend(t *testing.T) {
	answer := providers.TokenResponse{AccessToken: providers.NewSecret("a{tenant_id}t"), TokenType: "Bearer"}
	bearer := map[string]string{"Authorization": "Bearer a{tenant_id}t"}
	for provider, want := range map[string]map[string]string{
		"panta":    {"Authorization": "Bearer a{tenant_id}t", "X-CLIENT-ID": "tenant-1"},
		"ocp":      bearer,
		"partner":  bearer,
		"keycloak": bearer,
		"oauth2":   bearer,
	} {
		p := oauth2.New(preset(t, provider), nil)
		a, err := p.Normalize(account(provider))
		require.NoError(t, err)
		assert.Equal(t, want, p.Headers(a, answer), provider)
	}
	p := oauth2.New(preset(t, "ocp"), nil)
	a, err := p.Normalize(pat())
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"X-OCP-PERSONAL-ACCESS-TOKEN": testPAT}, p.Headers(a, providers.TokenResponse{}))
}

// FuzzAnswer feeds any answer to a login, a refresh and a logout.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		granted, "", "null", "[]", "{}", `{"access_token":"at"}`, `{"access_token":"at","expires_in":"NaN"}`, `{"access_token":"at","expires_in":1e400}`,
		`{"error":"invalid_grant","error_description":"no"}`, `{"error":{}}`, "<html>", `{"access_token":"` + token(`{"scopes":[{}]}`) + `","expires_in":1}`,
	} {
		for _, status := range []int{200, 400, 403, 429, 503} {
			f.Add(status, "application/json", "1", body)
		}
	}
	f.Fuzz(func(t *testing.T, status int, contentType, retryAfter, body string) {
		rt := &roundTrip{status: status, header: map[string]string{"Content-Type": contentType, "Retry-After": retryAfter, "Location": retryAfter}, body: body}
		up := connect(t, account("panta"), "panta", rt)
		for _, op := range []string{"login", "refresh", "logout"} {
			got, err := do(t.Context(), up, op)
			if err == nil {
				assert.Equal(t, 2, status/100)
				if op != "logout" {
					assertUsable(t, got)
				}
				continue
			}
			var failure *providers.Error
			require.ErrorAs(t, err, &failure)
			assert.NotEmpty(t, failure.Advice)
			assert.GreaterOrEqual(t, failure.RetryAfter, time.Duration(0))
			assert.LessOrEqual(t, len([]rune(failure.Message)), 501)
			assert.True(t, got.AccessToken.Empty())
			if failure.Outcome != providers.Happened {
				assert.True(t, got.RefreshToken.Empty())
			}
		}
	})
}

func assertUsable(t *testing.T, got providers.TokenResponse) {
	t.Helper()
	assert.Equal(t, "Bearer", got.TokenType)
	assert.Positive(t, got.ExpiresIn)
	assert.LessOrEqual(t, got.ExpiresIn, 10*365*24*time.Hour)
	assert.GreaterOrEqual(t, got.RefreshExpiresIn, time.Duration(0))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.example.com", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", got.TokenType+" "+got.AccessToken.Reveal())
	assert.NotContains(t, got.AccessToken.Reveal(), "\n")
	text, err := json.Marshal(got) //nolint:musttag // somebody may log an answer as JSON
	require.NoError(t, err)
	assert.Contains(t, string(text), `"AccessToken":"***"`)
}
