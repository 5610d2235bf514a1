package servers

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDevServerAnswersItsOwnClient(t *testing.T) {
	t.Parallel()
	v := RunVault(t, Options{})
	out, err := v.Command(t.Context(), "status").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "Sealed          false")
	require.Error(t, v.Restart(t.Context()))

	v.Stop()
	require.NoDirExists(t, v.Dir)
	require.Zero(t, status(t.Context(), v.Addr+"/v1/sys/health"))
}

func TestPluginAndStorageSurviveKillSealAndRestart(t *testing.T) {
	t.Parallel()
	plugin, err := Plugin(t.Context())
	require.NoError(t, err)
	v := RunVault(t, Options{Storage: "raft", Plugin: plugin})
	client, err := v.Client()
	require.NoError(t, err)
	pluginAnswers := func() {
		t.Helper()
		_, err := client.Help(Mount)
		require.NoError(t, err)
	}
	pluginAnswers()

	v.Kill()
	require.NoError(t, v.Restart(t.Context()))
	pluginAnswers()

	require.NoError(t, v.Seal(t.Context()))
	_, err = client.Help(Mount)
	require.ErrorContains(t, err, "sealed")
	require.NoError(t, v.Unseal(t.Context()))
	pluginAnswers()

	require.NoError(t, v.Restart(t.Context()))
	pluginAnswers()
}

// A server must not outlive a test run that somebody interrupts. The test
// starts itself again as a program that starts a server, and kills it.
func TestServerEndsWithTheProgramThatStartedIt(t *testing.T) {
	if os.Getenv("SERVERS_TEST_CHILD") != "" {
		v, err := StartVault(t.Context(), Options{})
		require.NoError(t, err)
		os.Stdout.WriteString("\nup " + v.Addr + " " + v.Dir + "\n")
		select {}
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "SERVERS_TEST_CHILD=1")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())

	var addr, dir string
	for lines := bufio.NewScanner(stdout); addr == "" && lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) == 3 && f[0] == "up" {
			addr, dir = f[1], f[2]
		}
	}
	require.NotEmpty(t, addr, "the child did not start a server")
	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	require.Error(t, cmd.Wait())
	require.Eventually(t, func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err) && status(t.Context(), addr+"/v1/sys/health") == 0
	}, 10*time.Second, 20*time.Millisecond)
}
