package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// TestIdentityServer is what the engine does where an identity server, or what
// stands before it, makes things hard. It runs on the emulator with the manners
// of three releases or, where KEYCLOAK names one, on that real Keycloak.
func TestIdentityServer(t *testing.T) {
	t.Parallel()
	scenarios := []struct {
		group, name string
		of          func(r iam.Release) bool // nil: all
		try         func(s *identity)
	}{
		{"lost logins", "logins of which a third lose their answer", hasList, loseAnswers},
		{"lost logins", "logins of which a third lose their answer, and there is no list", hasNoList, loseAnswersWithoutList},
		{"lost logins", "an orphan is found through another session's token", hasList, findOrphan},
		{"lost logins", "a snapshot restored elsewhere ends no session of its original", hasList, restoreSnapshot},
		{"session limit", "reads while people hold all sessions", hasLimiter, findLimitFull},
		{"session limit", "reads while people hold all sessions, and the limiter's words are unknown", hasNoLimiter, findUnknownLimitFull},
		{"session limit", "reads while people hold all sessions, and the config says the limiter's words", hasNoLimiter, findSaidLimitFull},
		{"client credentials", "50 reads and revokes leave no session", nil, useService},
		{"brute force", "dedicated reads at once, of one user", nil, readAtOnce},
		{"soak", "people come and go, refresh tokens rotate, the plugin is killed", hasList, soak},
	}
	for _, release := range identityReleases(t) {
		t.Run(release.Name, func(t *testing.T) {
			t.Parallel()
			for n, s := range scenarios {
				t.Run(s.name, func(t *testing.T) {
					t.Parallel()
					row := servers.Report(t, s.group, s.name)
					if s.of != nil && !s.of(release) {
						row.NotSo()
						return
					}
					s.try(&identity{T: t, row: row, release: release, realm: fmt.Sprintf("e2e-%d", n), logins: map[string]int{}})
				})
			}
		})
	}
}

func hasList(r iam.Release) bool { return r.AccountAPI.On }

func hasNoList(r iam.Release) bool { return !r.AccountAPI.On }

func identityReleases(t *testing.T) []iam.Release {
	t.Helper()
	names := []string{"9.0.3", "18.0.2", "26.7.0"}
	if name := os.Getenv("KEYCLOAK"); name != "" {
		names = []string{name}
	}
	var releases []iam.Release
	for _, name := range names {
		release, known := iam.LookupRelease(name)
		require.True(t, known, name)
		releases = append(releases, release)
	}
	return releases
}

// long says that a scenario may take the minutes that it needs to show all.
func long() bool { return os.Getenv("LONG") != "" }

const (
	identityLimit = 5 // sessions of a user
	identityUsers = 10
)

// identity is an identity server behind a proxy, with a realm for one scenario:
// users of its own, a session limit and brute-force protection.
type identity struct {
	*testing.T
	row     *servers.Row
	release iam.Release
	realm   string

	idle    time.Duration // a session that is left alone ends; 0: not while we look
	life    time.Duration // of an access token; 0: the server's default
	rotates bool          // a refresh token is good once
	// unprotected: without brute-force protection, with which a Keycloak from 26.0 on
	// refuses one of two logins of a user that come at the same time.
	unprotected bool
	baseURL     string // of the proxy
	origin      string // of the server itself
	// sessions counts those of an account that are not idle for too long.
	sessions func(account string) (int, error)
	// endSessions ends all of a user's as an administrator does.
	endSessions func(user string) error

	// loses says of which logins of a user the answer gets lost; nil: of none.
	loses func(login int) bool
	// denies stands before the server and may refuse a login; nil: it does not.
	denies func(user string) (iam.Answer, bool)

	mu     sync.Mutex
	logins map[string]int // of the plugin, by account
	lost   int
	denied []time.Time
}

func (s *identity) newRealm() iam.Realm {
	realm := iam.Realm{
		Name: s.realm, PathPrefix: "/auth", Release: s.release, BruteForce: !s.unprotected, SessionIdle: s.idle,
		TokenLife: s.life, RevokeRefreshToken: s.rotates,
		SessionLimit: iam.SessionLimit{Max: identityLimit, Behaviour: iam.Deny},
		Clients: []iam.Client{
			{ID: "app", Secret: "app-secret", DirectGrants: true},
			{ID: "service", Secret: "service-secret", ServiceAccount: true, UseRefreshToken: true},
		},
	}
	for i := range identityUsers {
		realm.Users = append(realm.Users, iam.User{Username: userName(i), Password: "password", AccountRoles: true})
	}
	return realm
}

func userName(i int) string { return fmt.Sprintf("user-%d", i) }

