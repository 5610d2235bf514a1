package configs_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
)

const elsewhere = "https://elsewhere.example.com/logout"

var unverified = configs.WriteOptions{Verify: new(false)}

// Who does not know the password overwrites it first, and then knows it.
func TestWhoOverwritesThePasswordCannotSendOpenSessionsElsewhere(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	w.engine.open = 2 // live sessions, whose refresh tokens a public client can use
	_, err := w.Write(t.Context(), "eu1", configs.Change{"password": "mine"}, unverified)
	require.NoError(t, err)
	_, err = w.Write(t.Context(), "eu1", configs.Change{"password": "mine", "logout_url": elsewhere}, unverified)
	require.Error(t, err, "the logouts of two sessions of others now go elsewhere")
}

// A refused write does not tell whether a guess was right.
func TestAGuessOfThePasswordIsNotTold(t *testing.T) {
	for _, guess := range []string{"wrong", "s3cret-password"} {
		w := newWorld(t)
		w.write(t, "eu1", ocp(nil))
		w.engine.open = 0
		_, err := w.Write(t.Context(), "eu1", configs.Change{"password": guess, "logout_url": elsewhere}, unverified)
		require.NoError(t, err, guess)
	}
}

// A config that is created again gets the pending logouts of the one before.
func TestAConfigThatIsMadeAgainCannotSendPendingLogoutsElsewhere(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	w.engine.open = 2
	w.engine.drainErr = errors.New("down")
	_, err := w.Delete(t.Context(), "eu1", true)
	require.NoError(t, err)
	_, err = w.Write(t.Context(), "mine", ocp(configs.Change{"password": "mine", "logout_url": elsewhere}), unverified)
	require.Error(t, err)
}

// A second config of the account gets what the first leaves behind.
func TestASecondConfigCannotSendLogoutsElsewhere(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	w.engine.open = 2
	_, err := w.Write(t.Context(), "mine", pat(configs.Change{"username": "olga", "password": "mine", "logout_url": elsewhere}), unverified)
	require.Error(t, err)
	_ = time.Second
}
