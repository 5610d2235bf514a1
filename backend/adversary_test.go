package backend_test

import (
	"crypto/ecdsa"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// The adversary may write config/ and roles/ and read neither these nor creds/. They
// see what writes answer, and all that is sent to their own host.

const evilHost = "evil.example"

// victims are configs with a secret of each kind.
func victims(t *testing.T, key *ecdsa.PrivateKey) map[string]map[string]any {
	t.Helper()
	oauth2 := map[string]any{
		"provider": "oauth2", "token_url": "https://as.example.com/token", "revocation_url": "https://as.example.com/revoke",
		"client_id": "app", "client_secret": "app-s3cret", "username": "ann", "password": "anns-s3cret", "session_mode": "shared",
	}
	return map[string]map[string]any{
		"dmo":    dmo(),
		"eu1":    eu1(),
		"oauth2": oauth2,
		"basic":  changed(maps.Clone(oauth2), map[string]any{"username": "bob", "password": "bobs-s3cret", "client_auth": "basic"}),
		"signed": {
			"provider": "oauth2", "token_url": "https://as.example.com/token", "revocation_url": "https://as.example.com/revoke", "auth_method": "client_credentials",
			"client_id": "robot", "client_auth": "private_key_jwt", "private_key": keyPEM(t, key),
		},
		"service": {
			"provider": "keycloak", "base_url": "https://iam.example.com", "realm": "r", "auth_method": "client_credentials", "client_id": "svc", "client_secret": "svc-s3cret",
		},
		"partner": {"provider": "partner", "base_url": "https://partner.example.com", "client_id": "p", "client_secret": "partner-s3cret"},
		"pat":     {"provider": "ocp", "environment": "eu1", "auth_method": "pat", "personal_access_token": "pat-s3cret"},
	}
}

// theirs are the secrets of the victims, as they are stored.
func theirs(victims map[string]map[string]any) (secrets []string) {
	for _, config := range victims {
		for _, field := range secretFields() {
			if text, ok := config[field].(string); ok {
				secrets = append(secrets, text)
			}
		}
	}
	return secrets
}

func secretFields() (names []string) {
	for _, f := range configs.Fields() {
		if f.Secret {
			names = append(names, f.Name)
		}
	}
	return names
}

// attacked is a mount with the victims' configs and live sessions.
type attacked struct {
	*plugin

	spy     *spy
	disk    *hooked
	victims map[string]map[string]any
	leases  []*logical.Response
}

func newAttacked(t *testing.T) *attacked {
	t.Helper()
	key := newKey(t)
	a := &attacked{
		spy:  &spy{users: map[string]string{}, clients: map[string]string{}, key: &key.PublicKey},
		disk: &hooked{Storage: &logical.InmemStorage{}}, victims: victims(t, key),
	}
	for _, c := range a.victims {
		user, _ := c["username"].(string)
		client, _ := c["client_id"].(string)
		if password, ok := c["password"].(string); ok {
			a.spy.users[user] = password
		}
		if secret, ok := c["client_secret"].(string); ok && c["client_auth"] == nil {
			a.spy.clients[client] = secret
		}
	}
	delete(a.spy.clients, "app") // of "basic" it comes in the header
	a.plugin = startWith(t, a.spy, a.disk, logical.TestSystemView())
	for name, c := range a.victims {
		a.write("config/"+name, changed(maps.Clone(c), map[string]any{"verify": false}))
	}
	a.use()
	return a
}

// use is what applications do, as far as it is still possible.
func (a *attacked) use() {
	for name := range a.victims {
		for _, path := range []string{"creds/" + name, "static-creds/" + name, "creds/evil-" + name} {
			resp, err := a.HandleRequest(a.t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: path, Storage: a.storage})
			if err == nil && resp != nil && resp.Secret != nil {
				a.leases = append(a.leases, resp)
			}
		}
	}
}

