package backend_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

func changed(config, more map[string]any) map[string]any {
	maps.Copy(config, more)
	return config
}

func TestRule10AForcedDeleteWorksWhileTheServerHangs(t *testing.T) {
	for _, n := range []int{1, 33, 300} {
		for _, timeout := range []string{"10s", "60s"} {
			t.Run(fmt.Sprintf("%d sessions, request_timeout %s", n, timeout), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &spy{}
					p := startWith(t, s, &hooked{Storage: &logical.InmemStorage{}}, logical.TestSystemView())
					p.write("config/dmo", changed(dmo(), map[string]any{"request_timeout": timeout, "verify": false}))
					for range n {
						p.read("creds/dmo")
					}
					onLogout := func(r *http.Request, _ url.Values) (*http.Response, error) {
						<-r.Context().Done() // a black hole
						return nil, r.Context().Err()
					}
					s.answer(func() { s.logout = onLogout })
					ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second) // Vault's default_max_request_duration
					defer cancel()
					err := p.try(ctx, logical.DeleteOperation, "config/dmo", map[string]any{"force": true})
					p.Cleanup(context.Background())
					require.NoError(t, err)
				})
			})
		}
	}
}

func TestAConfigThatIsStoredIsInForceWhateverBecomesOfTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &spy{}
		disk := &hooked{Storage: &logical.InmemStorage{}}
		p := startWith(t, s, disk, logical.TestSystemView())
		p.write("config/dmo", changed(dmo(), map[string]any{"verify": false}))
		ctx, cancel := context.WithCancel(t.Context())
		onAfter := func(op, key string) {
			if op == "put" && key == "config/dmo" {
				cancel() // the operator's client goes away
			}
		}
		disk.hook(func() { disk.after = onAfter })
		_ = p.try(ctx, logical.UpdateOperation, "config/dmo", map[string]any{"password": "rotated", "verify": false})
		disk.hook(func() { disk.after = nil })
		p.read("creds/dmo")
		logins := s.logins()
		require.Equal(t, "rotated", logins[len(logins)-1].form.Get("password"))
	})
}

// A write that fails may have landed. What is stored then is in force.
func TestAConfigThatOnlySeemsNotToBeStoredIsInForce(t *testing.T) {
	for _, landed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &spy{}
			disk := &hooked{Storage: &logical.InmemStorage{}}
			p := startWith(t, s, disk, logical.TestSystemView())
			p.write("config/dmo", changed(dmo(), map[string]any{"verify": false}))
			onFail := func(op, key string) error {
				if op != "put" || key != "config/dmo" {
					return nil
				}
				if landed {
					old, err := disk.Storage.Get(t.Context(), key)
					require.NoError(t, err)
					old.Value = []byte(strings.Replace(string(old.Value), iam.DemoPantaPassword, "rotated", 1))
					require.NoError(t, disk.Storage.Put(t.Context(), old))
				}
				return errors.New("disk on fire")
			}
			disk.hook(func() { disk.fail = onFail })
			err := p.try(t.Context(), logical.UpdateOperation, "config/dmo", map[string]any{"password": "rotated"})
			require.ErrorContains(t, err, "the config could not be stored, or only seems not to be: ")
			disk.hook(func() { disk.fail = nil })
			p.read("creds/dmo") // of a session of its own
			logins, want := s.logins(), iam.DemoPantaPassword
			if landed {
				want = "rotated"
			}
			require.Equal(t, want, logins[len(logins)-1].form.Get("password"), "landed: %v", landed)
		})
	}
}

// A user of a Keycloak is the same in any case, and so are its budget and its codes.
func TestRule2OneUserIsOneAccountInAnySpelling(t *testing.T) {
	server := iam.New(iam.Demo())
	p := start(t, server, &logical.InmemStorage{})
	p.write("config/one", dmo())
	err := p.try(t.Context(), logical.UpdateOperation, "config/two", changed(dmo(), map[string]any{"username": strings.ToUpper(iam.DemoPantaUser)}))
	require.ErrorContains(t, err, `config "one" holds this account already`)
	require.NoError(t, p.try(t.Context(), logical.UpdateOperation, "config/one", map[string]any{"username": strings.ToUpper(iam.DemoPantaUser)}))

	realm := "https://login.dmo.app.pantaindex.com/realms/" + iam.DemoPantaRealm
	err = p.try(t.Context(), logical.UpdateOperation, "config/two", map[string]any{
		"provider": "oauth2", "token_url": realm + "/protocol/openid-connect/token", "client_id": "c", "username": strings.ToUpper(iam.DemoPantaUser), "password": "x", "verify": false,
	})
	require.ErrorContains(t, err, `config "one" holds this account already`, "a Keycloak by its token endpoint")

	service := map[string]any{
		"provider": "keycloak", "base_url": "https://iam.example.com", "realm": "internal", "auth_method": "client_credentials",
		"client_id": "App", "client_secret": "x", "verify": false,
	}
	user := map[string]any{
		"provider": "keycloak", "base_url": "https://iam.example.com", "realm": "internal", "client_id": "other", "username": "App", "password": "x", "verify": false,
	}
	p.write("config/service", service)
	p.write("config/user", user) // a client and a user of one name are two
	p.write("config/service2", changed(service, map[string]any{"client_id": "app"}))
	elsewhere := map[string]any{
		"provider": "oauth2", "token_url": "https://as.example.com/token", "client_id": "c", "username": "ann", "password": "x", "verify": false,
	}
	p.write("config/ann", elsewhere)
	p.write("config/Ann", changed(elsewhere, map[string]any{"username": "Ann"})) // other servers tell them apart
}

