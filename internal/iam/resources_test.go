package iam_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

func TestThePantaResourceWantsTheTenantAndALiveSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := plain()
		r.API, r.Tenant = iam.PantaAPI, "tenant-1"
		c := newCaller(t, r)
		open := c.open()
		ping := func(tenant string) answer {
			return c.call("GET", "/api/panta/ping", "", "Authorization", "Bearer "+open.str("access_token"), "X-CLIENT-ID", tenant)
		}
		require.Equal(t, 200, ping("tenant-1").status)
		require.Equal(t, true, ping("tenant-1").body["ok"])
		require.Equal(t, 401, ping("tenant-2").status)
		require.Equal(t, 401, ping("").status)
		time.Sleep(5 * time.Minute)
		c.refused(ping("tenant-1"), 401, "invalid_token", "Token is not active")
		open = c.refresh(open.str("refresh_token"))
		require.Equal(t, 200, ping("tenant-1").status)
		c.logout(open.str("refresh_token"))
		require.Equal(t, 401, ping("tenant-1").status)
		require.Equal(t, 401, c.call("GET", "/api/ocp/nlu/ping", "", "Authorization", "Bearer "+c.open().str("access_token")).status)
	})
}

func TestTheOCPResourceTakesABearerAtAnyServiceAndAPersonalAccessTokenAtSeven(t *testing.T) {
	c := callerOf(t, iam.New(iam.Demo()))
	ping := func(service, pat string) int {
		return c.call("GET", "/api/ocp/"+service+"/ping", "", "X-OCP-PERSONAL-ACCESS-TOKEN", pat).status
	}
	require.Len(t, iam.PATServices(), 7)
	for _, service := range iam.PATServices() {
		require.Equal(t, 200, ping(service, iam.DemoSwarmPAT), service)
	}
	require.Equal(t, 401, ping("billing", iam.DemoSwarmPAT))
	require.Equal(t, 401, ping("nlu", "nonsense"))
	require.Equal(t, 401, c.call("GET", "/api/ocp/nlu/ping", "").status)

	c = newCaller(t, plain())
	got := c.call("GET", "/api/ocp/billing/ping", "", "Authorization", "Bearer "+c.open().str("access_token"))
	require.Equal(t, 200, got.status)
	require.Equal(t, username, got.str("account"))
	require.Equal(t, 401, c.call("GET", "/api/panta/ping", "", "Authorization", "Bearer "+c.open().str("access_token")).status)
}

func TestAnAccountThatNobodyLogsInToFor90DaysIsDeactivatedAndItsPersonalAccessTokenDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := plain()
		r.Users[0].PersonalAccessToken = "pat"
		c := newCaller(t, r)
		ping := func() int {
			return c.call("GET", "/api/ocp/nlu/ping", "", "X-OCP-PERSONAL-ACCESS-TOKEN", "pat").status
		}
		time.Sleep(89 * 24 * time.Hour)
		c.open()
		time.Sleep(89 * 24 * time.Hour)
		require.Equal(t, 200, ping())
		time.Sleep(24 * time.Hour)
		require.Equal(t, 401, ping())
		c.invalidGrant(c.login(), "Account disabled")
	})
}

const partnerLogin = `{"grant_type":"client_credentials","client_id":"` + iam.DemoPartnerID + `","client_secret":"` + iam.DemoPartnerSecret + `"}`

func TestThePartnerEndpointTakesJSONAndNothingElse(t *testing.T) {
	for name, tc := range map[string]struct {
		body, contentType, accept string
		status                    int
		code                      string
	}{
		"right":           {partnerLogin, "application/json", "application/json", 200, ""},
		"form":            {"grant_type=client_credentials&client_id=x", "application/x-www-form-urlencoded", "application/json", 400, "unsupported_grant_type"},
		"no accept":       {partnerLogin, "application/json", "*/*", 406, ""},
		"not JSON":        {"{", "application/json", "application/json", 400, "invalid_request"},
		"other grant":     {`{"grant_type":"password"}`, "application/json", "application/json", 400, "unsupported_grant_type"},
		"no client":       {`{"grant_type":"client_credentials"}`, "application/json", "application/json", 400, "invalid_request"},
		"wrong secret":    {`{"grant_type":"client_credentials","client_id":"` + iam.DemoPartnerID + `","client_secret":"x"}`, "application/json", "application/json", 401, "invalid_client"},
		"unknown partner": {`{"grant_type":"client_credentials","client_id":"x"}`, "application/json", "application/json", 401, "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			c := callerOf(t, iam.New(iam.Demo()))
			got := c.call("POST", "/api/oauth/token", tc.body, "Content-Type", tc.contentType, "Accept", tc.accept)
			require.Equal(t, tc.status, got.status, got.raw)
			require.Equal(t, tc.code, got.str("error"))
			if tc.status == http.StatusOK {
				require.Equal(t, "Bearer", got.str("token_type"))
				require.Equal(t, 3600, got.seconds("expires_in"))
				require.NotContains(t, got.body, "refresh_token")
			}
		})
	}
}

func TestThePartnerResourceTakesThePartnersTokenForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := callerOf(t, iam.New(iam.Demo()))
		open := c.call("POST", "/api/oauth/token", partnerLogin, "Content-Type", "application/json")
		ping := func(token string) int {
			return c.call("GET", "/api/partner/ping", "", "Authorization", "Bearer "+token).status
		}
		require.Equal(t, 200, ping(open.str("access_token")))
		require.Equal(t, 401, ping("nonsense"))
		require.Equal(t, 1, c.server.AccountStats("", iam.DemoPartnerID).Logins)
		require.Equal(t, 401, c.call("GET", "/api/ocp/nlu/ping", "", "Authorization", "Bearer "+open.str("access_token")).status)
		time.Sleep(time.Hour)
		require.Equal(t, 401, ping(open.str("access_token")))
	})
}
