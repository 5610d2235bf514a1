package servers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	// PluginName is the name under which the plugin stands in the catalogue.
	PluginName = "vault-plugin-secrets-panta"
	// Mount is where the plugin is enabled.
	Mount = "panta"

	rootToken = "root"
)

// Options says what server to start. The zero value is an empty dev server.
type Options struct {
	Server  string // "vault" or "openbao"; empty: as scripts/server chooses
	Storage string // "inmem" or "raft": initialised and unsealed; empty: a dev server
	Plugin  string // the plugin's binary, enabled at Mount; empty: none
	// PluginEnv is the environment that the plugin is registered with, "NAME=value".
	PluginEnv []string
	// Debug has the server and its plugins log at that level.
	Debug bool
}

// Vault is a running Vault or OpenBao server.
type Vault struct {
	Server     string // "vault" or "openbao"
	Binary     string // server and command line client
	Addr       string // http://127.0.0.1:…
	Token      string // the root token
	UnsealKeys []string
	Dir        string // everything the server writes; gone after Stop
	Log        string

	args    []string
	proc    *process
	crashed []*process // whose children may be left
	inside  *node      // the network namespace it runs in; nil: this one
	debug   bool
}

// StartVault starts a server. It returns when the server is unsealed and the
// plugin, if any, is enabled.
func StartVault(ctx context.Context, o Options) (*Vault, error) {
	for attempt := 1; ; attempt++ {
		v, err := startVault(ctx, o)
		if err == nil || attempt == attempts || !portTaken(err) {
			return v, err
		}
	}
}

// RunVault is StartVault for a test: the server ends with the test, and the end
// of its log is shown if the test failed.
func RunVault(tb testing.TB, o Options) *Vault {
	tb.Helper()
	v, err := StartVault(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("end of the log of %s:\n%s", v.Server, tail(v.Log))
		}
		v.Stop()
	})
	return v
}

// newVault prepares a server that is not started yet.
func newVault(ctx context.Context, o Options) (_ *Vault, err error) {
	v := &Vault{Server: o.Server, Token: rootToken, debug: o.Debug}
	if v.Server != "" {
		v.Binary, err = script(ctx, v.Server)
	} else {
		var chosen string
		chosen, err = script(ctx, "server")
		v.Server, v.Binary, _ = strings.Cut(chosen, " ")
	}
	if err != nil {
		return nil, err
	}
	if v.Dir, err = newDir(); err != nil {
		return nil, err
	}
	v.Log = filepath.Join(v.Dir, "server.log")
	// The client's names: a transcript says "vault" also where that is bao.
	for _, d := range []string{"bin", "plugins", "data"} {
		if err := os.Mkdir(filepath.Join(v.Dir, d), 0o700); err != nil {
			return v, err
		}
	}
	return v, os.Symlink(v.Binary, filepath.Join(v.Dir, "bin", "vault"))
}

