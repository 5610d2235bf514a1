package oauth2

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAValueIsFoundInBase64ThatIsCutAnywhere(t *testing.T) {
	const value = "s3cret-password"
	sent := echo{sent: []string{value}}
	written := base64.StdEncoding.EncodeToString([]byte("user:" + value + "!"))
	for cut := range 5 {
		require.True(t, sent.repeatedIn("no "+written[:len(written)-cut]), "%d characters are cut off", cut)
	}
}

func TestABodyThatCountsAsNotSentIsHandedOutNoMore(t *testing.T) {
	b := &body{left: strings.NewReader("client_secret=secret")}
	require.False(t, b.taken())
	got, err := io.ReadAll(b)
	require.ErrorIs(t, err, http.ErrBodyReadAfterClose)
	require.Empty(t, got)
}
