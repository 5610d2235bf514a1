package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
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

// Rule 11 on a real server: something between plugin and identity server lets
// logins through and drops their answers. What they opened is found again by its
// mark and ended, and the sessions of people are left alone.

// lossyRealm has users of this test's own, a session limit and brute-force
// protection.
func lossyRealm(name string, users int) iam.Realm {
	realm := iam.Realm{
		Name: name, PathPrefix: "/auth", BruteForce: true,
		SessionLimit: iam.SessionLimit{Max: 5, Behaviour: iam.Deny},
		Clients:      []iam.Client{{ID: "app", Secret: "app-secret", DirectGrants: true}},
	}
	for i := range users {
		realm.Users = append(realm.Users, iam.User{Username: fmt.Sprintf("user-%d", i), Password: "password", AccountRoles: true})
	}
	return realm
}

// lossy is the identity server behind a proxy that loses answers to logins.
type lossy struct {
	origin, realm string // of the server itself
	sessions      func(user string) (int, error)
	careful       bool // it loses nothing

	mu     sync.Mutex
	logins map[string]int // of the plugin, by user
	lost   int
}

func newLossy(t *testing.T, realmName string, users int) (l *lossy, baseURL string) {
	t.Helper()
	realm := lossyRealm(realmName, users)
	l = &lossy{realm: realm.Name, logins: map[string]int{}}
	if os.Getenv("KEYCLOAK") != "" {
		k, err := keycloak()
		require.NoError(t, err)
		require.NoError(t, k.CreateRealm(t.Context(), realm))
		l.origin = k.Origin
		l.sessions = func(user string) (int, error) { return k.Sessions(t.Context(), realm.Name, user) }
	} else {
		emulator := iam.New(iam.Config{Realms: []iam.Realm{realm}})
		socket := httptest.NewServer(emulator)
		t.Cleanup(socket.Close)
		l.origin = socket.URL
		l.sessions = func(user string) (int, error) { return emulator.AccountStats(realm.Name, user).Sessions, nil }
	}
	target, err := url.Parse(l.origin)
	require.NoError(t, err)
	through := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // the server names itself after it in its tokens
	}}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !l.loses(r) {
			through.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		through.ServeHTTP(answer, r) // the login takes effect
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
	}))
	t.Cleanup(proxy.Close)
	return l, proxy.URL + "/auth"
}

