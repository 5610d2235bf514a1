package contract

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
)

// sessions are the ends of a session, and the server's list of them.
func sessions() []scenario {
	return []scenario{
		{sentence: "a logout is 204, again 204, and ends that session and no other", realm: plain, try: logout},
		{sentence: "a logout with an unreadable token or a strange client is refused", realm: plain, try: refusedLogout},
		{sentence: "a logout under another host name is refused", of: logoutBound, realm: plain, try: boundLogout},
		{sentence: "a logout under another host name ends the session", of: logoutAnywhere, realm: plain, try: anyLogout},
		{sentence: "the revocation endpoint ends the session of a refresh token, and 200 is its answer to anything", of: revokesSession, realm: plain, try: revocation},
		{sentence: "the revocation endpoint ends all sessions that the user has with that client, and no others", of: revokesClient, realm: plain, try: wideRevocation},
		{sentence: "there is no revocation endpoint", of: noRevocation, realm: plain, try: absentRevocation},
		{sentence: "there is no list of sessions: it is 404, and the console's page without Accept", of: noAccountAPI, realm: plain, try: absentList},
		{sentence: "the list shows the mark of a login, if it ends in -bot and has 50 characters at most before that", of: accountAPI, realm: plain, try: mark},
		{sentence: "started and lastAccess are the server's clock, expires is the maximum age", of: accountAPI, realm: plain, try: listedTimes},
		{sentence: "a user ends its own sessions by id, and one that is gone is 204", of: accountAPI, realm: plain, try: endOwn},
		{sentence: "the session of another user is 204 and left alone", of: accountAPI, realm: plain, try: endAnothers},
		{sentence: "without the account roles the list is 401, and 403 on 9", of: accountAPI, realm: plain, try: mayNotList},
		{sentence: "the token of an ended session cannot list", of: accountAPI, realm: plain, try: endedCannotList},
		{sentence: "the account API without Accept gives no list: a page, and 404 on 16 to 24", of: accountAPI, realm: plain, try: accountPage},
		{sentence: "every session whose login was answered before the list was asked for is in it", of: accountAPI, realm: plain, try: listRace},
		{sentence: "a session ended before the list was asked for is not in it", of: accountAPI, realm: plain, try: listAfterEnd},
	}
}

func logout(w *world) {
	up := w.ocp(w.alice)
	first, second := up.login(), up.login()
	form := map[string]string{"client_id": public, "refresh_token": first.RefreshToken.Reveal()}
	for range 2 {
		require.Equal(w, http.StatusNoContent, w.post("logout", form, nil).status)
	}
	up.logout(first)
	w.refused(up.tryRefresh(first), providers.SessionGone, "Session not active")
	require.Equal(w, 1, w.Sessions(w.T, w.alice))
	up.refresh(second)
}

func refusedLogout(w *world) {
	up := w.ocp(w.alice)
	token := up.login().RefreshToken.Reveal()
	w.answered(w.logout(public, "nonsense", ""), http.StatusBadRequest, "invalid_grant", "Invalid refresh token")
	w.answers(w.logout("nobody", token, ""), w.release.UnknownClient)
	err := up.Logout(w.Context(), providers.SessionTokens{Refresh: providers.NewSecret("nonsense")})
	w.refused(err, providers.Protocol, "Invalid refresh token")
	require.Equal(w, 1, w.Sessions(w.T, w.alice))
}

// logout is a raw one, at a host name if there is one.
func (w *world) logout(client, token, host string) reply {
	w.Helper()
	return w.post("logout", map[string]string{"client_id": client, "refresh_token": token}, map[string]string{"Host": host})
}

func boundLogout(w *world) {
	elsewhere := w.logout(public, w.ocp(w.alice).login().RefreshToken.Reveal(), "elsewhere.test")
	require.Equal(w, http.StatusBadRequest, elsewhere.status, elsewhere.raw)
	require.Equal(w, "invalid_grant", elsewhere.text("error"))
	require.Equal(w, 1, w.Sessions(w.T, w.alice))
}

func anyLogout(w *world) {
	elsewhere := w.logout(public, w.ocp(w.alice).login().RefreshToken.Reveal(), "elsewhere.test")
	require.Equal(w, http.StatusNoContent, elsewhere.status, elsewhere.raw)
	require.Zero(w, w.Sessions(w.T, w.alice))
}

