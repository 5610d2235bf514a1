package paths_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// TestEveryPathAndFieldIsExplained keeps path-help and the OpenAPI document complete.
func TestEveryPathAndFieldIsExplained(t *testing.T) {
	h := newMount(t)
	require.NotEmpty(t, h.handler.Paths)
	for _, path := range h.handler.Paths {
		t.Run(path.Pattern, func(t *testing.T) {
			require.NotEmpty(t, path.HelpSynopsis)
			require.NotEmpty(t, path.HelpDescription)
			require.NotNil(t, path.DisplayAttrs)
			requireExplained(t, path.Fields)
			require.NotEmpty(t, path.Operations)
			for op, handler := range path.Operations {
				p := handler.Properties()
				require.NotEmpty(t, p.Summary, op)
				require.NotEmpty(t, p.Responses, op)
				for status, responses := range p.Responses {
					for _, r := range responses {
						require.NotEmpty(t, r.Description, "%s %d", op, status)
						requireExplained(t, r.Fields)
					}
				}
				if op == logical.ReadOperation || op == logical.ListOperation {
					require.NotEmpty(t, p.Responses[200][0].Fields, op)
				}
			}
		})
	}
}

func requireExplained(t *testing.T, fields map[string]*framework.FieldSchema) {
	t.Helper()
	for name, field := range fields {
		require.NotEmpty(t, field.Description, name)
		require.True(t, strings.HasSuffix(field.Description, "."), "%s: a description is a sentence", name)
		require.NotEqual(t, framework.TypeInvalid, field.Type, "%s: a schema has a type", name)
	}
}

// TestRule9WhatLogsInOrWritesIsForwarded: standbys and secondaries must not
// reach a server before they find out that they cannot write.
func TestRule9WhatLogsInOrWritesIsForwarded(t *testing.T) {
	for _, path := range newMount(t).handler.Paths {
		for op, handler := range path.Operations {
			writes := op == logical.CreateOperation || op == logical.UpdateOperation || op == logical.DeleteOperation ||
				strings.HasPrefix(path.Pattern, "creds/") || strings.HasPrefix(path.Pattern, "static-creds/") ||
				strings.HasPrefix(path.Pattern, "check/") ||
				strings.HasPrefix(path.Pattern, "sessions/") || path.Pattern == "metrics" // in the active node's memory
			p := handler.Properties()
			require.Equal(t, writes, p.ForwardPerformanceStandby, "%s %s", op, path.Pattern)
			require.Equal(t, writes, p.ForwardPerformanceSecondary, "%s %s", op, path.Pattern)
		}
	}
}

// TestHelpAndOpenAPI asks for the help of every path, as vault path-help does.
func TestHelpAndOpenAPI(t *testing.T) {
	h := newMount(t)
	asked := map[*framework.Path]bool{}
	for _, path := range []string{
		"", "config", "config/dmo", "roles", "roles/r", "creds/dmo", "static-creds/dmo", "check/dmo", "sessions", "sessions/dmo", "sessions/dmo/ses",
		"providers", "providers/ocp", "info", "metrics",
	} {
		asked[h.handler.Route(path)] = true
		resp, err := h.handler.HandleRequest(t.Context(), &logical.Request{Operation: logical.HelpOperation, Path: path, Storage: h.storage})
		require.NoError(t, err)
		require.NotEmpty(t, resp.Data["help"])
		require.NotContains(t, resp.Data["help"], "<no description>", path)
		require.NotNil(t, resp.Data["openapi"])
	}
	for _, path := range h.handler.Paths {
		require.True(t, asked[path], "nobody asked for the help of %s", path.Pattern)
	}
}

func TestOpenAPIOperationIDsAreUnique(t *testing.T) {
	h := newMount(t)
	resp, err := h.handler.HandleRequest(t.Context(), &logical.Request{Operation: logical.HelpOperation, Path: "", Storage: h.storage})
	require.NoError(t, err)
	raw, err := json.Marshal(resp.Data["openapi"])
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, id := range regexp.MustCompile(`"operationId":"([^"]+)"`).FindAllString(string(raw), -1) {
		require.False(t, seen[id], id)
		seen[id] = true
	}
	require.Contains(t, seen, `"operationId":"panta-generate-credentials"`)
}

func TestInfo(t *testing.T) {
	a := newMount(t).read("info", nil)
	require.Equal(t, map[string]any{"version": "v1.2.3", "commit": "abc", "go_version": "go1"}, a.Data)
}

func TestProviders(t *testing.T) {
	h := newMount(t)
	require.Equal(t, []string{"keycloak", "oauth2", "ocp", "panta", "partner"}, h.do(logical.ListOperation, "providers/", nil).Data["keys"])
	for _, name := range []string{"keycloak", "oauth2", "ocp", "panta", "partner"} {
		a := h.read("providers/"+name, nil)
		require.Equal(t, name, a.Data["name"])
	}
	require.Nil(t, h.read("providers/nobody", nil).Response)

	ocp := h.read("providers/ocp", nil).Data
	require.Len(t, ocp["environments"], 5)
	methods := ocp["auth_methods"].(map[string]any)
	require.Len(t, methods["pat"].(map[string]any)["services"], 7)
	byPassword := methods["password"].(map[string]any)
	require.Equal(t, "shared", byPassword["session_mode"])
	require.Equal(t, 5, byPassword["max_sessions"])
	require.Equal(t, "https://eu1-m.ocp.ai/auth/realms/master/protocol/openid-connect/token", ocp["environments"].(map[string]any)["eu1"].(map[string]any)["token_endpoint"])

	oauth2 := h.read("providers/oauth2", nil).Data["auth_methods"].(map[string]any)["password"].(map[string]any)["fields"].(map[string]any)
	for _, field := range []string{
		"client_auth", "private_key", "key_id", "token_params", "token_ttl", "revocation_url", "session_mark", "session_limit_message", "keepalive_interval", "max_sessions",
	} {
		require.NotEmpty(t, oauth2[field].(map[string]any)["description"], field)
	}
	require.Equal(t, "ocp", byPassword["fields"].(map[string]any)["client_id"].(map[string]any)["default"])
}
