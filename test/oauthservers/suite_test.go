package oauthservers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/oauthservers"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

const (
	// tokenLife is long enough for a lease of a few seconds, and short enough to
	// see a token replaced twice.
	tokenLife = 20 * time.Second
	// Everything in it has to be encoded somewhere.
	clientSecret = "s+e %c&:r=~x"
	userPassword = "p+a %&:ss é"
)

// authentication is one way for a client to say who it is.
type authentication struct {
	name       string // of its scenarios
	registered string // RFC 7591, token_endpoint_auth_method
	algorithm  string // of its assertions, RFC 7518
	clientAuth string // the config's field
}

func authentications() []authentication {
	return []authentication{
		{"post", "client_secret_post", "", "post"},
		{"basic", "client_secret_basic", "", "basic"},
		{"private_key_jwt, RS256", "private_key_jwt", "RS256", "private_key_jwt"},
		{"private_key_jwt, PS256", "private_key_jwt", "PS256", "private_key_jwt"},
		{"private_key_jwt, ES256", "private_key_jwt", "ES256", "private_key_jwt"},
		{"a public client", "none", "", "post"},
	}
}

// cannot says which authentications a server does not have, and why.
func cannot(server string, a authentication) string {
	switch {
	case server == "django-oauth-toolkit" && a.registered == "private_key_jwt":
		return "it has no private_key_jwt"
	case server == "authlib" && a.algorithm == "PS256":
		return "it takes assertions of RS256 and ES256 alone"
	}
	return ""
}

// Scenarios have a client and a user of their own. Those that are refused have
// names that no server says for other reasons.
const (
	shared        = "shared"
	dedicated     = "dedicated"
	refreshed     = "refreshed"
	restarted     = "restarted"
	adopted       = "adopted"
	parameters    = "parameters"
	replaced      = "replaced"
	static        = "static"
	checked       = "checked"
	wrongSecret   = "mallory"
	wrongPassword = "trudy"
	guessed       = "oscar"
	wrongMethod   = "craig"
)

const audience = "https://api.example.com"

// suite is a server and what is registered at it.
type suite struct {
	*oauthservers.Server

	name    string
	keys    map[string]string // private keys in PEM, by client
	clients []oauthservers.Client
	users   map[string]string
}

// register adds a client, and a user of the same name.
func (s *suite) register(t *testing.T, name string, a authentication, grants ...string) {
	t.Helper()
	c := oauthservers.Client{
		ID: clientID(name), AuthMethod: a.registered, SigningAlg: a.algorithm, GrantTypes: grants, Scope: "openid offline_access",
	}
	if grants[0] == "client_credentials" {
		c.Scope, c.Audience = "api:read api:write", []string{audience}
	}
	switch a.registered {
	case "private_key_jwt":
		private, public, err := oauthservers.NewKey(a.algorithm, "key-of-"+name)
		require.NoError(t, err)
		s.keys[name], c.JWKS = private, public
	case "client_secret_post", "client_secret_basic":
		c.Secret = clientSecret
	}
	s.clients = append(s.clients, c)
	s.users[name] = userPassword
}

// clientID has what must be encoded in a header.
func clientID(name string) string { return name + " +%:" }

// account is the config of a registered client.
func (s *suite) account(name string, a authentication, more map[string]any) map[string]any {
	config := map[string]any{
		"provider": "oauth2", "token_url": s.TokenURL(), "revocation_url": s.RevocationURL(),
		"client_id": clientID(name), "username": name, "password": userPassword,
	}
	switch a.registered {
	case "private_key_jwt":
		config["private_key"], config["key_id"] = s.keys[name], "key-of-"+name
	case "client_secret_post", "client_secret_basic":
		config["client_secret"] = clientSecret
	}
	if a.clientAuth != "post" {
		config["client_auth"] = a.clientAuth
	}
	maps.Copy(config, more)
	return config
}

func (s *suite) serviceAccount(name string, a authentication, more map[string]any) map[string]any {
	config := s.account(name, a, map[string]any{"auth_method": "client_credentials"})
	delete(config, "username")
	delete(config, "password")
	maps.Copy(config, more)
	return config
}