func absentRevocation(w *world) {
	token := w.ocp(w.alice).login().RefreshToken.Reveal()
	require.Equal(w, http.StatusNotFound, w.post("revoke", map[string]string{"client_id": public, "token": token}, nil).status)
	require.Equal(w, 1, w.Sessions(w.T, w.alice))
}

func wideRevocation(w *world) {
	up := w.ocp(w.alice)
	got, other, bobs := up.login(), up.login(), w.ocp(w.bob).login()
	elsewhere := w.post("token", w.loginForm("client_id", confidential, "client_secret", clientSecret), nil)
	require.Equal(w, http.StatusOK, elsewhere.status, elsewhere.raw)
	require.Equal(w, 3, w.Sessions(w.T, w.alice))
	form := map[string]string{"client_id": public, "token": got.RefreshToken.Reveal()}
	require.Equal(w, http.StatusOK, w.post("revoke", form, nil).status)
	require.Equal(w, 1, w.Sessions(w.T, w.alice), "the one of another client")
	w.refused(up.tryRefresh(other), providers.SessionGone, "")
	w.ocp(w.bob).refresh(bobs)
}

func absentList(w *world) {
	up := w.ocp(w.alice)
	got := up.login()
	_, err := up.ListSessions(w.Context(), got.AccessToken)
	require.ErrorContains(w, err, "404")
	require.NotContains(w, w.accountSessions(got, "*/*").header.Get("Content-Type"), "application/json")
	require.Equal(w, 1, w.Sessions(w.T, w.alice))
}

func revocation(w *world) {
	endpoint := w.realmURL() + "/protocol/openid-connect/"
	up := upstream{w, w.connect(presets.OAuth2(), providers.Account{
		TokenURL: endpoint + "token", RevocationURL: endpoint + "revoke", ClientID: public,
		Username: w.alice, Password: providers.NewSecret(password),
	})}
	got, other := up.login(), up.login()
	up.logout(got)
	up.logout(got) // gone: RFC 7009 section 2.2
	require.NoError(w, up.Logout(w.Context(), providers.SessionTokens{Refresh: providers.NewSecret("nonsense")}))
	require.Equal(w, 1, w.Sessions(w.T, w.alice))
	up.refresh(other)
}

func mark(w *world) {
	const mark = "vault-plugin-secrets-panta-6f1c22aa-0192abcd23456-bot" // 8 and 13 characters, as ours
	fits, long := strings.Repeat("x", 50)+"bot", strings.Repeat("x", 51)+"bot"
	up := w.ocp(w.alice)
	want := map[string]string{} // by id
	var last providers.TokenResponse
	for userAgent, browser := range map[string]string{
		mark + "/1.2.3":      mark + "/1.2.3",
		mark + "/0":          mark + "/0",
		mark + "/1.2.3-rc1":  mark + "/1.2.3",
		mark + "/1.2.3+meta": mark + "/1.2.3",
		mark + "/1.2.3.4":    mark + "/1.2.3",
		mark + "/dev":        mark + "/Unknown",
		mark + "/1.2.3 more": mark + "/1.2.3",
		"vault-plugin-secrets-panta-6f1c22aa-0192abcd/1.2.3": "Other/Unknown",
		"a.b-bot/1":     "b-bot/1",
		"a/b-bot/1":     "-bot/1",
		fits + "/1.2.3": fits + "/1.2.3",
		long + "/1.2.3": fits + "/1.2.3",
	} {
		last = up.loginAs(userAgent)
		want[last.ServerID] = browser
	}
	got := map[string]string{}
	for id, s := range up.list(last) {
		got[id] = s.UserAgent
		require.Equal(w, id == last.ServerID, s.Current)
		require.Equal(w, []string{public}, s.Clients)
		require.Equal(w, "127.0.0.1", s.IPAddress)
	}
	require.Equal(w, want, got)
	up.refresh(last) // with another User-Agent
	require.Equal(w, want[last.ServerID], up.list(last)[last.ServerID].UserAgent, "a refresh does not change it")
}

