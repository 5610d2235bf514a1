package oauth2_test

import (
	"compress/gzip"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// testdata/answers.json has the odd answers of real servers that can be written down.

func TestAnAnswerMayBeCompressedAndItsTokenLong(t *testing.T) {
	long := token(`{"iat":1764230400,"exp":1764234000}`) + strings.Repeat("A", 60_000)
	url, calls := server(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "gzip", r.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, err := io.WriteString(z, `{"access_token":"`+long+`","token_type":"Bearer","expires_in":3600}`)
		assert.NoError(t, err)
		assert.NoError(t, z.Close())
	})
	a := account("oauth2")
	a.TokenURL, a.RevocationURL = url+"/token", url+"/revoke"
	got, err := do(t.Context(), connect(t, a, "oauth2", nil), "login")
	require.NoError(t, err)
	assert.Equal(t, long, got.AccessToken.Reveal())
	assert.EqualValues(t, 1, calls.Load())
}

func TestBasicIsEncodedAsEveryServerDecodesIt(t *testing.T) {
	a := account("oauth2")
	a.ClientAuth, a.ClientID, a.ClientSecret = providers.ClientSecretBasic, "a b:c", providers.NewSecret("d+e%é")
	rt := &roundTrip{status: 200, body: granted}
	_, err := do(t.Context(), connect(t, a, "oauth2", rt), "login")
	require.NoError(t, err)
	pair := base64.StdEncoding.EncodeToString([]byte("a%20b%3Ac:d%2Be%25%C3%A9"))
	assert.Equal(t, "Basic "+pair, rt.last.Header.Get("Authorization"))
	assert.NotContains(t, rt.posted, "client_")
}
