package iam_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var c map[string]any
	require.NoError(t, json.Unmarshal(raw, &c))
	return c
}

func decodeList(t *testing.T, raw string) []map[string]any {
	t.Helper()
	var list []map[string]any
	require.NoError(t, json.Unmarshal([]byte(raw), &list), raw)
	return list
}

// business is a realm with every kind of client.
func business() iam.Realm {
	r := plain()
	r.Scopes = []string{"reports"}
	r.Clients = append(
		r.Clients,
		iam.Client{ID: "conf", Secret: "s3cret", DirectGrants: true},
		iam.Client{ID: "service", Secret: "s3cret", ServiceAccount: true},
	)
	r.Users = append(
		r.Users,
		iam.User{Username: "disabled", Password: password, Disabled: true},
		iam.User{Username: "pending", Password: password, RequiredActions: []string{"UPDATE_PASSWORD"}},
	)
	return r
}

func TestALoginAnswersAsKeycloakDoes(t *testing.T) {
	got := newCaller(t, business()).open("scope", "openid reports")
	require.Equal(t, 300, got.seconds("expires_in"))
	require.Equal(t, 1800, got.seconds("refresh_expires_in"))
	require.Equal(t, "Bearer", got.str("token_type"))
	require.Equal(t, "openid email profile reports", got.str("scope"))
	require.Contains(t, got.body, "not-before-policy")
	require.Equal(t, "no-store", got.header.Get("Cache-Control"))
}

func TestRefusedTokenRequestsAnswerAsKeycloakDoes(t *testing.T) {
	const invalidClient = "Invalid client or Invalid client credentials"
	for name, tc := range map[string]struct {
		fields            []string
		status            int
		code, description string
	}{
		"unknown user":           {loginFields("username", "nobody"), 400, "invalid_grant", "Invalid user credentials"},
		"wrong password":         {loginFields("password", "wrong"), 400, "invalid_grant", "Invalid user credentials"},
		"missing username":       {loginFields("username", ""), 401, "invalid_request", "Missing parameter: username"},
		"disabled":               {loginFields("username", "disabled"), 400, "invalid_grant", "Account disabled"},
		"required action":        {loginFields("username", "pending"), 400, "invalid_grant", "Account is not fully set up"},
		"unknown scope":          {loginFields("scope", "offline_access"), 400, "invalid_scope", "Invalid scopes: offline_access"},
		"direct grants off":      {loginFields("client_id", "service", "client_secret", "s3cret"), 400, "unauthorized_client", "Client not allowed for direct access grants"},
		"wrong client secret":    {loginFields("client_id", "conf", "client_secret", "wrong"), 401, "unauthorized_client", invalidClient},
		"missing client secret":  {loginFields("client_id", "conf"), 401, "unauthorized_client", invalidClient},
		"unknown client":         {loginFields("client_id", "stranger"), 401, "invalid_client", invalidClient},
		"missing client":         {loginFields("client_id", ""), 400, "invalid_client", "Missing client_id parameter"},
		"missing grant":          {nil, 400, "invalid_request", "Missing form parameter: grant_type"},
		"unknown grant":          {[]string{"grant_type", "magic"}, 400, "unsupported_grant_type", "Unsupported grant_type"},
		"missing refresh token":  {[]string{"grant_type", "refresh_token"}, 400, "invalid_request", "No refresh token"},
		"public service account": {[]string{"grant_type", "client_credentials"}, 401, "unauthorized_client", "Public client not allowed to retrieve service account"},
		"no service account": {
			[]string{"grant_type", "client_credentials", "client_id", "conf", "client_secret", "s3cret"},
			401, "unauthorized_client", "Client not enabled to retrieve service account",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCaller(t, business())
			c.refused(c.form("token", tc.fields...), tc.status, tc.code, tc.description)
		})
	}
}

