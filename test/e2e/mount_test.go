package e2e

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// mount is the plugin in a server, before an emulator.
type mount struct {
	tb       testing.TB
	server   *servers.Vault
	client   *api.Client
	upstream *upstream
}

// newMount enables the plugin in the server that the options say.
func newMount(tb testing.TB, cfg iam.Config, o servers.Options) *mount {
	tb.Helper()
	if o.Plugin == "" {
		plugin, err := servers.Plugin(tb.Context())
		require.NoError(tb, err)
		o.Plugin = plugin
	}
	up := newUpstream(tb, cfg) // ends after the server, which logs out at its end
	m := &mount{tb: tb, server: servers.RunVault(tb, o), upstream: up}
	client, err := m.server.Client()
	require.NoError(tb, err)
	client.SetMaxRetries(0) // an error is to be seen, not repeated
	m.client = client
	return m
}

func (m *mount) write(path string, data map[string]any) {
	m.tb.Helper()
	_, err := m.client.Logical().WriteWithContext(m.tb.Context(), servers.Mount+"/"+path, data)
	require.NoError(m.tb, err)
}

func (m *mount) read(path string) (*api.Secret, error) {
	return m.client.Logical().ReadWithContext(m.tb.Context(), servers.Mount+"/"+path)
}

func (m *mount) mustRead(path string) *api.Secret {
	m.tb.Helper()
	secret, err := m.read(path)
	require.NoError(m.tb, err)
	return secret
}

// revoke ends a lease, and returns when its session is logged out.
func (m *mount) revoke(lease *api.Secret) {
	m.tb.Helper()
	err := m.client.Sys().RevokeWithOptionsWithContext(m.tb.Context(), &api.RevokeOptions{LeaseID: lease.LeaseID, Sync: true})
	require.NoError(m.tb, err)
}

// writeDMO configures Panta, whose leases have a session each.
func (m *mount) writeDMO() {
	m.tb.Helper()
	m.write("config/dmo", map[string]any{
		"provider": "panta", "environment": "dmo", "base_url": m.upstream.url,
		"client_id": iam.DemoPantaClient, "client_secret": iam.DemoPantaSecret,
		"username": iam.DemoPantaUser, "password": iam.DemoPantaPassword, "tenant_id": iam.DemoPantaTenant,
	})
}

// writeEU1 configures OCP, with one-time codes.
func (m *mount) writeEU1(more map[string]any) {
	m.tb.Helper()
	data := map[string]any{
		"provider": "ocp", "environment": "eu1", "base_url": m.upstream.url,
		"username": iam.DemoOCPUser, "password": iam.DemoOCPPassword,
		"totp_secret": fmt.Sprintf("otpauth://totp/OCP?secret=%s&period=%.0f", iam.DemoTOTPSecret, m.upstream.cfg.Realms[1].OTP.Period.Seconds()),
	}
	maps.Copy(data, more)
	m.write("config/eu1", data)
}

func (m *mount) panta() iam.AccountStats {
	return m.upstream.emulator.AccountStats(iam.DemoPantaRealm, iam.DemoPantaUser)
}

func (m *mount) ocp() iam.AccountStats {
	return m.upstream.emulator.AccountStats(iam.DemoSwarmRealm, iam.DemoOCPUser)
}

// refusal is the status and the sentences of an error of Vault's API.
func refusal(tb testing.TB, err error) (status int, sentences []string) {
	tb.Helper()
	var refused *api.ResponseError
	if !errors.As(err, &refused) {
		tb.Errorf("not an answer of Vault: %v", err)
		return 0, nil
	}
	return refused.StatusCode, refused.Errors
}
