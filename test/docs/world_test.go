package docs

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// world is where a document's reader sits: a clone of the repository, and the
// shells that the document's blocks name.
type world struct {
	t     *testing.T
	clone string
	dir   string // of the document's reader
	tools []string

	shells map[string]*shell
}

func newWorld(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{t: t, clone: t.TempDir(), shells: map[string]*shell{}}
	w.dir = filepath.Join(w.clone, dir)
	root, err := servers.ModuleRoot()
	require.NoError(t, err)
	list := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	files, err := list.Output()
	require.NoError(t, err)
	for file := range strings.SplitSeq(strings.TrimRight(string(files), "\x00"), "\x00") {
		w.copy(filepath.Join(root, file), file)
	}
	return w
}

// copy puts a file into the clone.
func (w *world) copy(from, to string) {
	w.t.Helper()
	info, err := os.Stat(from)
	if os.IsNotExist(err) {
		return // deleted, and not committed yet
	}
	require.NoError(w.t, err)
	data, err := os.ReadFile(from)
	require.NoError(w.t, err)
	to = filepath.Join(w.clone, to)
	require.NoError(w.t, os.MkdirAll(filepath.Dir(to), 0o755))
	require.NoError(w.t, os.WriteFile(to, data, info.Mode().Perm()))
}

// environment is ours, with a home of the reader's own and the programs that
// the document calls, and is led to v, if there is one.
func (w *world) environment(v *servers.Vault, more ...string) []string {
	w.t.Helper()
	home, bin := w.t.TempDir(), w.t.TempDir()
	path := bin + ":" + os.Getenv("PATH")
	if v != nil {
		path = v.BinDir() + ":" + path
		more = append(more, "VAULT_ADDR="+v.Addr, "VAULT_TOKEN="+v.Token)
	}
	for _, name := range w.tools {
		path, err := servers.Tool(w.t.Context(), name)
		require.NoError(w.t, err)
		require.NoError(w.t, os.Symlink(path, filepath.Join(bin, name)))
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		own, err := os.UserHomeDir()
		require.NoError(w.t, err)
		cache = filepath.Join(own, ".cache")
	}
	goEnv, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPATH").Output()
	require.NoError(w.t, err)
	lines := strings.Split(string(goEnv), "\n")
	env := []string{
		"HOME=" + home, "XDG_CACHE_HOME=" + cache, "PATH=" + path,
		"GOCACHE=" + lines[0], "GOMODCACHE=" + lines[1], "GOPATH=" + lines[2],
	}
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		switch name {
		case "HOME", "XDG_CACHE_HOME", "PATH", "GOCACHE", "GOMODCACHE", "GOPATH", "SERVER", "IAM", "KEYCLOAK":
		default:
			if !strings.HasPrefix(name, "VAULT_") {
				env = append(env, e)
			}
		}
	}
	return append(env, more...)
}

// onPorts has a shell type other ports than the document prints.
func onPorts(ports map[string]string) func(string) string {
	var pairs []string
	for printed, typed := range ports {
		pairs = append(pairs, printed, typed)
	}
	return strings.NewReplacer(pairs...).Replace
}

// installed is a Vault of an operator's: with a plugin directory, PLUGINS, and
// nothing in it. Releases lie in the reader's directory.
func (w *world) installed(releases ...string) {
	w.t.Helper()
	v := servers.RunVault(w.t, servers.Options{Server: "vault", Storage: "inmem"})
	for _, version := range releases {
		w.release(version)
	}
	w.shells["a Vault"] = newShell(w.t, w.dir, w.environment(v, "PLUGINS="+filepath.Join(v.Dir, "plugins")))
}

// release makes the archive of one, and its sums, as .goreleaser.yaml names them.
func (w *world) release(version string) {
	w.t.Helper()
	build := exec.Command(filepath.Join(w.clone, "scripts", "build"))
	build.Env = append(os.Environ(), "VERSION="+version)
	out, err := build.CombinedOutput()
	require.NoError(w.t, err, string(out))
	binary := filepath.Join(w.clone, "bin", servers.PluginName)
	data, err := os.ReadFile(binary)
	require.NoError(w.t, err)
	require.NoError(w.t, os.Remove(binary))

	name := servers.PluginName + "_" + strings.TrimPrefix(version, "v") + "_linux_amd64.zip"
	file, err := os.Create(filepath.Join(w.dir, name))
	require.NoError(w.t, err)
	defer file.Close()
	archive := zip.NewWriter(file)
	header := &zip.FileHeader{Name: servers.PluginName, Method: zip.Store}
	header.SetMode(0o755)
	member, err := archive.CreateHeader(header)
	require.NoError(w.t, err)
	_, err = member.Write(data)
	require.NoError(w.t, err)
	require.NoError(w.t, archive.Close())

	packed, err := os.ReadFile(file.Name())
	require.NoError(w.t, err)
	sum := sha256.Sum256(packed)
	sums := strings.TrimSuffix(file.Name(), "_linux_amd64.zip") + "_SHA256SUMS"
	require.NoError(w.t, os.WriteFile(sums, []byte(hex.EncodeToString(sum[:])+"  "+name+"\n"), 0o600))
}

