package contract

import (
	"net/http"
	"regexp"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
)

const invalidCredentials = "Invalid user credentials"

// logins are the answers of the token endpoint.
func logins() []scenario {
	return []scenario{
		{sentence: "a login answers a token of 300 s and a session of 1800 s, its id three times the same", realm: plain, try: aLogin},
		{sentence: "a wrong password and an unknown user are 401 invalid_grant on 26.4 and 400 on 26.7", realm: plain, try: wrongPassword},
		{sentence: "a disabled user and one with required actions are told apart, with 400 in every release", realm: plain, try: blockedUsers},
		{sentence: "a wrong client, secret, grant or scope has a code of its own", realm: plain, try: wrongClient},
		{sentence: "client credentials open no session", realm: plain, try: clientCredentials},
		{sentence: "there is no Date header, and iat is the server's clock", realm: plain, try: serverClock},
		{sentence: "a user who is disabled cannot refresh, and its session can be logged out", realm: plain, try: disabledMeanwhile},
		{sentence: "refresh_expires_in shrinks towards the session's maximum, and the access token with it", realm: short, try: shrinkingLives},
		{sentence: "after its maximum a session cannot be refreshed, and its logout is still a success", realm: short, try: afterTheMaximum},
	}
}

func aLogin(w *world) {
	up := w.ocp(w.alice)
	got := up.login()
	require.Equal(w, "Bearer", got.TokenType)
	w.lives(300, got.ExpiresIn)
	w.lives(1800, got.RefreshExpiresIn)
	require.ElementsMatch(w, []string{"email", "profile"}, splitScope(got.Scope))
	require.Equal(w, got.ServerID, w.claims(got.AccessToken)["sid"])
	require.Contains(w, up.list(got), got.ServerID)
	form := regexp.MustCompile(`^[A-Za-z0-9_-]{24}$`)
	if old(w.version) {
		form = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	}
	require.Regexp(w, form, got.ServerID)

	raw := w.post("token", w.loginForm("scope", "openid"), nil)
	require.Equal(w, http.StatusOK, raw.status, raw.raw)
	require.Equal(w, "Bearer", raw.text("token_type"))
	require.Contains(w, splitScope(raw.text("scope")), "openid")
	require.NotEmpty(w, raw.text("session_state"))
	require.InDelta(w, 0, raw.fields["not-before-policy"], 0)
}

// lives wants a life in seconds, of which some are lost where the server is slow
// between making a token and answering it.
func (w *world) lives(seconds float64, got time.Duration) {
	w.Helper()
	require.LessOrEqual(w, got.Seconds(), seconds)
	require.Greater(w, got.Seconds(), seconds-5)
}

func splitScope(scope string) []string { return regexp.MustCompile(` +`).Split(scope, -1) }

func wrongPassword(w *world) {
	w.answered(w.post("token", w.loginForm("password", "wrong"), nil), w.refusedGrant(), "invalid_grant", invalidCredentials)
	w.answered(w.post("token", w.loginForm("username", "nobody"), nil), w.refusedGrant(), "invalid_grant", invalidCredentials)
	a := w.account(w.alice)
	a.Password = providers.NewSecret("wrong")
	w.refused(upstream{w, w.connect(presets.OCP(), a)}.tryLogin(), providers.BadCredentials, invalidCredentials)
	require.Zero(w, w.Sessions(w.T, w.alice))
}

func blockedUsers(w *world) {
	w.answered(w.post("token", w.loginForm("username", disabled), nil), http.StatusBadRequest, "invalid_grant", "Account disabled")
	w.answered(w.post("token", w.loginForm("username", unfinished), nil), http.StatusBadRequest, "invalid_grant", "Account is not fully set up")
	w.refused(w.ocp(disabled).tryLogin(), providers.BadCredentials, "Account disabled")
	w.refused(w.ocp(unfinished).tryLogin(), providers.BadCredentials, "Account is not fully set up")
	require.Zero(w, w.Sessions(w.T, unfinished))
}

