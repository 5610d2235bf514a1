package e2e

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// A snapshot of a Vault is restored elsewhere, on the same identity server: the
// copy has the original's ledger and mark. It ends no session of the original by
// itself, reports those that it cannot know, and ends them where an operator asks
// for that (rule 11).
func restoreSnapshot(s *identity) {
	original := s.mount(servers.Options{Storage: "raft"})
	original.write("config/acc", s.config(userName(0), map[string]any{"session_mode": "shared", "max_sessions": identityLimit}))
	original.write("roles/own", map[string]any{"config": "acc", "session_mode": "dedicated"})
	theirs := []*api.Secret{original.mustRead("creds/acc"), original.mustRead("creds/own")}
	var snapshot bytes.Buffer
	require.NoError(s, original.client.Sys().RaftSnapshotWithContext(s.Context(), &snapshot))
	theirs = append(theirs, original.mustRead("creds/own"))

	copied := restoreElsewhere(s.T, original, &snapshot)
	s.requireLive(theirs...)
	ours := copied.mustRead("creds/own")
	s.requireLive(append(theirs, ours)...)

	report := copied.mustRead("check/acc")
	require.Equal(s, true, report.Data["ok"], "%v", report.Data)
	require.Equal(s, "4 of 5 in use (3 open, 1 stray)", report.Data["budget"])
	require.Contains(s, report.Warnings[0], `config "acc": 1 session(s) at the server have this mount's mark, but its ledger never held them`)
	s.requireLive(append(theirs, ours)...)

	_, err := copied.client.Logical().WriteWithContext(s.Context(), servers.Mount+"/check/acc", map[string]any{"end_orphans": true})
	require.NoError(s, err)
	s.requireLive(theirs[0], theirs[1], ours)
	_, err = s.marks(s.Context(), s.baseURL, theirs[2].Data["access_token"].(string))
	require.ErrorContains(s, err, "401", "the stray is ended, as the operator asked")
	s.row.Found("0 ended by itself, 1 stray reported")
}

// restoreElsewhere starts another server from a snapshot.
func restoreElsewhere(t *testing.T, original *mount, snapshot *bytes.Buffer) *mount {
	t.Helper()
	plugin, err := servers.Plugin(t.Context())
	require.NoError(t, err)
	elsewhere := servers.RunVault(t, servers.Options{Storage: "raft", Plugin: plugin})
	client, err := elsewhere.Client()
	require.NoError(t, err)
	require.NoError(t, client.Sys().RaftSnapshotRestoreWithContext(t.Context(), snapshot, true))
	elsewhere.UnsealKeys, elsewhere.Token = original.server.UnsealKeys, original.server.Token
	eventually(t, time.Minute, "the copy is unsealed and serves the plugin", func() error {
		if err := elsewhere.Unseal(t.Context()); err != nil {
			return err
		}
		if client, err = elsewhere.Client(); err != nil {
			return err
		}
		client.SetMaxRetries(0)
		info, err := client.Logical().ReadWithContext(t.Context(), servers.Mount+"/info")
		if err == nil && info == nil {
			err = errors.New("no answer")
		}
		return err
	})
	return &mount{tb: t, server: elsewhere, client: client, upstream: original.upstream}
}

// requireLive asks the server with each lease's token.
func (s *identity) requireLive(leases ...*api.Secret) {
	s.Helper()
	for i, lease := range leases {
		_, err := s.marks(s.Context(), s.baseURL, lease.Data["access_token"].(string))
		require.NoError(s, err, "lease %d", i)
	}
}
