package providers_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

func TestASecretNeverPrints(t *testing.T) {
	const value = "hunter2"
	type hidden struct{ secret providers.Secret }
	s := providers.NewSecret(value)
	for _, v := range []any{s, &s, []any{s}, providers.Account{Password: s}, hidden{s}, &hidden{s}, map[int]providers.Secret{1: s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			assert.NotContains(t, fmt.Sprintf(verb, v), value, "%s of %T", verb, v)
			assert.NotContains(t, fmt.Sprintf(verb, v), "68756e74657232", "%s of %T", verb, v)
		}
	}
	text, err := json.Marshal(providers.Account{Password: s}) //nolint:musttag // somebody may log an account as JSON
	require.NoError(t, err)
	assert.Contains(t, string(text), `"Password":"***"`)
	assert.NotContains(t, string(text), value)
}

func TestASecretIsWhatItWasMadeFrom(t *testing.T) {
	assert.Equal(t, "hunter2", providers.NewSecret("hunter2").Reveal())
	assert.Equal(t, providers.NewSecret("hunter2"), providers.NewSecret("hunter"+"2"))
	assert.NotEqual(t, providers.NewSecret("hunter2"), providers.NewSecret("hunter3"))
	assert.Equal(t, providers.Secret{}, providers.NewSecret(""))
	assert.Empty(t, providers.Secret{}.Reveal())
	assert.Empty(t, providers.Secret{}.String())
}

func TestScopesAreSortedAndKeptOnce(t *testing.T) {
	got, err := providers.NormalizeScopes([]string{"profile", "openid", "profile"})
	require.NoError(t, err)
	assert.Equal(t, []string{"openid", "profile"}, got)
}

func TestScopesThatCannotBeSentAreRefused(t *testing.T) {
	for _, s := range []string{"", "openid profile", `a"b`, `a\b`, "é", "a\n"} {
		_, err := providers.NormalizeScopes([]string{"openid", s})
		var field *providers.FieldError
		if assert.ErrorAs(t, err, &field, "%q", s) {
			assert.Equal(t, "scopes", field.Field)
		}
	}
}

func TestOfflineSessionsAreRefusedWhereTheServerListsSessions(t *testing.T) {
	lists, lacks := providers.Description{Name: "x", AccountEndpoint: "/a"}, providers.Description{}
	require.EqualError(t, lists.CheckScopes([]string{"offline_access"}), `field "scopes": offline_access is not allowed by x: its sessions escape the server's list and limit of sessions`)
	require.NoError(t, lacks.CheckScopes([]string{"offline_access"}))
}

func TestAnErrorSaysWhatHappenedWhereAndWhatToDo(t *testing.T) {
	cause := errors.New("cause")
	err := &providers.Error{Op: "login", Host: "login.example.com", Message: "the server answered 401", Advice: "check password", Err: cause}
	require.EqualError(t, err, "login at login.example.com: the server answered 401; check password")
	require.ErrorIs(t, err, cause)
}