// running is what `make demo KEEP=1` leaves behind: a Vault with the plugin at
// panta/ and its accounts, before an emulator at IAM, whose tokens live as long
// as given.
func (w *world) running(tokenLife time.Duration) {
	w.t.Helper()
	cfg := iam.Demo()
	for i := range cfg.Realms {
		cfg.Realms[i].TokenLife = tokenLife
	}
	emulator := httptest.NewServer(iam.New(cfg))
	w.t.Cleanup(emulator.Close)
	plugin, err := servers.Plugin(w.t.Context())
	require.NoError(w.t, err)
	v := servers.RunVault(w.t, servers.Options{Server: "vault", Storage: "inmem", Plugin: plugin})
	s := newShell(w.t, w.dir, w.environment(v, "IAM="+emulator.URL))
	_, err = s.do("vault write panta/config/dmo provider=panta environment=dmo base_url=$IAM client_id=panta-integration client_secret=panta-client-secret username=paula password=paulas-password tenant_id=tenant-4711\n"+
		"vault write panta/config/eu1 provider=ocp environment=eu1 base_url=$IAM username=olga password=olgas-password totp_secret="+iam.DemoTOTPSecret+"\n"+
		"vault write panta/config/partner provider=partner base_url=$IAM client_id="+iam.DemoPartnerID+" client_secret="+iam.DemoPartnerSecret+"\n"+
		"vault write panta/config/eu1-pat provider=ocp environment=eu1 auth_method=pat personal_access_token="+iam.DemoSwarmPAT+"\n", false)
	require.NoError(w.t, err, s.output.String())
	w.shells[""] = s
}

// python has the clients of Vault that are written in it.
func (w *world) python(tokenLife time.Duration) {
	w.t.Helper()
	dir, err := servers.Tool(w.t.Context(), "python-clients")
	require.NoError(w.t, err)
	w.running(tokenLife)
	site := filepath.Join(dir, "site")
	_, err = w.shells[""].do("export PYTHONPATH="+site+" PATH="+filepath.Join(site, "bin")+":$PATH PYTHONDONTWRITEBYTECODE=1\n"+
		"export ANSIBLE_COLLECTIONS_PATH="+dir+" ANSIBLE_HOME=$HOME\n", false)
	require.NoError(w.t, err)
}

// terraform finds its provider in a mirror on disk.
func (w *world) terraform() {
	w.t.Helper()
	provider, err := servers.Tool(w.t.Context(), "terraform-provider-vault")
	require.NoError(w.t, err)
	program, err := servers.Tool(w.t.Context(), "terraform")
	require.NoError(w.t, err)
	version := strings.TrimPrefix(filepath.Base(provider), "terraform-provider-vault-")

	// Terraform says by which whole name it looks for the provider.
	ask := exec.CommandContext(w.t.Context(), program, "providers", "-no-color")
	ask.Dir, ask.Env = w.dir, append(os.Environ(), "TF_CLI_CONFIG_FILE="+os.DevNull)
	out, err := ask.CombinedOutput()
	require.NoError(w.t, err, string(out))
	_, name, _ := strings.Cut(string(out), "provider[")
	name, _, found := strings.Cut(name, "]")
	require.True(w.t, found, string(out))

	mirror := filepath.Join(w.t.TempDir(), "mirror")
	dir := filepath.Join(mirror, name, version, runtime.GOOS+"_"+runtime.GOARCH)
	require.NoError(w.t, os.MkdirAll(dir, 0o755))
	require.NoError(w.t, os.Symlink(provider, filepath.Join(dir, "terraform-provider-vault_v"+version)))
	config := filepath.Join(mirror, "terraform.rc")
	require.NoError(w.t, os.WriteFile(config, []byte("provider_installation {\n  filesystem_mirror {\n    path = \""+mirror+"\"\n  }\n}\n"), 0o600))

	w.running(5 * time.Minute)
	_, err = w.shells[""].do("export CHECKPOINT_DISABLE=1 TF_CLI_CONFIG_FILE="+config+"\n", false)
	require.NoError(w.t, err)
}

// kubernetes needs no Vault: nothing runs.
func (w *world) kubernetes() {
	w.t.Helper()
	schemas, err := servers.Tool(w.t.Context(), "kube-schemas")
	require.NoError(w.t, err)
	w.shells[""] = newShell(w.t, w.dir, w.environment(nil, "KUBE_SCHEMAS="+schemas))
}
