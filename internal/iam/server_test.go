package iam_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

func TestAServerIsControlledOverHTTP(t *testing.T) {
	c := onSocket(t, iam.New(iam.Config{Realms: []iam.Realm{plain()}}))
	require.Equal(t, 204, c.call("POST", "/_iam/faults", `{"op":"login","kind":"status","status":500,"delay":"1ms","count":1}`).status)
	require.Equal(t, 500, c.login().status)
	c.open()

	var stats iam.Stats
	require.NoError(t, json.Unmarshal([]byte(c.call("GET", "/_iam/stats", "").raw), &stats))
	require.Equal(t, 2, stats.Calls[iam.OpLogin])
	require.Equal(t, []iam.AccountStats{{Realm: realmName, Account: username, Logins: 1, Sessions: 1, PeakSessions: 1}}, stats.Accounts)

	require.Len(t, decodeList(t, c.call("GET", "/admin/realms/acme/users/alice/sessions", "").raw), 1)
	require.Equal(t, 404, c.call("GET", "/admin/realms/acme/users/nobody/sessions", "").status)

	c.call("POST", "/_iam/faults", `{"kind":"status"}`)
	require.Equal(t, 503, c.login().status)
	require.Equal(t, 204, c.call("DELETE", "/_iam/faults", "").status)
	c.open()
	require.Equal(t, 204, c.call("POST", "/_iam/reset", "").status)
	require.Empty(t, c.server.Stats().Accounts)
	require.Empty(t, c.server.Sessions(realmName, username))
}

func TestAFaultThatDoesNotExistIsRefusedOverHTTP(t *testing.T) {
	c := newCaller(t, plain())
	for _, body := range []string{`{`, `{"kind":"nonsense"}`, `{"kind":"reset","op":"nonsense"}`, `{"kind":"status","stauts":500}`, `{"kind":"delay","delay":"long"}`} {
		got := c.call("POST", "/_iam/faults", body)
		require.Equal(t, 400, got.status)
		require.NotEmpty(t, got.str("error"))
	}
}

func TestATestOpensAndEndsSessionsAsAPersonAndAnAdministratorDo(t *testing.T) {
	c := newCaller(t, limited())
	for range 5 {
		_, ok := c.server.OpenSession(realmName, username, "Mozilla/5.0")
		require.True(t, ok)
	}
	c.refused(c.login(), 403, "session limit exceeded", "")
	sessions := c.server.Sessions(realmName, username)
	require.Equal(t, "Other/Unknown", sessions[0].Browser)
	require.True(t, c.server.EndSession(sessions[0].ID))
	require.False(t, c.server.EndSession(sessions[0].ID))
	open := c.open()
	require.Equal(t, 5, c.server.EndAllSessions())
	c.invalidGrant(c.refresh(open.str("refresh_token")), "Session not active")

	_, ok := c.server.OpenSession(realmName, "nobody", "")
	require.False(t, ok)
	require.Nil(t, c.server.Sessions("nowhere", username))
}

func TestAPasswordMayChange(t *testing.T) {
	c := newCaller(t, plain())
	c.server.UpdateUser(realmName, username, func(u *iam.User) { u.Password = "new" })
	c.invalidGrant(c.login(), "Invalid user credentials")
	c.open("password", "new")
	c.server.Reset()
	c.open()
}

func TestEveryDemoIdentityLogsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := callerOf(t, iam.New(iam.Demo()))
		login := func(path string, fields ...string) answer {
			t.Helper()
			values := url.Values{}
			for i := 0; i < len(fields); i += 2 {
				values.Set(fields[i], fields[i+1])
			}
			got := c.call("POST", path+"/protocol/openid-connect/token", values.Encode(), "Content-Type", "application/x-www-form-urlencoded")
			require.Equal(t, http.StatusOK, got.status, got.raw)
			return got
		}
		const pantaPath = "/realms/" + iam.DemoPantaRealm
		panta := []string{"grant_type", "password", "client_id", iam.DemoPantaClient, "client_secret", iam.DemoPantaSecret}
		got := login(pantaPath, append(panta, "username", iam.DemoPantaUser, "password", iam.DemoPantaPassword)...)
		require.Equal(t, 200, c.call("GET", "/api/panta/ping", "",
			"Authorization", "Bearer "+got.str("access_token"), "X-CLIENT-ID", iam.DemoPantaTenant).status)
		login(pantaPath, append(panta, "username", iam.DemoPlainUser, "password", iam.DemoPlainPassword)...)
		login(pantaPath, "grant_type", "client_credentials", "client_id", iam.DemoService, "client_secret", iam.DemoServiceSecret)

		for realm, pat := range map[string]string{iam.DemoSwarmRealm: iam.DemoSwarmPAT, iam.DemoK8sRealm: iam.DemoK8sPAT} {
			path := "/auth/realms/" + realm
			code, err := totp.GenerateCode(iam.DemoTOTPSecret, time.Now())
			require.NoError(t, err)
			require.Equal(t, code, c.server.Code(realm, iam.DemoOCPUser, time.Now()))
			ocp := []string{"grant_type", "password", "client_id", iam.DemoOCPClient, "scope", "openid reports"}
			got = login(path, append(ocp, "username", iam.DemoOCPUser, "password", iam.DemoOCPPassword, "otp", code)...)
			require.Equal(t, 200, c.call("GET", "/api/ocp/any/ping", "", "Authorization", "Bearer "+got.str("access_token")).status)
			require.Equal(t, 200, c.call("GET", "/api/ocp/nlu/ping", "", "X-OCP-PERSONAL-ACCESS-TOKEN", pat).status)
			login(path, append(ocp, "username", iam.DemoPlainUser, "password", iam.DemoPlainPassword)...)
			login(path, "grant_type", "client_credentials", "client_id", iam.DemoService, "client_secret", iam.DemoServiceSecret)
			require.Empty(t, c.server.Code(realm, iam.DemoPlainUser, time.Now()))
		}
	})
}

func TestInMemoryATraceLearnsThatTheRequestWasWritten(t *testing.T) {
	c := newCaller(t, plain())
	c.server.Inject(iam.Fault{Kind: iam.Reset})
	wrote, answered := false, false
	r := c.formRequest("token", loginFields()...)
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { wrote = true },
		GotFirstResponseByte: func() { answered = true },
	}))
	_, err := c.try(r)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.True(t, wrote)
	require.False(t, answered)
}

func TestInMemoryAnHTTPSRequestHasAnHTTPSIssuer(t *testing.T) {
	c := newCaller(t, plain())
	c.base = "https://iam.test"
	require.Equal(t, "https://iam.test/realms/acme", claimsOf(t, c.open().str("access_token"))["iss"])
}

func TestABodyThatIsTooLargeIsRefused(t *testing.T) {
	c := newCaller(t, plain())
	require.Equal(t, http.StatusBadRequest, c.call("POST", "/api/oauth/token", strings.Repeat("x", 2<<20)).status)
}