// start makes the realm and the proxy.
func (s *identity) start() {
	s.Helper()
	realm := s.newRealm()
	if os.Getenv("KEYCLOAK") != "" {
		k, err := keycloak()
		require.NoError(s, err)
		require.NoError(s, k.CreateRealm(s.Context(), realm))
		s.origin = k.Origin
		s.sessions = func(account string) (int, error) {
			since := time.Now().Add(-cmp.Or(s.idle, time.Hour))
			return k.SessionsUsedSince(context.WithoutCancel(s.Context()), s.realm, account, since)
		}
		s.endSessions = func(user string) error { return k.LogoutUser(s.Context(), s.realm, user) }
	} else {
		emulator := iam.New(iam.Config{Realms: []iam.Realm{realm}})
		socket := httptest.NewServer(emulator)
		s.Cleanup(socket.Close)
		s.origin = socket.URL
		s.sessions = func(account string) (int, error) { return len(emulator.Sessions(s.realm, account)), nil }
		s.endSessions = func(user string) error {
			for _, session := range emulator.Sessions(s.realm, user) {
				emulator.EndSession(session.ID)
			}
			return nil
		}
	}
	s.standBefore()
}

// standBefore starts the proxy.
func (s *identity) standBefore() {
	target, err := url.Parse(s.origin)
	require.NoError(s, err)
	through := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // the server names itself after it in its tokens
	}}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		denial, denied, lost := s.decide(r)
		if denied {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(denial.Status)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": denial.Error, "error_description": denial.Description})
			return
		}
		if !lost {
			through.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		through.ServeHTTP(answer, r) // the login takes effect
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
	}))
	s.Cleanup(proxy.Close)
	s.baseURL = proxy.URL + "/auth"
}

// decide counts a login and says what becomes of it.
func (s *identity) decide(r *http.Request) (denial iam.Answer, denied, lost bool) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	account := form.Get("username")
	switch form.Get("grant_type") {
	case "password":
	case "client_credentials":
		account = form.Get("client_id")
	default:
		return denial, false, false
	}
	if s.denies != nil {
		denial, denied = s.denies(account)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins[account]++
	switch {
	case denied:
		s.denied = append(s.denied, time.Now())
	case s.loses != nil && s.loses(s.logins[account]):
		lost = true
		s.lost++
	}
	return denial, denied, lost
}

func (s *identity) loginsOf(account string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins[account]
}

// mount starts the identity server, and enables the plugin in a Vault.
func (s *identity) mount(o servers.Options) *mount {
	s.Helper()
	s.start()
	return newMount(s, iam.Demo(), o)
}

// config is that of a user, with some fields more.
func (s *identity) config(user string, more map[string]any) map[string]any {
	data := map[string]any{
		"provider": "keycloak", "base_url": s.baseURL, "realm": s.realm, "client_id": "app", "client_secret": "app-secret",
		"username": user, "password": "password", "verify": false,
	}
	maps.Copy(data, more)
	return data
}

// hasSessions fails while an account has not so many.
func (s *identity) hasSessions(account string, want int) func() error {
	return func() error {
		n, err := s.sessions(account)
		if err == nil && n != want {
			err = fmt.Errorf("%s has %d sessions", account, n)
		}
		return err
	}
}

// person has logged in herself.
type person struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// personLogsIn opens a session as a person does, past the proxy. She tries again: with
// brute-force protection a Keycloak may still be at work on her login before.
func (s *identity) personLogsIn(user string) (p person, err error) {
	for range 5 {
		if p, err = s.passwordGrant(user); err == nil {
			break
		}
		time.Sleep(time.Second)
	}
	return p, err
}

func (s *identity) passwordGrant(user string) (person, error) {
	form := url.Values{"client_id": {"app"}, "client_secret": {"app-secret"}, "grant_type": {"password"}, "username": {user}, "password": {"password"}}
	r, err := http.NewRequestWithContext(s.Context(), http.MethodPost,
		s.origin+"/auth/realms/"+s.realm+"/protocol/openid-connect/token", strings.NewReader(form.Encode()))
	if err != nil {
		return person{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	var p person
	err = askJSON(r, &p)
	return p, err
}

// marks returns the marks of the plugin's sessions that the server lists for a
// user. A token is good only at the address that it was got from.
func (s *identity) marks(ctx context.Context, baseURL, token string) ([]string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, baseURL+"/realms/"+s.realm+"/account/sessions", http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	var list []struct {
		Browser string `json:"browser"`
	}
	if err := askJSON(r, &list); err != nil {
		return nil, err
	}
	var marks []string
	for _, listed := range list {
		if strings.HasPrefix(listed.Browser, "vault-plugin-secrets-panta-") {
			marks = append(marks, listed.Browser)
		}
	}
	return marks, nil
}

func askJSON(r *http.Request, out any) error {
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s %s: %s %s", r.Method, r.URL.Path, resp.Status, text)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}
