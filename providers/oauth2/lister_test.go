package oauth2_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
)

const (
	testMark  = "vault-plugin-secrets-panta-6f1c22aa-0192abcd-bot/1.2.3"
	testToken = "A-secret-access"
)

// emulated returns the upstream of a user of the emulator's demo.
func emulated(t *testing.T, server *iam.Server, provider string, a providers.Account) providers.Upstream {
	t.Helper()
	a.BaseURL = "http://127.0.0.1:1"
	up, err := oauth2.New(preset(t, provider), server.Transport()).Connect(a)
	require.NoError(t, err)
	return up
}

func emulatedPanta(t *testing.T, server *iam.Server) providers.Upstream {
	t.Helper()
	return emulated(t, server, "panta", providers.Account{
		ClientID: iam.DemoPantaClient, ClientSecret: providers.NewSecret(iam.DemoPantaSecret), TenantID: iam.DemoPantaTenant,
		Username: iam.DemoPantaUser, Password: providers.NewSecret(iam.DemoPantaPassword),
	})
}

func TestAnAccountListsItsSessionsAndEndsOne(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 600, time.UTC)
	server := iam.New(func() iam.Config { c := iam.Demo(); c.Now = func() time.Time { return now }; return c }())
	up := emulatedPanta(t, server)
	ours, err := up.Login(t.Context(), providers.LoginRequest{UserAgent: testMark})
	require.NoError(t, err)
	persons, opened := server.OpenSession(iam.DemoPantaRealm, iam.DemoPantaUser, "Mozilla/5.0")
	require.True(t, opened)

	list, err := up.ListSessions(t.Context(), ours.AccessToken)
	require.NoError(t, err)
	require.Len(t, list, 2)
	byID := map[string]providers.ServerSession{list[0].ID: list[0], list[1].ID: list[1]}
	mine := byID[ours.ServerID]
	assert.Equal(t, testMark, mine.UserAgent)
	assert.Equal(t, []string{iam.DemoPantaClient}, mine.Clients)
	assert.Equal(t, "127.0.0.1", mine.IPAddress)
	assert.Equal(t, now.Truncate(time.Second), mine.StartedAt)
	assert.Equal(t, now.Truncate(time.Second), mine.LastAccess)
	assert.True(t, mine.ExpiresAt.After(now))
	assert.True(t, mine.Current)
	assert.NotEqual(t, testMark, byID[persons.ID].UserAgent)
	assert.False(t, byID[persons.ID].Current)

	for range 2 { // again: gone is done
		require.NoError(t, up.EndSession(t.Context(), ours.AccessToken, persons.ID))
	}
	list, err = up.ListSessions(t.Context(), ours.AccessToken)
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Equal(t, ours.ServerID, list[0].ID)
}

func TestAnAccountThatMayNotListIsToldWhyNot(t *testing.T) {
	server := iam.New(iam.Demo())
	roles := emulated(t, server, "panta", providers.Account{
		ClientID: iam.DemoPantaClient, ClientSecret: providers.NewSecret(iam.DemoPantaSecret), TenantID: iam.DemoPantaTenant,
		Username: iam.DemoPlainUser, Password: providers.NewSecret(iam.DemoPlainPassword),
	})
	off := emulated(t, server, "ocp", providers.Account{
		Realm: iam.DemoK8sRealm, Username: iam.DemoPlainUser, Password: providers.NewSecret(iam.DemoPlainPassword),
	})
	for up, advice := range map[providers.Upstream]string{roles: "manage-account", off: "Account REST API switched on"} {
		got, err := do(t.Context(), up, "login")
		require.NoError(t, err)
		_, err = up.ListSessions(t.Context(), got.AccessToken)
		failure := assertFailed(t, err, providers.NotAllowed, providers.DidNotHappen)
		assert.Contains(t, failure.Advice, advice)
		assert.Equal(t, "list sessions", failure.Op)
	}
	got, err := do(t.Context(), roles, "login")
	require.NoError(t, err)
	err = roles.EndSession(t.Context(), got.AccessToken, got.ServerID)
	failure := assertFailed(t, err, providers.NotAllowed, providers.DidNotHappen)
	assert.Equal(t, "end session", failure.Op)
}

func TestATokenWhoseSessionHasEndedMayNotList(t *testing.T) {
	server := iam.New(iam.Demo())
	up := emulatedPanta(t, server)
	got, err := do(t.Context(), up, "login")
	require.NoError(t, err)
	require.NoError(t, up.Logout(t.Context(), providers.SessionTokens{Refresh: got.RefreshToken}))
	_, err = up.ListSessions(t.Context(), got.AccessToken)
	assertFailed(t, err, providers.NotAllowed, providers.DidNotHappen)
}

