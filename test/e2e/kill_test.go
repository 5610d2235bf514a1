package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// The plugin dies again and again in the middle of logins. What was handed out
// is logged out with its lease; a login whose answer died with the plugin can
// only be left to the server, which drops it when it has been idle (rule 1).
func TestKillingThePluginInTheMiddleOfLoginsLeavesNoSession(t *testing.T) {
	t.Parallel()
	const idle = 10 * time.Second
	cfg := options{OTPPeriod: duration{time.Second}, SessionIdle: duration{idle}}.config()
	for i := range cfg.Realms {
		cfg.Realms[i].LoginTime = 100 * time.Millisecond // time to die in
	}
	wrapper, pids := wrappedPlugin(t)
	m := newMount(t, cfg, servers.Options{Plugin: wrapper})
	m.writeDMO()
	m.writeEU1(map[string]any{"session_mode": "dedicated", "verify": false})

	handedOut := m.readWhile(func() {
		for round := range 5 {
			before := m.upstream.emulator.Stats().Calls[iam.OpLogin]
			require.Eventually(t, func() bool {
				return m.upstream.emulator.Stats().Calls[iam.OpLogin] >= before+2+round
			}, 30*time.Second, 5*time.Millisecond, "logins go on after each kill")
			require.NoError(t, syscall.Kill(lastLine(t, pids), syscall.SIGKILL))
		}
	})
	require.NotEmpty(t, handedOut)
	t.Logf("%d sessions handed out, %d logins at the server", len(handedOut), m.panta().Logins+m.ocp().Logins)
	require.LessOrEqual(t, m.ocp().PeakSessions, iam.DemoSessionLimit)
	require.Zero(t, m.ocp().LimitDenials)

	ended := time.Now()
	require.NoError(t, m.client.Sys().RevokePrefixWithContext(t.Context(), servers.Mount+"/creds"))
	eventually(t, idle/2, "what was handed out is logged out with its lease", func() error {
		for _, realm := range []struct{ name, user string }{
			{iam.DemoPantaRealm, iam.DemoPantaUser}, {iam.DemoSwarmRealm, iam.DemoOCPUser},
		} {
			for _, session := range m.upstream.emulator.Sessions(realm.name, realm.user) {
				if id := attempt(session.UserAgent); handedOut[id] {
					return fmt.Errorf("session %s of %s is open", id, realm.user)
				}
			}
		}
		return nil
	})
	eventually(t, idle+time.Until(ended)+5*time.Second, "lost logins die of age", m.upstream.nobodyIsLoggedIn)
}

// readWhile reads both configs from many sides until act is done, and returns
// the ids of the sessions that it got. Reads fail while the plugin is dead.
func (m *mount) readWhile(act func()) map[string]bool {
	m.tb.Helper()
	var (
		readers sync.WaitGroup
		mu      sync.Mutex
		ids     = map[string]bool{}
		done    = make(chan struct{})
	)
	for i := range 6 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				secret, err := m.read([]string{"creds/dmo", "creds/eu1"}[i%2])
				if err != nil {
					time.Sleep(20 * time.Millisecond) // a closed account refuses at once
					continue
				}
				id, _, _ := strings.Cut(secret.Data["session_id"].(string), ".")
				mu.Lock()
				ids[id] = true
				mu.Unlock()
			}
		})
	}
	act()
	close(done)
	readers.Wait()
	return ids
}

// attempt is our id of the session that a login with this User-Agent opened.
func attempt(userAgent string) string {
	mark, _, _ := strings.Cut(userAgent, "-bot/")
	return mark[strings.LastIndex(mark, "-")+1:]
}

// wrappedPlugin returns a program that notes its process id in a file and
// becomes the plugin.
func wrappedPlugin(t *testing.T) (program, pids string) {
	t.Helper()
	plugin, err := servers.Plugin(t.Context())
	require.NoError(t, err)
	plugin, err = filepath.Abs(plugin)
	require.NoError(t, err)
	dir := t.TempDir()
	program, pids = filepath.Join(dir, "plugin"), filepath.Join(dir, "pids")
	script := fmt.Sprintf("#!/bin/sh\necho $$ >>'%s'\nexec '%s' \"$@\"\n", pids, plugin)
	require.NoError(t, os.WriteFile(program, []byte(script), 0o700))
	return program, pids
}

// lastLine is the process that started last: the one that serves.
func lastLine(t *testing.T, pids string) int {
	t.Helper()
	data, err := os.ReadFile(pids)
	require.NoError(t, err)
	lines := strings.Fields(string(data))
	pid, err := strconv.Atoi(lines[len(lines)-1])
	require.NoError(t, err)
	return pid
}
