package iam_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

func TestAnUnreachableServerRefusesTheConnectionAndNothingIsWritten(t *testing.T) {
	c := newCaller(t, plain())
	c.server.Inject(iam.Fault{Kind: iam.Unreachable, Op: iam.OpLogin})
	wrote := false
	r := c.formRequest("token", loginFields()...)
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { wrote = true },
	}))
	_, err := c.try(r)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.False(t, wrote)
	require.Zero(t, c.stats().Sessions)
}

func TestOverASocketAnUnreachableServerCutsTheConnection(t *testing.T) {
	c := onSocket(t, iam.New(iam.Config{Realms: []iam.Realm{plain()}}))
	c.server.Inject(iam.Fault{Kind: iam.Unreachable})
	_, err := c.try(c.formRequest("token", loginFields()...))
	require.Error(t, err)
	require.Zero(t, c.stats().Sessions)
}

func TestAFaultMayLetRequestsPassFirst(t *testing.T) {
	c := newCaller(t, plain())
	c.server.Inject(iam.Fault{Kind: iam.Status, Op: iam.OpLogin, After: 2, Count: 1})
	for _, status := range []int{200, 200, 503, 200} {
		require.Equal(t, status, c.login().status)
	}
	stats := c.server.Stats()
	require.Equal(t, map[iam.Op]int{iam.OpLogin: 4}, stats.Calls)
	require.Equal(t, map[iam.Op]int{iam.OpLogin: 1}, stats.Faulted)
}

func TestAFaultOfTheAccountAPIIsOneOfBothItsOperations(t *testing.T) {
	c := newCaller(t, plain())
	token := c.open().str("access_token")
	c.server.Inject(iam.Fault{Kind: iam.Status, Op: iam.OpAccount})
	require.Equal(t, 503, c.account("GET", "", token).status)
	require.Equal(t, 503, c.account("DELETE", "/x", token).status)
	c.open()
}

func TestWhoFollowsARedirectIsCounted(t *testing.T) {
	eachWay(t, func(t *testing.T, c *caller) {
		t.Helper()
		c.client.CheckRedirect = nil
		c.server.Inject(iam.Fault{Kind: iam.Redirect, Op: iam.OpLogin})
		require.Equal(t, http.StatusOK, c.login().status)
		require.Equal(t, 1, c.server.Stats().Calls[iam.OpFollowedRedirect])
		require.Zero(t, c.stats().Sessions)
	})
}

func TestInMemoryAnEndedContextSendsNothing(t *testing.T) {
	c := newCaller(t, plain())
	r := c.formRequest("token", loginFields()...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.try(r.WithContext(ctx))
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, c.server.Stats().Calls)
}

func TestInMemoryTheRequestsBodyIsClosed(t *testing.T) {
	c := newCaller(t, plain())
	r := c.formRequest("token", loginFields()...)
	body := &closeCounter{Reader: r.Body}
	r.Body = body
	require.Equal(t, http.StatusOK, c.send(r).status)
	require.Positive(t, body.closed)
}

type closeCounter struct {
	io.Reader
	closed int
}

func (b *closeCounter) Close() error { b.closed++; return nil }