func TestListingAndEndingAreOneRequestEachWithTheTokenAndWithoutABody(t *testing.T) {
	for provider, endpoint := range map[string]string{
		"panta":    "https://login.dmo.app.pantaindex.com/realms/panta-technology/account/sessions",
		"ocp":      "https://pub.ca1.ocp.ai/auth/realms/ocp/account/sessions",
		"keycloak": "https://login.example.com/auth/realms/staff/account/sessions",
	} {
		rt := &roundTrip{status: 200, body: `[]`}
		up := connect(t, account(provider), provider, rt)
		list, err := up.ListSessions(t.Context(), providers.NewSecret(testToken))
		require.NoError(t, err)
		assert.Empty(t, list)
		assertAccountCall(t, rt, 1, http.MethodGet, endpoint)

		rt.status = http.StatusNoContent
		require.NoError(t, up.EndSession(t.Context(), providers.NewSecret(testToken), "6d4e82a1_2d6d-~.x"))
		assertAccountCall(t, rt, 2, http.MethodDelete, endpoint+"/6d4e82a1_2d6d-~.x")
	}
}

func assertAccountCall(t *testing.T, rt *roundTrip, calls int, method, address string) {
	t.Helper()
	assert.Equal(t, calls, rt.calls)
	assert.Equal(t, method, rt.last.Method)
	assert.Equal(t, address, rt.last.URL.String())
	assert.Equal(t, http.Header{
		"Accept":        {"application/json"},
		"Authorization": {"Bearer " + testToken},
		"User-Agent":    {"vault-plugin-secrets-panta"},
	}, rt.last.Header)
	assert.Empty(t, rt.posted)
	assert.Nil(t, rt.last.GetBody, "net/http could send the request again")
}

func TestAnIDThatCannotStandInAnAddressIsRefusedUnsent(t *testing.T) {
	rt := &roundTrip{status: 204}
	up := connect(t, account("ocp"), "ocp", rt)
	for _, id := range []string{"", ".", "..", "a/b", "a%2fb", "a?b", "a b", "ä", strings.Repeat("a", 129)} {
		err := up.EndSession(t.Context(), providers.NewSecret(testToken), id)
		assertFailed(t, err, providers.Protocol, providers.DidNotHappen)
	}
	for _, token := range []string{"", "a b", "a\r\nX-Evil: 1"} {
		_, err := up.ListSessions(t.Context(), providers.NewSecret(token))
		assertFailed(t, err, providers.Protocol, providers.DidNotHappen)
	}
	assert.Zero(t, rt.calls)
}

