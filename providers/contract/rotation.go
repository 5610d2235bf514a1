package contract

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// rotation is Keycloak's option revokeRefreshToken: a refresh token works once.
func rotation() []scenario {
	return []scenario{
		{sentence: "without rotation a superseded refresh token still refreshes", realm: plain, try: withoutRotation},
		{sentence: "a superseded refresh token is refused, and the newest is dead with it", of: reuseKills, realm: strict, try: reuse},
		{sentence: "a superseded refresh token is refused, and the newest still refreshes", of: reuseIsRefused, realm: strict, try: harmlessReuse},
		{sentence: "a logout with the superseded refresh token ends the session", realm: strict, try: supersededLogout},
		{sentence: "after a reuse the session counts until it is logged out, by the old or the new token", of: limiter, realm: strict, try: reuseCounts},
		{sentence: "refreshes at once with one token may all be refused or more than one succeed; a logout still ends the session", realm: strict, try: parallelRefresh},
	}
}

func withoutRotation(w *world) {
	up := w.ocp(w.alice)
	first := up.login()
	for range 2 {
		up.refresh(first)
	}
	require.Equal(w, 1, w.Sessions(w.T, w.alice))
}

const reused = "Maximum allowed refresh token reuse exceeded"

func reuse(w *world) {
	up := w.ocp(w.alice)
	first := up.login()
	second := up.refresh(first)
	require.NotEqual(w, first.RefreshToken, second.RefreshToken)
	w.refused(up.tryRefresh(first), providers.SessionGone, reused)
	w.refused(up.tryRefresh(second), providers.SessionGone, "Session doesn't have required client")
	if w.release.Reuse == iam.ReuseEndsTokens {
		_, err := up.ListSessions(w.Context(), second.AccessToken)
		w.refused(err, providers.NotAllowed, "401")
	} else {
		require.Len(w, up.list(second), 1)
	}
	require.Equal(w, 1, w.Sessions(w.T, w.alice))
}

func harmlessReuse(w *world) {
	up := w.ocp(w.alice)
	first := up.login()
	second := up.refresh(first)
	w.refused(up.tryRefresh(first), providers.SessionGone, reused)
	up.refresh(second)
	up.logout(first)
	require.Zero(w, w.Sessions(w.T, w.alice))
}

func supersededLogout(w *world) {
	up := w.ocp(w.alice)
	first := up.login()
	second := up.refresh(first)
	up.logout(first)
	require.Zero(w, w.Sessions(w.T, w.alice))
	w.refused(up.tryRefresh(second), providers.SessionGone, "Session not active")
}

func reuseCounts(w *world) {
	for _, which := range []string{"old", "new"} {
		up := w.ocp(w.alice)
		first := up.login()
		second := up.refresh(first)
		w.refused(up.tryRefresh(first), providers.SessionGone, reused)
		require.Equal(w, 1, w.Sessions(w.T, w.alice))
		apart()
		w.refused(up.tryLogin(), providers.SessionLimit, "session limit")
		apart()
		if which == "old" {
			up.logout(first)
		} else {
			up.logout(second)
		}
		require.Zero(w, w.Sessions(w.T, w.alice), which)
	}
}

func parallelRefresh(w *world) {
	up := w.ocp(w.alice)
	first := up.login()
	results := atOnce(4, func() error { return up.tryRefresh(first) })
	for _, err := range results {
		if err != nil {
			w.refused(err, providers.SessionGone, "")
		}
	}
	w.row.Found(fmt.Sprintf("%d of 4 succeed", succeeded(results)))
	up.logout(first)
	require.Zero(w, w.Sessions(w.T, w.alice))
}
