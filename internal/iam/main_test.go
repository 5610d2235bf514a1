package iam_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	realmName = "acme"
	clientID  = "app"
	username  = "alice"
	password  = "pw"
	base      = "http://iam.test"
)

// plain is a realm with one public client and one user, and no rules.
func plain() iam.Realm {
	return iam.Realm{
		Name: realmName, API: iam.OCPAPI,
		Clients: []iam.Client{{ID: clientID, DirectGrants: true}},
		Users:   []iam.User{{Username: username, Password: password, AccountRoles: true}},
	}
}

// caller talks to one server, in memory or over a socket.
type caller struct {
	t      *testing.T
	server *iam.Server
	client *http.Client
	base   string
}

func newCaller(t *testing.T, realms ...iam.Realm) *caller {
	t.Helper()
	return callerOf(t, iam.New(iam.Config{Realms: realms}))
}

func callerOf(t *testing.T, server *iam.Server) *caller {
	t.Helper()
	return &caller{t: t, server: server, client: &http.Client{Transport: server.Transport()}, base: base}
}

// answer is one answer of the server, its body as JSON where it is JSON.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (a answer) str(field string) string { s, _ := a.body[field].(string); return s }

func (a answer) seconds(field string) int { n, _ := a.body[field].(float64); return int(n) }

func (c *caller) request(method, path, body string, header ...string) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	require.NoError(c.t, err)
	r.Header.Set("Accept", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (c *caller) send(r *http.Request) answer {
	c.t.Helper()
	got, err := c.try(r)
	require.NoError(c.t, err)
	return got
}

func (c *caller) try(r *http.Request) (answer, error) {
	res, err := c.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	got := answer{status: res.StatusCode, header: res.Header, raw: string(raw)}
	if json.Unmarshal(raw, &got.body) != nil {
		got.body = nil
	}
	return got, err
}

func (c *caller) call(method, path, body string, header ...string) answer {
	c.t.Helper()
	return c.send(c.request(method, path, body, header...))
}

// form posts to an endpoint of the plain realm.
func (c *caller) form(endpoint string, fields ...string) answer {
	c.t.Helper()
	return c.send(c.formRequest(endpoint, fields...))
}

func (c *caller) formRequest(endpoint string, fields ...string) *http.Request {
	c.t.Helper()
	values := url.Values{"client_id": {clientID}}
	for i := 0; i < len(fields); i += 2 {
		values.Set(fields[i], fields[i+1])
	}
	return c.request(http.MethodPost, "/realms/"+realmName+"/protocol/openid-connect/"+endpoint,
		values.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

func loginFields(more ...string) []string {
	return append([]string{"grant_type", "password", "username", username, "password", password}, more...)
}

func (c *caller) login(more ...string) answer {
	c.t.Helper()
	return c.form("token", loginFields(more...)...)
}

// open logs in and insists on success.
func (c *caller) open(more ...string) answer {
	c.t.Helper()
	got := c.login(more...)
	require.Equal(c.t, http.StatusOK, got.status, got.raw)
	return got
}

func (c *caller) refresh(token string) answer {
	c.t.Helper()
	return c.form("token", "grant_type", "refresh_token", "refresh_token", token)
}

func (c *caller) logout(token string) answer {
	c.t.Helper()
	return c.form("logout", "refresh_token", token)
}

func (c *caller) account(method, path, token string) answer {
	c.t.Helper()
	return c.call(method, "/realms/"+realmName+"/account/sessions"+path, "", "Authorization", "Bearer "+token)
}

func (c *caller) stats() iam.AccountStats { return c.server.AccountStats(realmName, username) }

// refused insists on an OAuth 2.0 error.
func (c *caller) refused(got answer, status int, code, description string) {
	c.t.Helper()
	require.Equal(c.t, status, got.status, got.raw)
	require.Equal(c.t, code, got.str("error"))
	require.Equal(c.t, description, got.str("error_description"))
}

func (c *caller) invalidGrant(got answer, description string) {
	c.t.Helper()
	c.refused(got, http.StatusBadRequest, "invalid_grant", description)
}

func (c *caller) code(at time.Time) string { return c.server.Code(realmName, username, at) }
