package backend_test

import (
	"context"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/backend"
	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
)

// BenchmarkHotRead is all that the plugin itself does for a read of creds/ of a
// live shared session: what is left to Vault and to the way there and back.
func BenchmarkHotRead(b *testing.B) {
	server := iam.New(iam.Demo())
	storage := &logical.InmemStorage{}
	factory := backend.FactoryOf([]providers.Provider{oauth2.New(presets.OCP(), server.Transport())})
	plugin, err := factory(b.Context(), &logical.BackendConfig{StorageView: storage, System: logical.TestSystemView(), Logger: hclog.NewNullLogger()})
	require.NoError(b, err)
	require.NoError(b, plugin.Initialize(b.Context(), &logical.InitializationRequest{Storage: storage}))
	defer plugin.Cleanup(context.Background())
	do := func(op logical.Operation, path string, data map[string]any) {
		resp, err := plugin.HandleRequest(context.Background(), &logical.Request{Operation: op, Path: path, Data: data, Storage: storage})
		if err != nil || resp.IsError() {
			b.Fatal(resp, err)
		}
	}
	do(logical.UpdateOperation, "config/hot", map[string]any{
		"provider": "ocp", "environment": "eu1", "username": iam.DemoPlainUser, "password": iam.DemoPlainPassword,
	})
	do(logical.ReadOperation, "creds/hot", nil)
	b.ReportAllocs()
	for b.Loop() {
		do(logical.ReadOperation, "creds/hot", nil)
	}
}
