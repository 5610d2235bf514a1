package backend_test

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// The stored config is right, and a write with a wrong password closed the account.
func TestRule7WhatARefusedWriteClosedIsReopenedAsTheErrorSays(t *testing.T) {
	p := start(t, iam.New(iam.Demo()), &logical.InmemStorage{})
	p.write("config/dmo", dmo())
	err := p.try(t.Context(), logical.UpdateOperation, "config/dmo", map[string]any{"password": "typo"})
	require.ErrorContains(t, err, "; nothing was stored")
	require.NotContains(t, err.Error(), "no login to this account before")
	err = p.try(t.Context(), logical.ReadOperation, "creds/dmo", nil)
	require.ErrorContains(t, err, "after 1 refused login: the server answered 400 invalid_grant: Invalid user credentials; "+
		"write the config, corrected where it is wrong, else with nothing but its name: a login that succeeds reopens the account")
	p.write("config/dmo", nil)
	require.NoError(t, p.revoke(p.read("creds/dmo")))
}

func TestAWrongScopeHoldsNoLoginBackThatAsksForOthers(t *testing.T) {
	p := start(t, iam.New(iam.Demo()), &logical.InmemStorage{})
	wrong := changed(dmo(), map[string]any{"scopes": "nonsense"})
	require.ErrorContains(t, p.try(t.Context(), logical.UpdateOperation, "config/dmo", wrong), "correct scopes")
	err := p.try(t.Context(), logical.UpdateOperation, "config/dmo", wrong)
	require.ErrorContains(t, err, "the next login with these scopes and token_params is tried after ")
	p.write("config/dmo", changed(dmo(), map[string]any{"scopes": "openid"}))
}
