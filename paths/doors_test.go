package paths_test

import (
	"errors"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

func TestAFieldThatThePathDoesNotHaveIsRefused(t *testing.T) {
	h := newHouse(t)
	for name, test := range map[string]struct {
		op   logical.Operation
		path string
		data map[string]any
		want string
	}{
		"a slip":    {logical.CreateOperation, "config/dmo", panta(map[string]any{"pasword": "x"}), `field "pasword": is not a field of this path; did you mean "password"?`},
		"two slips": {logical.ReadOperation, "creds/dmo", map[string]any{"mintttl": "1s"}, `field "mintttl": is not a field of this path; did you mean "min_ttl"?`},
		"far off":   {logical.ReadOperation, "creds/dmo", map[string]any{"colour": "blue"}, `field "colour": is not a field of this path; it has min_ttl, otp, rejected`},
		"none":      {logical.ReadOperation, "info", map[string]any{"colour": "blue"}, `field "colour": is not a field of this path, which has none`},
		"a list":    {logical.ListOperation, "roles/", map[string]any{"colour": "blue"}, `field "colour": is not a field of this path, which has none`},
		"a delete":  {logical.DeleteOperation, "roles/r", map[string]any{"force": true}, `field "force": is not a field of this path; it has config, max_ttl, scopes, session_mode, ttl`},
	} {
		t.Run(name, func(t *testing.T) {
			a := h.do(test.op, test.path, test.data)
			require.Equal(t, 400, a.status)
			require.Equal(t, test.want, a.text)
		})
	}
}

func TestAValueOfTheWrongTypeIsRefusedWithoutBeingRepeated(t *testing.T) {
	h := newHouse(t)
	for field, test := range map[string]struct {
		value any
		want  string
	}{
		"password":     {map[string]any{"x": password}, "a string"},
		"totp_secret":  {[]any{"GEZDGNBV"}, "a string"},
		"verify":       {password, "true or false"},
		"max_sessions": {password, "a whole number"},
		"ttl":          {password, "a duration that is not negative, such as 300, 90s or 5m"},
		"max_ttl":      {-5, "a duration that is not negative, such as 300, 90s or 5m"},
		"scopes":       {map[string]any{"x": password}, "a list, or a string with commas"},
	} {
		t.Run(field, func(t *testing.T) {
			data := panta(map[string]any{field: test.value})
			a := h.write("config/dmo", data)
			require.Equal(t, 400, a.status)
			require.Equal(t, `field "`+field+`": must be `+test.want, a.text)
			h.requireNoSecret(a)
		})
	}
}

func TestANameWithASlashIsExplained(t *testing.T) {
	h := newHouse(t)
	for _, path := range []string{"config/a/b", "roles/a/b", "config/-a", "creds/a b"} {
		a := h.do(logical.UpdateOperation, path, nil)
		require.Equal(t, 400, a.status, path)
		require.Contains(t, a.text, `is not a name; one has letters, digits, "_", "-" and "."`)
	}
	require.Equal(t, `field "name": "a/b" is not a name; one has letters, digits, "_", "-" and ".", and begins and ends with a letter, digit or "_"`, h.read("creds/a/b", nil).text)
	require.Equal(t, 404, h.read("nothing/here", nil).status)
}

func TestAPanicEndsOneRequestAndTellsNoSecret(t *testing.T) {
	for name, cause := range map[string]any{"text": password, "error": errors.New(password)} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.mustWrite("config/dmo", panta(nil))
			h.engine.panics = cause
			a := h.read("creds/dmo", map[string]any{"otp": "123456"})
			require.Equal(t, 500, a.status)
			require.Equal(t, `the plugin failed in this request, which is a bug; Vault's log has a line "panic" to report`, a.text)
			require.Contains(t, h.log.String(), "panic: please report this")
			require.Contains(t, h.log.String(), "creds.go")
			require.NotContains(t, h.log.String(), "123456")
			h.requireNoSecret(a)
		})
	}
}
