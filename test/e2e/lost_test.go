package e2e

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// Something between plugin and identity server lets logins through and drops
// their answers. What they opened is found again by its mark and ended, and the
// sessions of people are left alone (rule 11).
func loseAnswers(s *identity) { s.loseAnswers((*identity).nothingIsLeft) }

// Where there is no list of sessions, what they opened counts until the server
// drops it (rule 1).
func loseAnswersWithoutList(s *identity) {
	s.idle = 10 * time.Second
	s.loseAnswers((*identity).allIsOfAge)
}

func (s *identity) loseAnswers(atLast func(s *identity, m *mount, users int)) {
	s.Helper()
	users, loginsEach := 4, 3
	if long() {
		users, loginsEach = identityUsers, 21
	}
	const budget = 4
	s.loses = func(login int) bool { return login%3 == 2 }
	m := s.mount(servers.Options{})
	watched, stop := context.WithCancel(s.Context())
	peaks := make(chan int, 1)
	go func() { peaks <- s.peak(watched, users) }()

	var all sync.WaitGroup
	for i := range users {
		all.Go(func() { s.useAccount(m, userName(i), budget, loginsEach) })
	}
	all.Wait()
	stop()
	peak := <-peaks
	require.False(s, s.Failed())
	require.LessOrEqual(s, peak, budget+1, "sessions of a user, one of them a person's")
	require.NoError(s, m.client.Sys().RevokePrefixWithContext(s.Context(), servers.Mount+"/creds"))
	require.Equal(s, users*(loginsEach/3), s.lost)

	atLast(s, m, users)
	require.Empty(s, s.denied)
	s.row.Found(fmt.Sprintf("%d logins, %d lost, at most %d of %d sessions, 0 left, 0 locked out", users*loginsEach, s.lost, peak-1, budget))
}

// useAccount has a user log in as a person, and then lets applications read the
// account's credentials until the plugin has logged in so often.
func (s *identity) useAccount(m *mount, user string, budget, logins int) {
	if _, err := s.personLogsIn(user); err != nil {
		s.Errorf("%s: %v", user, err)
		return
	}
	config := s.config(user, map[string]any{"session_mode": "dedicated", "max_sessions": budget, "request_timeout": "2s"})
	if _, err := m.client.Logical().WriteWithContext(s.Context(), servers.Mount+"/config/"+user, config); err != nil {
		s.Errorf("%s: %v", user, err)
		return
	}
	for until := time.Now().Add(8 * time.Minute); s.loginsOf(user) < logins; {
		if time.Now().After(until) {
			s.Errorf("%s: only %d logins in all the time", user, s.loginsOf(user))
			return
		}
		lease, err := m.read("creds/" + user)
		if err != nil {
			time.Sleep(200 * time.Millisecond) // the account waits after a login of unknown outcome
			continue
		}
		if s.loginsOf(user) < logins {
			m.revoke(lease)
		}
	}
}

// peak is the largest number of sessions that a user was seen with until ctx ends.
func (s *identity) peak(ctx context.Context, users int) int {
	peak := 0
	for ctx.Err() == nil {
		for i := range users {
			n, err := s.sessions(userName(i))
			if err != nil {
				continue // the test is over, or fails elsewhere
			}
			peak = max(peak, n)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return peak
}

// nothingIsLeft wants the lost sessions to be found and ended by now.
func (s *identity) nothingIsLeft(m *mount, users int) {
	s.Helper()
	left, foreign := 0, 0
	for i := range users {
		user := userName(i)
		eventually(s, 20*time.Second, user+" has no session but her own", s.hasSessions(user, 1))
		visitor, err := s.personLogsIn(user)
		require.NoError(s, err, "nobody is locked out")
		marks, err := s.marks(s.Context(), s.origin+"/auth", visitor.Access)
		require.NoError(s, err)
		left += len(marks)
		n, err := s.sessions(user)
		require.NoError(s, err)
		foreign += n - len(marks)
	}
	require.Zero(s, left, "sessions with our mark")
	require.Equal(s, 2*users, foreign, "sessions of people")
	list, err := m.client.Logical().ListWithContext(s.Context(), servers.Mount+"/sessions")
	require.NoError(s, err)
	require.Nil(s, list, "nothing is left in the ledger")
}

// allIsOfAge wants the lost sessions to count until the server has dropped them,
// and no longer.
func (s *identity) allIsOfAge(m *mount, users int) {
	s.Helper()
	eventually(s, 3*time.Minute, "nothing is left in the ledger", func() error {
		list, err := m.client.Logical().ListWithContext(s.Context(), servers.Mount+"/sessions")
		if err == nil && list != nil {
			err = fmt.Errorf("%v", list.Data["keys"])
		}
		return err
	})
	for i := range users {
		user := userName(i)
		require.NoError(s, s.hasSessions(user, 0)(), "the server has dropped all, the person's too")
		_, err := s.personLogsIn(user)
		require.NoError(s, err, "nobody is locked out")
	}
}

// The worst case: the answer of a login is lost, nothing else logs in any more,
// and another session's token finds what it opened.
func findOrphan(s *identity) {
	s.loses = func(login int) bool { return login == 2 }
	m := s.mount(servers.Options{})
	user := userName(0)
	m.write("config/shared", s.config(user, map[string]any{"session_mode": "shared", "max_sessions": 4}))
	m.write("roles/mail", map[string]any{"config": "shared", "scopes": "email"})
	held := m.mustRead("creds/shared")
	_, err := m.read("creds/mail") // the second login of this user: its answer is lost
	status, sentences := refusal(s, err)
	require.Equal(s, 400, status)
	require.Contains(s, sentences[0], "may have taken effect all the same")
	began := time.Now()
	eventually(s, 30*time.Second, "the orphan is closed", s.hasSessions(user, 1))
	s.row.Found(fmt.Sprintf("closed after %.0f s", time.Since(began).Seconds()))
	require.Equal(s, 2, s.loginsOf(user), "nothing logged in for it")
	m.revoke(held)
	require.NoError(s, s.hasSessions(user, 0)())
}

// With brute-force protection on, a Keycloak answers a login before it has let go
// of it, and from 26.4 on refuses the next one of that user meanwhile (rule 7).
func readAtOnce(s *identity) {
	m := s.mount(servers.Options{})
	user := userName(0)
	m.write("config/acc", s.config(user, map[string]any{"max_sessions": identityLimit}))
	const rounds, readers = 8, identityLimit
	for range rounds {
		var all sync.WaitGroup
		for range readers {
			all.Go(func() {
				if _, err := m.read("creds/acc"); err != nil {
					s.Error(err)
				}
			})
		}
		all.Wait()
		require.False(s, s.Failed())
		require.NoError(s, m.client.Sys().RevokePrefixWithContext(s.Context(), servers.Mount+"/creds"))
	}
	require.Equal(s, rounds*readers, s.loginsOf(user), "every login went through at once")
	s.row.Found(fmt.Sprintf("%d logins, 0 refused", rounds*readers))
}
