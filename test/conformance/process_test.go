// Package conformance starts the built binary as Vault does, with go-plugin, and
// speaks gRPC to it without a Vault: the handshake, TLS, several mounts in one
// process, the mode that only asks for the version, a kill, and whatever bytes a
// fuzzer sends.
package conformance

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// process is the plugin, started.
type process struct {
	tb     testing.TB
	client *goplugin.Client
	rpc    *goplugin.GRPCClient
}

// binary is the path of the plugin's binary.
func binary(tb testing.TB) string {
	tb.Helper()
	path, err := servers.Plugin(context.Background())
	require.NoError(tb, err)
	return path
}

// start does what sdk/helper/pluginutil does in Vault. asksOnly starts the
// plugin in metadata mode.
func start(tb testing.TB, asksOnly bool) *process {
	tb.Helper()
	path := binary(tb)
	data, err := os.ReadFile(path)
	require.NoError(tb, err)
	sum := sha256.Sum256(data)
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(),
		pluginutil.PluginVaultVersionEnv+"=1.21.0",
		pluginutil.PluginAutoMTLSEnv+"=true",
		pluginutil.PluginMetadataModeEnv+"="+strconv.FormatBool(asksOnly),
		// What a fuzzer writes as a config leads nowhere but to this machine.
		"HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1",
	)
	p := &process{tb: tb, client: goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig,
		VersionedPlugins: plugin.PluginSet,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolNetRPC, goplugin.ProtocolGRPC},
		Cmd:              cmd,
		SecureConfig:     &goplugin.SecureConfig{Checksum: sum[:], Hash: sha256.New()},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		Logger:           hclog.New(&hclog.LoggerOptions{Output: io.Discard}),
	})}
	tb.Cleanup(p.client.Kill)
	protocol, err := p.client.Client()
	require.NoError(tb, err)
	rpc, ok := protocol.(*goplugin.GRPCClient)
	require.True(tb, ok, "it speaks gRPC")
	p.rpc = rpc
	return p
}

// mount is a mount of the plugin in a process, as Vault's side sees it.
type mount struct {
	logical.Backend

	id      string
	storage logical.Storage
}

// tagged has each call say which mount it is for.
type tagged struct {
	grpc.ClientConnInterface

	id string
}

func (c tagged) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.ClientConnInterface.Invoke(forMount(ctx, c.id), method, args, reply, opts...)
}

func forMount(ctx context.Context, id string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, pluginutil.MultiplexingCtxKey, id)
}

// pluginClient is what Vault keeps of a process for each mount.
type pluginClient struct {
	goplugin.ClientProtocol

	conn grpc.ClientConnInterface
}

func (c pluginClient) Conn() grpc.ClientConnInterface { return c.conn }
func (c pluginClient) Reload() error                  { return nil }
func (c pluginClient) Close() error                   { return nil }

// setUp makes a mount, with the steps that Vault takes.
func (p *process) setUp(id string, storage logical.Storage) *mount {
	p.tb.Helper()
	conn := tagged{p.rpc.Conn, id}
	backend, err := plugin.Dispense(p.rpc, pluginClient{p.rpc, conn})
	require.NoError(p.tb, err)
	require.NoError(p.tb, backend.Setup(p.tb.Context(), &logical.BackendConfig{
		StorageView: storage,
		Logger:      hclog.New(&hclog.LoggerOptions{Output: io.Discard}),
		System:      logical.StaticSystemView{DefaultLeaseTTLVal: time.Hour, MaxLeaseTTLVal: 24 * time.Hour},
		BackendUUID: id,
		Config:      map[string]string{},
	}))
	m := &mount{Backend: backend, id: id, storage: storage}
	return m
}

// initialized is setUp for a mount that is to work.
func (p *process) initialized(id string, storage logical.Storage) *mount {
	p.tb.Helper()
	m := p.setUp(id, storage)
	require.NoError(p.tb, m.Initialize(p.tb.Context(), &logical.InitializationRequest{Storage: storage}))
	return m
}

// do sends a request as Vault's router does.
func (m *mount) do(ctx context.Context, operation logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	response, err := m.HandleRequest(ctx, &logical.Request{
		ID: "request", Operation: operation, Path: path, Data: data,
		MountPoint: "panta/", MountType: servers.PluginName, Storage: m.storage,
	})
	if err == nil && response != nil && response.IsError() {
		err = fmt.Errorf("%s %s: %w", operation, path, response.Error())
	}
	return response, err
}
