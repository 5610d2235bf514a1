package conformance

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

func TestTheHandshakeIsVaults(t *testing.T) {
	p := start(t, false)
	require.Equal(t, goplugin.ProtocolGRPC, p.client.Protocol())
	require.Equal(t, 5, p.client.NegotiatedVersion())
	supported, err := pluginutil.MultiplexingSupported(t.Context(), p.rpc.Conn, "panta")
	require.NoError(t, err)
	require.True(t, supported)
	require.NoError(t, p.rpc.Ping())

	m := p.initialized("a", &logical.InmemStorage{})
	require.Equal(t, logical.TypeLogical, m.Type())
	versioner, ok := m.Backend.(logical.PluginVersioner)
	require.True(t, ok)
	require.Regexp(t, `^v\d+\.\d+\.\d+`, versioner.PluginVersion().Version)
	require.Contains(t, m.SpecialPaths().SealWrapStorage, "config/")
}

func TestWithoutVaultItSaysWhatItIsAndEnds(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), binary(t))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	require.Error(t, cmd.Run())
	require.Contains(t, output.String(), "This binary is a plugin")
}

func TestWhoHasNoCertificateIsNotHeard(t *testing.T) {
	p := start(t, false)
	address := p.client.ReattachConfig().Addr
	conn, err := grpc.NewClient("unix://"+address.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = pluginutil.MultiplexingSupported(ctx, conn, "panta")
	require.Error(t, err)
	require.NoError(t, p.rpc.Ping(), "and Vault is served on")
}

// Vault starts a plugin in this mode to ask for its version.
func TestInMetadataModeItAnswersItsVersionAndNothingElse(t *testing.T) {
	storage := &logical.InmemStorage{}
	m := start(t, true).setUp("a", storage)
	versioner, ok := m.Backend.(logical.PluginVersioner)
	require.True(t, ok)
	require.NotEmpty(t, versioner.PluginVersion().Version)
	_, err := m.do(t.Context(), logical.ReadOperation, "info", nil)
	require.ErrorContains(t, err, "metadata mode")
	keys, err := storage.List(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, keys, "nothing is stored")
}

func TestMountsOfOneProcessKnowNothingOfEachOther(t *testing.T) {
	url := emulator(t).url
	p := start(t, false)
	first, second := p.initialized("first", &logical.InmemStorage{}), p.initialized("second", &logical.InmemStorage{})
	writeDMO(t, first, url)
	list, err := second.do(t.Context(), logical.ListOperation, "config/", nil)
	require.NoError(t, err)
	require.Empty(t, list.Data["keys"])

	second.Cleanup(t.Context())
	_, err = second.do(t.Context(), logical.ReadOperation, "info", nil)
	require.ErrorContains(t, err, "no backend instance found")
	list, err = first.do(t.Context(), logical.ListOperation, "config/", nil)
	require.NoError(t, err)
	require.Equal(t, []any{"dmo"}, list.Data["keys"])
}

func TestTheNextProcessEndsWhatAKilledOneOpened(t *testing.T) {
	upstream := emulator(t)
	storage := &logical.InmemStorage{}
	first := start(t, false)
	m := first.initialized("a", storage)
	writeDMO(t, m, upstream.url)
	lease, err := m.do(t.Context(), logical.ReadOperation, "creds/dmo", nil)
	require.NoError(t, err)
	require.Len(t, upstream.iam.Sessions(iam.DemoPantaRealm, iam.DemoPantaUser), 1)

	pid := first.client.ReattachConfig().Pid
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, first.client.Exited, 10*time.Second, 10*time.Millisecond)
	_, err = m.do(t.Context(), logical.ReadOperation, "info", nil)
	require.Error(t, err)

	next := start(t, false).initialized("a", storage)
	_, err = next.HandleRequest(t.Context(), &logical.Request{
		ID: "revoke", Operation: logical.RevokeOperation, Path: "creds/dmo", MountPoint: "panta/",
		Secret: lease.Secret, Storage: storage,
	})
	require.NoError(t, err)
	require.Empty(t, upstream.iam.Sessions(iam.DemoPantaRealm, iam.DemoPantaUser))
}

type upstream struct {
	iam *iam.Server
	url string
}

func emulator(tb testing.TB) upstream {
	tb.Helper()
	s := iam.New(iam.Demo())
	server := httptest.NewServer(s)
	tb.Cleanup(server.Close)
	return upstream{s, server.URL}
}

func writeDMO(tb testing.TB, m *mount, url string) {
	tb.Helper()
	_, err := m.do(tb.Context(), logical.CreateOperation, "config/dmo", map[string]any{
		"provider": "panta", "environment": "dmo", "base_url": url, "tenant_id": iam.DemoPantaTenant,
		"client_id": iam.DemoPantaClient, "client_secret": iam.DemoPantaSecret,
		"username": iam.DemoPantaUser, "password": iam.DemoPantaPassword,
	})
	require.NoError(tb, err)
}
