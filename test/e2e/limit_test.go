package e2e

import (
	"fmt"
	"maps"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// fullLimit is the answer of a limiter that is an extension: nobody outside knows
// its words.
var fullLimit = iam.Answer{Status: 400, Error: "invalid_grant", Description: "E-1203: kein freier Platz"}

func hasLimiter(r iam.Release) bool { return r.SessionLimit != iam.NoLimiter }

func hasNoLimiter(r iam.Release) bool { return !hasLimiter(r) }

// People hold all sessions that a user may have. The engine is denied, says so,
// and asks at most once a minute: two denials in a row lock a user out.
func findLimitFull(s *identity) { s.findLimitFull(nil, 429) }

// The limiter's words are unknown: it looks like a wrong password.
func findUnknownLimitFull(s *identity) { s.findLimitFull(nil, 400) }

// The config says the limiter's words.
func findSaidLimitFull(s *identity) {
	s.findLimitFull(map[string]any{"session_limit_message": "kein freier Platz"}, 429)
}

func (s *identity) findLimitFull(config map[string]any, wanted int) {
	s.Helper()
	user := userName(0)
	reads, pause := 40, 200*time.Millisecond
	if long() {
		reads, pause = 200, 700*time.Millisecond
	}
	m := s.mount(servers.Options{})
	all := s.config(user, map[string]any{"max_sessions": identityLimit})
	maps.Copy(all, config)
	m.write("config/full", all)
	m.revoke(m.mustRead("creds/full")) // so it is known that the user has no second factor
	before := s.loginsOf(user)
	eventually(s, 10*time.Second, "that is logged out", s.hasSessions(user, 0))
	if hasNoLimiter(s.release) {
		s.denies = func(account string) (iam.Answer, bool) {
			n, err := s.sessions(account)
			return fullLimit, err == nil && n >= identityLimit
		}
	}
	for range identityLimit {
		_, err := s.personLogsIn(user)
		require.NoError(s, err)
	}
	began := time.Now()
	for range reads {
		_, err := m.read("creds/full")
		status, sentences := refusal(s, err)
		require.Equal(s, wanted, status, sentences)
		time.Sleep(pause)
	}
	denials, minutes := s.loginsOf(user)-before, time.Since(began).Minutes()
	require.Positive(s, denials)
	require.LessOrEqual(s, float64(denials), 1+minutes, "one at first, and one a minute")
	require.NoError(s, s.hasSessions(user, identityLimit)())

	require.NoError(s, s.endSessions(user))
	_, err := s.personLogsIn(user)
	require.NoError(s, err, "nobody is locked out")
	s.row.Found(fmt.Sprintf("%d reads in %.0f s, %d denials", reads, minutes*60, denials))
	if !long() {
		return
	}
	eventually(s, 5*time.Minute, "the account is served again", func() error {
		_, err := m.read("creds/full")
		return err
	})
}
