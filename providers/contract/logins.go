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
		{sentence: "a wrong password and an unknown user are 401 invalid_grant, and 400 on 26.7", realm: plain, try: wrongPassword},
		{sentence: "a disabled user and one with required actions are told apart, with 400 in every release", realm: plain, try: blockedUsers},
		{sentence: "a wrong client, secret or grant has a code of its own", realm: plain, try: wrongClient},
		{sentence: "an unknown scope is 400 invalid_scope", of: refusesScopes, realm: plain, try: unknownScope},
		{sentence: "an unknown scope is left out without a word", of: ignoresScopes, realm: plain, try: ignoredScope},
		{sentence: "there is no Date header, and iat is the server's clock", of: withoutDate, realm: plain, try: iatClock},
		{sentence: "Date is the server's clock, of refusals too", of: withDate, realm: plain, try: dateClock},
		{sentence: "a user who is disabled cannot refresh, and its session can be logged out", realm: plain, try: disabledMeanwhile},
		{sentence: "a session that was idle for too long does not count any more", of: dropsIdle, realm: idling, try: droppedIdle},
		{sentence: "a session that was idle for too long counts for minutes more; a logout ends it", of: countsIdle, realm: idling, try: countedIdle},
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
	claims := w.claims(got.AccessToken)
	for claim, there := range map[string]bool{"sid": w.release.SIDClaim, "session_state": w.release.SessionStateClaim} {
		if there {
			require.Equal(w, got.ServerID, claims[claim])
		} else {
			require.NotContains(w, claims, claim)
		}
	}
	if w.release.AccountAPI.On {
		require.Contains(w, up.list(got), got.ServerID)
	}
	form := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	if w.release.ShortSessionIDs {
		form = regexp.MustCompile(`^[A-Za-z0-9_-]{24}$`)
	}
	require.Regexp(w, form, got.ServerID)

	raw := w.post("token", w.loginForm("scope", "openid"), nil)
	require.Equal(w, http.StatusOK, raw.status, raw.raw)
	require.Equal(w, w.release.TokenType, raw.text("token_type"))
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
	w.answered(w.post("token", w.loginForm("password", "wrong"), nil), w.release.RefusedGrant, "invalid_grant", invalidCredentials)
	w.answered(w.post("token", w.loginForm("username", "nobody"), nil), w.release.RefusedGrant, "invalid_grant", invalidCredentials)
	a := w.account(w.alice)
	a.Password = providers.NewSecret("wrong")
	w.refused(upstream{w, w.connect(presets.OCP(), a)}.tryLogin(), providers.BadCredentials, invalidCredentials)
	require.Zero(w, w.Sessions(w.T, w.alice))
}

func blockedUsers(w *world) {
	w.answered(w.post("token", w.loginForm("username", disabled), nil), http.StatusBadRequest, "invalid_grant", "Account disabled")
	w.answered(w.post("token", w.loginForm("username", unfinished), nil), http.StatusBadRequest, "invalid_grant", "Account is not fully set up")
	w.refused(w.ocp(disabled).tryLogin(), providers.BadCredentials, "invalid_grant") // the words repeat its name
	w.refused(w.ocp(unfinished).tryLogin(), providers.BadCredentials, "Account is not fully set up")
	require.Zero(w, w.Sessions(w.T, unfinished))
}

func wrongClient(w *world) {
	w.answers(w.post("token", w.loginForm("client_id", "nobody"), nil), w.release.UnknownClient)
	w.answered(w.post("token", w.loginForm("client_id", confidential, "client_secret", "wrong"), nil), http.StatusUnauthorized, "unauthorized_client", w.release.WrongSecret)
	w.answered(w.post("token", w.loginForm("client_id", confidential), nil), http.StatusUnauthorized, "unauthorized_client", w.release.MissingSecret)
	w.answered(w.post("token", w.loginForm("client_id", web, "client_secret", clientSecret), nil),
		http.StatusBadRequest, "unauthorized_client", "Client not allowed for direct access grants")
	w.answered(w.post("token", w.loginForm("grant_type", "magic"), nil), http.StatusBadRequest, "unsupported_grant_type", "Unsupported grant_type")
	require.Equal(w, http.StatusNotFound, w.send(http.MethodPost, w.Origin+"/auth/realms/nowhere/protocol/openid-connect/token", "", nil).status)
	require.Zero(w, w.Sessions(w.T, w.alice))
}

func unknownScope(w *world) {
	w.answered(w.post("token", w.loginForm("scope", "no-such-scope"), nil), http.StatusBadRequest, "invalid_scope", "Invalid scopes: no-such-scope")
	require.Zero(w, w.Sessions(w.T, w.alice))
}

func ignoredScope(w *world) {
	got := w.post("token", w.loginForm("scope", "no-such-scope"), nil)
	require.Equal(w, http.StatusOK, got.status, got.raw)
	require.ElementsMatch(w, []string{"email", "profile"}, splitScope(got.text("scope")))
}

func iatClock(w *world) {
	w.showsClock()
	require.Empty(w, w.post("token", w.loginForm(), nil).header.Get("Date"))
	require.Empty(w, w.post("token", w.loginForm("password", "wrong"), nil).header.Get("Date"))
}

func dateClock(w *world) {
	w.showsClock()
	for _, password := range []string{password, "wrong"} {
		date, err := http.ParseTime(w.post("token", w.loginForm("password", password), nil).header.Get("Date"))
		require.NoError(w, err)
		require.WithinDuration(w, time.Now(), date, 2*time.Second)
	}
}

// showsClock wants a login to show the server's clock, which is ours.
func (w *world) showsClock() {
	w.Helper()
	before := time.Now()
	got := w.ocp(w.alice).login()
	require.WithinRange(w, got.ServerTime, before.Add(-2*time.Second), time.Now().Add(time.Second))
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

// goIdle logs in and leaves the session alone until its refresh token is of no use.
func (w *world) goIdle() (upstream, providers.TokenResponse) {
	w.Helper()
	up := w.ocp(w.alice)
	got := up.login()
	time.Sleep(2*veryShortIdle + time.Second)
	w.refused(up.tryRefresh(got), providers.SessionGone, "Token is not active")
	return up, got
}

func droppedIdle(w *world) {
	w.goIdle()
	require.Zero(w, w.Sessions(w.T, w.alice))
}

func countedIdle(w *world) {
	up, got := w.goIdle()
	require.Equal(w, 1, w.Sessions(w.T, w.alice))
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
