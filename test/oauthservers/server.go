// Package oauthservers runs the plugin, in a real Vault, before real OAuth 2.0
// servers of other makes: each directory here has a program around one of them,
// and scripts/oauth-server fetches what it is made of. make test-servers prints
// scenario × server × outcome.
//
// Start with Run, and with TestServers.
package oauthservers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// Server is a running authorization server behind a proxy that keeps what the
// plugin called.
type Server struct {
	Name string // a directory of this package
	URL  string // of the proxy, and the server's issuer
	*Recorder

	config  Config
	direct  string
	program servers.Program
}

// Run starts the server of that name. It ends with the test, and the end of its
// log is shown if the test failed.
func Run(tb testing.TB, name string, config Config) *Server {
	tb.Helper()
	s, err := start(tb.Context(), name, config.withDefaults())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("end of the log of %s:\n%s", name, s.program.Tail())
		}
		s.stop()
	})
	return s
}

func start(ctx context.Context, name string, config Config) (_ *Server, err error) {
	command, err := servers.Tool(ctx, "oauth-server", name)
	if err != nil {
		return nil, err
	}
	words := strings.Split(command, "\n")
	if config.Port, err = servers.FreePort(); err != nil {
		return nil, err
	}
	s := &Server{Name: name, direct: fmt.Sprintf("http://127.0.0.1:%d", config.Port)}
	s.Recorder = newRecorder(s.direct, config)
	s.URL, config.Issuer = s.socket.URL, s.socket.URL
	s.config = config
	defer func() {
		if err != nil {
			s.socket.Close()
		}
	}()

	dir, err := os.MkdirTemp("", "oauth-")
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"}
	s.program, err = servers.StartProgram(dir, words[0], append(words[1:], file), env)
	if err != nil {
		return nil, err
	}
	return s, s.await(ctx)
}

// await returns when the server answers.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if _, err := s.Active(ctx, "no-token"); err == nil {
			return nil
		}
		select {
		case <-s.program.Exited():
			return fmt.Errorf("%s ended by itself:\n%s", s.Name, s.program.Tail())
		case <-ctx.Done():
			return fmt.Errorf("%s: %w:\n%s", s.Name, ctx.Err(), s.program.Tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *Server) stop() {
	s.program.Stop(time.Second)
	s.socket.Close()
}

// TokenURL is the token endpoint.
func (s *Server) TokenURL() string { return s.URL + s.config.TokenPath }

// RevocationURL is the revocation endpoint.
func (s *Server) RevocationURL() string { return s.URL + s.config.RevocationPath }

// Active asks the server whether a token is good (RFC 7662).
func (s *Server) Active(ctx context.Context, token string) (bool, error) {
	answer, err := s.introspect(ctx, token)
	if err != nil {
		return false, err
	}
	if answer.Active == nil {
		return false, errors.New("introspection does not say whether the token is active")
	}
	return *answer.Active, nil
}

// Audience is whom a token is for: as the server says, or as the token itself does
// if it is a JWT.
func (s *Server) Audience(ctx context.Context, token string) (string, error) {
	var said struct {
		Audience any `json:"aud"`
	}
	if claims, isJWT := claims(token); isJWT {
		if err := json.Unmarshal(claims, &said); err != nil {
			return "", err
		}
	} else {
		answer, err := s.introspect(ctx, token)
		if err != nil {
			return "", err
		}
		said.Audience = answer.Audience
	}
	if list, ok := said.Audience.([]any); ok && len(list) == 1 {
		return fmt.Sprint(list[0]), nil
	}
	return fmt.Sprint(said.Audience), nil
}

// introspection is an answer of RFC 7662 section 2.2.
type introspection struct {
	Active   *bool `json:"active"`
	Audience any   `json:"aud"`
}

func (s *Server) introspect(ctx context.Context, token string) (introspection, error) {
	var answer introspection
	form := url.Values{"token": {token}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.direct+s.config.IntrospectionPath, strings.NewReader(form.Encode()))
	if err != nil {
		return answer, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(observer, observerSecret)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("introspection at %s: %s", s.Name, resp.Status)
	}
	return answer, json.NewDecoder(resp.Body).Decode(&answer)
}