func listedTimes(w *world) {
	up := w.ocp(w.alice)
	before := time.Now().Truncate(time.Second)
	got := up.login()
	first := up.list(got)[got.ServerID]
	require.WithinRange(w, first.StartedAt, before.Add(-2*time.Second), time.Now().Add(time.Second))
	require.WithinRange(w, first.LastAccess, first.StartedAt, time.Now().Add(time.Second))
	require.Equal(w, 10*time.Hour, first.ExpiresAt.Sub(first.StartedAt), "not the idle time")
	time.Sleep(2 * time.Second)
	require.Equal(w, first, up.list(got)[got.ServerID], "a list is no access")
	up.refresh(got)
	second := up.list(got)[got.ServerID]
	require.Equal(w, first.StartedAt, second.StartedAt)
	require.Equal(w, first.ExpiresAt, second.ExpiresAt)
	require.WithinRange(w, second.LastAccess, first.LastAccess.Add(time.Second), time.Now().Add(time.Second))
}

func endOwn(w *world) {
	up := w.ocp(w.alice)
	first, second := up.login(), up.login()
	up.end(second, first.ServerID)
	up.end(second, first.ServerID)
	up.end(second, "no-such-session")
	w.refused(up.tryRefresh(first), providers.SessionGone, "Session not active")
	up.logout(first)
	require.Equal(w, 1, w.Sessions(w.T, w.alice))
	up.end(second, second.ServerID) // its own
	require.Zero(w, w.Sessions(w.T, w.alice))
}

func endAnothers(w *world) {
	bobs := w.ocp(w.bob).login()
	up := w.ocp(w.alice)
	up.end(up.login(), bobs.ServerID)
	require.Equal(w, 1, w.Sessions(w.T, w.bob))
	w.ocp(w.bob).refresh(bobs)
}

func mayNotList(w *world) {
	up := w.ocp(w.bob)
	got := up.login()
	denied := strconv.Itoa(w.release.AccountAPI.Denied.Status)
	_, err := up.ListSessions(w.Context(), got.AccessToken)
	w.refused(err, providers.NotAllowed, denied)
	w.refused(up.EndSession(w.Context(), got.AccessToken, got.ServerID), providers.NotAllowed, denied)
	_, err = up.ListSessions(w.Context(), providers.NewSecret("nonsense"))
	w.refused(err, providers.NotAllowed, "401")
	require.Equal(w, 1, w.Sessions(w.T, w.bob))
}

func endedCannotList(w *world) {
	up := w.ocp(w.alice)
	got := up.login()
	up.logout(got)
	_, err := up.ListSessions(w.Context(), got.AccessToken)
	w.refused(err, providers.NotAllowed, "401")
}

func accountPage(w *world) {
	got := w.accountSessions(w.ocp(w.alice).login(), "*/*")
	if w.release.AccountAPI.Page {
		require.NotContains(w, got.header.Get("Content-Type"), "application/json", got.raw)
	} else {
		require.Equal(w, http.StatusNotFound, got.status)
	}
}

func (w *world) accountSessions(with providers.TokenResponse, accept string) reply {
	w.Helper()
	return w.send(http.MethodGet, w.realmURL()+"/account/sessions", "", map[string]string{
		"Accept": accept, "Authorization": "Bearer " + with.AccessToken.Reveal(),
	})
}

// listRace logs in with one hand and lists with the other.
func listRace(w *world) {
	up := w.ocp(w.alice)
	watcher := up.login()
	const rounds = 8
	var mu sync.Mutex
	answered := []string{watcher.ServerID}
	logins, lists := make(chan error, 1), 0
	go func() {
		logins <- func() error {
			for range rounds {
				got, err := up.Login(w.Context(), providers.LoginRequest{})
				if err != nil {
					return err
				}
				mu.Lock()
				answered = append(answered, got.ServerID)
				mu.Unlock()
			}
			return nil
		}()
	}()
	for done := false; !done; lists++ {
		select {
		case err := <-logins:
			require.NoError(w, err)
			done = true // and once more
		default:
		}
		mu.Lock()
		must := slices.Clone(answered)
		mu.Unlock()
		listed := up.list(watcher)
		for _, id := range must {
			require.Contains(w, listed, id)
		}
	}
	w.row.Found(fmt.Sprintf("%d lists beside %d logins", lists, rounds))
}

func listAfterEnd(w *world) {
	up := w.ocp(w.alice)
	watcher := up.login()
	for range 4 {
		byToken, byID := up.login(), up.login()
		require.Len(w, up.list(watcher), 3)
		up.logout(byToken)
		require.Len(w, up.list(watcher), 2)
		up.end(watcher, byID.ServerID)
		require.Len(w, up.list(watcher), 1)
	}
}