func TestEveryAnswerOfTheAccountAPIHasItsKindAndOutcome(t *testing.T) {
	const own = `[{"id":"a","browser":"b/1","current":true}]`
	page := map[string]string{"Content-Type": "text/html"}
	for _, c := range []struct {
		name    string
		status  int
		header  map[string]string
		body    string
		list    string // "kind, outcome" of a list; empty: success
		end     string // of an end
		message string // a part of the list's
	}{
		{"as it should be", 200, nil, own, "", "", ""},
		{"ended", 204, nil, "", "protocol, unknown", "", "with nothing"},
		{"another success", 299, nil, own, "protocol, unknown", "", "299 with something that is not a list"},
		{"no roles: Keycloak 26", 401, nil, `{"error":"HTTP 401 Unauthorized"}`, "not allowed, did not happen", "not allowed, did not happen", "401"},
		{"an error that a rule of logins knows", 401, nil, `{"error":"invalid_client"}`, "not allowed, did not happen", "not allowed, did not happen", ""},
		{"not the role for this", 403, nil, ``, "not allowed, did not happen", "not allowed, did not happen", "403"},
		{"a session limit has nothing to do with it", 403, nil, `{"error":"session limit exceeded"}`, "not allowed, did not happen", "not allowed, did not happen", ""},
		{"switched off, or gone", 404, nil, `{"error":"HTTP 404 Not Found"}`, "not allowed, did not happen", "", ""},
		{"no redirects", 302, map[string]string{"Location": "https://elsewhere.example.com/"}, "", "protocol, did not happen", "protocol, did not happen", "redirect to elsewhere.example.com; redirects are not followed: set base_url or realm to"},
		{"throttled", 429, nil, "", "throttled, did not happen", "throttled, did not happen", ""},
		{"bad request", 400, nil, `{"error":"invalid_request"}`, "misconfigured, did not happen", "misconfigured, did not happen", ""},
		{"broken", 500, nil, `{"error":"unknown_error"}`, "protocol, unknown", "protocol, unknown", ""},
		{"proxy without an answer", 502, page, "<html>", "unavailable, unknown", "unavailable, unknown", ""},
		{"queue full", 503, nil, "", "unavailable, did not happen", "unavailable, did not happen", ""},
		{"the account console", 200, page, "<html>", "protocol, unknown", "protocol, unknown", "with a web page"},
		{"an object", 200, nil, `{}`, "protocol, unknown", "", "not a list of sessions"},
		{"null", 200, nil, `null`, "protocol, unknown", "", "not a list of sessions"},
		{"cut off", 200, nil, own[:20], "protocol, unknown", "", "not a list of sessions"},
		{"an entry of another type", 200, nil, `[5]`, "protocol, unknown", "", "not a list of sessions"},
		{"an empty entry", 200, nil, `[null]`, "protocol, unknown", "", "without an id"},
		{"an entry without an id", 200, nil, `[{"browser":"x/1"}]`, "protocol, unknown", "", "without an id"},
		{"an id of another type", 200, nil, `[{"id":7}]`, "protocol, unknown", "", "without an id"},
		{"an id that leads elsewhere", 200, nil, `[{"id":"../credentials"}]`, "protocol, unknown", "", "without an id"},
		{"nine megabytes", 200, nil, "[" + strings.Repeat(`{"id":"a","browser":"`+strings.Repeat("x", 9<<10)+`"},`, 1<<10) + own[1:], "protocol, unknown", "", "8192 KiB"},
		{"nine megabytes of nothing", 200, nil, "[" + strings.Repeat(" ", 9<<20) + "]", "protocol, unknown", "", "not a list of sessions"},
		{"more than anybody has", 200, nil, "[" + strings.Repeat(`{"id":"a"},`, 25_000) + own[1:], "protocol, unknown", "", "more than 25000 sessions"},
		{"a list and more", 200, nil, own + own, "protocol, unknown", "", "not a list of sessions"},
		{"a byte order mark", 200, nil, "\ufeff" + own, "", "", ""},
		{"no Account API in Keycloak 9", 404, nil, `{"error":"HTTP 404 Not Found"}`, "not allowed, did not happen", "", "404 HTTP 404 Not Found"},
		{"no roles in Keycloak 9", 403, nil, `{"error":"unknown_error"}`, "not allowed, did not happen", "not allowed, did not happen", "403 unknown_error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rt := &roundTrip{status: c.status, header: c.header, body: c.body}
			up := connect(t, account("ocp"), "ocp", rt)
			list, err := up.ListSessions(t.Context(), providers.NewSecret(testToken))
			if assertOutcome(t, c.list, err) {
				assert.Nil(t, list)
				assert.Contains(t, err.Error(), c.message)
			}
			assertOutcome(t, c.end, up.EndSession(t.Context(), providers.NewSecret(testToken), "a"))
			assert.Equal(t, 2, rt.calls)
		})
	}
}

// assertOutcome wants success, or the failure as "kind, outcome"; it says which.
func assertOutcome(t *testing.T, want string, err error) (failed bool) {
	t.Helper()
	if want == "" {
		require.NoError(t, err)
		return false
	}
	failure := asError(t, err)
	assert.Equal(t, want, failure.Kind.String()+", "+failure.Outcome.String())
	assert.NotContains(t, err.Error(), testToken)
	return true
}

func TestAListedSessionIsReadAsWellAsItCanBe(t *testing.T) {
	rt := &roundTrip{status: 200, body: `[{"id":"a"},
		{"id":"b","ipAddress":5,"started":"soon","lastAccess":-1,"expires":1e300,"clients":"ocp","browser":["x"],"current":"yes","new":{}},
		{"id":"c","ipAddress":"\u0000::1\n","started":1893553445.9,"clients":[null,{"clientId":7},{"clientId":"ocp"}],"browser":" a\u202eb\u0007 ` + strings.Repeat("x", 300) + `"}]`}
	list, err := connect(t, account("ocp"), "ocp", rt).ListSessions(t.Context(), providers.NewSecret(testToken))
	require.NoError(t, err)
	assert.Equal(t, []providers.ServerSession{
		{ID: "a"},
		{ID: "b"},
		{
			ID: "c", IPAddress: "::1", StartedAt: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), Clients: []string{"ocp"},
			UserAgent: "a b  " + strings.Repeat("x", 195) + "…",
		},
	}, list)
}