// loses says whether the answer to a request gets lost: that of every third login
// of a user.
func (l *lossy) loses(r *http.Request) bool {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	if form.Get("grant_type") != "password" {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	user := form.Get("username")
	l.logins[user]++
	lose := !l.careful && l.logins[user]%3 == 2
	if lose {
		l.lost++
	}
	return lose
}

func (l *lossy) loginsOf(user string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.logins[user]
}

// personLogsIn opens a session as a person does, past the proxy, and returns her
// access token.
func (l *lossy) personLogsIn(ctx context.Context, user string) (string, error) {
	form := url.Values{"client_id": {"app"}, "client_secret": {"app-secret"}, "grant_type": {"password"}, "username": {user}, "password": {"password"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost,
		l.origin+"/auth/realms/"+l.realm+"/protocol/openid-connect/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	var token struct {
		AccessToken string `json:"access_token"`
	}
	err = askJSON(r, &token)
	return token.AccessToken, err
}

// marks returns the marks of the plugin's sessions that the server lists for a
// user. A token is good only at the address that it was got from.
func (l *lossy) marks(ctx context.Context, baseURL, token string) ([]string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, baseURL+"/realms/"+l.realm+"/account/sessions", http.NoBody)
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
	for _, s := range list {
		if strings.HasPrefix(s.Browser, "vault-plugin-secrets-panta-") {
			marks = append(marks, s.Browser)
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
		return fmt.Errorf("%s %s: %s", r.Method, r.URL.Path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func TestLoginsWhoseAnswersAreLostLeaveNoSession(t *testing.T) {
	t.Parallel()
	users, loginsEach := 4, 3
	if os.Getenv("KEYCLOAK") != "" {
		users, loginsEach = 10, 21
	}
	row := servers.Report(t, "reconcile", fmt.Sprintf("%d logins, of which a third lose their answer", users*loginsEach))
	l, baseURL := newLossy(t, "lossy", users)
	m := newMount(t, iam.Demo(), servers.Options{})
	var all sync.WaitGroup
	for i := range users {
		all.Go(func() { l.useAccount(m, fmt.Sprintf("user-%d", i), baseURL, loginsEach) })
	}
	all.Wait()
	require.False(t, t.Failed())
	require.NoError(t, m.client.Sys().RevokePrefixWithContext(t.Context(), servers.Mount+"/creds"))

	left, foreign := 0, 0
	for i := range users {
		user := fmt.Sprintf("user-%d", i)
		eventually(t, 20*time.Second, user+" has no session but her own", func() error {
			if n, err := l.sessions(user); err != nil || n != 1 {
				return fmt.Errorf("%d sessions, %w", n, err)
			}
			return nil
		})
		token, err := l.personLogsIn(t.Context(), user)
		require.NoError(t, err, "nobody is locked out")
		marks, err := l.marks(t.Context(), l.origin+"/auth", token)
		require.NoError(t, err)
		left += len(marks)
		n, err := l.sessions(user)
		require.NoError(t, err)
		foreign += n - len(marks)
	}
	require.Zero(t, left, "sessions with our mark")
	require.Equal(t, 2*users, foreign, "sessions of people")
	list, err := m.client.Logical().ListWithContext(t.Context(), servers.Mount+"/sessions")
	require.NoError(t, err)
	require.Nil(t, list, "nothing is left in the ledger")
	require.Equal(t, users*(loginsEach/3), l.lost)
	row.Found(fmt.Sprintf("%d lost, 0 left, 0 foreign touched, 0 locked out", l.lost))
}

// useAccount has a user log in as a person, and then lets applications read the
// account's credentials until the plugin has logged in so often.
func (l *lossy) useAccount(m *mount, user, baseURL string, logins int) {
	_, err := l.personLogsIn(m.tb.Context(), user)
	if err != nil {
		m.tb.Errorf("%s: %v", user, err)
		return
	}
	_, err = m.client.Logical().WriteWithContext(m.tb.Context(), servers.Mount+"/config/"+user, map[string]any{
		"provider": "keycloak", "base_url": baseURL, "realm": l.realm, "client_id": "app", "client_secret": "app-secret",
		"username": user, "password": "password", "session_mode": "dedicated", "max_sessions": 4, "verify": false,
	})
	if err != nil {
		m.tb.Errorf("%s: %v", user, err)
		return
	}
	for until := time.Now().Add(4 * time.Minute); l.loginsOf(user) < logins; {
		if time.Now().After(until) {
			m.tb.Errorf("%s: only %d logins in all the time", user, l.loginsOf(user))
			return
		}
		lease, err := m.read("creds/" + user)
		if err != nil {
			time.Sleep(200 * time.Millisecond) // the account waits after a login of unknown outcome
			continue
		}
		if l.loginsOf(user) < logins {
			m.revoke(lease)
		}
	}
}

// The worst case: the answer of a login is lost, nothing else logs in any more,
// and another session's token finds what it opened.
func TestAnOrphanIsFoundAndClosedAndNothingIsLeftAtTheServer(t *testing.T) {
	t.Parallel()
	row := servers.Report(t, "reconcile", "an orphan is found through another session's token")
	l, baseURL := newLossy(t, "orphan", 1)
	m := newMount(t, iam.Demo(), servers.Options{})
	m.write("config/shared", map[string]any{
		"provider": "keycloak", "base_url": baseURL, "realm": l.realm, "client_id": "app", "client_secret": "app-secret",
		"username": "user-0", "password": "password", "session_mode": "shared", "max_sessions": 4,
	})
	m.write("roles/mail", map[string]any{"config": "shared", "scopes": "email"})
	held := m.mustRead("creds/shared")
	_, err := m.read("creds/mail") // the second login of this user: its answer is lost
	status, sentences := refusal(t, err)
	require.Equal(t, 400, status)
	require.Contains(t, sentences[0], "may have taken effect all the same")
	began := time.Now()
	eventually(t, 30*time.Second, "the orphan is closed", func() error {
		if n, err := l.sessions("user-0"); err != nil || n != 1 {
			return fmt.Errorf("%d sessions, %w", n, err)
		}
		return nil
	})
	row.Found(fmt.Sprintf("closed after %.0f s", time.Since(began).Seconds()))
	require.Equal(t, 2, l.loginsOf("user-0"), "nothing logged in for it")
	m.revoke(held)
	n, err := l.sessions("user-0")
	require.NoError(t, err)
	require.Zero(t, n)
}

// With brute-force protection on, a Keycloak answers a login before it has let go
// of it, and refuses the next one of that user meanwhile (rule 7).
func TestDedicatedReadsAtOnceAreNeverRefusedByBruteForceProtection(t *testing.T) {
	t.Parallel()
	row := servers.Report(t, "brute force", "dedicated reads at once, of one user")
	l, baseURL := newLossy(t, "brute", 1)
	l.careful = true
	m := newMount(t, iam.Demo(), servers.Options{})
	m.write("config/acc", map[string]any{
		"provider": "keycloak", "base_url": baseURL, "realm": l.realm, "client_id": "app", "client_secret": "app-secret",
		"username": "user-0", "password": "password", "max_sessions": 5, "verify": false,
	})
	const rounds, readers = 8, 5
	for range rounds {
		var all sync.WaitGroup
		for range readers {
			all.Go(func() {
				if _, err := m.read("creds/acc"); err != nil {
					m.tb.Error(err)
				}
			})
		}
		all.Wait()
		require.False(t, t.Failed())
		require.NoError(t, m.client.Sys().RevokePrefixWithContext(t.Context(), servers.Mount+"/creds"))
	}
	require.Equal(t, rounds*readers, l.loginsOf("user-0"), "every login went through at once")
	row.Found(fmt.Sprintf("%d logins, 0 refused", rounds*readers))
}
