package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// story is what the demo shows, scene by scene.
type story struct {
	*terminal

	upstream *upstream
}

func (s story) tell(ctx context.Context) error {
	s.say("A %s dev server runs at %s.", s.vault.Server, s.vault.Addr)
	s.say("%s", s.upstream.introduce())
	s.say("All users, passwords and secrets below are made up and open nothing else.")
	s.show(fmt.Sprintf("export %s_ADDR=%s %s_TOKEN=%s", s.prefix, s.vault.Addr, s.prefix, s.vault.Token))

	for _, scene := range []struct {
		title string
		play  func(context.Context) error
	}{
		{"Install the plugin", s.install},
		{"Write the accounts", s.configure},
		{"Panta: each lease has a session of its own", s.panta},
		{"OCP: all leases share one session, opened with a one-time code", s.ocp},
		{"OCP, with a personal access token", s.personalToken},
		{"The partner API: a token of its client, without session", s.partner},
		{"What is left upstream", s.leftUpstream},
	} {
		s.title(scene.title)
		if err := scene.play(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s story) install(ctx context.Context) error {
	binary, err := servers.Plugin(ctx)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	installed := filepath.Join(s.vault.Dir, "plugins", servers.PluginName)
	s.show("cp " + relative(binary) + " " + filepath.Dir(installed))
	if err := os.WriteFile(installed, data, 0o700); err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	for _, command := range []string{
		"plugin register -sha256=" + hex.EncodeToString(sum[:]) + "\nsecret " + servers.PluginName,
		"secrets enable -path=" + servers.Mount + " " + servers.PluginName,
		"read panta/info",
	} {
		if _, err := s.vaultDo(ctx, command); err != nil {
			return err
		}
	}
	return nil
}

// relative is a path as it is typed from where we are.
func relative(path string) string {
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(rel, "..") {
			return rel
		}
	}
	return path
}

func (s story) configure(ctx context.Context) error {
	s.say("\nEach write is verified by a login. An environment presets the address; here base_url leads elsewhere.")
	for _, command := range []string{
		fmt.Sprintf("write panta/config/dmo provider=panta environment=dmo\n%s\nclient_id=%s client_secret=%s\nusername=%s password=%s tenant_id=%s",
			s.upstream.panta(), iam.DemoPantaClient, iam.DemoPantaSecret, iam.DemoPantaUser, iam.DemoPantaPassword, iam.DemoPantaTenant),
		fmt.Sprintf("write panta/config/eu1 provider=ocp environment=eu1\n%s\nusername=%s password=%s totp_secret=%s",
			s.upstream.ocp(), iam.DemoOCPUser, iam.DemoOCPPassword, s.upstream.totpSecret()),
		fmt.Sprintf("write panta/config/partner provider=partner base_url=%s\nclient_id=%s client_secret=%s",
			s.upstream.emulator.url, iam.DemoPartnerID, iam.DemoPartnerSecret),
		fmt.Sprintf("write panta/config/eu1-pat provider=ocp environment=eu1 auth_method=pat\npersonal_access_token=%s",
			iam.DemoSwarmPAT),
		"list panta/config",
	} {
		if _, err := s.vaultDo(ctx, command); err != nil {
			return err
		}
	}
	stored, err := s.vaultDo(ctx, "read panta/config/dmo")
	if err != nil {
		return err
	}
	s.expect(!strings.Contains(stored, iam.DemoPantaPassword) && !strings.Contains(stored, iam.DemoPantaSecret),
		"a config shows which secrets are set, never their values")
	return nil
}

func (s story) panta(ctx context.Context) error {
	first, err := s.read(ctx, "dmo")
	if err != nil {
		return err
	}
	if err := s.accepted(ctx, s.upstream.pantaAPI(), first); err != nil {
		return err
	}
	if err := s.counts(ctx, 1, iam.DemoPantaRealm, iam.DemoPantaUser); err != nil {
		return err
	}
	s.say("\nThe end of the lease is the end of the session:")
	if _, err := s.vaultDo(ctx, "lease revoke "+first.LeaseID); err != nil {
		return err
	}
	if err := s.counts(ctx, 0, iam.DemoPantaRealm, iam.DemoPantaUser); err != nil {
		return err
	}
	return s.refused(ctx, s.upstream.pantaAPI(), first)
}

func (s story) ocp(ctx context.Context) error {
	first, err := s.read(ctx, "eu1")
	if err != nil {
		return err
	}
	if err := s.accepted(ctx, s.upstream.ocpAPI(), first); err != nil {
		return err
	}
	second, err := s.read(ctx, "eu1")
	if err != nil {
		return err
	}
	s.expect(first.Data.SessionID == second.Data.SessionID, "both leases hold one session, %s", first.Data.SessionID)
	if err := s.counts(ctx, 1, iam.DemoSwarmRealm, iam.DemoOCPUser); err != nil {
		return err
	}
	s.say("\nThe last lease to end logs out:")
	if _, err := s.vaultDo(ctx, "lease revoke "+first.LeaseID); err != nil {
		return err
	}
	if err := s.accepted(ctx, s.upstream.ocpAPI(), second); err != nil {
		return err
	}
	if _, err := s.vaultDo(ctx, "lease revoke "+second.LeaseID); err != nil {
		return err
	}
	if err := s.counts(ctx, 0, iam.DemoSwarmRealm, iam.DemoOCPUser); err != nil {
		return err
	}
	return s.refused(ctx, s.upstream.ocpAPI(), second)
}

func (s story) personalToken(ctx context.Context) error {
	lease, err := s.read(ctx, "eu1-pat")
	if err != nil {
		return err
	}
	return s.accepted(ctx, s.upstream.emulator.url+"/api/ocp/nlu/ping", lease)
}

func (s story) partner(ctx context.Context) error {
	lease, err := s.read(ctx, "partner")
	if err != nil {
		return err
	}
	api := s.upstream.emulator.url + "/api/partner/ping"
	if err := s.accepted(ctx, api, lease); err != nil {
		return err
	}
	s.say("\nThis API has no logout: the lease ends, and its token is good until it expires.")
	if _, err := s.vaultDo(ctx, "lease revoke "+lease.LeaseID); err != nil {
		return err
	}
	return s.accepted(ctx, api, lease)
}

func (s story) leftUpstream(ctx context.Context) error {
	for _, account := range []struct{ realm, user string }{
		{iam.DemoPantaRealm, iam.DemoPantaUser}, {iam.DemoSwarmRealm, iam.DemoOCPUser},
	} {
		if err := s.counts(ctx, 0, account.realm, account.user); err != nil {
			return err
		}
	}
	stats, err := s.upstream.statistics(ctx)
	if err != nil {
		return err
	}
	for _, a := range stats.Accounts {
		if a.Logouts+a.Sessions > 0 {
			s.expect(a.Logins == a.Logouts, "%s: as many logouts as logins, %d; most sessions at once: %d", a.Account, a.Logins, a.PeakSessions)
		}
		s.expect(a.RefusedLogins == 0, "%s: no login was refused", a.Account)
	}
	return nil
}

// lease is an answer of creds/.
type lease struct {
	LeaseID string `json:"lease_id"`
	Data    struct {
		Headers   map[string]string `json:"headers"`
		SessionID string            `json:"session_id"`
	} `json:"data"`
}

func (s story) read(ctx context.Context, name string) (lease, error) {
	output, err := s.vaultDo(ctx, "read -format=json panta/creds/"+name)
	if err != nil {
		return lease{}, err
	}
	var l lease
	return l, json.Unmarshal([]byte(output), &l)
}

func (s story) accepted(ctx context.Context, api string, l lease) error {
	got, err := s.curl(ctx, api, l.Data.Headers)
	s.expect(got.status == 200, "the API takes the token: 200")
	return err
}

func (s story) refused(ctx context.Context, api string, l lease) error {
	got, err := s.curl(ctx, api, l.Data.Headers)
	s.expect(got.status == 401, "the API refuses the token: 401")
	return err
}

// counts expects a number of sessions upstream. Vault ends a lease in the
// background, so it is given a moment.
func (s story) counts(ctx context.Context, want int, realm, user string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		n, err := s.upstream.sessions(ctx, realm, user)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if n == want || ctx.Err() != nil {
			s.expect(n == want, "sessions of %s in realm %s: %d (%s)", user, realm, n, s.upstream.counter())
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