func wrongClient(w *world) {
	const invalid = "Invalid client or Invalid client credentials"
	w.answered(w.post("token", w.loginForm("client_id", "nobody"), nil), http.StatusUnauthorized, "invalid_client", invalid)
	w.answered(w.post("token", w.loginForm("client_id", confidential, "client_secret", "wrong"), nil), http.StatusUnauthorized, "unauthorized_client", invalid)
	w.answered(w.post("token", w.loginForm("client_id", confidential), nil), http.StatusUnauthorized, "unauthorized_client", invalid)
	w.answered(w.post("token", w.loginForm("client_id", web, "client_secret", clientSecret), nil),
		http.StatusBadRequest, "unauthorized_client", "Client not allowed for direct access grants")
	w.answered(w.post("token", w.loginForm("grant_type", "magic"), nil), http.StatusBadRequest, "unsupported_grant_type", "Unsupported grant_type")
	w.answered(w.post("token", w.loginForm("scope", "no-such-scope"), nil), http.StatusBadRequest, "invalid_scope", "Invalid scopes: no-such-scope")
	require.Equal(w, http.StatusNotFound, w.send(http.MethodPost, w.Origin+"/auth/realms/nowhere/protocol/openid-connect/token", "", nil).status)
	require.Zero(w, w.Sessions(w.T, w.alice))
}

func clientCredentials(w *world) {
	up := w.connect(presets.Keycloak(), providers.Account{
		AuthMethod: providers.ClientCredentials, BaseURL: w.Origin + "/auth", Realm: w.realm,
		ClientID: confidential, ClientSecret: providers.NewSecret(clientSecret),
	})
	got := upstream{w, up}.login()
	w.lives(300, got.ExpiresIn)
	raw := w.post("token", map[string]string{"grant_type": "client_credentials", "client_id": confidential, "client_secret": clientSecret}, nil)
	require.Equal(w, http.StatusOK, raw.status, raw.raw)
	require.NotContains(w, raw.fields, "refresh_token")
	require.NotContains(w, raw.fields, "session_state")
	require.NotContains(w, w.claims(got.AccessToken), "sid")
}

func serverClock(w *world) {
	before := time.Now()
	up := w.ocp(w.alice)
	got := up.login()
	require.WithinRange(w, got.ServerTime, before.Add(-2*time.Second), time.Now().Add(time.Second))
	raw := w.post("token", w.loginForm(), nil)
	require.Empty(w, raw.header.Get("Date"))
	require.Empty(w, w.post("token", w.loginForm("password", "wrong"), nil).header.Get("Date"))
}

func disabledMeanwhile(w *world) {
	up := w.ocp(w.alice)
	got := up.login()
	w.Disable(w.T, w.alice)
	w.refused(up.tryRefresh(got), providers.SessionGone, "User disabled")
	w.refused(up.tryLogin(), providers.BadCredentials, "Account disabled")
	up.logout(got)
	require.Zero(w, w.Sessions(w.T, w.alice))
}

func shrinkingLives(w *world) {
	up := w.ocp(w.alice)
	got := up.login()
	w.lives(shortIdle.Seconds(), got.RefreshExpiresIn) // the idle time comes first
	w.lives(shortMaximum.Seconds(), got.ExpiresIn)
	const passed = 6 * time.Second
	time.Sleep(passed)
	again := up.refresh(got)
	require.LessOrEqual(w, again.RefreshExpiresIn, shortMaximum-passed)
	require.LessOrEqual(w, again.ExpiresIn, shortMaximum-passed)
	require.Equal(w, got.ServerID, again.ServerID, "a refresh stays in its session")
}

func afterTheMaximum(w *world) {
	up := w.ocp(w.alice)
	got := up.login()
	time.Sleep(shortMaximum + 2*time.Second)
	w.refused(up.tryRefresh(got), providers.SessionGone, "Token is not active")
	up.logout(got)
	require.Zero(w, w.Sessions(w.T, w.alice))
}
