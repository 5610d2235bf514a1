package contract

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
)

// Environments tries every environment that the presets name against realms of
// its shape, those of iam.Demo: the addresses are the documented ones, and lead
// to the server. Realm is asked for the realms of iam.Demo; what it makes of
// them is left alone. period is that of their one-time codes.
func Environments(t *testing.T, c Config, period time.Duration) {
	t.Helper()
	all := []struct{ provider, environment, token, logout string }{
		{"ocp", "eu1", "https://eu1-m.ocp.ai/auth/realms/master/protocol/openid-connect/token", "https://eu1-m.ocp.ai/auth/realms/master/protocol/openid-connect/logout"},
		{"ocp", "us1", "https://us1-m.ocp.ai/auth/realms/master/protocol/openid-connect/token", "https://us1-m.ocp.ai/auth/realms/master/protocol/openid-connect/logout"},
		{"ocp", "us2", "https://auth.us2-m.ocp.ai/auth/realms/master/protocol/openid-connect/token", "https://auth.us2-m.ocp.ai/auth/realms/master/protocol/openid-connect/logout"},
		{"ocp", "ca1", "https://pub.ca1.ocp.ai/auth/realms/ocp/protocol/openid-connect/token", "https://pub.ca1.ocp.ai/auth/realms/ocp/protocol/openid-connect/logout"},
		{"ocp", "frankfurt", "https://pub.frankfurt.ocp.ai/auth/realms/ocp/protocol/openid-connect/token", "https://pub.frankfurt.ocp.ai/auth/realms/ocp/protocol/openid-connect/logout"},
		{"panta", "dmo", "https://login.dmo.app.pantaindex.com/realms/panta-technology/protocol/openid-connect/token", "https://login.dmo.app.pantaindex.com/realms/panta-technology/protocol/openid-connect/logout"},
	}
	for _, e := range all {
		t.Run(e.provider+"/"+e.environment, func(t *testing.T) {
			c.Run(t, func(t *testing.T) {
				w := &world{T: t, release: c.Release, row: unreported{}}
				if c.Report != nil {
					w.row = c.Report(t, "environments", e.provider+" "+e.environment+": login, list, refresh, limit, logout at the documented addresses")
				}
				w.realm = realmOf(e.provider, e.environment)
				demo := iam.Demo()
				i := slices.IndexFunc(demo.Realms, func(r iam.Realm) bool { return r.Name == w.realm })
				w.Server = c.Realm(t, demo.Realms[i])
				route := &route{next: w.transport(), origin: w.Origin, prefix: w.PantaPrefix}
				w.Transport = route
				if e.provider == "panta" {
					w.panta(e.environment)
				} else {
					w.swarm(e.environment, period)
				}
				require.Contains(t, route.asked, e.token)
				require.Contains(t, route.asked, e.logout)
			})
		})
	}
}

// realmOf is the realm of an environment.
func realmOf(provider, environment string) string {
	p, _ := presets.All().Lookup(provider)
	environments := p.Describe().Environments
	i := slices.IndexFunc(environments, func(e providers.Environment) bool { return e.Name == environment })
	return environments[i].Realm
}

// swarm tries an environment of OCP: with a one-time code, and up to its limit.
func (w *world) swarm(environment string, period time.Duration) {
	w.Helper()
	a := providers.Account{
		Environment: environment, Username: iam.DemoOCPUser, Password: providers.NewSecret(iam.DemoOCPPassword),
		TOTPSecret: otpauth(iam.DemoTOTPSecret, period),
	}
	up := upstream{w, w.connect(presets.OCP(), a)}
	time.Sleep(time.Until(time.Now().Truncate(period).Add(period)) + 50*time.Millisecond) // the last environment's code is spent
	const mark = "vault-plugin-secrets-panta-6f1c22aa-0192abcd23456-bot/1.2.3"
	got := up.loginAs(mark)
	w.lives(300, got.ExpiresIn)
	w.lives(1800, got.RefreshExpiresIn)
	if w.release.AccountAPI.On {
		require.Equal(w, mark, up.list(got)[got.ServerID].UserAgent)
	}
	got = up.refresh(got)
	up.logout(got)
	w.refused(up.tryRefresh(got), providers.SessionGone, "Session not active")
	require.Zero(w, w.Sessions(w.T, iam.DemoOCPUser))

	a.Username, a.Password = iam.DemoPlainUser, providers.NewSecret(iam.DemoPlainPassword)
	a.TOTPSecret = providers.Secret{}
	up = upstream{w, w.connect(presets.OCP(), a)}
	var open []providers.TokenResponse
	for range iam.DemoSessionLimit {
		open = append(open, up.login())
		apart()
	}
	if w.release.SessionLimit != iam.NoLimiter {
		w.refused(up.tryLogin(), providers.SessionLimit, "session limit exceeded")
	}
	for _, got := range open {
		up.logout(got)
	}
	require.Zero(w, w.Sessions(w.T, iam.DemoPlainUser))
}

// panta tries an environment of Panta.
func (w *world) panta(environment string) {
	w.Helper()
	a := providers.Account{
		Environment: environment, TenantID: iam.DemoPantaTenant,
		ClientID: iam.DemoPantaClient, ClientSecret: providers.NewSecret(iam.DemoPantaSecret),
		Username: iam.DemoPantaUser, Password: providers.NewSecret(iam.DemoPantaPassword),
	}
	up := upstream{w, w.connect(presets.Panta(), a)}
	got := up.login()
	w.lives(300, got.ExpiresIn)
	if w.release.AccountAPI.On {
		require.Contains(w, up.list(got), got.ServerID)
	}
	got = up.refresh(got)
	up.logout(got)
	require.Zero(w, w.Sessions(w.T, iam.DemoPantaUser))
	a.ClientSecret = providers.NewSecret("wrong")
	w.refused(upstream{w, w.connect(presets.Panta(), a)}.tryLogin(), providers.BadCredentials, "unauthorized_client")
}

// route leads every request to the server, and notes where it wanted to go.
type route struct {
	next   http.RoundTripper
	origin string
	prefix string // before the path of an address that does not begin with /auth
	asked  []string
}

// RoundTrip implements http.RoundTripper.
func (rt *route) RoundTrip(r *http.Request) (*http.Response, error) {
	rt.asked = append(rt.asked, r.URL.String())
	server, err := url.Parse(rt.origin)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host, r.Host = server.Scheme, server.Host, ""
	if len(r.URL.Path) < 6 || r.URL.Path[:6] != "/auth/" {
		r.URL.Path = rt.prefix + r.URL.Path
	}
	return rt.next.RoundTrip(r)
}
