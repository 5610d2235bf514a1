package contract

import (
	"maps"
	"net/http"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
)

// serviceAccounts are client credentials.
func serviceAccounts() []scenario {
	return []scenario{
		{sentence: "client credentials open no session", of: someServiceSessions, realm: plain, try: noServiceSession},
		{sentence: "client credentials of a client with client_credentials.use_refresh_token open a session; its refresh token refreshes and logs out", of: someServiceSessions, realm: service, try: keptServiceSession},
		{sentence: "client credentials always open a session; its refresh token refreshes and logs out", of: alwaysServiceSessions, realm: service, try: anyServiceSession},
	}
}

// asService connects a client by its own credentials.
func (w *world) asService(client string) upstream {
	w.Helper()
	return upstream{w, w.connect(presets.Keycloak(), providers.Account{
		AuthMethod: providers.ClientCredentials, BaseURL: w.Origin + "/auth", Realm: w.realm,
		ClientID: client, ClientSecret: providers.NewSecret(clientSecret),
	})}
}

func (w *world) serviceGrant(client string) reply {
	w.Helper()
	got := w.post("token", map[string]string{"grant_type": "client_credentials", "client_id": client, "client_secret": clientSecret}, nil)
	require.Equal(w, http.StatusOK, got.status, got.raw)
	return got
}

func noServiceSession(w *world) {
	got := w.asService(confidential).login()
	w.lives(300, got.ExpiresIn)
	raw := w.serviceGrant(confidential)
	require.NotContains(w, raw.fields, "refresh_token")
	require.NotContains(w, raw.fields, "session_state")
	require.NotContains(w, w.claims(got.AccessToken), "sid")
	require.Zero(w, w.Sessions(w.T, "service-account-"+confidential))
}

func keptServiceSession(w *world) { w.keepsServiceSession(keeping) }

func anyServiceSession(w *world) { w.keepsServiceSession(confidential) }

// keepsServiceSession logs a client in and out again.
func (w *world) keepsServiceSession(client string) {
	w.Helper()
	user := "service-account-" + client
	raw := w.serviceGrant(client)
	require.NotEmpty(w, raw.text("session_state"))
	require.Equal(w, 1, w.Sessions(w.T, user))
	as := map[string]string{"client_id": client, "client_secret": clientSecret, "refresh_token": raw.text("refresh_token")}
	again := map[string]string{"grant_type": "refresh_token"}
	maps.Copy(again, as)
	refreshed := w.post("token", again, nil)
	require.Equal(w, http.StatusOK, refreshed.status, refreshed.raw)
	require.Equal(w, raw.text("session_state"), refreshed.text("session_state"))
	require.Equal(w, 1, w.Sessions(w.T, user))
	require.Equal(w, http.StatusNoContent, w.post("logout", as, nil).status)
	require.Zero(w, w.Sessions(w.T, user))
}