func TestTheTokenEndpointTakesFormsOnly(t *testing.T) {
	c := newCaller(t, plain())
	got := c.call("POST", "/realms/acme/protocol/openid-connect/token", `{"grant_type":"password"}`, "Content-Type", "application/json")
	require.Equal(t, http.StatusUnsupportedMediaType, got.status)
	got = c.call("POST", "/realms/acme/protocol/openid-connect/token", "client_id=app&client_id=app",
		"Content-Type", "application/x-www-form-urlencoded")
	c.refused(got, 400, "invalid_request", "duplicated parameter")
}

func TestARealmLivesUnderItsPrefixOnly(t *testing.T) {
	r := plain()
	r.PathPrefix = "/auth"
	c := newCaller(t, r, iam.Realm{Name: "other"})
	require.Equal(t, 404, c.login().status)
	require.Equal(t, 404, c.call("POST", "/nowhere", "").status)
	c.base += "/auth"
	c.open()
}

func TestAClientSecretMayComeAsBasicAuthentication(t *testing.T) {
	c := newCaller(t, business())
	r := c.formRequest("token", loginFields("client_id", "conf")...)
	r.SetBasicAuth("conf", "s3cret")
	require.Equal(t, 200, c.send(r).status)
}

func TestUserNamesDoNotDifferByCase(t *testing.T) {
	c := newCaller(t, plain())
	c.open("username", "ALICE")
	require.Equal(t, 1, c.stats().Logins)
}

func TestClientCredentialsGiveNoRefreshTokenAndNoSession(t *testing.T) {
	c := newCaller(t, business())
	got := c.form("token", "grant_type", "client_credentials", "client_id", "service", "client_secret", "s3cret", "scope", "reports")
	require.Equal(t, 200, got.status)
	require.Equal(t, 0, got.seconds("refresh_expires_in"))
	require.Equal(t, 300, got.seconds("expires_in"))
	require.NotContains(t, got.body, "refresh_token")
	require.NotContains(t, got.body, "session_state")
	require.Equal(t, 1, c.server.AccountStats(realmName, "service").Logins)
	require.Equal(t, 200, c.call("GET", "/api/ocp/nlu/ping", "", "Authorization", "Bearer "+got.str("access_token")).status)
}

func TestATokenOfAnotherClientOrHostNameNeitherRefreshesNorLogsOut(t *testing.T) {
	c := newCaller(t, business())
	token := c.open().str("refresh_token")
	other := []string{"client_id", "conf", "client_secret", "s3cret", "grant_type", "refresh_token", "refresh_token", token}
	const mismatch = "Invalid refresh token. Token client and authorized client don't match"
	c.invalidGrant(c.form("token", other...), mismatch)
	c.invalidGrant(c.form("logout", other...), mismatch)
	c.base = "http://elsewhere.test"
	const issuer = "Invalid token issuer. Expected 'http://elsewhere.test/realms/acme'"
	c.invalidGrant(c.refresh(token), issuer)
	c.invalidGrant(c.logout(token), issuer)
	require.Equal(t, 1, c.stats().Sessions)
}

func TestARefreshOfADisabledUserIsRefused(t *testing.T) {
	c := newCaller(t, plain())
	open := c.open()
	require.True(t, c.server.UpdateUser(realmName, username, func(u *iam.User) { u.Disabled = true }))
	c.invalidGrant(c.refresh(open.str("refresh_token")), "User disabled")
	require.Equal(t, 1, c.stats().RefusedRefreshes)
	require.False(t, c.server.UpdateUser(realmName, "nobody", nil))
}

func TestASessionThatNobodyRefreshesEndsAtItsIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, plain())
		open := c.open()
		time.Sleep(29 * time.Minute)
		next := c.refresh(open.str("refresh_token"))
		require.Equal(t, 200, next.status)
		time.Sleep(29 * time.Minute)
		require.Equal(t, 1, c.stats().Sessions)
		c.invalidGrant(c.refresh(open.str("refresh_token")), "Token is not active")
		time.Sleep(time.Minute)
		require.Zero(t, c.stats().Sessions)
		c.invalidGrant(c.refresh(next.str("refresh_token")), "Token is not active")
		require.Equal(t, 204, c.logout(next.str("refresh_token")).status)
	})
}

func TestAnExpiredRefreshTokenStillLogsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, plain())
		open := c.open()
		time.Sleep(20 * time.Minute)
		c.refresh(open.str("refresh_token"))
		time.Sleep(20 * time.Minute)
		require.Equal(t, 204, c.logout(open.str("refresh_token")).status)
		require.Zero(t, c.stats().Sessions)
	})
}

func TestNoTokenOutlivesTheMaximumAgeOfItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := plain()
		r.SessionMax = time.Hour
		c := newCaller(t, r)
		got := c.open()
		time.Sleep(25 * time.Minute)
		got = c.refresh(got.str("refresh_token"))
		require.Equal(t, 1800, got.seconds("refresh_expires_in"))
		time.Sleep(25 * time.Minute)
		got = c.refresh(got.str("refresh_token"))
		require.Equal(t, 600, got.seconds("refresh_expires_in"))
		require.Equal(t, 300, got.seconds("expires_in"))
		time.Sleep(9 * time.Minute)
		got = c.refresh(got.str("refresh_token"))
		require.Equal(t, 60, got.seconds("refresh_expires_in"))
		require.Equal(t, 60, got.seconds("expires_in"))
		time.Sleep(time.Minute)
		c.invalidGrant(c.refresh(got.str("refresh_token")), "Token is not active")
		require.Empty(t, c.server.Sessions(realmName, username))
	})
}

func TestTheSessionLimitMayTerminateTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := limited()
		r.SessionLimit = iam.SessionLimit{Max: 2, Behaviour: iam.TerminateOldest}
		c := newCaller(t, r)
		first := c.open()
		time.Sleep(time.Second)
		second := c.open()
		time.Sleep(time.Second)
		c.open()
		c.invalidGrant(c.refresh(first.str("refresh_token")), "Session not active")
		require.Equal(t, 200, c.refresh(second.str("refresh_token")).status)
		require.Equal(t, 2, c.stats().Sessions)
	})
}

func TestTheMessageOfTheSessionLimitIsTheRealms(t *testing.T) {
	r := plain()
	r.SessionLimit = iam.SessionLimit{Max: 1, Message: "too many <sessions>"}
	c := newCaller(t, r)
	c.open()
	c.refused(c.login(), 403, "too many <sessions>", "")
}

func TestRevocationOfARefreshTokenEndsItsSessionAndOfAnAccessTokenOnlyThatToken(t *testing.T) {
	c := newCaller(t, business())
	first, second := c.open("scope", "openid"), c.open()
	require.Equal(t, 200, c.form("revoke", "token", second.str("refresh_token")).status)
	require.Equal(t, 1, c.stats().Sessions)
	require.Equal(t, 200, c.form("revoke", "token", "nonsense").status)
	c.refused(c.form("revoke"), 400, "invalid_request", "Token not provided")
	c.refused(c.form("revoke", "client_id", "conf", "client_secret", "s3cret", "token", first.str("refresh_token")),
		400, "invalid_client", "Unmatching clients")

	require.Equal(t, 200, c.form("revoke", "token", first.str("access_token")).status)
	require.Equal(t, 401, c.userinfo(first.str("access_token")).status)
	next := c.refresh(first.str("refresh_token"))
	require.Equal(t, 200, c.userinfo(next.str("access_token")).status)
}

func (c *caller) userinfo(token string) answer {
	c.t.Helper()
	return c.call("GET", "/realms/acme/protocol/openid-connect/userinfo", "", "Authorization", "Bearer "+token)
}

func TestUserinfoWantsALiveSessionAndTheScopeOpenid(t *testing.T) {
	c := newCaller(t, plain())
	open := c.open("scope", "openid")
	require.Equal(t, username, c.userinfo(open.str("access_token")).str("preferred_username"))
	c.refused(c.userinfo(c.open().str("access_token")), 403, "insufficient_scope", "Missing openid scope")
	c.logout(open.str("refresh_token"))
	c.refused(c.userinfo(open.str("access_token")), 401, "invalid_token", "Token verification failed")
}
