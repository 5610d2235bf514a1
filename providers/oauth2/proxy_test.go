package oauth2

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// The proxy of the environment is read once in a process, and never used for
// loopback hosts; so the test sets it on the transport.
func TestAProxyThatRefusesIsNamed(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.Host)
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	t.Cleanup(proxy.Close)
	address, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	address.User = url.UserPassword("u", "pr0xy")

	account := providers.Account{
		TokenURL: "https://login.example.com/token", ClientID: "app",
		Username: "alice", Password: providers.NewSecret("hunter2"),
	}
	transport := newTransport(providers.Connection{})
	assert.NotNil(t, transport.Proxy, "the environment's proxy")
	transport.Proxy = http.ProxyURL(address)
	preset := Preset{Description: providers.Description{Name: "test", TokenEndpoint: "{token_url}", Methods: []providers.Method{{
		Name: providers.Password, Sessions: true,
		Fields: []providers.Field{{Name: "token_url"}, {Name: "client_id"}, {Name: "username"}, {Name: "password"}, {Name: "request_timeout"}},
	}}}}
	up, err := New(preset, transport).Connect(account)
	require.NoError(t, err)
	_, err = up.Login(t.Context(), providers.LoginRequest{})
	var failure *providers.Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, providers.Unavailable, failure.Kind)
	assert.Equal(t, providers.DidNotHappen, failure.Outcome)
	assert.Equal(t, "the proxy answered 407 and made no connection", failure.Message)
	assert.Equal(t, "have the host allowed at the proxy, or correct HTTPS_PROXY and NO_PROXY in this plugin's environment", failure.Advice)
	assert.NotContains(t, err.Error(), "pr0xy")
	assert.Equal(t, []string{"CONNECT login.example.com:443"}, asked)
}