// TestServers runs every scenario on each server that OAUTH_SERVERS names.
func TestServers(t *testing.T) {
	names := strings.Fields(os.Getenv("OAUTH_SERVERS"))
	if len(names) == 0 {
		t.Skip("make test-servers runs this: OAUTH_SERVERS says which servers to start")
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSuite(t, name)
			m, killed := newMount(t), newMount(t)
			s.logins(t, m)
			s.scenario(t, "reads", "shared: ten readers at once, one login", func(t *testing.T, row *servers.Row) { s.readShared(t, m, row) })
			s.scenario(t, "reads", "dedicated: each reader a session, each lease ends its own", func(t *testing.T, row *servers.Row) { s.readDedicated(t, m, row) })
			s.scenario(t, "reads", "without a lease: the next token is there when ttl has passed", func(t *testing.T, row *servers.Row) { s.readStatic(t, m, row) })
			s.scenario(t, "check", "login, refresh, logout; without revocation_url the logout is skipped", func(t *testing.T, _ *servers.Row) { s.check(t, m) })
			s.scenario(t, "refresh", "over two lives of a token, each refresh token used once", func(t *testing.T, row *servers.Row) { s.refresh(t, m, row) })
			s.scenario(t, "refresh", "client credentials: the token before lives as long as its leases", func(t *testing.T, row *servers.Row) { s.replace(t, m, row) })
			s.scenario(t, "refusals", "a wrong client secret at the write", func(t *testing.T, row *servers.Row) { s.refuseSecret(t, m, row) })
			s.scenario(t, "refusals", "a client_auth for which the client is not registered", func(t *testing.T, row *servers.Row) { s.refuseMethod(t, m, row) })
			s.scenario(t, "parameters", "token_params say what the token is for", func(t *testing.T, row *servers.Row) { s.sendParams(t, m, row) })
			s.scenario(t, "refusals", "a wrong password, read each second for a minute", func(t *testing.T, row *servers.Row) {
				s.readEachSecond(t, killed, row, wrongPassword, map[string]any{"password": "not-the-password"})
			})
			s.scenario(t, "refusals", "a wrong client secret, read each second for a minute", func(t *testing.T, row *servers.Row) {
				s.readEachSecond(t, killed, row, guessed, map[string]any{"client_secret": "not-the-secret"})
			})
			s.scenario(t, "restart", "the plugin is killed, its sessions are adopted and end with their leases", func(t *testing.T, row *servers.Row) {
				s.restart(t, killed, row)
			})
		})
	}
}

func newSuite(t *testing.T, name string) *suite {
	t.Helper()
	s := &suite{name: name, keys: map[string]string{}, users: map[string]string{}}
	for _, a := range authentications() {
		s.register(t, a.name, a, "password", "refresh_token")
		if a.registered != "none" {
			s.register(t, "service, "+a.name, a, "client_credentials")
		}
	}
	for _, scenario := range []string{shared, dedicated, refreshed, restarted, adopted, checked, wrongSecret, wrongPassword, guessed} {
		s.register(t, scenario, basic(), "password", "refresh_token")
	}
	for _, scenario := range []string{wrongMethod, parameters, replaced, static} {
		s.register(t, scenario, basic(), "client_credentials")
	}
	clients := s.clients
	if name == "django-oauth-toolkit" {
		clients = nil
		for _, c := range s.clients {
			if c.AuthMethod != "private_key_jwt" {
				clients = append(clients, c)
			}
		}
	}
	s.Server = oauthservers.Run(t, name, oauthservers.Config{TokenLife: oauthservers.In(tokenLife), Users: s.users, Clients: clients})
	return s
}

func basic() authentication { return authentications()[1] }

// scenario is a row of the table, and runs beside the others.
func (s *suite) scenario(t *testing.T, group, name string, run func(t *testing.T, row *servers.Row)) {
	t.Helper()
	t.Run(group+"/"+name, func(t *testing.T) {
		t.Parallel()
		run(t, servers.ReportOn(t, s.name, group, name))
	})
}

// logins are a login by each authentication, and the end of what it gave.
func (s *suite) logins(t *testing.T, m *mount) {
	t.Helper()
	for _, a := range authentications() {
		try := func(grant, name string, config map[string]any) {
			s.scenario(t, "login, revocation", grant+", "+a.name, func(t *testing.T, row *servers.Row) {
				if reason := cannot(s.name, a); reason != "" {
					row.Cannot(reason)
					return
				}
				s.logInAndOut(t, m, name, a, config)
			})
		}
		try("password", a.name, s.account(a.name, a, nil))
		if a.registered != "none" {
			name := "service, " + a.name
			try("client credentials", name, s.serviceAccount(name, a, nil))
		}
	}
}

