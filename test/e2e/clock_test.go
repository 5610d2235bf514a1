package e2e

import (
	"encoding/base32"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// TestClocksThatDiffer: Vault's clock is ahead of the identity server's, or behind,
// by more than a step of one-time codes. From the second login on they are made for
// the server's clock. It runs on the emulator with short steps or, where KEYCLOAK
// names a release, on a real Keycloak whose clock is moved by libfaketime.
func TestClocksThatDiffer(t *testing.T) {
	t.Parallel()
	if name := os.Getenv("KEYCLOAK"); name != "" {
		clocksThatDifferOnKeycloak(t, name)
		return
	}
	for _, name := range []string{"9.0.3", "26.7.0"} {
		for _, skew := range []time.Duration{-4 * time.Second, 4 * time.Second} {
			t.Run(name+"/"+skewed(skew), func(t *testing.T) {
				t.Parallel()
				release, _ := iam.LookupRelease(name)
				realm := clockRealm("clock", release, 3*time.Second)
				socket := httptest.NewServer(iam.New(iam.Config{ClockShift: skew, Realms: []iam.Realm{realm}}))
				t.Cleanup(socket.Close)
				c := clocks{T: t, origin: socket.URL, realm: realm, skew: skew}
				c.try()
			})
		}
	}
}

// clocksThatDifferOnKeycloak takes two of the releases: the one that refuses codes of
// the next step and sends Date, and one that does neither.
func clocksThatDifferOnKeycloak(t *testing.T, name string) {
	t.Helper()
	const period = 30 * time.Second
	skews := []time.Duration{-40 * time.Second, 40 * time.Second}
	if name != "9.0.3" && name != "26.7.0" {
		for _, skew := range skews {
			reportClock(t, skew).NotSo()
		}
		return
	}
	k := servers.RunKeycloakWithClock(t, name)
	for i, skew := range skews {
		t.Run(skewed(skew), func(t *testing.T) {
			realm := clockRealm(fmt.Sprintf("clock-%d", i), k.Release, period)
			require.NoError(t, k.ShiftClock(0))
			require.NoError(t, k.CreateRealm(t.Context(), realm))
			require.NoError(t, k.ShiftClock(skew))
			time.Sleep(2 * time.Second) // it notices within one
			c := clocks{T: t, origin: k.Origin, realm: realm, skew: skew}
			c.try()
		})
	}
}

func reportClock(t *testing.T, skew time.Duration) *servers.Row {
	t.Helper()
	return servers.Report(t, "clock", skewed(skew)+", more than a step: codes are taken from the second login on")
}

func skewed(skew time.Duration) string {
	if skew < 0 {
		return fmt.Sprintf("Vault is %s ahead", -skew)
	}
	return fmt.Sprintf("Vault is %s behind", skew)
}

const clockSecret = "12345678901234567890"

func clockRealm(name string, release iam.Release, period time.Duration) iam.Realm {
	return iam.Realm{
		Name: name, PathPrefix: "/auth", Release: release, OTP: iam.OTPPolicy{Period: period},
		Clients: []iam.Client{{ID: "ocp", DirectGrants: true}},
		Users:   []iam.User{{Username: "user", Password: "password", TOTPSecret: clockSecret}},
	}
}

type clocks struct {
	*testing.T
	origin string
	realm  iam.Realm
	skew   time.Duration // of the server's clock
}

func (c clocks) try() {
	row := reportClock(c.T, c.skew)
	m := newMount(c, iam.Demo(), servers.Options{})
	period := c.realm.OTP.Period
	m.write("config/acc", map[string]any{
		"provider": "ocp", "base_url": c.origin, "realm": c.realm.Name, "username": "user", "password": "password",
		"totp_secret": fmt.Sprintf("otpauth://totp/OCP:user?secret=%s&period=%.0f",
			base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(clockSecret)), period.Seconds()),
		"session_mode": "dedicated", "max_sessions": 20, "verify": false,
	})
	c.awaitNeighbours(period)
	_, first := m.read("creds/acc")
	if first != nil {
		m.write("config/acc", map[string]any{}) // logs in
	}
	const logins = 5
	for range logins {
		eventually(c, 3*period, "the next code is taken", func() error {
			_, err := m.read("creds/acc")
			if err == nil {
				return nil
			}
			status, sentences := refusal(c, err)
			if status != 429 { // else it waits for the next step
				c.Fatal(sentences)
			}
			return errors.New(sentences[0])
		})
	}
	outcome := "taken"
	if first != nil {
		outcome = "refused"
	}
	row.Found(fmt.Sprintf("the first is %s, then %d are taken", outcome, logins))
	require.NoError(c, m.client.Sys().RevokePrefixWithContext(c.Context(), servers.Mount+"/creds"))
}

// awaitNeighbours waits until the steps of both clocks are next to each other: then
// a release that takes both neighbours lets the first login in, whose token shows
// the server's clock. Two steps off, a server without the header Date shows nothing.
func (c clocks) awaitNeighbours(period time.Duration) {
	require.NoError(c, until(2*period, func() error {
		now := time.Now().Add(period / 10) // there is time enough for the login
		for _, at := range []time.Time{time.Now(), now} {
			if steps := at.Add(c.skew).Truncate(period).Sub(at.Truncate(period)) / period; steps.Abs() != 1 {
				return errors.New("they are not")
			}
		}
		return nil
	}))
}