// attack writes as the adversary, and returns what they are told.
func (a *attacked) attack(op logical.Operation, path string, data map[string]any) string {
	a.t.Helper()
	resp, err := a.HandleRequest(a.t.Context(), &logical.Request{Operation: op, Path: path, Data: data, Storage: a.storage})
	told := fmt.Sprint(err)
	if resp != nil {
		told += fmt.Sprint(resp.Data, resp.Warnings)
	}
	a.requireKept(told, path+" "+fmt.Sprint(slices.Sorted(maps.Keys(data))))
	return told
}

// aftermath lets everything happen that an attack may have prepared.
func (a *attacked) aftermath() {
	a.use()
	time.Sleep(3 * time.Minute)
	synctest.Wait()
	a.use()
	for _, lease := range a.leases {
		_ = a.revoke(lease)
	}
	time.Sleep(2 * time.Hour)
	synctest.Wait()
	for _, sent := range a.spy.to(evilHost) {
		a.requireKept(sent.all, "sent to "+sent.path)
	}
	a.requireKept(a.log.String(), "the log")
}

// requireKept wants no secret of the victims in a text, and no token.
func (a *attacked) requireKept(text, where string) {
	a.t.Helper()
	a.spy.mu.Lock()
	tokens := slices.Clone(a.spy.live)
	a.spy.mu.Unlock()
	for _, secret := range append(theirs(a.victims), tokens...) {
		require.NotContains(a.t, text, secret, where)
	}
}

// evilValues are what the adversary writes into a field.
func evilValues(f string) []any {
	switch f {
	case "base_url", "token_url", "logout_url", "revocation_url":
		return []any{"https://" + evilHost + "/x", "http://" + evilHost, "https://login.dmo.app.pantaindex.com@" + evilHost, "https://" + evilHost + ":443/token?p=x", nil}
	case "tls_server_name":
		return []any{evilHost, nil}
	case "environment":
		return []any{"us1", "old", nil}
	case "provider":
		return []any{"oauth2", "keycloak", "ocp"}
	case "auth_method":
		return []any{"pat", "client_credentials", "password", nil}
	case "client_auth":
		return []any{"post", "basic", "private_key_jwt", nil}
	case "scopes":
		return []any{"a,b", nil}
	case "token_params":
		return []any{"resource=https://" + evilHost, nil}
	case "max_sessions", "linger", "ttl", "max_ttl", "keepalive_interval", "token_ttl", "request_timeout":
		return []any{1, 3600, nil}
	case "session_mark", "allow_http":
		return []any{true, false, nil}
	}
	return []any{"mine", "", nil}
}

// madeUp are secrets that the adversary gives anew, for each that may be stored.
func (a *attacked) madeUp(config map[string]any) map[string]any {
	given := map[string]any{}
	for _, field := range secretFields() {
		if config[field] != nil {
			given[field] = "mine-" + field
		}
	}
	if config["private_key"] != nil {
		given["private_key"] = keyPEM(a.t, newKey(a.t))
	}
	if config["totp_secret"] != nil {
		given["totp_secret"] = "GEZDGNBVGY3TQOJQ"
	}
	return given
}

func TestWhoWritesConfigsGetsNoSecretByAnyField(t *testing.T) {
	for name := range victims(t, newKey(t)) {
		t.Run(name, func(t *testing.T) {
			for _, f := range configs.Fields() {
				synctest.Test(t, func(t *testing.T) {
					a := newAttacked(t)
					for _, value := range evilValues(f.Name) {
						for _, verify := range []any{nil, false} {
							given := map[string]any{f.Name: value, "verify": verify}
							a.attack(logical.UpdateOperation, "config/"+name, maps.Clone(given))
							a.attack(logical.UpdateOperation, "config/"+name, changed(maps.Clone(given), map[string]any{"allow_http": true}))
							a.attack(logical.UpdateOperation, "config/evil-"+name, changed(maps.Clone(a.victims[name]), changed(a.madeUp(a.victims[name]), given)))
						}
						a.use()
					}
					// Only now the secrets are not the victims' any more.
					for _, value := range evilValues(f.Name) {
						a.attack(logical.UpdateOperation, "config/"+name, changed(a.madeUp(a.victims[name]), map[string]any{f.Name: value, "verify": false}))
						a.use()
					}
					a.aftermath()
					a.Cleanup(t.Context())
				})
			}
		})
	}
}