// logInAndOut reads a token, and sees at the server that it lives until its lease
// is revoked.
func (s *suite) logInAndOut(t *testing.T, m *mount, name string, a authentication, config map[string]any) {
	t.Helper()
	path := slug(name)
	m.write(t, "config/"+path, config)
	lease := m.mustRead(t, "creds/"+path)
	s.requireActive(t, lease, true)
	m.revoke(t, lease)
	s.requireActive(t, lease, false)

	calls := func(wanted func(oauthservers.Call) bool) []oauthservers.Call { return s.Calls(clientID(name), wanted) }
	eventually(t, 10*time.Second, "every login is ended, that of the write too", func() error {
		logins, revocations := len(calls(oauthservers.Call.Login)), len(calls(func(c oauthservers.Call) bool { return c.Revocation }))
		if logins == 0 || logins != revocations {
			return fmt.Errorf("%d logins, %d revocations", logins, revocations)
		}
		return nil
	})
	all := calls(func(oauthservers.Call) bool { return true })
	for _, c := range all {
		require.Equal(t, a.registered, c.AuthMethod, "%v", c.Form)
		require.Equal(t, http.StatusOK, c.Status)
	}
	requireNewEachTime(t, all)
}

// requireNewEachTime looks at assertions: the server takes each once.
func requireNewEachTime(t *testing.T, calls []oauthservers.Call) {
	t.Helper()
	seen := map[string]bool{}
	for _, c := range calls {
		assertion := c.Form.Get("client_assertion")
		require.False(t, assertion != "" && seen[assertion], "an assertion was sent twice")
		seen[assertion] = true
	}
}

func (s *suite) readShared(t *testing.T, m *mount, row *servers.Row) {
	t.Helper()
	m.write(t, "config/shared", s.account(shared, basic(), map[string]any{"session_mode": "shared", "verify": false}))
	leases := make([]*api.Secret, 10)
	var readers sync.WaitGroup
	for i := range leases {
		readers.Go(func() {
			lease, err := m.read("creds/shared")
			if err != nil {
				t.Error(err)
				return
			}
			leases[i] = lease
		})
	}
	readers.Wait()
	require.False(t, t.Failed())
	for _, lease := range leases {
		require.Equal(t, leases[0].Data["access_token"], lease.Data["access_token"])
	}
	require.Len(t, s.Calls(clientID(shared), oauthservers.Call.Login), 1)
	for i, lease := range leases {
		s.requireActive(t, leases[0], true)
		m.revoke(t, lease)
		if i == len(leases)-1 {
			s.requireActive(t, lease, false)
		}
	}
	row.Found("ended with the last lease")
}

func (s *suite) readDedicated(t *testing.T, m *mount, row *servers.Row) {
	t.Helper()
	m.write(t, "config/dedicated", s.account(dedicated, basic(), map[string]any{"session_mode": "dedicated", "verify": false}))
	const readers = 3
	var leases []*api.Secret
	for range readers {
		leases = append(leases, m.mustRead(t, "creds/dedicated"))
	}
	require.Len(t, s.Calls(clientID(dedicated), oauthservers.Call.Login), readers)
	for i, lease := range leases {
		m.revoke(t, lease)
		for j, other := range leases {
			s.requireActive(t, other, j > i)
		}
	}
	row.Found(fmt.Sprintf("%d sessions", readers))
}

// readStatic reads as an agent does that is told when to come back, three times,
// and then nobody reads any more.
func (s *suite) readStatic(t *testing.T, m *mount, row *servers.Row) {
	t.Helper()
	m.write(t, "config/static", s.serviceAccount(static, basic(), map[string]any{"verify": false}))
	seen := map[any]bool{}
	for range 3 {
		answer := m.mustRead(t, "static-creds/static")
		require.Empty(t, answer.LeaseID)
		s.requireActive(t, answer, true)
		seen[answer.Data["access_token"]] = true
		ttl, err := answer.Data["ttl"].(json.Number).Int64()
		require.NoError(t, err)
		require.Positive(t, ttl)
		time.Sleep(time.Duration(ttl+1) * time.Second) // as Vault Agent does
	}
	require.Len(t, seen, 3)
	eventually(t, 2*tokenLife+10*time.Second, "what nobody reads is ended", func() error {
		list, err := m.client.Logical().ListWithContext(t.Context(), servers.Mount+"/sessions/static")
		if err != nil || list != nil {
			return fmt.Errorf("%v, %w", list, err)
		}
		return nil
	})
	row.Found(fmt.Sprintf("%d logins", len(s.Calls(clientID(static), oauthservers.Call.Login))))
}

