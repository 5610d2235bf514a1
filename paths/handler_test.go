package paths_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

func TestAFieldThatThePathDoesNotHaveIsRefused(t *testing.T) {
	h := newMount(t)
	for name, test := range map[string]struct {
		op   logical.Operation
		path string
		data map[string]any
		want string
	}{
		"a slip":    {logical.CreateOperation, "config/dmo", panta(map[string]any{"pasword": "x"}), `config "dmo": field "pasword": is not a field of this path; perhaps you mean "password"; nothing was stored`},
		"two slips": {logical.ReadOperation, "creds/dmo", map[string]any{"mintttl": "1s"}, `creds "dmo": field "mintttl": is not a field of this path; perhaps you mean "min_ttl"`},
		"far off":   {logical.ReadOperation, "creds/dmo", map[string]any{"colour": "blue"}, `creds "dmo": field "colour": is not a field of this path; it has min_ttl, otp, rejected`},
		"of a role": {logical.UpdateOperation, "roles/r", map[string]any{"tll": "60"}, `role "r": field "tll": is not a field of this path; perhaps you mean "ttl"; nothing was stored`},
		"a session": {logical.ReadOperation, "sessions/dmo/abc", map[string]any{"colour": "blue"}, `sessions "dmo/abc": field "colour": is not a field of this path; it has session`},
		"short":     {logical.ReadOperation, "creds/dmo", map[string]any{"ttl": "1m"}, `creds "dmo": field "ttl": is not a field of this path; it has min_ttl, otp, rejected`},
		"no name":   {logical.UpdateOperation, "config", panta(nil), `a name is missing: give config/<name>; nothing was stored`},
		"to read":   {logical.ReadOperation, "creds/", nil, `a name is missing: give creds/<name>`},
		"another's": {logical.UpdateOperation, "config/dmo", map[string]any{"name": "eu1", "ttl": "1m"}, `config "dmo": field "name": is another than that of the path; leave it out; nothing was stored`},
		"a path":    {logical.UpdateOperation, "role/r", map[string]any{"config": "dmo"}, `there is no path "role/"; perhaps you mean "roles/"`},
		"none":      {logical.ReadOperation, "info", map[string]any{"colour": "blue"}, `field "colour": is not a field of this path, which has none`},
		"a list":    {logical.ListOperation, "roles/", map[string]any{"colour": "blue"}, `field "colour": is not a field of this path, which has none`},
		"a delete":  {logical.DeleteOperation, "roles/r", map[string]any{"force": true}, `role "r": field "force": is not a field of this path; it has config, max_ttl, scopes, session_mode, token_params, ttl`},
	} {
		t.Run(name, func(t *testing.T) {
			a := h.do(test.op, test.path, test.data)
			require.Equal(t, 400, a.status)
			require.Equal(t, test.want, a.text)
		})
	}
}