// endpoints are the fields that lead somewhere.
func endpoints(host string) map[string]map[string]any {
	return map[string]map[string]any{
		"logout_url":      {"logout_url": "https://" + host + "/x"},
		"revocation_url":  {"revocation_url": "https://" + host + "/x"},
		"token_url":       {"token_url": "https://" + host + "/token"},
		"base_url":        {"base_url": "https://" + host, "realm": "x", "environment": nil},
		"tls_server_name": {"tls_server_name": host},
	}
}

func TestWhoWritesConfigsGetsNoSecretByAnyWay(t *testing.T) {
	ways := map[string]func(a *attacked, name string, leads map[string]any){
		"secrets first, then the endpoint": func(a *attacked, name string, leads map[string]any) {
			a.attack(logical.UpdateOperation, "config/"+name, changed(a.madeUp(a.victims[name]), map[string]any{"verify": false}))
			a.attack(logical.UpdateOperation, "config/"+name, changed(a.madeUp(a.victims[name]), changed(map[string]any{"verify": false}, leads)))
		},
		"a forced delete while the server is away, and the config again": func(a *attacked, name string, leads map[string]any) {
			onLogout := func(*http.Request, url.Values) (*http.Response, error) {
				return reply(http.StatusServiceUnavailable, ""), nil
			}
			a.spy.answer(func() { a.spy.logout = onLogout })
			a.attack(logical.DeleteOperation, "config/"+name, map[string]any{"force": true})
			again := changed(maps.Clone(a.victims[name]), changed(a.madeUp(a.victims[name]), changed(map[string]any{"verify": false}, leads)))
			a.attack(logical.UpdateOperation, "config/"+name, again)
			a.attack(logical.UpdateOperation, "config/evil-"+name, again)
			a.spy.answer(func() { a.spy.logout = nil })
		},
		"a personal access token of the same user": func(a *attacked, name string, leads map[string]any) {
			a.attack(logical.UpdateOperation, "config/evil-"+name, changed(map[string]any{
				"provider": "ocp", "environment": "eu1", "auth_method": "pat", "personal_access_token": "mine", "username": iam.DemoOCPUser, "password": "mine", "verify": false,
			}, leads))
		},
		"a role": func(a *attacked, name string, leads map[string]any) {
			a.attack(logical.UpdateOperation, "roles/evil-"+name, changed(map[string]any{"config": name}, leads))
			a.attack(logical.UpdateOperation, "roles/evil-"+name, map[string]any{"config": name, "token_params": "logout_url=https://" + evilHost})
		},
		"a config that is not valid any more": func(a *attacked, name string, leads map[string]any) {
			stored := store.Fields(changed(maps.Clone(a.victims[name]), map[string]any{"colour": "old"}))
			require.NoError(a.t, store.NewEntries(a.disk).Configs.Put(a.t.Context(), name, stored))
			a.InvalidateKey(a.t.Context(), "config/"+name)
			a.attack(logical.UpdateOperation, "config/"+name, changed(map[string]any{"verify": false}, leads))
			stored["environment"], stored["colour"] = "old", nil
			delete(stored, "colour")
			require.NoError(a.t, store.NewEntries(a.disk).Configs.Put(a.t.Context(), name, stored))
			a.InvalidateKey(a.t.Context(), "config/"+name)
			a.attack(logical.UpdateOperation, "config/"+name, changed(map[string]any{"environment": nil, "verify": false}, leads))
		},
		"a reader in the middle of the write": func(a *attacked, name string, leads map[string]any) {
			busy := false
			onBefore := func(op, key string) {
				if op == "put" && key == "config/"+name && !busy {
					busy = true
					a.use()
					busy = false
				}
			}
			a.disk.hook(func() { a.disk.before = onBefore })
			a.attack(logical.UpdateOperation, "config/"+name, changed(a.madeUp(a.victims[name]), changed(map[string]any{"verify": false}, leads)))
			a.disk.hook(func() { a.disk.before = nil })
		},
		"two writes at once": func(a *attacked, name string, leads map[string]any) {
			done := make(chan bool)
			for _, given := range []map[string]any{a.madeUp(a.victims[name]), leads} {
				go func() {
					a.attack(logical.UpdateOperation, "config/"+name, changed(map[string]any{"verify": false}, given))
					done <- true
				}()
			}
			<-done
			<-done
		},
	}
	for way, try := range ways {
		t.Run(way, func(t *testing.T) {
			for name := range victims(t, newKey(t)) {
				for _, leads := range endpoints(evilHost) {
					synctest.Test(t, func(t *testing.T) {
						a := newAttacked(t)
						try(a, name, leads)
						a.aftermath()
						a.Cleanup(t.Context())
					})
				}
			}
		})
	}
}

