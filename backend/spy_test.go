package backend_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// spy is every identity server there is, and notes who is sent what. At hosts named
// evil it takes anything.
type spy struct {
	// users are the passwords, clients the secrets, that logins want; empty: any.
	users, clients map[string]string
	// key is what assertions of clients must be signed with; nil: anything.
	key *ecdsa.PublicKey
	// login and logout answer instead; nil: as usual.
	login, logout func(r *http.Request, form url.Values) (*http.Response, error)

	mu   sync.Mutex
	n    int
	sent []sentRequest
	live []string // tokens that were given away to who had the right credentials
}

type sentRequest struct {
	host, path string
	form       url.Values
	all        string // all that went over the wire, decoded
}

func reply(status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
	}
}

// RoundTrip implements http.RoundTripper.
func (s *spy) RoundTrip(r *http.Request) (*http.Response, error) {
	var text []byte
	if r.Body != nil {
		text, _ = io.ReadAll(r.Body)
		_ = r.Body.Close()
	}
	form, _ := url.ParseQuery(string(text))
	s.note(r, string(text), form)
	isLogin := form.Get("grant_type") != ""
	s.mu.Lock()
	login, logout := s.login, s.logout
	s.mu.Unlock()
	switch {
	case strings.Contains(string(text), `"grant_type"`): // the partner's JSON
		return s.grant("", ""), nil
	case isLogin && login != nil:
		return login(r, form)
	case isLogin:
		return s.answerLogin(form), nil
	case strings.Contains(r.URL.Path, "/account/sessions"):
		return reply(http.StatusForbidden, `{}`), nil
	case logout != nil:
		return logout(r, form)
	}
	return reply(http.StatusOK, ""), nil
}

// answer sets how it answers while it is in use.
func (s *spy) answer(set func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set()
}

func (s *spy) note(r *http.Request, body string, form url.Values) {
	all := []string{r.URL.String(), body}
	for _, values := range form {
		all = append(all, values...)
	}
	for name, values := range r.Header {
		all = append(all, name)
		all = append(all, values...)
		for _, value := range values {
			if pair, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(value, "Basic ")); err == nil {
				all = append(all, string(pair))
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, sentRequest{host: r.URL.Hostname(), path: r.URL.Path, form: form, all: strings.Join(all, "\n")})
}

func (s *spy) answerLogin(form url.Values) *http.Response {
	user, client := form.Get("username"), form.Get("client_id")
	switch {
	case s.users[user] != "" && form.Get("grant_type") == "password" && form.Get("password") != s.users[user]:
		return reply(http.StatusUnauthorized, `{"error":"invalid_grant","error_description":"Invalid user credentials"}`)
	case s.key != nil && form.Get("client_assertion") != "" && !s.signed(form.Get("client_assertion")):
		return reply(http.StatusUnauthorized, `{"error":"invalid_client","error_description":"Invalid signature"}`)
	case s.clients[client] != "" && form.Get("client_secret") != s.clients[client]:
		return reply(http.StatusUnauthorized, `{"error":"invalid_client","error_description":"Invalid client"}`)
	}
	return s.grant(user, client)
}

func (s *spy) signed(assertion string) bool {
	_, err := jwt.Parse(assertion, func(*jwt.Token) (any, error) { return s.key, nil })
	return err == nil
}

func (s *spy) grant(user, client string) *http.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	access, refresh := fmt.Sprintf("at-%d-of-%s-%s.", s.n, user, client), fmt.Sprintf("rt-%d-of-%s-%s.", s.n, user, client)
	s.live = append(s.live, access, refresh)
	return reply(http.StatusOK, fmt.Sprintf(
		`{"access_token":%q,"refresh_token":%q,"expires_in":300,"refresh_expires_in":1800,"session_state":"s%d","token_type":"Bearer"}`, access, refresh, s.n))
}

// logins are the requests for tokens that were sent with a user's password or a
// client's secret.
func (s *spy) logins() (all []sentRequest) {
	for _, sent := range s.requests() {
		if grant := sent.form.Get("grant_type"); grant == "password" || grant == "client_credentials" {
			all = append(all, sent)
		}
	}
	return all
}

func (s *spy) requests() []sentRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]sentRequest{}, s.sent...)
}

func (s *spy) to(host string) (all []sentRequest) {
	for _, sent := range s.requests() {
		if sent.host == host {
			all = append(all, sent)
		}
	}
	return all
}

// hooked calls before and after each operation of a storage, and fails as it is told;
// as over gRPC a cancelled context fails.
type hooked struct {
	logical.Storage

	mu            sync.Mutex
	before, after func(op, key string)
	fail          func(op, key string) error
}

// hook sets what is called while the storage is in use.
func (h *hooked) hook(set func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	set()
}

func (h *hooked) do(ctx context.Context, op, key string, f func() error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	h.mu.Lock()
	before, after, fail := h.before, h.after, h.fail
	h.mu.Unlock()
	if before != nil {
		before(op, key)
	}
	if fail != nil {
		if err := fail(op, key); err != nil {
			return err
		}
	}
	err := f()
	if after != nil {
		after(op, key)
	}
	return err
}

func (h *hooked) Get(ctx context.Context, key string) (e *logical.StorageEntry, err error) {
	err = h.do(ctx, "get", key, func() error { e, err = h.Storage.Get(ctx, key); return err })
	return e, err
}

func (h *hooked) Put(ctx context.Context, e *logical.StorageEntry) error {
	return h.do(ctx, "put", e.Key, func() error { return h.Storage.Put(ctx, e) })
}

func (h *hooked) Delete(ctx context.Context, key string) error {
	return h.do(ctx, "delete", key, func() error { return h.Storage.Delete(ctx, key) })
}

func (h *hooked) List(ctx context.Context, prefix string) (keys []string, err error) {
	err = h.do(ctx, "list", prefix, func() error { keys, err = h.Storage.List(ctx, prefix); return err })
	return keys, err
}

// try is do for requests that may be refused.
func (p *plugin) try(ctx context.Context, op logical.Operation, path string, data map[string]any) error {
	resp, err := p.HandleRequest(ctx, &logical.Request{Operation: op, Path: path, Data: data, Storage: p.storage})
	if err != nil {
		return err
	}
	if resp != nil && resp.IsError() {
		return resp.Error()
	}
	return nil
}

// newKey is a private key of the curve P-256.
func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func keyPEM(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
