package iam_test

// Each test here is one sentence of what was tried against real Keycloaks.

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

func withTOTP() iam.Realm {
	r := plain()
	r.Users[0].TOTPSecret = "rawSecretString"
	return r
}

func limited() iam.Realm {
	r := plain()
	r.SessionLimit.Max = 5
	return r
}

func rotating() iam.Realm {
	r := plain()
	r.RevokeRefreshToken = true
	return r
}

func TestARefusedLoginHasTheStatusOfTheRelease(t *testing.T) {
	for _, release := range iam.Releases() {
		r := plain()
		r.Release = release
		c := newCaller(t, r)
		c.refused(c.login("password", "wrong"), release.RefusedGrant, "invalid_grant", "Invalid user credentials")
		c.refused(c.refresh("nonsense"), 400, "invalid_grant", "Invalid refresh token")
	}
}

func TestAMissingAWrongAndAReusedCodeAllAnswerInvalidUserCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, withTOTP())
		code := c.code(time.Now())
		c.open("otp", code)
		c.invalidGrant(c.login(), "Invalid user credentials")
		c.invalidGrant(c.login("otp", "12345"), "Invalid user credentials")
		c.invalidGrant(c.login("otp", code), "Invalid user credentials")
		require.Equal(t, 1, c.stats().CodeReuses)
		require.Equal(t, 3, c.stats().RefusedLogins)
	})
}

func TestCodesOfTheStepBeforeAndAfterAreAcceptedOnceEachAndSpentInTheirOwnStepToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, withTOTP())
		before, after := c.code(time.Now().Add(-30*time.Second)), c.code(time.Now().Add(30*time.Second))
		c.open("otp", before)
		c.open("otp", after)
		c.invalidGrant(c.login("otp", before), "Invalid user credentials")
		c.invalidGrant(c.login("otp", c.code(time.Now().Add(60*time.Second))), "Invalid user credentials")
		time.Sleep(30 * time.Second)
		require.Equal(t, after, c.code(time.Now()))
		c.invalidGrant(c.login("otp", after), "Invalid user credentials")
		require.Equal(t, 2, c.stats().CodeReuses)
		time.Sleep(30 * time.Second)
		c.open("otp", c.code(time.Now()))
	})
}

func TestOTPAndTOTPBothWorkAsFieldNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, withTOTP())
		c.open("otp", c.code(time.Now()))
		c.open("totp", c.code(time.Now().Add(30*time.Second)))
	})
}

func TestACodeIsSpentOnlyByALoginWhosePasswordWasRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, withTOTP())
		code := c.code(time.Now())
		c.invalidGrant(c.login("otp", code, "password", "wrong"), "Invalid user credentials")
		c.open("otp", code)
	})
}

func TestACodeIsSpentByALoginThatTheSessionLimitDenies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := withTOTP()
		r.SessionLimit.Max = 1
		c := newCaller(t, r)
		open := c.open("otp", c.code(time.Now()))
		next := c.code(time.Now().Add(30 * time.Second))
		c.refused(c.login("otp", next), 403, "session limit exceeded", "")
		c.logout(open.str("refresh_token"))
		c.invalidGrant(c.login("otp", next), "Invalid user credentials")
	})
}

func TestTheSixthLoginUnderALimitOfFiveIs403AsJSONOrAsAPage(t *testing.T) {
	c := newCaller(t, limited())
	for range 5 {
		c.open()
	}
	got := c.login()
	c.refused(got, http.StatusForbidden, "session limit exceeded", "")
	require.NotContains(t, got.body, "error_description")

	r := c.formRequest("token", loginFields()...)
	r.Header.Del("Accept")
	got = c.send(r)
	require.Equal(t, http.StatusForbidden, got.status)
	require.Contains(t, got.header.Get("Content-Type"), "text/html")
	require.Contains(t, got.raw, "session limit exceeded")
	require.Equal(t, 2, c.stats().LimitDenials)
	require.Equal(t, 5, c.stats().PeakSessions)
}

func TestOldReleasesDenyALoginBecauseOfSessionsThatHaveExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := limited()
		old, found := iam.LookupRelease("18.0.2")
		require.True(t, found)
		r.Release, r.SessionIdle = old, time.Minute
		c := newCaller(t, r)
		for range 5 {
			c.open()
		}
		require.Equal(t, http.StatusUnauthorized, c.login().status)
		require.Zero(t, c.stats().StaleDenials)
		time.Sleep(2 * time.Minute)
		require.Equal(t, http.StatusUnauthorized, c.login().status)
		require.Equal(t, 2, c.stats().LimitDenials)
		require.Equal(t, 1, c.stats().StaleDenials)
		time.Sleep(15 * time.Minute)
		c.open()
	})
}