func startVault(ctx context.Context, o Options) (_ *Vault, err error) {
	v, err := newVault(ctx, o)
	defer func() {
		if err != nil && v != nil {
			v.Stop()
		}
	}()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	v.Addr = fmt.Sprintf("http://127.0.0.1:%d", port)

	if o.Storage == "" {
		v.args = []string{
			"server", "-dev", "-dev-no-store-token", "-dev-root-token-id=" + rootToken,
			"-dev-listen-address=" + strings.TrimPrefix(v.Addr, "http://"),
			"-dev-plugin-dir=" + filepath.Join(v.Dir, "plugins"),
		}
	} else {
		config := filepath.Join(v.Dir, "server.hcl")
		if err := os.WriteFile(config, []byte(serverConfig(o.Storage, v.Dir, port)), 0o600); err != nil {
			return nil, err
		}
		v.args = []string{"server", "-config=" + config}
	}
	if err := v.launch(ctx); err != nil {
		return nil, err
	}
	if o.Storage != "" {
		if err := v.initialise(ctx); err != nil {
			return nil, err
		}
	}
	if o.Plugin != "" {
		if err := v.Register(ctx, o.Plugin, o.PluginEnv...); err != nil {
			return nil, err
		}
		if err := v.Enable(ctx, Mount); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func serverConfig(storage, dir string, port int) string {
	block := storage + ` {}`
	if storage == "raft" {
		// The multiplier is for elections: with it a single node leads at once.
		block = fmt.Sprintf(`raft {
  path = %q
  node_id = "n1"
  performance_multiplier = 1
}`, filepath.Join(dir, "data"))
	}
	block = strings.Replace(block, storage, fmt.Sprintf("storage %q", storage), 1)
	return fmt.Sprintf(`%s
listener "tcp" {
  address = "127.0.0.1:%d"
  cluster_address = "127.0.0.1:%d"
  tls_disable = true
}
api_addr = "http://127.0.0.1:%[2]d"
cluster_addr = "https://127.0.0.1:%[3]d"
plugin_directory = %[4]q
disable_mlock = true
raw_storage_endpoint = true
`, block, port, port+1, filepath.Join(dir, "plugins"))
}

// launch starts the process and waits until it answers.
func (v *Vault) launch(ctx context.Context) (err error) {
	program, args := v.Binary, v.args
	if v.inside != nil {
		program, args = "ip", append([]string{"netns", "exec", v.inside.namespace, v.Binary}, v.args...)
	}
	if v.debug {
		args = append(slices.Clone(args), "-log-level=debug")
	}
	v.proc, err = spawn(v.Dir, program, args, environment(v.Dir))
	if err != nil {
		return err
	}
	return v.proc.await(ctx, v.Server, time.Minute, func(ctx context.Context) bool {
		switch status(ctx, v.Addr+"/v1/sys/health") {
		case http.StatusOK, http.StatusNotImplemented, http.StatusServiceUnavailable:
			return true // active, not initialised, sealed
		default:
			return false
		}
	})
}

// initialise makes a new storage usable, with one unseal key.
func (v *Vault) initialise(ctx context.Context) error {
	client, err := v.Client()
	if err != nil {
		return err
	}
	answer, err := client.Sys().InitWithContext(ctx, &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return err
	}
	v.Token, v.UnsealKeys = answer.RootToken, answer.KeysB64
	return v.Unseal(ctx)
}

// Client returns a new API client with the root token.
func (v *Vault) Client() (*api.Client, error) {
	config := api.DefaultConfig()
	if config.Error != nil {
		return nil, config.Error
	}
	config.Address = v.Addr
	if t, ok := config.HttpClient.Transport.(*http.Transport); ok {
		t.Proxy = nil // the server is on this machine
	}
	client, err := api.NewClient(config)
	if err != nil {
		return nil, err
	}
	client.ClearNamespace()
	client.SetToken(v.Token)
	return client, nil
}

// Env is the environment for a command line client: ours, without what would
// lead it to another server, with "vault" on PATH also where that is OpenBao's.
func (v *Vault) Env() []string {
	env := []string{
		"VAULT_ADDR=" + v.Addr, "VAULT_TOKEN=" + v.Token,
		"BAO_ADDR=" + v.Addr, "BAO_TOKEN=" + v.Token,
		"HOME=" + v.Dir,
		"PATH=" + v.BinDir() + string(os.PathListSeparator) + os.Getenv("PATH"),
	}
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "VAULT_") || strings.HasPrefix(name, "BAO_") || name == "HOME" || name == "PATH" {
			continue
		}
		env = append(env, e)
	}
	return env
}

// BinDir holds the command line client under the name "vault".
func (v *Vault) BinDir() string { return filepath.Join(v.Dir, "bin") }

// Command is a call of the command line client with the root token.
func (v *Vault) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, v.Binary, args...)
	cmd.Env = v.Env()
	return cmd
}

// Register copies a plugin's binary into the server's plugin directory and
// writes it into the catalogue. A copy, so that a build beside a running server
// does not change what was registered.
//
// env is what the plugin's process finds in its environment, "NAME=value".
func (v *Vault) Register(ctx context.Context, plugin string, env ...string) error {
	data, err := v.install(plugin)
	if err != nil {
		return err
	}
	client, err := v.Client()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	return client.Sys().RegisterPluginWithContext(ctx, &api.RegisterPluginInput{
		Name:    PluginName,
		Type:    api.PluginTypeSecrets,
		Command: PluginName,
		SHA256:  hex.EncodeToString(sum[:]),
		Env:     env,
	})
}

// install copies a plugin's binary into the server's plugin directory, and
// returns it.
func (v *Vault) install(plugin string) ([]byte, error) {
	data, err := os.ReadFile(plugin)
	if err != nil {
		return nil, err
	}
	path := v.pluginPath()
	// A running plugin cannot be overwritten, only replaced.
	if err := os.WriteFile(path+".new", data, 0o700); err != nil {
		return nil, err
	}
	return data, os.Rename(path+".new", path)
}

func (v *Vault) pluginPath() string { return filepath.Join(v.Dir, "plugins", PluginName) }

