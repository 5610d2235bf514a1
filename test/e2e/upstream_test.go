package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// upstream is what one script or test logs in to: an emulator of its own and,
// for what a Keycloak can do, the real one where there is one.
type upstream struct {
	emulator *iam.Server
	url      string // the emulator's
	keycloak *servers.Keycloak
	cfg      iam.Config
}

func newUpstream(tb testing.TB, cfg iam.Config) *upstream {
	tb.Helper()
	emulator := iam.New(cfg)
	socket := httptest.NewServer(emulator)
	tb.Cleanup(func() {
		emulator.ClearFaults() // lets go what hangs
		socket.Close()
	})
	return &upstream{emulator: emulator, url: socket.URL, cfg: cfg}
}

// pantaURL is the base_url of providers panta and keycloak.
func (u *upstream) pantaURL() string {
	if u.keycloak != nil {
		return u.keycloak.BaseURL
	}
	return u.url
}

// ocpURL is the base_url of provider ocp.
func (u *upstream) ocpURL() string {
	if u.keycloak != nil {
		return u.keycloak.Origin
	}
	return u.url
}

// sessions counts a user's sessions as the server does.
func (u *upstream) sessions(ctx context.Context, realm, user string) (int, error) {
	if u.keycloak != nil {
		return u.keycloak.Sessions(ctx, realm, user)
	}
	return u.emulator.AccountStats(realm, user).Sessions, nil
}

// nobodyIsLoggedIn fails while any user or service account of any realm has a session.
func (u *upstream) nobodyIsLoggedIn() error {
	for _, realm := range u.cfg.Realms {
		var names []string
		for _, user := range realm.Users {
			names = append(names, user.Username)
		}
		for _, client := range realm.Clients {
			if client.ServiceAccount {
				names = append(names, "service-account-"+client.ID)
			}
		}
		for _, name := range names {
			n, err := u.sessions(context.Background(), realm.Name, name)
			if err != nil {
				return err
			}
			if n > 0 {
				return fmt.Errorf("%s has %d sessions in realm %s", name, n, realm.Name)
			}
		}
	}
	return nil
}

func (u *upstream) period(o options) time.Duration {
	if u.keycloak != nil {
		return servers.TOTPPeriod
	}
	return o.OTPPeriod.Duration
}

// code is what the authenticator of iam.DemoOCPUser shows now.
func (u *upstream) code(o time.Duration) (string, error) {
	return totp.GenerateCodeCustom(iam.DemoTOTPSecret, time.Now(),
		totp.ValidateOpts{Period: uint(o / time.Second), Digits: otp.DigitsSix})
}

// options change the emulator of a script that has a file iam.json.
type options struct {
	OTPPeriod   duration `json:"otp_period"`
	TokenLife   duration `json:"token_life"`
	SessionIdle duration `json:"session_idle"`
	DateHeader  bool     `json:"date_header"`
	Release     string   `json:"release"` // of OCP, if not that of iam.Demo
	Users       []string `json:"users"`   // of Panta, besides those of iam.Demo; their password is "password"
}

type duration struct{ time.Duration }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) (err error) {
	d.Duration, err = time.ParseDuration(string(text))
	return err
}

func emulatorOptions(dir string) (options, error) {
	o := options{OTPPeriod: duration{30 * time.Second}}
	data, err := os.ReadFile(filepath.Join(dir, "iam.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	if err != nil {
		return o, err
	}
	return o, json.Unmarshal(data, &o)
}

func (o options) config() iam.Config {
	cfg := iam.Demo()
	cfg.DateHeader = o.DateHeader
	for i := range cfg.Realms {
		realm := &cfg.Realms[i]
		realm.OTP.Period = o.OTPPeriod.Duration
		realm.TokenLife = o.TokenLife.Duration
		realm.SessionIdle = o.SessionIdle.Duration
		if release, ok := iam.LookupRelease(o.Release); ok && realm.API == iam.OCPAPI {
			realm.Release = release
		}
		for _, name := range o.Users {
			if realm.API == iam.PantaAPI {
				realm.Users = append(realm.Users, iam.User{Username: name, Password: "password"})
			}
		}
	}
	return cfg
}