func TestNothingIsLeftOfRefusedConfigs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &spy{users: map[string]string{}}
		disk := &logical.InmemStorage{}
		p := startWith(t, s, disk, logical.TestSystemView())
		for i := range 50 {
			name := fmt.Sprintf("typo-%d", i)
			s.users[name] = "another"
			err := p.try(t.Context(), logical.UpdateOperation, "config/dmo", changed(dmo(), map[string]any{"username": name}))
			require.ErrorContains(t, err, "; nothing was stored")
			require.NotContains(t, err.Error(), "no login", "a corrected write is tried at once")
		}
		time.Sleep(100 * 24 * time.Hour)
		synctest.Wait()
		keys, err := logical.CollectKeys(t.Context(), disk)
		require.NoError(t, err)
		require.LessOrEqual(t, len(keys), 1, "after 100 days: %v", keys)
	})
}

func TestAScopeThatIsNotGrantedIsWarnedOf(t *testing.T) {
	for scope, want := range map[string]string{
		"email":         `config "ann": the server did not grant reports of the scopes that were asked for; tokens have: email`,
		"Reports email": "",
		"":              "",
	} {
		s := &spy{login: func(*http.Request, url.Values) (*http.Response, error) {
			return reply(http.StatusOK, `{"access_token":"a","refresh_token":"r","expires_in":300,"scope":"`+scope+`"}`), nil
		}}
		p := startWith(t, s, &logical.InmemStorage{}, logical.TestSystemView())
		resp, err := p.do(logical.UpdateOperation, "config/ann", map[string]any{
			"provider": "oauth2", "token_url": "https://as.example.com/token", "client_id": "c", "username": "ann", "password": "x",
			"scopes": "offline_access,reports,email",
		})
		require.NoError(t, err)
		if want == "" {
			require.Nil(t, resp, "%v", resp)
			continue
		}
		require.Equal(t, []string{want}, resp.Warnings)
	}
}

// Clients of Vault repeat 5xx by themselves, so what comes after a login is none.
func TestAFailureAfterALoginIsNotRepeatedByClients(t *testing.T) {
	rotate := func(p *plugin) error {
		return p.try(p.t.Context(), logical.UpdateOperation, "config/dmo", map[string]any{"password": "next"})
	}
	for name, test := range map[string]struct {
		ask   func(p *plugin) error
		fails string
	}{
		"read of creds":                          {func(p *plugin) error { return p.try(p.t.Context(), logical.ReadOperation, "creds/dmo", nil) }, "put session/"},
		"read of static-creds":                   {func(p *plugin) error { return p.try(p.t.Context(), logical.ReadOperation, "static-creds/dmo", nil) }, "put session/"},
		"write of a config":                      {rotate, "put config/"},
		"roles cannot be listed after the login": {rotate, "list role/"},
		"a role cannot be read after the login":  {rotate, "get role/r"},
		"the owner cannot be read":               {rotate, "get account/"},
		"a config that is verified again":        {func(p *plugin) error { return p.try(p.t.Context(), logical.UpdateOperation, "config/dmo", nil) }, "put session/"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &spy{}
				disk := &hooked{Storage: &logical.InmemStorage{}}
				p := startWith(t, s, disk, logical.TestSystemView())
				p.write("config/dmo", changed(dmo(), map[string]any{"session_mode": "shared", "verify": false}))
				p.write("roles/r", map[string]any{"config": "dmo"})
				onFail := func(op, key string) error {
					if strings.HasPrefix(op+" "+key, test.fails) && len(s.logins()) > 0 {
						return errors.New("disk on fire")
					}
					return nil
				}
				disk.hook(func() { disk.fail = onFail })
				err := test.ask(p)
				require.Error(t, err)
				if coded, ok := errors.AsType[logical.HTTPCodedError](err); ok {
					require.Less(t, coded.Code(), 500, err)
				}
				require.Len(t, s.logins(), 1)
				disk.hook(func() { disk.fail = nil })
			})
		})
	}
}

// In whatever words a server refuses a refresh, readers get another session, also after
// a restart, and the old one is revoked.
func TestRule8ReadersGetAnotherSessionHoweverTheRefreshIsRefused(t *testing.T) {
	for _, body := range []string{"", `{"detail":"Could not validate credentials"}`, `{"error":"invalid_grant"}`} {
		synctest.Test(t, func(t *testing.T) {
			s := &spy{login: func(_ *http.Request, form url.Values) (*http.Response, error) {
				if form.Get("grant_type") == "refresh_token" {
					return reply(http.StatusUnauthorized, body), nil
				}
				return reply(http.StatusOK, `{"access_token":"a","refresh_token":"r","expires_in":3600}`), nil
			}}
			disk := &logical.InmemStorage{}
			p := startWith(t, s, disk, logical.TestSystemView())
			p.write("config/ann", map[string]any{
				"provider": "oauth2", "token_url": "https://as.example.com/token", "revocation_url": "https://as.example.com/revoke",
				"client_id": "c", "username": "ann", "password": "x", "session_mode": "shared", "verify": false,
			})
			p.read("creds/ann")
			p.Cleanup(context.Background())

			p = startWith(t, s, disk, logical.TestSystemView())
			p.read("creds/ann")
			require.Len(t, s.logins(), 2)
			synctest.Wait()
			var revoked int
			for _, sent := range s.to("as.example.com") {
				if sent.path == "/revoke" {
					revoked++
				}
			}
			require.Equal(t, 1, revoked, "the session whose refresh was refused")
			p.Cleanup(context.Background())
		})
	}
}