func (s *suite) check(t *testing.T, m *mount) {
	t.Helper()
	m.write(t, "config/checked", s.account(checked, basic(), map[string]any{"verify": false}))
	report := m.mustRead(t, "check/checked").Data
	for _, step := range []string{"login", "refresh", "logout"} {
		require.Regexp(t, "^ok", report[step], step)
	}
	m.write(t, "config/checked", map[string]any{"revocation_url": nil, "verify": false})
	report = m.mustRead(t, "check/checked").Data
	require.Regexp(t, "^skipped", report["logout"])
}

// refresh reads as an agent does: again before a lease ends.
func (s *suite) refresh(t *testing.T, m *mount, row *servers.Row) {
	t.Helper()
	m.write(t, "config/refreshed", s.account(refreshed, basic(), map[string]any{"session_mode": "shared", "verify": false}))
	tokens := map[string]bool{}
	newest, survives := "", true
	for until := time.Now().Add(2*tokenLife + 5*time.Second); time.Now().Before(until); time.Sleep(2 * time.Second) {
		token := s.readActive(t, m, "creds/refreshed")
		if newest != "" && token != newest {
			active, err := s.Active(t.Context(), newest)
			require.NoError(t, err)
			survives = survives && active
		}
		newest = token
		tokens[token] = true
	}
	require.NoError(t, m.client.Sys().RevokePrefixWithContext(t.Context(), servers.Mount+"/creds/refreshed"))
	require.Len(t, s.Calls(clientID(refreshed), oauthservers.Call.Login), 1, "it logs in once")
	sent := map[string]bool{}
	refreshes := s.Calls(clientID(refreshed), oauthservers.Call.Refresh)
	for _, c := range refreshes {
		require.Equal(t, http.StatusOK, c.Status)
		require.False(t, sent[c.Form.Get("refresh_token")], "a refresh token that was used is used again")
		sent[c.Form.Get("refresh_token")] = true
	}
	require.GreaterOrEqual(t, len(refreshes), 3)
	require.LessOrEqual(t, len(tokens), 1+len(refreshes))
	eventually(t, 10*time.Second, "every token is dead", func() error {
		for token := range tokens {
			if active, err := s.Active(t.Context(), token); err != nil || active {
				return fmt.Errorf("active: %v, %w", active, err)
			}
		}
		return nil
	})
	found := fmt.Sprintf("%d refreshes", len(refreshes))
	if !survives {
		found += ", each ends the access token before it"
	}
	row.Found(found)
}

// replace reads client credentials over the life of a token, which has no refresh
// token: at half its life another login follows.
func (s *suite) replace(t *testing.T, m *mount, row *servers.Row) {
	t.Helper()
	m.write(t, "config/replaced", s.serviceAccount(replaced, basic(), map[string]any{"verify": false}))
	var leases []*api.Secret
	ends := map[*api.Secret]time.Time{}
	for until := time.Now().Add(tokenLife); time.Now().Before(until); time.Sleep(2 * time.Second) {
		lease := m.mustRead(t, "creds/replaced")
		leases = append(leases, lease)
		ends[lease] = time.Now().Add(time.Duration(lease.LeaseDuration) * time.Second)
		for _, lease := range leases {
			if time.Until(ends[lease]) > time.Second {
				s.requireActive(t, lease, true)
			}
		}
	}
	logins := s.Calls(clientID(replaced), oauthservers.Call.Login)
	require.Greater(t, len(logins), 1)
	require.NoError(t, m.client.Sys().RevokePrefixWithContext(t.Context(), servers.Mount+"/creds/replaced"))
	for _, lease := range leases {
		eventually(t, 10*time.Second, "every token is dead", func() error {
			if active, err := s.Active(t.Context(), lease.Data["access_token"].(string)); err != nil || active {
				return fmt.Errorf("active: %v, %w", active, err)
			}
			return nil
		})
	}
	row.Found(fmt.Sprintf("%d logins", len(logins)))
}

// readActive reads a token that is good at the server. One that a refresh ended
// just then is followed by another.
func (s *suite) readActive(t *testing.T, m *mount, path string) string {
	t.Helper()
	ended := ""
	for {
		token := m.mustRead(t, path).Data["access_token"].(string)
		require.NotEqual(t, ended, token, "a dead token is read again")
		active, err := s.Active(t.Context(), token)
		require.NoError(t, err)
		if active {
			return token
		}
		ended = token
	}
}