func TestAListIsTakenUpToItsBounds(t *testing.T) {
	const ocp = `{"clientId":"ocp"}`
	long := func(length int) string { // a list of one session
		const before, after = `[{"id":"a","new":"`, `"}]`
		return before + strings.Repeat("x", length-len(before)-len(after)) + after
	}
	for name, c := range map[string]struct {
		body     string
		sessions int // 0: refused
		clients  int // of the first
	}{
		"as many as anybody has": {"[" + strings.Repeat(`{"id":"a"},`, 24_999) + `{"id":"b"}]`, 25_000, 0},
		"one more":               {"[" + strings.Repeat(`{"id":"a"},`, 25_000) + `{"id":"b"}]`, 0, 0},
		"a long entry":           {long(65_400), 1, 0},
		"too long an entry":      {long(66_300), 0, 0},
		"many clients":           {`[{"id":"a","clients":[` + strings.Repeat(ocp+",", 19) + ocp + `]}]`, 1, 20},
		"too many clients":       {`[{"id":"a","clients":[` + strings.Repeat(ocp+",", 20) + ocp + `]}]`, 1, 20},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := connect(t, account("ocp"), "ocp", &roundTrip{status: 200, body: c.body}).ListSessions(t.Context(), providers.NewSecret(testToken))
			if c.sessions == 0 {
				assertFailed(t, err, providers.Protocol, providers.Unknown)
				return
			}
			require.NoError(t, err)
			require.Len(t, list, c.sessions)
			assert.Len(t, list[0].Clients, c.clients)
		})
	}
}

func TestTheAccountAPIsCallsAreNotRepeatedOverARealConnection(t *testing.T) {
	var calls atomic.Int32
	reset := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Empty(t, body)
		assert.Empty(t, r.TransferEncoding)
		panic(http.ErrAbortHandler)
	})
	plain := httptest.NewServer(reset)
	t.Cleanup(plain.Close)
	secure := httptest.NewTLSServer(reset)
	t.Cleanup(secure.Close)
	secured := at(secure.URL)
	secured.CACert = pemOf(secure.Certificate())
	for _, a := range []providers.Account{at(plain.URL), secured} {
		up := connect(t, a, "keycloak", nil)
		calls.Store(0)
		_, err := up.ListSessions(t.Context(), providers.NewSecret(testToken))
		assertFailed(t, err, providers.Unavailable, providers.Unknown)
		assert.EqualValues(t, 1, calls.Load())
		err = up.EndSession(t.Context(), providers.NewSecret(testToken), "a")
		assertFailed(t, err, providers.Unavailable, providers.Unknown)
		assert.EqualValues(t, 2, calls.Load())
	}

	untrusted := at(secure.URL)
	_, err := connect(t, untrusted, "keycloak", nil).ListSessions(t.Context(), providers.NewSecret(testToken))
	failure := assertFailed(t, err, providers.Unavailable, providers.DidNotHappen)
	assert.Contains(t, failure.Advice, "ca_cert")
}

func TestAnAnswerTellsTheServersIDAndClock(t *testing.T) {
	const header, iat = "Wed, 02 Jan 2030 03:04:05 GMT", `{"sid":"from-sid","iat":1893553445.9}`
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	jwt := token(iat)
	for _, c := range []struct {
		name, date, body string
		id               string
		clock            time.Time
	}{
		{"as Keycloak says it", "", `{"access_token":"` + jwt + `","expires_in":300,"refresh_token":"rt","session_state":"from-state"}`, "from-state", at},
		{"behind a proxy", "Tue, 01 Jan 2030 00:00:00 GMT", `{"access_token":"` + jwt + `","expires_in":300,"refresh_token":"rt"}`, "from-sid", time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"a Date that cannot be read", "yesterday", `{"access_token":"` + jwt + `","expires_in":300,"refresh_token":"rt"}`, "from-sid", at},
		{"a token that says nothing", header, `{"access_token":"at","expires_in":300,"refresh_token":"rt"}`, "", at},
		{"nothing anywhere", "", `{"access_token":"at","expires_in":300,"refresh_token":"rt"}`, "", time.Time{}},
		{"other types", "", `{"access_token":"` + token(`{"sid":7,"iat":"now"}`) + `","expires_in":300,"refresh_token":"rt","session_state":{}}`, "", time.Time{}},
		{"out of all bounds", "", `{"access_token":"` + token(`{"sid":"../x","iat":1e300}`) + `","expires_in":300,"refresh_token":"rt","session_state":"a b"}`, "", time.Time{}},
		{"negative", "", `{"access_token":"` + token(`{"sid":"`+strings.Repeat("s", 129)+`","iat":-5}`) + `","expires_in":300,"refresh_token":"rt","session_state":""}`, "", time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rt := &roundTrip{status: 200, body: c.body}
			if c.date != "" {
				rt.header = map[string]string{"Date": c.date}
			}
			up := connect(t, account("panta"), "panta", rt)
			for _, op := range []string{"login", "refresh"} {
				got, err := do(t.Context(), up, op)
				require.NoError(t, err, "nothing of it may make a login fail")
				assert.Equal(t, c.id, got.ServerID)
				assert.Equal(t, c.clock, got.ServerTime)
			}
		})
	}
}