func TestAValueOfTheWrongTypeIsRefusedWithoutBeingRepeated(t *testing.T) {
	h := newMount(t)
	const (
		text     = "a string: put it in quotes"
		duration = `a duration in whole seconds that is not negative, such as 300, "90s", "5m" or "30d"`
		list     = "a list of strings, or a string with commas"
		params   = "a map of strings: name=value, or in JSON an object whose values are in quotes"
	)
	sentences := map[string]string{
		"config/dmo": `config "dmo": field %q: must be %s; nothing was stored`,
		"roles/r":    `role "r": field %q: must be %s; nothing was stored`,
		"creds/dmo":  `creds "dmo": field %q: must be %s`,
	}
	for name, test := range map[string]struct {
		path, field string
		value       any
		want        string
	}{
		"map for text":           {"config/dmo", "password", map[string]any{"x": password}, text},
		"list for text":          {"config/dmo", "totp_secret", []any{"GEZDGNBV"}, text},
		"true for text":          {"config/dmo", "password", true, text},
		"large number for text":  {"config/dmo", "tenant_id", json.Number("90071992547409931"), text},
		"fraction for text":      {"config/dmo", "username", json.Number("1.50"), text},
		"number for a code":      {"creds/dmo", "otp", json.Number("123456"), text},
		"number for a role":      {"roles/r", "config", json.Number("5"), text},
		"text for a flag":        {"config/dmo", "verify", password, "true or false"},
		"number for a flag":      {"config/dmo", "allow_http", json.Number("1"), "true or false"},
		"text for a number":      {"config/dmo", "max_sessions", password, "a whole number"},
		"large number":           {"config/dmo", "max_sessions", json.Number("99999999999999999999"), "a whole number"},
		"true for a number":      {"config/dmo", "max_sessions", true, "a whole number"},
		"text for a duration":    {"config/dmo", "ttl", password, duration},
		"negative duration":      {"config/dmo", "max_ttl", -5, duration},
		"negative days":          {"config/dmo", "linger", "-213503982334601d", duration}, // more seconds than an int holds
		"centuries of days":      {"config/dmo", "linger", "213503982334601d", duration},
		"fraction of a second":   {"config/dmo", "request_timeout", "1500ms", duration},
		"true for a duration":    {"creds/dmo", "min_ttl", true, duration},
		"centuries":              {"config/dmo", "ttl", json.Number("9223372036854775807"), duration},
		"map for a list":         {"config/dmo", "scopes", map[string]any{"x": password}, list},
		"numbers in a list":      {"config/dmo", "scopes", []any{"openid", json.Number("5")}, list},
		"number for a map":       {"config/dmo", "token_params", json.Number("5"), params},
		"numbers in a map":       {"roles/r", "token_params", map[string]any{"audience": json.Number("5")}, params},
		"text that is no pair":   {"config/dmo", "token_params", password, params},
		"a broken object":        {"config/dmo", "token_params", `{"a":`, params},
		"a list without a pair":  {"config/dmo", "token_params", []any{"a=b", password}, params},
		"a map for a personal's": {"config/dmo", "expires_at", json.Number("1893456000"), text},
	} {
		t.Run(name, func(t *testing.T) {
			a := h.write(test.path, map[string]any{test.field: test.value})
			require.Equal(t, 400, a.status)
			require.Equal(t, fmt.Sprintf(sentences[test.path], test.field, test.want), a.text)
			h.requireNoSecret(a)
		})
	}
}

func TestWhatACommandLineWritesIsTaken(t *testing.T) {
	h := newMount(t)
	write := map[string]any{
		"provider": "oauth2", "token_url": "https://as.example.com/token?p=policy", "client_id": "app", "client_secret": clientSecret,
		"username": "ann", "password": password, "scopes": "reports, email", "max_sessions": "4", "ttl": "90s", "session_mark": "false",
		"token_params": []any{"audience=https://api.example.com/?a=b", "resource=x"},
	}
	h.mustWrite("config/x", write)
	for field, want := range map[string]any{
		"scopes": []string{"reports", "email"}, "max_sessions": 4, "ttl": 90, "session_mark": false, "token_url": "https://as.example.com/token?p=policy",
		"token_params": map[string]string{"audience": "https://api.example.com/?a=b", "resource": "x"},
	} {
		require.Equal(t, want, h.read("config/x", nil).Data[field], field)
	}
	for name, params := range map[string]any{"one pair": "audience=y", "an object": `{"audience":"y"}`, "JSON": map[string]any{"audience": "y"}} {
		h.mustWrite("config/x", map[string]any{"token_params": params})
		require.Equal(t, map[string]string{"audience": "y"}, h.read("config/x", nil).Data["token_params"], name)
	}
}

