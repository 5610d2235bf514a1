package paths_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// TestBadConfigsAreRefusedByFieldAndNothingIsStored is the list of issue "first
// light". The sentences of providers are theirs; here it counts that they name
// the field.
func TestBadConfigsAreRefusedByFieldAndNothingIsStored(t *testing.T) {
	for name, test := range map[string]struct {
		data  map[string]any
		field string
	}{
		"no provider":               {panta(map[string]any{"provider": nil}), "provider"},
		"unknown provider":          {panta(map[string]any{"provider": "panda"}), "provider"},
		"unknown environment":       {panta(map[string]any{"environment": "eu1"}), "environment"},
		"no environment":            {panta(map[string]any{"environment": nil}), "environment"},
		"unknown auth_method":       {panta(map[string]any{"auth_method": "magic"}), "auth_method"},
		"missing client_id":         {panta(map[string]any{"client_id": nil}), "client_id"},
		"missing client_secret":     {panta(map[string]any{"client_secret": nil}), "client_secret"},
		"missing username":          {panta(map[string]any{"username": nil}), "username"},
		"missing password":          {panta(map[string]any{"password": nil}), "password"},
		"empty password":            {panta(map[string]any{"password": ""}), "password"},
		"http":                      {panta(map[string]any{"base_url": "http://login.example.com"}), "base_url"},
		"user info":                 {panta(map[string]any{"base_url": "https://me:s3cret-password@login.example.com"}), "base_url"},
		"query":                     {panta(map[string]any{"base_url": "https://login.example.com?a=b"}), "base_url"},
		"unparsable CA":             {panta(map[string]any{"ca_cert": "nonsense"}), "ca_cert"},
		"field of another provider": {panta(map[string]any{"token_url": "https://login.example.com"}), "token_url"},
		"totp of another provider":  {panta(map[string]any{"personal_access_token": pat}), "personal_access_token"},
		"bad base32":                {ocp(map[string]any{"totp_secret": "s3cret-password!"}), "totp_secret"},
		"seven digits":              {ocp(map[string]any{"totp_secret": "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ&digits=7"}), "totp_secret"},
		"negative ttl":              {panta(map[string]any{"ttl": -1}), "ttl"},
		"negative max_ttl":          {panta(map[string]any{"max_ttl": "-1m"}), "max_ttl"},
		"inverted TTLs":             {panta(map[string]any{"ttl": "1h", "max_ttl": "1m"}), "ttl"},
		"negative linger":           {ocp(map[string]any{"linger": -1}), "linger"},
		"negative max_sessions":     {ocp(map[string]any{"max_sessions": -1}), "max_sessions"},
		"unknown session_mode":      {panta(map[string]any{"session_mode": "split"}), "session_mode"},
		"offline_access":            {panta(map[string]any{"scopes": "openid,offline_access"}), "scopes"},
		"long request_timeout":      {panta(map[string]any{"request_timeout": "1h"}), "request_timeout"},
		"otp without a login":       {panta(map[string]any{"otp": "123456", "verify": false}), "otp"},
		"force":                     {panta(map[string]any{"force": true}), "force"},
		"sessions of a PAT":         {personal(map[string]any{"max_sessions": 2}), "max_sessions"},
		"keepalive of a PAT":        {personal(map[string]any{"keepalive_interval": "24h"}), "keepalive_interval"},
		"short keepalive":           {ocp(map[string]any{"keepalive_interval": "59m"}), "keepalive_interval"},
		"late keepalive":            {ocp(map[string]any{"keepalive_interval": "90d"}), "keepalive_interval"},
		"negative keepalive":        {ocp(map[string]any{"keepalive_interval": -3600}), "keepalive_interval"},
		"user of a PAT":             {personal(map[string]any{"username": "olga"}), "username"},
		"PAT that has ended":        {personal(map[string]any{"expires_at": "2020-01-01T00:00:00Z"}), "expires_at"},
		"no time":                   {personal(map[string]any{"expires_at": "tomorrow"}), "expires_at"},
		"linger, dedicated":         {panta(map[string]any{"linger": "1m"}), "linger"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newMount(t)
			a := h.write("config/dmo", test.data)
			require.Equal(t, 400, a.status)
			require.Contains(t, a.text, `field "`+test.field+`": `)
			h.requireNoSecret(a)
			keys, err := logical.CollectKeys(t.Context(), h.storage)
			require.NoError(t, err)
			require.Empty(t, keys)
			require.Empty(t, h.engine.asked.Account, "nothing logs in with what is refused")
		})
	}
}