// A server repeats what it was sent; so the adversary writes a guess where it is sent,
// and compares what they are told of a right one and of a wrong one.
func TestARightGuessOfASecretLooksLikeAWrongOne(t *testing.T) {
	echoes := map[string]func(form url.Values) *http.Response{
		"repeats all": func(form url.Values) *http.Response {
			var sent []string
			for _, values := range form {
				sent = append(sent, values...)
			}
			slices.Sort(sent)
			return reply(http.StatusBadRequest, fmt.Sprintf(`{"error":"invalid_scope","error_description":%q}`, "no: "+strings.Join(sent, " ")))
		},
		"repeats the scope": func(form url.Values) *http.Response {
			return reply(http.StatusBadRequest, fmt.Sprintf(`{"error":"invalid_scope","error_description":%q}`, "Invalid scopes: "+form.Get("scope")))
		},
		"repeats nothing": func(url.Values) *http.Response {
			return reply(http.StatusBadRequest, `{"error":"invalid_grant","error_description":"no"}`)
		},
		"takes all": nil,
	}
	for echo, answer := range echoes {
		for name, config := range victims(t, newKey(t)) {
			t.Run(echo+", "+name, func(t *testing.T) {
				for _, field := range secretFields() {
					right, stored := config[field].(string)
					if !stored || field == "private_key" {
						continue
					}
					for _, f := range configs.Fields() {
						for _, shape := range []string{"%s", "a %s b", "name=%s"} {
							if f.Type == 0 && shape != "%s" || f.Name == field && field == "totp_secret" {
								continue
							}
							told := func(guess string) (text string, logins int) {
								synctest.Test(t, func(t *testing.T) {
									s := &spy{}
									p := startWith(t, s, &logical.InmemStorage{}, logical.TestSystemView())
									p.write("config/"+name, changed(maps.Clone(config), map[string]any{"verify": false}))
									if answer != nil {
										onLogin := func(_ *http.Request, form url.Values) (*http.Response, error) { return answer(form), nil }
										s.answer(func() { s.login = onLogin })
									}
									resp, err := p.HandleRequest(t.Context(), &logical.Request{
										Operation: logical.UpdateOperation, Path: "config/" + name, Storage: p.storage, Data: map[string]any{f.Name: fmt.Sprintf(shape, guess)},
									})
									text = fmt.Sprint(resp, err)
									if resp != nil {
										text = fmt.Sprint(resp.Data, resp.Warnings, err)
									}
									synctest.Wait()
									logins = len(s.logins())
									p.Cleanup(t.Context())
								})
								return strings.ReplaceAll(text, guess, "<guess>"), logins
							}
							wrong := strings.Map(another, right)
							rightText, rightLogins := told(right)
							wrongText, wrongLogins := told(wrong)
							require.Equal(t, wrongText, rightText, "%s as %s of %s", field, f.Name, name)
							require.Equal(t, wrongLogins, rightLogins, "%s as %s of %s", field, f.Name, name)
						}
					}
				}
			})
		}
	}
}

// another makes a wrong guess of a right one that has the same form.
func another(r rune) rune {
	if r >= 'a' && r < 'z' || r >= 'A' && r < 'Z' {
		return r + 1
	}
	return r
}
