package contract

import (
	"fmt"
	"net/http"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
)

// limits are the sessions that a user may have.
func limits() []scenario {
	return []scenario{
		{sentence: "deny: the sixth login of five is 403 with the realm's own words, as JSON and as a page, and 401 generic_authentication_error with them on 18 and 22; a logout makes room", of: limiter, realm: limited, try: denied},
		{sentence: "deny: sessions of people count, and a refresh does not", of: limiter, realm: limited, try: othersCount},
		{sentence: "terminate oldest: the login succeeds and the least recently used session is gone", of: limiter, realm: terminating, try: terminated},
		{sentence: "the limit is not atomic: logins at once may pass it", of: limiter, realm: limited, try: atOnceOverTheLimit},
	}
}

// withoutAccept sends requests as a client does that does not say it takes JSON.
type withoutAccept struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t withoutAccept) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Del("Accept")
	return t.next.RoundTrip(r)
}

func denied(w *world) {
	up := w.ocp(w.alice)
	var last providers.TokenResponse
	for range 5 {
		last = up.login()
	}
	w.refused(up.tryLogin(), providers.SessionLimit, ownWords)
	raw, page := w.post("token", w.loginForm(), nil), w.post("token", w.loginForm(), map[string]string{"Accept": "*/*"})
	if w.release.SessionLimit == iam.LimitAsFailure {
		for _, answer := range []reply{raw, page} {
			w.answered(answer, http.StatusUnauthorized, "generic_authentication_error", ownWords)
		}
	} else {
		w.answered(raw, http.StatusForbidden, ownWords, "")
		require.Equal(w, http.StatusForbidden, page.status)
		require.Contains(w, page.header.Get("Content-Type"), "text/html")
		pages, err := oauth2.New(presets.OCP(), withoutAccept{w.transport()}).Connect(w.account(w.alice))
		require.NoError(w, err)
		w.refused(upstream{w, pages}.tryLogin(), providers.SessionLimit, "403")
	}
	require.Equal(w, 5, w.Sessions(w.T, w.alice))

	up.logout(last)
	up.login()
}

func othersCount(w *world) {
	person := w.post("token", w.loginForm("client_id", confidential, "client_secret", clientSecret),
		map[string]string{"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"})
	require.Equal(w, http.StatusOK, person.status, person.raw)
	up := w.ocp(w.alice)
	got := up.login()
	for range 3 {
		up.login()
	}
	got = up.refresh(got)
	w.refused(up.tryLogin(), providers.SessionLimit, ownWords)
	listed := up.list(got)
	require.Len(w, listed, 5)
	persons := listed[person.text("session_state")]
	require.Equal(w, []string{confidential}, persons.Clients)
	require.NotContains(w, persons.UserAgent, "bot")
}

func terminated(w *world) {
	up := w.ocp(w.alice)
	first := up.login()
	time.Sleep(1100 * time.Millisecond) // it counts in seconds
	second := up.login()
	time.Sleep(1100 * time.Millisecond)
	first = up.refresh(first) // so the second one was used less recently
	time.Sleep(1100 * time.Millisecond)
	third := up.login()
	require.Equal(w, 2, w.Sessions(w.T, w.alice))
	listed := up.list(third)
	require.Contains(w, listed, third.ServerID)
	require.Contains(w, listed, first.ServerID)
	w.refused(up.tryRefresh(second), providers.SessionGone, "Session not active")
	up.logout(second)
	up.refresh(first)
}

func atOnceOverTheLimit(w *world) {
	up := w.ocp(w.alice)
	results := atOnce(12, up.tryLogin)
	opened := w.Sessions(w.T, w.alice)
	require.Equal(w, succeeded(results), opened)
	require.GreaterOrEqual(w, opened, 5)
	for _, err := range results {
		if err != nil {
			w.refused(err, providers.SessionLimit, ownWords)
		}
	}
	w.row.Found(fmt.Sprintf("%d of 12 under a limit of 5", opened))
}