// Enable mounts the registered plugin at a path.
func (v *Vault) Enable(ctx context.Context, path string) error {
	client, err := v.Client()
	if err != nil {
		return err
	}
	return client.Sys().MountWithContext(ctx, path, &api.MountInput{Type: PluginName})
}

// Seal seals the server.
func (v *Vault) Seal(ctx context.Context) error {
	client, err := v.Client()
	if err != nil {
		return err
	}
	return client.Sys().SealWithContext(ctx)
}

// Unseal unseals the server and waits until it is active.
func (v *Vault) Unseal(ctx context.Context) error {
	client, err := v.Client()
	if err != nil {
		return err
	}
	for _, key := range v.UnsealKeys {
		if _, err := client.Sys().UnsealWithContext(ctx, key); err != nil {
			return err
		}
	}
	return v.proc.await(ctx, v.Server+" after unseal", time.Minute, func(ctx context.Context) bool {
		switch status(ctx, v.Addr+"/v1/sys/health") {
		case http.StatusOK:
			return true
		case http.StatusTooManyRequests: // a standby: only a cluster has one
			return v.inside != nil
		default:
			return false
		}
	})
}

// Restart stops the server in order, if it still runs, starts it again on the
// same address and storage, and unseals it. Only raft has something left then.
func (v *Vault) Restart(ctx context.Context) error {
	if len(v.UnsealKeys) == 0 {
		return errors.New("a dev server cannot be restarted: its storage goes with it")
	}
	if v.proc.alive() {
		v.proc.stop(stopGrace)
	}
	v.dropCrashed()
	if err := v.launch(ctx); err != nil {
		return err
	}
	return v.Unseal(ctx)
}

// Kill ends the server and its plugins as a crash of the machine would. Restart
// follows, or Stop.
func (v *Vault) Kill() { v.proc.kill() }

// KillAlone ends the server's process as kill -9 does, and leaves its plugins
// to themselves. Restart follows, or Stop.
func (v *Vault) KillAlone() {
	_ = v.proc.cmd.Process.Signal(syscall.SIGKILL)
	<-v.proc.exited
	v.crashed = append(v.crashed, v.proc)
}

// dropCrashed forgets the crashed processes that have no children any more.
func (v *Vault) dropCrashed() {
	v.crashed = slices.DeleteFunc(v.crashed, func(p *process) bool {
		gone := syscall.Kill(-p.cmd.Process.Pid, 0) != nil
		if gone {
			p.detach()
		}
		return gone
	})
}

// Plugins returns the process ids of the plugins that this server's process has
// started, orphans of a crashed one not included. It needs Linux's /proc.
func (v *Vault) Plugins() ([]int, error) {
	all, err := v.pluginProcesses()
	if err != nil {
		return nil, err
	}
	var own []int
	for pid, parent := range all {
		if parent == v.proc.cmd.Process.Pid {
			own = append(own, pid)
		}
	}
	return own, nil
}

// Orphans returns the process ids of plugins whose server has crashed.
func (v *Vault) Orphans() ([]int, error) {
	all, err := v.pluginProcesses()
	if err != nil {
		return nil, err
	}
	var orphans []int
	for pid, parent := range all {
		if parent != v.proc.cmd.Process.Pid || !v.proc.alive() {
			orphans = append(orphans, pid)
		}
	}
	return orphans, nil
}

// pluginProcesses returns the parents of all processes that run this server's
// copy of the plugin.
func (v *Vault) pluginProcesses() (map[int]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	found := map[int]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		if err != nil || exe != v.pluginPath() {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has ended meanwhile
		}
		var parent int
		var state string
		// The name in parentheses may hold anything.
		if _, err := fmt.Sscan(string(stat[bytes.LastIndexByte(stat, ')')+1:]), &state, &parent); err != nil {
			return nil, err
		}
		if state != "Z" {
			found[pid] = parent
		}
	}
	return found, nil
}

// Keep lets the server outlive this process; Stop still stops it. It returns
// its process id, whose negative names the whole group to kill(1).
func (v *Vault) Keep() int {
	v.proc.detach()
	return v.proc.cmd.Process.Pid
}

// stopGrace is how long a server may take to stop in order.
const stopGrace = 10 * time.Second

// Stop stops the server and removes its directory. More than once is no error.
func (v *Vault) Stop() {
	if v.proc != nil && v.proc.alive() {
		v.proc.stop(stopGrace)
	}
	for _, p := range v.crashed {
		p.kill()
	}
	_ = os.RemoveAll(v.Dir)
}
