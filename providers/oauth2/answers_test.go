package oauth2_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The odd answers of real servers that can be written down are in
// testdata/answers.json and servers.json.

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