func (s *suite) refuseSecret(t *testing.T, m *mount, row *servers.Row) {
	t.Helper()
	err := m.tryWrite("config/"+wrongSecret, s.account(wrongSecret, basic(), map[string]any{"client_secret": "not-the-secret"}))
	status, sentence := refusal(t, err)
	require.Equal(t, http.StatusBadRequest, status, sentence)
	require.Contains(t, sentence, "client_auth", "the advice names the method")
	require.NotContains(t, sentence, "not-the-secret")
	require.Len(t, s.Calls(clientID(wrongSecret), oauthservers.Call.Login), 1)
	_, err = m.read("creds/" + wrongSecret)
	status, sentence = refusal(t, err)
	require.Equal(t, http.StatusBadRequest, status, "nothing is stored: %s", sentence)
	row.Found(fmt.Sprintf("%d", s.Calls(clientID(wrongSecret), oauthservers.Call.Login)[0].Status))
}

func (s *suite) refuseMethod(t *testing.T, m *mount, row *servers.Row) {
	t.Helper()
	if s.name == "django-oauth-toolkit" || s.name == "oidc-provider" {
		row.Cannot("it takes a secret in either way")
		return
	}
	config := s.serviceAccount(wrongMethod, basic(), map[string]any{"client_auth": "post"})
	status, sentence := refusal(t, m.tryWrite("config/"+wrongMethod, config))
	require.Equal(t, http.StatusBadRequest, status, sentence)
	require.Contains(t, sentence, "another client_auth than post", "the advice names the method")
	m.write(t, "config/"+wrongMethod, s.serviceAccount(wrongMethod, basic(), nil))
	m.revoke(t, m.mustRead(t, "creds/"+wrongMethod))
}

// sendParams asks for a token for one API: by audience, as Hydra has it, or by
// resource (RFC 8707).
func (s *suite) sendParams(t *testing.T, m *mount, row *servers.Row) {
	t.Helper()
	parameter, known := map[string]string{"fosite": "audience", "oidc-provider": "resource"}[s.name]
	if !known {
		row.Cannot("it has no such parameter")
		return
	}
	m.write(t, "config/parameters", s.serviceAccount(parameters, basic(), nil))
	m.write(t, "roles/api", map[string]any{"config": "parameters", "token_params": map[string]any{parameter: audience}})
	lease := m.mustRead(t, "creds/api")
	got, err := s.Audience(t.Context(), lease.Data["access_token"].(string))
	require.NoError(t, err)
	require.Equal(t, audience, got)
	plain := m.mustRead(t, "creds/parameters")
	require.NotEqual(t, lease.Data["access_token"], plain.Data["access_token"], "sessions are shared per parameters")
	row.Found(parameter)
}

// readEachSecond is what an impatient application does to an account that cannot
// log in. In that minute the plugin is killed.
func (s *suite) readEachSecond(t *testing.T, m *mount, row *servers.Row, name string, wrong map[string]any) {
	t.Helper()
	path := slug(name)
	m.write(t, "config/"+path, s.account(name, basic(), map[string]any{"verify": false}))
	m.write(t, "config/"+path, maps.Collect(func(yield func(string, any) bool) {
		yield("verify", false)
		for k, v := range wrong {
			yield(k, v)
		}
	}))
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for range 60 {
		_, err := m.read("creds/" + path)
		status, sentence := refusal(t, err)
		require.Equal(t, http.StatusBadRequest, status, sentence)
		<-second.C
	}
	logins := s.Calls(clientID(name), oauthservers.Call.Login)
	require.LessOrEqual(t, len(logins), 3, "logins that reached the server")
	row.Found(fmt.Sprintf("%d logins", len(logins)))
}