func TestConfigSentences(t *testing.T) {
	h := newMount(t)
	h.mustWrite("config/dmo", panta(nil))
	h.mustWrite("roles/r", map[string]any{"config": "dmo"})
	for name, test := range map[string]struct {
		path string
		data map[string]any
		want string
	}{
		"unknown provider": {"config/x", map[string]any{"provider": "panda"}, `config "x": field "provider": is not known; use one of keycloak, oauth2, ocp, panta, partner; nothing was stored`},
		"held account":     {"config/x", panta(nil), `config "x": config "dmo" holds this account already, and an account has one session budget, one set of one-time codes and one guard; make a role with config=dmo instead; nothing was stored`},
		"other account":    {"config/dmo", map[string]any{"username": "peter"}, `config "dmo": field "username": an update may not change which account a config is; create another config; nothing was stored`},
		"role's name":      {"config/r", panta(nil), `config "r": the name is taken by a role, and roles and configs share one namespace; choose another name; nothing was stored`},
		"force":            {"config/dmo", map[string]any{"force": true}, `config "dmo": field "force": is only for delete; leave it out; nothing was stored`},
		"misspelt method":  {"config/dmo", map[string]any{"auth_method": "pasword"}, `config "dmo": field "auth_method": is not one of panta; allowed: password; nothing was stored`},
		"no such config":   {"config/dmmo", map[string]any{"password": "x"}, `config "dmmo": field "provider": is required for a new config, and there is none of this name yet; use one of keycloak, oauth2, ocp, panta, partner; nothing was stored`},
		"no such role":     {"roles/s", map[string]any{"ttl": "1m"}, `role "s": field "config": is required for a new role, and there is none of this name yet; give the name of the config that it is a view of; nothing was stored`},
		"role of nothing":  {"roles/x", map[string]any{"config": "nobody"}, "role \"x\": field \"config\": there is no config \"nobody\"; `vault list` at config/ shows what there is; nothing was stored"},
		"blank in a scope": {"roles/r", map[string]any{"scopes": "openid email"}, `role "r": field "scopes": scope number 1 is empty or has a character that is not allowed; separate scopes by commas, as in openid,email, each of printable ASCII without blanks, quotes and backslashes; nothing was stored`},
		"past end":         {"config/x", personal(map[string]any{"expires_at": "2020-01-01T00:00:00Z"}), `config "x": field "expires_at": is past; give the end of the token as OCP shows it, or make a new token and write it as personal_access_token with its own; nothing was stored`},
		"token, no method": {"config/x", personal(map[string]any{"auth_method": nil}), `config "x": field "personal_access_token": is not used by ocp with auth_method password, but with auth_method=pat; used are: environment, base_url, realm, logout_url, client_id, username, password, totp_secret, scopes, token_params, token_ttl, session_mark, session_limit_message, request_timeout, ca_cert, tls_server_name, allow_http; nothing was stored`},
		"config's name":    {"roles/dmo", map[string]any{"config": "dmo"}, `role "dmo": the name is taken by a config, and roles and configs share one namespace; choose another name; nothing was stored`},
	} {
		t.Run(name, func(t *testing.T) {
			a := h.write(test.path, test.data)
			require.Equal(t, 400, a.status)
			require.Equal(t, test.want, a.text)
		})
	}
}