// Terraform compares what it has written with what it reads.
func TestWhatIsReadIsWhatWasWritten(t *testing.T) {
	h := newMount(t)
	given := map[string]any{
		"provider": "keycloak", "base_url": "HTTPS://Login.Example.com:443/", "realm": "r", "client_id": "app", "client_secret": clientSecret,
		"username": "Ann", "password": password, "scopes": []any{"reports", "email", "reports"}, "session_mode": "shared", "client_auth": "basic",
		"token_ttl": json.Number("300"), "max_sessions": json.Number("0"), "linger": json.Number("0"), "allow_http": false, "session_mark": false,
		"session_limit_message": "Zu viele", "token_params": map[string]any{"a": "b"}, "keepalive_interval": json.Number("86400"), "ttl": json.Number("60"),
	}
	h.mustWrite("config/x", given)
	compare := func(given map[string]any, path string) {
		read, err := json.Marshal(h.read(path, nil).Data)
		require.NoError(t, err)
		var back map[string]any
		require.NoError(t, json.Unmarshal(read, &back))
		wrote, err := json.Marshal(given)
		require.NoError(t, err)
		var want map[string]any
		require.NoError(t, json.Unmarshal(wrote, &want))
		for field, value := range want {
			if field != "password" && field != "client_secret" {
				require.Equal(t, value, back[field], field)
			}
		}
	}
	compare(given, "config/x")
	role := map[string]any{"config": "x", "scopes": []any{"reports", "email"}, "token_params": map[string]any{"c": "d"}, "ttl": json.Number("30")}
	h.mustWrite("roles/r", role)
	compare(role, "roles/r")
	token := map[string]any{"provider": "ocp", "environment": "eu1", "auth_method": "pat", "personal_access_token": "x", "expires_at": "2099-06-30T02:00:00+02:00"}
	h.mustWrite("config/token", token)
	delete(token, "personal_access_token")
	compare(token, "config/token")
}

func TestNullOrNothingTakesAFieldBackToItsDefault(t *testing.T) {
	for _, nothing := range []any{nil, ""} { // a command line has no null
		h := newMount(t)
		h.mustWrite("config/eu1", ocp(map[string]any{
			"totp_secret": "GEZDGNBVGY3TQOJQ", "scopes": "a", "max_sessions": 2, "linger": "1m", "ttl": 60, "session_mark": false, "request_timeout": 5,
			"token_params": "a=b", "base_url": "https://eu1-m.ocp.ai", "realm": "master", "session_mode": "shared", "keepalive_interval": "1h",
		}))
		back := map[string]any{"verify": nothing, "otp": nothing}
		for _, field := range []string{
			"totp_secret", "scopes", "max_sessions", "linger", "ttl", "session_mark", "request_timeout", "token_params", "base_url", "realm", "session_mode", "keepalive_interval",
		} {
			back[field] = nothing
		}
		h.mustWrite("config/eu1", back)
		for field, want := range map[string]any{
			"totp_secret_set": false, "scopes": []string{}, "max_sessions": 5, "linger": 0, "ttl": 0, "session_mark": true, "request_timeout": 10,
			"token_params": map[string]string{}, "base_url": "https://eu1-m.ocp.ai", "realm": "master", "session_mode": "shared", "keepalive_interval": 0,
		} {
			require.Equal(t, want, h.read("config/eu1", nil).Data[field], field)
		}
		a := h.write("config/eu1", map[string]any{"password": nothing})
		require.Equal(t, `config "eu1": field "password": is required by ocp with auth_method password; nothing was stored`, a.text)

		h.mustWrite("roles/r", map[string]any{"config": "eu1", "scopes": "a", "ttl": 5, "session_mode": "dedicated"})
		h.mustWrite("roles/r", map[string]any{"scopes": nothing, "ttl": nothing, "session_mode": nothing})
		require.Equal(t, map[string]any{
			"config": "eu1", "scopes": []string{}, "token_params": map[string]string{}, "ttl": 0, "max_ttl": 0, "session_mode": "",
		}, h.read("roles/r", nil).Data)
	}
}

func TestANameWithASlashIsExplained(t *testing.T) {
	h := newMount(t)
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
			h := newMount(t)
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