func TestWithBruteForceProtectionOneOfTwelveParallelLoginsSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := limited()
		r.BruteForce, r.LoginTime = true, 100*time.Millisecond
		c := newCaller(t, r)
		require.Equal(t, 1, parallelLogins(c, 12))
		require.Equal(t, 11, c.stats().RefusedLogins)
		c.open() // those that were refused are no failures
	})
}

func TestTheSessionLimitIsNotAtomic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := limited()
		r.LoginTime = 100 * time.Millisecond
		c := newCaller(t, r)
		require.Greater(t, parallelLogins(c, 12), 5)
		require.Greater(t, c.stats().PeakSessions, 5)
	})
}

// parallelLogins returns how many of n logins at once succeeded.
func parallelLogins(c *caller, n int) int {
	var wg sync.WaitGroup
	statuses := make(chan int, n)
	for range n {
		r := c.formRequest("token", loginFields()...)
		wg.Go(func() {
			got, err := c.try(r)
			if err == nil {
				statuses <- got.status
			}
		})
	}
	wg.Wait()
	close(statuses)
	opened := 0
	for status := range statuses {
		if status == http.StatusOK {
			opened++
		}
	}
	return opened
}

func TestWithBruteForceProtectionTwoSessionLimitDenialsInARowLockTheUserOutForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := limited()
		r.BruteForce = true
		c := newCaller(t, r)
		var last answer
		for range 5 {
			last = c.open()
		}
		c.refused(c.login(), 403, "session limit exceeded", "")
		time.Sleep(10 * time.Second)
		c.refused(c.login(), 403, "session limit exceeded", "")
		c.logout(last.str("refresh_token"))
		c.invalidGrant(c.login(), "Invalid user credentials")
		time.Sleep(59 * time.Second)
		c.invalidGrant(c.login(), "Invalid user credentials")
		time.Sleep(time.Second)
		c.open()
	})
}

func TestOneSessionLimitDenialLocksNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := limited()
		r.BruteForce, r.SessionLimit.Max = true, 1
		c := newCaller(t, r)
		open := c.open()
		c.refused(c.login(), 403, "session limit exceeded", "")
		c.logout(open.str("refresh_token"))
		open = c.open()
		c.refused(c.login(), 403, "session limit exceeded", "")
		time.Sleep(time.Minute)
		c.refused(c.login(), 403, "session limit exceeded", "")
		c.logout(open.str("refresh_token"))
		c.open()
	})
}

func TestWithBruteForceProtectionTwoQuickFailuresLockTheUserOutForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := plain()
		r.BruteForce = true
		c := newCaller(t, r)
		c.login("password", "wrong")
		time.Sleep(time.Second)
		c.login("password", "wrong")
		c.open()
		c.login("password", "wrong")
		c.login("password", "wrong")
		c.invalidGrant(c.login(), "Invalid user credentials")
		time.Sleep(time.Minute)
		c.open()
	})
}

func TestLogoutAnswers204And204AgainAndThenARefreshSaysSessionNotActive(t *testing.T) {
	c := newCaller(t, plain())
	open := c.open()
	require.Equal(t, http.StatusNoContent, c.logout(open.str("refresh_token")).status)
	require.Equal(t, http.StatusNoContent, c.logout(open.str("refresh_token")).status)
	c.invalidGrant(c.refresh(open.str("refresh_token")), "Session not active")
	require.Equal(t, 1, c.stats().Logouts)
	require.Zero(t, c.stats().Sessions)
}

func TestLogoutRefusesAnUnreadableTokenAndAnUnknownClient(t *testing.T) {
	c := newCaller(t, plain())
	open := c.open()
	c.invalidGrant(c.logout("nonsense"), "Invalid refresh token")
	c.invalidGrant(c.logout(open.str("access_token")), "Invalid refresh token")
	c.refused(c.form("logout"), 400, "invalid_request", "No refresh token")
	c.refused(c.form("logout", "client_id", "stranger", "refresh_token", open.str("refresh_token")),
		401, "invalid_client", "Invalid client or Invalid client credentials")
	require.Equal(t, 1, c.stats().Sessions)
}

func TestLogoutEndsTheWholeSessionAndNoOther(t *testing.T) {
	c := newCaller(t, plain())
	first, second := c.open(), c.open()
	c.logout(first.str("refresh_token"))
	require.Equal(t, 200, c.refresh(second.str("refresh_token")).status)
	require.Equal(t, 1, c.stats().Sessions)
}

