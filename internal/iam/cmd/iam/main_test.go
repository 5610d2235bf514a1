package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestItListensOnLoopbackOnly(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0", "nonsense"} {
		require.Equal(t, 1, run(t.Context(), []string{"-listen", address}, io.Discard, io.Discard), address)
	}
}

func TestItRefusesFlagsThatCannotBe(t *testing.T) {
	for _, flag := range []string{"-token-life=10ms", "-otp-period=0s", "-session-limit=-1", "-nonsense", "-release=8", "argument"} {
		require.Equal(t, 2, run(t.Context(), []string{flag}, io.Discard, io.Discard), flag)
	}
}

func TestItSaysWhereItListensAndStopsWhenTold(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	addrFile := filepath.Join(t.TempDir(), "addr")
	reader, stdout := io.Pipe()
	done := make(chan int)
	go func() {
		done <- run(ctx, []string{"-addr-file", addrFile, "-token-life", "5s", "-session-limit", "1", "-rotate", "-clock-shift", "-1h", "-date-header", "-release", "9.0.3-api"}, stdout, io.Discard)
	}()
	line, err := bufio.NewReader(reader).ReadString('\n')
	require.NoError(t, err)
	url, found := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	require.True(t, found, line)
	written, err := os.ReadFile(addrFile)
	require.NoError(t, err)
	require.Equal(t, url+"\n", string(written))

	login := strings.NewReader("grant_type=password&client_id=ocp&username=" + iam.DemoPlainUser + "&password=" + iam.DemoPlainPassword)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/auth/realms/ocp/protocol/openid-connect/token", login)
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	transport := &http.Transport{}
	answer, err := transport.RoundTrip(request)
	require.NoError(t, err)
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Contains(t, string(body), `"expires_in":5,`)
	require.Contains(t, string(body), `"token_type":"bearer"`)
	transport.CloseIdleConnections()
	date, err := http.ParseTime(answer.Header.Get("Date"))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(-time.Hour), date, time.Minute)

	stop()
	require.Zero(t, <-done)
}
