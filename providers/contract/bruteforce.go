package contract

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
)

// bruteForce is Keycloak's brute-force protection.
func bruteForce() []scenario {
	return []scenario{
		{sentence: "a login sent as soon as the last one is answered may be refused as wrong credentials; a second later none is", of: oneLoginAtATime, realm: protected, try: serialLogins},
		{sentence: "of logins at once some are refused as wrong credentials", of: oneLoginAtATime, realm: protected, try: parallelLogins},
		{sentence: "logins at once, and right after each other, all succeed", of: manyAtATime, realm: protected, try: unhindered},
		{sentence: "two wrong passwords in a row lock out, and that looks like a wrong password", realm: protected, try: lockedOut},
		{sentence: "two denials of the session limit in a row lock out", of: limiter, realm: strict, try: deniedTwice},
		{sentence: "live sessions of a user who is locked out refresh, list and log out", realm: protected, try: lockedButAlive},
	}
}

func parallelLogins(w *world) {
	up := w.ocp(w.alice)
	results := atOnce(12, up.tryLogin)
	opened := w.Sessions(w.T, w.alice)
	require.Equal(w, succeeded(results), opened)
	require.Positive(w, opened)
	require.Less(w, opened, 12)
	for _, err := range results {
		if err != nil {
			w.refused(err, providers.BadCredentials, invalidCredentials)
		}
	}
	w.row.Found(fmt.Sprintf("%d of 12 at once", opened))
}

func unhindered(w *world) {
	up := w.ocp(w.alice)
	for _, err := range atOnce(12, up.tryLogin) {
		require.NoError(w, err)
	}
	for range 6 {
		up.login()
	}
	require.Equal(w, 18, w.Sessions(w.T, w.alice))
}

func serialLogins(w *world) {
	up := w.ocp(w.alice)
	refused := 0
	for range 24 {
		if err := up.tryLogin(); err != nil {
			w.refused(err, providers.BadCredentials, invalidCredentials)
			refused++
		}
	}
	w.row.Found(fmt.Sprintf("%d of 24 refused", refused))
	opened := w.Sessions(w.T, w.alice)
	require.Equal(w, 24-refused, opened)
	for range 6 {
		apart()
		up.login()
	}
}

// apart lies between two logins of a user under brute-force protection: Keycloak
// answers before it has let go of a login, and 26.4 counts failures later still.
func apart() { time.Sleep(time.Second) }

func lockedOut(w *world) {
	w.lockOut(w.alice)
	apart()
	w.refused(w.ocp(w.alice).tryLogin(), providers.BadCredentials, invalidCredentials)
	w.ocp(w.bob).login()
}

// lockOut logs a user in with a wrong password twice.
func (w *world) lockOut(username string) {
	w.Helper()
	wrong := w.account(username)
	wrong.Password = providers.NewSecret("wrong")
	refused := upstream{w, w.connect(presets.OCP(), wrong)}
	w.refused(refused.tryLogin(), providers.BadCredentials, invalidCredentials)
	// One that comes while Keycloak still holds the last is refused and not counted;
	// one that comes a second later is not in a row with it, to the emulator.
	time.Sleep(700 * time.Millisecond)
	w.refused(refused.tryLogin(), providers.BadCredentials, invalidCredentials)
}

func deniedTwice(w *world) {
	up := w.ocp(w.alice)
	got := up.login()
	for range 2 {
		apart()
		w.refused(up.tryLogin(), providers.SessionLimit, "session limit")
	}
	up.logout(got)
	apart()
	w.refused(up.tryLogin(), providers.BadCredentials, invalidCredentials)
}

func lockedButAlive(w *world) {
	up := w.ocp(w.alice)
	got := up.login()
	apart()
	w.lockOut(w.alice)
	apart()
	w.refused(up.tryLogin(), providers.BadCredentials, invalidCredentials)
	got = up.refresh(got)
	if w.release.AccountAPI.On {
		require.Len(w, up.list(got), 1)
	}
	up.logout(got)
	require.Zero(w, w.Sessions(w.T, w.alice))
}