func (s *suite) restart(t *testing.T, m *mount, row *servers.Row) {
	t.Helper()
	m.write(t, "config/restarted", s.account(restarted, basic(), map[string]any{"session_mode": "dedicated", "verify": false}))
	m.write(t, "config/adopted", s.account(adopted, basic(), map[string]any{"session_mode": "shared", "verify": false}))
	ended, before := m.mustRead(t, "creds/restarted"), m.mustRead(t, "creds/adopted")
	m.killPlugin(t)
	eventually(t, 10*time.Second, "Vault has the plugin again", func() error { return m.tryRevoke(ended) })
	s.requireActive(t, ended, false)

	after := m.mustRead(t, "creds/adopted")
	s.requireActive(t, after, true)
	require.NotEqual(t, before.Data["access_token"], after.Data["access_token"], "a refresh makes a new token")
	require.Len(t, s.Calls(clientID(adopted), oauthservers.Call.Login), 1, "the session is adopted, not opened again")
	m.revoke(t, after)
	m.revoke(t, before)
	eventually(t, tokenLife+15*time.Second, "the adopted session ends with its last lease", func() error {
		active, err := s.Active(t.Context(), after.Data["access_token"].(string))
		if err != nil || active {
			return fmt.Errorf("active: %v, %w", active, err)
		}
		return nil
	})
	eventually(t, tokenLife+15*time.Second, "nothing is left in the ledger", func() error {
		list, err := m.client.Logical().ListWithContext(t.Context(), servers.Mount+"/sessions/adopted")
		if err != nil || list != nil {
			return fmt.Errorf("%v, %w", list, err)
		}
		return nil
	})
	row.Found("no login more")
}

func (s *suite) requireActive(t *testing.T, lease *api.Secret, want bool) {
	t.Helper()
	active, err := s.Active(t.Context(), lease.Data["access_token"].(string))
	require.NoError(t, err)
	require.Equal(t, want, active, "the token is active at the server")
}

// mount is the plugin in a Vault.
type mount struct {
	server *servers.Vault
	client *api.Client
	alive  sync.RWMutex // read for a request, written to kill the plugin between them
}

func newMount(t *testing.T) *mount {
	t.Helper()
	plugin, err := servers.Plugin(t.Context())
	require.NoError(t, err)
	m := &mount{server: servers.RunVault(t, servers.Options{Plugin: plugin})}
	m.client, err = m.server.Client()
	require.NoError(t, err)
	m.client.SetMaxRetries(0) // an error is to be seen, not repeated
	return m
}

func (m *mount) tryWrite(path string, data map[string]any) error {
	m.alive.RLock()
	defer m.alive.RUnlock()
	_, err := m.client.Logical().WriteWithContext(context.Background(), servers.Mount+"/"+path, data)
	return err
}

func (m *mount) write(t *testing.T, path string, data map[string]any) {
	t.Helper()
	require.NoError(t, m.tryWrite(path, data))
}

func (m *mount) read(path string) (*api.Secret, error) {
	m.alive.RLock()
	defer m.alive.RUnlock()
	return m.client.Logical().ReadWithContext(context.Background(), servers.Mount+"/"+path)
}

func (m *mount) mustRead(t *testing.T, path string) *api.Secret {
	t.Helper()
	secret, err := m.read(path)
	require.NoError(t, err)
	return secret
}

// revoke ends a lease, and returns when its session is logged out.
func (m *mount) revoke(t *testing.T, lease *api.Secret) {
	t.Helper()
	require.NoError(t, m.tryRevoke(lease))
}

func (m *mount) tryRevoke(lease *api.Secret) error {
	m.alive.RLock()
	defer m.alive.RUnlock()
	return m.client.Sys().RevokeWithOptionsWithContext(context.Background(), &api.RevokeOptions{LeaseID: lease.LeaseID, Sync: true})
}

// killPlugin ends the plugin's process as kill -9 does; Vault starts it again with
// the next request.
func (m *mount) killPlugin(t *testing.T) {
	t.Helper()
	m.alive.Lock()
	defer m.alive.Unlock()
	plugins, err := m.server.Plugins()
	require.NoError(t, err)
	require.NotEmpty(t, plugins)
	for _, pid := range plugins {
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	eventually(t, 10*time.Second, "the plugin is dead", func() error {
		now, err := m.server.Plugins()
		if err != nil {
			return err
		}
		for _, pid := range now {
			if slices.Contains(plugins, pid) {
				return errors.New("it runs")
			}
		}
		return nil
	})
}

// refusal is the status and the sentences of an error of Vault's API.
func refusal(t *testing.T, err error) (status int, sentences string) {
	t.Helper()
	var refused *api.ResponseError
	require.ErrorAs(t, err, &refused)
	return refused.StatusCode, strings.Join(refused.Errors, "\n")
}

func eventually(t *testing.T, limit time.Duration, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := try()
		if err == nil {
			return
		}
		require.True(t, time.Now().Before(deadline), "%s: %v", what, err)
		time.Sleep(50 * time.Millisecond)
	}
}

// slug makes the name of a config.
func slug(name string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r == ' ' || r == ',' {
			return '-'
		}
		return r
	}, name), "-")
}