func TestUsingASupersededRefreshTokenKillsTheNewestToo(t *testing.T) {
	c := newCaller(t, rotating())
	first := c.open()
	second := c.refresh(first.str("refresh_token"))
	c.invalidGrant(c.refresh(first.str("refresh_token")), "Maximum allowed refresh token reuse exceeded")
	c.invalidGrant(c.refresh(second.str("refresh_token")), "Session doesn't have required client")
	require.Equal(t, 1, c.stats().TokenReuses)
	require.Equal(t, 401, c.account("GET", "", second.str("access_token")).status)
}

func TestASessionWhoseRefreshTokenWasReusedCountsUntilItIsLoggedOutByOldOrNewToken(t *testing.T) {
	for _, with := range []string{"old", "new"} {
		r := rotating()
		r.SessionLimit.Max = 1
		c := newCaller(t, r)
		first := c.open()
		tokens := map[string]string{
			"old": first.str("refresh_token"),
			"new": c.refresh(first.str("refresh_token")).str("refresh_token"),
		}
		c.refresh(tokens["old"])
		require.False(t, c.server.Sessions(realmName, username)[0].Refreshable)
		c.refused(c.login(), 403, "session limit exceeded", "")
		require.Equal(t, http.StatusNoContent, c.logout(tokens[with]).status)
		c.open()
	}
}

func TestLogoutWithTheSupersededRefreshTokenEndsTheSession(t *testing.T) {
	c := newCaller(t, rotating())
	first := c.open()
	second := c.refresh(first.str("refresh_token"))
	require.Equal(t, http.StatusNoContent, c.logout(first.str("refresh_token")).status)
	c.invalidGrant(c.refresh(second.str("refresh_token")), "Session not active")
	require.Zero(t, c.stats().Sessions)
}

func TestWithoutRotationASupersededRefreshTokenStillRefreshes(t *testing.T) {
	c := newCaller(t, plain())
	first := c.open()
	require.Equal(t, 200, c.refresh(first.str("refresh_token")).status)
	require.Equal(t, 200, c.refresh(first.str("refresh_token")).status)
	require.Equal(t, 2, c.stats().Refreshes)
}

func TestKeycloakAloneSendsNoDateHeaderAndTheIatOfATokenShowsItsClock(t *testing.T) {
	clock := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	server := iam.New(iam.Config{Now: func() time.Time { return clock }, Realms: []iam.Realm{plain()}})
	c := onSocket(t, server)
	open := c.open()
	require.NotContains(t, open.header, "Date")
	token := claimsOf(t, open.str("access_token"))
	require.EqualValues(t, clock.Unix(), token["iat"])
	require.EqualValues(t, clock.Add(5*time.Minute).Unix(), token["exp"])
	require.NotContains(t, c.login("password", "wrong").header, "Date")
}

func TestAProxyInFrontSendsTheDateOfItsClock(t *testing.T) {
	clock := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	server := iam.New(iam.Config{
		Now: func() time.Time { return clock }, ClockShift: -time.Minute, DateHeader: true,
		Realms: []iam.Realm{plain()},
	})
	for _, c := range []*caller{onSocket(t, server), callerOf(t, server)} {
		open := c.open()
		require.Equal(t, "Wed, 02 Jan 2030 03:03:05 GMT", open.header.Get("Date"))
		require.EqualValues(t, clock.Add(-time.Minute).Unix(), claimsOf(t, open.str("access_token"))["iat"])
		server.ShiftClock(4 * time.Minute)
		require.Equal(t, "Wed, 02 Jan 2030 03:08:05 GMT", c.login("password", "wrong").header.Get("Date"))
		server.Reset()
		require.Equal(t, "Wed, 02 Jan 2030 03:03:05 GMT", c.login("password", "wrong").header.Get("Date"))
	}
}

func TestACodeIsRefusedByAServerWhoseClockIsMinutesOff(t *testing.T) {
	c := newCaller(t, withTOTP())
	c.server.ShiftClock(3 * time.Minute)
	c.invalidGrant(c.login("otp", c.code(time.Now())), "Invalid user credentials")
	c.open("otp", c.code(time.Now().Add(3*time.Minute)))
}

