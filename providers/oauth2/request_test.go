package oauth2

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestABodyThatCountsAsNotSentIsHandedOutNoMore(t *testing.T) {
	b := &body{left: strings.NewReader("client_secret=secret")}
	require.False(t, b.taken())
	got, err := io.ReadAll(b)
	require.ErrorIs(t, err, http.ErrBodyReadAfterClose)
	require.Empty(t, got)
}