func TestAConfigIsWrittenReadListedAndDeleted(t *testing.T) {
	h := newMount(t)
	require.Nil(t, h.read("config/dmo", nil).Response)
	require.Empty(t, h.do(logical.ListOperation, "config/", nil).Data)

	h.mustWrite("config/dmo", panta(map[string]any{"scopes": "openid, email", "ttl": "2m", "request_timeout": json.Number("7")}))
	require.Equal(t, []string{"email", "openid"}, h.engine.asked.Scopes, "verified by a login")
	h.mustWrite("config/dmo", map[string]any{"max_ttl": 600, "session_limit_message": nil})

	a := h.read("config/dmo", nil)
	h.requireNoSecret(a)
	require.Equal(t, map[string]any{
		"provider": "panta", "environment": "dmo", "auth_method": "password",
		"base_url": "https://login.dmo.app.pantaindex.com", "realm": "panta-technology",
		"logout_url": "https://login.dmo.app.pantaindex.com/realms/panta-technology/protocol/openid-connect/logout",
		"client_id":  "integration", "client_secret_set": true, "username": "paula", "password_set": true, "tenant_id": "4711",
		"scopes": []string{"openid", "email"}, "token_params": map[string]string{}, "token_ttl": 0, "session_mark": true, "session_limit_message": "",
		"request_timeout": 7, "ca_cert": "", "tls_server_name": "", "allow_http": false,
		"session_mode": "dedicated", "max_sessions": 0, "linger": 0, "ttl": 120, "max_ttl": 600, "keepalive_interval": 0,
	}, a.Data)
	require.Equal(t, []string{"dmo"}, h.do(logical.ListOperation, "config/", nil).Data["keys"])

	t.Run("a login that is refused changes nothing", func(t *testing.T) {
		h.engine.err = upstream(providers.BadCredentials, providers.DidNotHappen)
		a := h.write("config/dmo", map[string]any{"password": "wrong"})
		require.Equal(t, 400, a.status)
		require.Equal(t, `config "dmo": login at eu1-m.ocp.ai: it failed; nothing was stored`, a.text)
		h.engine.err = nil
	})
	t.Run("a delete that cannot log out is refused, with the way out", func(t *testing.T) {
		h.engine.drainErr = errors.New("1 session is left")
		a := h.do(logical.DeleteOperation, "config/dmo", nil)
		require.Equal(t, 400, a.status)
		require.Equal(t, `config "dmo": it is not deleted: 1 session is left; try again when the server can be reached, or use force=true: then logouts go on in the background`, a.text)
		a = h.do(logical.DeleteOperation, "config/dmo", map[string]any{"force": "true"})
		require.Equal(t, 200, a.status)
		require.Equal(t, []string{`config "dmo" is deleted, but not all of its sessions are logged out yet: 1 session is left; that goes on in the background`}, a.Warnings)
	})
	require.Nil(t, h.read("config/dmo", nil).Response)
}

func TestARoleIsWrittenReadListedAndDeleted(t *testing.T) {
	h := newMount(t)
	h.mustWrite("config/dmo", panta(nil))
	h.mustWrite("roles/r", map[string]any{"config": "dmo", "ttl": "1m", "scopes": []string{"openid"}})
	h.mustWrite("roles/r", map[string]any{"max_ttl": 90})
	require.Equal(t, map[string]any{
		"config": "dmo", "scopes": []string{"openid"}, "token_params": map[string]string{}, "ttl": 60, "max_ttl": 90, "session_mode": "",
	}, h.read("roles/r", nil).Data)
	require.Equal(t, []string{"r"}, h.do(logical.ListOperation, "roles/", nil).Data["keys"])
	require.Equal(t, 204, h.do(logical.DeleteOperation, "roles/r", nil).status)
	require.Nil(t, h.read("roles/r", nil).Response)
}

func upstream(kind providers.Kind, outcome providers.Outcome) error {
	cause := &providers.Error{Kind: kind, Outcome: outcome, Op: "login", Host: "eu1-m.ocp.ai", Message: "it failed"}
	return &sessions.Error{Reason: machine.Upstream, Message: cause.Error(), Err: cause}
}