func TestAUserWithTheAccountRolesListsAndEndsItsOwnSessions(t *testing.T) {
	c := newCaller(t, plain())
	first, second := c.open(), c.open()
	got := c.account("GET", "", second.str("access_token"))
	require.Equal(t, 200, got.status)
	list := decodeList(t, got.raw)
	require.Len(t, list, 2)
	for _, entry := range list {
		require.Equal(t, "127.0.0.1", entry["ipAddress"])
		require.Equal(t, []any{map[string]any{"clientId": clientID}}, entry["clients"])
		require.Equal(t, entry["id"] == second.str("session_state"), entry["current"])
		require.InDelta(t, 36000, entry["expires"].(float64)-entry["started"].(float64), 0)
		require.Contains(t, entry, "started")
	}
	require.Equal(t, 204, c.account("DELETE", "/"+first.str("session_state"), second.str("access_token")).status)
	require.Equal(t, 204, c.account("DELETE", "/"+first.str("session_state"), second.str("access_token")).status)
	c.invalidGrant(c.refresh(first.str("refresh_token")), "Session not active")
	require.Equal(t, 1, c.stats().Ended)
	require.Equal(t, 1, c.stats().Listings)
	require.Equal(t, 1, c.stats().Sessions)
}

func TestAccountSessionsOfAnotherUserAreLeftAlone(t *testing.T) {
	r := plain()
	r.Users = append(r.Users, iam.User{Username: "bob", Password: password})
	c := newCaller(t, r)
	bobs := c.open("username", "bob")
	mine := c.open()
	require.Equal(t, 204, c.account("DELETE", "/"+bobs.str("session_state"), mine.str("access_token")).status)
	require.Len(t, c.server.Sessions(realmName, "bob"), 1)
}

func TestTheIdOfASessionEqualsSessionStateAndSid(t *testing.T) {
	c := newCaller(t, plain())
	open := c.open()
	list := decodeList(t, c.account("GET", "", open.str("access_token")).raw)
	require.Equal(t, open.str("session_state"), list[0]["id"])
	token := claimsOf(t, open.str("access_token"))
	require.Equal(t, open.str("session_state"), token["sid"])
	require.Equal(t, "Bearer", token["typ"])
	require.Equal(t, username, token["preferred_username"])
}

func TestWithoutTheAccountRolesTheAccountAPIAnswers401(t *testing.T) {
	r := plain()
	r.Users[0].AccountRoles = false
	c := newCaller(t, r)
	open := c.open()
	require.Equal(t, 401, c.account("GET", "", open.str("access_token")).status)
	require.Equal(t, 401, c.account("DELETE", "/x", open.str("access_token")).status)
	require.Equal(t, 401, c.account("GET", "", "nonsense").status)
}

func TestWithoutAcceptTheAccountAPIIsAPage(t *testing.T) {
	c := newCaller(t, plain())
	got := c.call("GET", "/realms/"+realmName+"/account/sessions", "",
		"Authorization", "Bearer "+c.open().str("access_token"), "Accept", "*/*")
	require.Contains(t, got.header.Get("Content-Type"), "text/html")
}

func TestBrowserIsTheMarkOfTheLoginsUserAgent(t *testing.T) {
	const mark = "vault-plugin-secrets-panta-6f1c22aa-0192abcd-bot"
	fits, tooLong := strings.Repeat("x", 50)+"bot", strings.Repeat("x", 51)+"bot"
	for userAgent, want := range map[string]string{
		mark + "/1.2.3":      mark + "/1.2.3",
		mark + "/1.2.3-rc1":  mark + "/1.2.3",
		mark + "/1.2.3+meta": mark + "/1.2.3",
		mark + "/1.2.3.4":    mark + "/1.2.3",
		mark + "/1":          mark + "/1",
		mark + "/dev":        mark + "/Unknown",
		mark + "/1.2.3 more": mark + "/1.2.3",
		"vault-plugin-secrets-panta-6f1c22aa-0192abcd/1.2.3": "Other/Unknown",
		"a.b-bot/1":                       "b-bot/1",
		"a/b-bot/1":                       "-bot/1",
		fits + "/1.2.3":                   fits + "/1.2.3",
		tooLong + "/1.2.3":                fits + "/1.2.3",
		"Mozilla/5.0 (X11; Linux x86_64)": "Other/Unknown",
	} {
		c := newCaller(t, plain())
		r := c.formRequest("token", loginFields()...)
		r.Header.Set("User-Agent", userAgent)
		open := c.send(r)
		list := decodeList(t, c.account("GET", "", open.str("access_token")).raw)
		require.Equal(t, want, list[0]["browser"], userAgent)
		require.Equal(t, userAgent, c.server.Sessions(realmName, username)[0].UserAgent)
	}
}
