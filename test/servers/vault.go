package servers

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	Server  string // "vault" or "openbao"; empty: the variable SERVER, else "vault"
	Storage string // "inmem" or "raft": initialised and unsealed; empty: a dev server
	Plugin  string // the plugin's binary, enabled at Mount; empty: none
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

	args []string
	proc *process
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

func startVault(ctx context.Context, o Options) (_ *Vault, err error) {
	v := &Vault{Server: cmp.Or(o.Server, os.Getenv("SERVER"), "vault"), Token: rootToken}
	switch v.Server {
	case "vault", "openbao":
		v.Binary, err = script(ctx, v.Server)
	default:
		return nil, fmt.Errorf("SERVER=%s: want vault or openbao", v.Server)
	}
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	v.Addr = fmt.Sprintf("http://127.0.0.1:%d", port)
	if v.Dir, err = newDir(); err != nil {
		return nil, err
	}
	v.Log = filepath.Join(v.Dir, "server.log")
	defer func() {
		if err != nil {
			v.Stop()
		}
	}()

	// The client's names: a transcript says "vault" also where that is bao.
	for _, d := range []string{"bin", "plugins", "data"} {
		if err := os.Mkdir(filepath.Join(v.Dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	if err := os.Symlink(v.Binary, filepath.Join(v.Dir, "bin", "vault")); err != nil {
		return nil, err
	}

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
		if err := v.Register(ctx, o.Plugin); err != nil {
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
`, block, port, port+1, filepath.Join(dir, "plugins"))
}

// launch starts the process and waits until it answers.
func (v *Vault) launch(ctx context.Context) (err error) {
	v.proc, err = spawn(v.Dir, v.Binary, v.args, environment(v.Dir))
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
func (v *Vault) Register(ctx context.Context, plugin string) error {
	data, err := os.ReadFile(plugin)
	if err != nil {
		return err
	}
	path := filepath.Join(v.Dir, "plugins", PluginName)
	// A running plugin cannot be overwritten, only replaced.
	if err := os.WriteFile(path+".new", data, 0o700); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
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
	})
}

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
		return status(ctx, v.Addr+"/v1/sys/health") == http.StatusOK
	})
}

// Restart stops the server in order, if it still runs, starts it again on the
// same address and storage, and unseals it. Only raft has something left then.
func (v *Vault) Restart(ctx context.Context) error {
	if len(v.UnsealKeys) == 0 {
		return errors.New("a dev server cannot be restarted: its storage goes with it")
	}
	v.proc.stop(stopGrace)
	if err := v.launch(ctx); err != nil {
		return err
	}
	return v.Unseal(ctx)
}

// Kill ends the server and its plugins as a crash would. Restart follows, or Stop.
func (v *Vault) Kill() { v.proc.kill() }

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
	_ = os.RemoveAll(v.Dir)
}
