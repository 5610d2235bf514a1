// Package e2e drives the real vault command, the real server and the plugin's
// binary in it, and reads upstream how many sessions there are.
//
// The journeys are scripts in testdata that read like transcripts: those in
// journeys/ run on the IAM emulator or, where KEYCLOAK names a version, on a
// real Keycloak; those in emulator/ need what only the emulator has. What
// takes many hands at once or a server that dies is told in Go.
//
// SERVER=openbao runs everything on OpenBao. Start with TestJourneys.
package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// Each script finds the plugin enabled at a path of the script's own name. At
// its end the mount is disabled, and then nobody may have a session any more:
// so every script shows rule 1, whatever else it shows.
func TestJourneys(t *testing.T) {
	t.Parallel()
	plugin, err := servers.Plugin(t.Context())
	require.NoError(t, err)
	j := &journeys{plugin: plugin}
	dirs := []string{"journeys", "emulator"}
	if os.Getenv("KEYCLOAK") != "" {
		j.keycloak, err = keycloak()
		require.NoError(t, err)
		dirs = []string{"journeys"}
	}
	t.Run("scripts", func(t *testing.T) { // returns when all scripts have ended
		for _, dir := range dirs {
			testscript.Run(t, testscript.Params{
				Dir:                 filepath.Join("testdata", dir),
				Setup:               j.setup,
				Cmds:                scriptCommands(),
				RequireExplicitExec: true,
				RequireUniqueNames:  true,
				Condition:           j.condition,
			})
		}
	})
}

// journeys is what all scripts share.
type journeys struct {
	plugin   string
	keycloak *servers.Keycloak // nil: each script has an emulator
	alone    sync.Mutex        // on Keycloak scripts run one by one: they share its users
	lastCode string            // what the authenticator showed when the last one ended
}

// condition is [revocation]: the server has an endpoint for that.
func (j *journeys) condition(name string) (bool, error) {
	if name != "revocation" {
		return false, fmt.Errorf("no condition %q", name)
	}
	return j.keycloak == nil || j.keycloak.Release.Revocation != iam.NoRevocation, nil
}

func (j *journeys) setup(env *testscript.Env) error {
	t := env.T().(testing.TB)
	options, err := emulatorOptions(env.WorkDir)
	if err != nil {
		return err
	}
	up := newUpstream(t, options.config())
	if j.keycloak != nil {
		j.alone.Lock()
		env.Defer(func() {
			j.lastCode, _ = up.code(servers.TOTPPeriod)
			j.alone.Unlock()
		})
		up.keycloak = j.keycloak
		if err := j.awaitNewCode(up); err != nil {
			return err
		}
	}
	env.Values[upstreamKey{}] = up

	name := strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
	// A server of its own: where mounts share one process of the plugin, Vault
	// may end it when one of them is disabled, in the middle of another's request.
	vault := servers.RunVault(t, servers.Options{})
	client, err := vault.Client()
	if err != nil {
		return err
	}
	if err := vault.Register(t.Context(), j.plugin); err != nil {
		return err
	}
	if err := vault.Enable(t.Context(), name); err != nil {
		return err
	}
	env.Defer(func() {
		up.emulator.ClearFaults()
		if err := client.Sys().Unmount(name); err != nil {
			t.Errorf("disable %s: %v", name, err)
		}
		eventually(t, 15*time.Second, "the mount is gone and no session is left", up.nobodyIsLoggedIn)
	})

	env.Setenv("PATH", vault.BinDir()+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("VAULT_ADDR", vault.Addr)
	env.Setenv("VAULT_TOKEN", vault.Token)
	env.Setenv("VAULT_MAX_RETRIES", "0") // an error is to be seen, not repeated
	env.Setenv("IAM", up.url)
	env.Setenv("PANTA", up.pantaURL())
	env.Setenv("OCP", up.ocpURL())
	env.Setenv("TOTP_PERIOD", up.period(options).String())
	env.Setenv("TOTP_SECONDS", fmt.Sprint(up.period(options).Seconds()))
	env.Setenv("TOTP_SECRET", iam.DemoTOTPSecret)
	return nil
}

// awaitNewCode waits until the authenticator of the one user with a second
// factor shows a code that no script before can have used.
func (j *journeys) awaitNewCode(up *upstream) error {
	return until(2*servers.TOTPPeriod, func() error {
		code, err := up.code(servers.TOTPPeriod)
		if err == nil && code == j.lastCode {
			err = errors.New("the authenticator shows the same code")
		}
		return err
	})
}