func TestAFailureTellsTheServersClockWhereTheAnswerHasIt(t *testing.T) {
	for _, status := range []int{200, 302, 400, 401, 429, 500, 503} {
		rt := &roundTrip{status: status, header: map[string]string{"Date": "Wed, 02 Jan 2030 03:04:05 GMT", "Content-Type": "text/html"}, body: "<html>"}
		up := connect(t, account("ocp"), "ocp", rt)
		for _, op := range []string{"login", "refresh", "logout"} {
			_, err := do(t.Context(), up, op)
			assert.Equal(t, time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), asError(t, err).ServerTime)
		}
		_, err := up.ListSessions(t.Context(), providers.NewSecret(testToken))
		assert.False(t, asError(t, err).ServerTime.IsZero())

		delete(rt.header, "Date")
		_, err = do(t.Context(), up, "login")
		assert.True(t, asError(t, err).ServerTime.IsZero())
	}
}

func TestTheClockOfAServerIsSeenWhereAProxySendsDateAndElseInItsTokens(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, proxied := range []bool{false, true} {
		cfg := iam.Demo()
		cfg.Now, cfg.DateHeader = func() time.Time { return now }, proxied
		server := iam.New(cfg)
		server.ShiftClock(-4 * time.Minute)
		up := emulatedPanta(t, server)
		got, err := do(t.Context(), up, "login")
		require.NoError(t, err)
		assert.Equal(t, now.Add(-4*time.Minute), got.ServerTime)
		_, err = up.Refresh(t.Context(), providers.NewSecret("nonsense"))
		if proxied {
			assert.Equal(t, now.Add(-4*time.Minute), asError(t, err).ServerTime)
		} else {
			assert.True(t, asError(t, err).ServerTime.IsZero(), "a refusal of Keycloak alone does not say")
		}
	}
}

// FuzzSessionList feeds any answer to a list and an end.
func FuzzSessionList(f *testing.F) {
	for _, status := range []int{200, 204, 401, 404, 500} {
		f.Add(status, "application/json", "Wed, 02 Jan 2030 03:04:05 GMT", `[{"id":"a","browser":"b/1"}]`)
	}
	f.Fuzz(func(t *testing.T, status int, contentType, date, body string) {
		rt := &roundTrip{status: status, header: map[string]string{"Content-Type": contentType, "Date": date}, body: body}
		up := connect(t, account("ocp"), "ocp", rt)
		list, err := up.ListSessions(t.Context(), providers.NewSecret(testToken))
		if err != nil {
			assert.Nil(t, list)
			assert.NotEmpty(t, asError(t, err).Advice)
		} else {
			assert.Equal(t, 2, status/100)
		}
		if err := up.EndSession(t.Context(), providers.NewSecret(testToken), "a"); err == nil {
			assert.True(t, status/100 == 2 || status == http.StatusNotFound)
		}
	})
}

func TestATimeThatNoServerMeansIsLeftEmpty(t *testing.T) {
	for seconds, want := range map[string]string{
		"0": "0001-01-01T00:00:00Z", "0.5": "0001-01-01T00:00:00Z", "1": "1970-01-01T00:00:01Z",
		"253402300799": "9999-12-31T23:59:59Z", "253402300800": "0001-01-01T00:00:00Z", "-1": "0001-01-01T00:00:00Z",
	} {
		rt := &roundTrip{status: 200, body: `[{"id":"a","started":` + seconds + `}]`}
		list, err := connect(t, account("keycloak"), "keycloak", rt).ListSessions(t.Context(), providers.NewSecret("at"))
		require.NoError(t, err)
		assert.Equal(t, want, list[0].StartedAt.Format(time.RFC3339), seconds)
	}
}
