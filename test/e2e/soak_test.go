package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// soakTime is how long soak lasts: SOAK, else as long as there is time.
func (s *identity) soakTime() time.Duration {
	text := os.Getenv("SOAK")
	if text == "" && long() {
		return 2 * time.Minute
	}
	if text == "" {
		return 10 * time.Second
	}
	lasts, err := time.ParseDuration(text)
	require.NoError(s, err, "SOAK")
	return lasts
}

// soaked is what a soak has seen.
type soaked struct {
	reads, shown, people atomic.Int64
	lastKill             atomic.Int64 // Unix time in nanoseconds
}

// soak reads in every way from a server that rotates refresh tokens, while people
// log in and out of the same accounts and the plugin is killed now and then.
func soak(s *identity) {
	s.life, s.rotates, s.unprotected = 12*time.Second, true, true
	wrapper, pids := wrappedPlugin(s.T)
	m := s.mount(servers.Options{Plugin: wrapper})
	for i, config := range []map[string]any{
		{"session_mode": "shared"}, {"session_mode": "dedicated"}, {"session_mode": "shared"},
	} {
		config["max_sessions"], config["scopes"] = identityLimit, "openid"
		m.write("config/"+userName(i), s.config(userName(i), config))
	}

	var (
		seen        soaked
		all         sync.WaitGroup
		during, end = context.WithTimeout(s.Context(), s.soakTime())
	)
	defer end()
	// One reader of dedicated sessions: it holds up to two, a person one, and a kill in
	// the middle of a login takes a place until that is found.
	for user, readers := range []int{2, 1, 2} {
		path := "creds/" + userName(user)
		if user == 2 {
			path = "static-" + path
		}
		for range readers {
			all.Go(func() { s.readAndShow(during, m, path, &seen) })
		}
	}
	for i := range 3 {
		all.Go(func() { s.comeAndGo(during, userName(i), &seen) })
	}
	kills := s.killNowAndThen(during, func() error {
		seen.lastKill.Store(time.Now().UnixNano())
		return syscall.Kill(lastLine(s.T, pids), syscall.SIGKILL)
	})
	all.Wait()
	require.False(s, s.Failed())

	require.NoError(s, m.client.Sys().RevokePrefixWithContext(s.Context(), servers.Mount+"/creds"))
	for i := range 3 {
		_, err := m.client.Logical().DeleteWithContext(s.Context(), servers.Mount+"/config/"+userName(i))
		require.NoError(s, err)
		eventually(s, time.Minute, "no session is left", s.hasSessions(userName(i), 0))
	}
	list, err := m.client.Logical().ListWithContext(s.Context(), servers.Mount+"/sessions")
	require.NoError(s, err)
	require.Nil(s, list, "nothing is left in the ledger")
	s.row.Found(fmt.Sprintf("%d reads, %d tokens shown, 0 refused; %d kills, %d visits of people; 0 sessions left",
		seen.reads.Load(), seen.shown.Load(), kills, seen.people.Load()))
}

// readAndShow reads a token, shows it to the server at once and later in its life, and
// revokes its lease or waits for its end.
func (s *identity) readAndShow(ctx context.Context, m *mount, path string, seen *soaked) {
	for ctx.Err() == nil {
		secret, err := m.client.Logical().ReadWithContext(ctx, servers.Mount+"/"+path)
		if err != nil {
			if ctx.Err() == nil && time.Since(time.Unix(0, seen.lastKill.Load())) > 20*time.Second {
				s.Errorf("%s: %v", path, err)
				return
			}
			wait(ctx, 200*time.Millisecond)
			continue
		}
		seen.reads.Add(1)
		life := s.lifeOf(secret)
		later := rand.N(max(life-2*time.Second, 1))
		for _, pause := range []time.Duration{0, later} {
			wait(ctx, pause)
			if err := s.show(ctx, secret); err != nil && ctx.Err() == nil {
				s.Errorf("%s: %v", path, err)
				return
			}
			seen.shown.Add(1)
		}
		switch {
		case secret.LeaseID == "":
		case rand.IntN(2) == 0:
			// Refused while the plugin is dead; Vault then repeats it.
			_ = m.client.Sys().RevokeWithOptionsWithContext(ctx, &api.RevokeOptions{LeaseID: secret.LeaseID})
		default:
			wait(ctx, life-later)
		}
	}
}

// lifeOf is how long a token is good for its reader.
func (s *identity) lifeOf(secret *api.Secret) time.Duration {
	if secret.LeaseID != "" {
		return time.Duration(secret.LeaseDuration) * time.Second
	}
	ttl, err := secret.Data["ttl"].(json.Number).Int64()
	require.NoError(s, err)
	return time.Duration(ttl) * time.Second
}

// show asks the server who the token belongs to.
func (s *identity) show(ctx context.Context, secret *api.Secret) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.baseURL+"/realms/"+s.realm+"/protocol/openid-connect/userinfo", http.NoBody)
	if err != nil {
		return err
	}
	token, _ := secret.Data["access_token"].(string)
	r.Header.Set("Authorization", "Bearer "+token)
	var user map[string]any
	return askJSON(r, &user)
}

// comeAndGo logs a person in and out again, who holds one session at a time.
func (s *identity) comeAndGo(ctx context.Context, user string, seen *soaked) {
	for ctx.Err() == nil {
		opened, err := s.personLogsIn(user) //nolint:contextcheck // she leaves no session when the time is over
		if err != nil {
			s.Errorf("%s, a person: %v", user, err)
			return
		}
		wait(ctx, rand.N(3*time.Second))
		if err := s.personLogsOut(opened); err != nil { //nolint:contextcheck // as above
			s.Errorf("%s, a person: %v", user, err)
			return
		}
		seen.people.Add(1)
		wait(ctx, rand.N(time.Second))
	}
}

func (s *identity) personLogsOut(p person) error {
	form := url.Values{"client_id": {"app"}, "client_secret": {"app-secret"}, "refresh_token": {p.Refresh}}
	r, err := http.NewRequestWithContext(s.Context(), http.MethodPost,
		s.origin+"/auth/realms/"+s.realm+"/protocol/openid-connect/logout", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return errors.New("logout: " + resp.Status)
	}
	return nil
}

// killNowAndThen kills until the time is over, and leaves half a minute after each
// time, and before the end, in which reads must succeed again.
func (s *identity) killNowAndThen(ctx context.Context, kill func() error) int {
	s.Helper()
	kills := 0
	end, _ := ctx.Deadline()
	for {
		wait(ctx, 30*time.Second+rand.N(10*time.Second))
		if time.Until(end) < 30*time.Second {
			<-ctx.Done()
			return kills
		}
		require.NoError(s, kill())
		kills++
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
