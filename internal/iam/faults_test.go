package iam_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// onSocket serves over a real socket until the test ends.
func onSocket(t *testing.T, server *iam.Server) *caller {
	t.Helper()
	socket := httptest.NewServer(server)
	client := socket.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() {
		server.ClearFaults()
		client.CloseIdleConnections()
		socket.Close()
	})
	return &caller{t: t, server: server, client: client, base: socket.URL}
}

// eachWay runs a test in memory and over a socket.
func eachWay(t *testing.T, test func(t *testing.T, c *caller)) {
	t.Helper()
	t.Run("in memory", func(t *testing.T) {
		c := newCaller(t, plain())
		c.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		test(t, c)
	})
	t.Run("over a socket", func(t *testing.T) {
		test(t, onSocket(t, iam.New(iam.Config{Realms: []iam.Realm{plain()}})))
	})
}

func TestAFaultSpoilsTheAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		fault iam.Fault
		check func(t *testing.T, got answer)
		did   bool
	}{
		"status": {
			fault: iam.Fault{Kind: iam.Status, Status: 429, Header: map[string]string{"Retry-After": "7"}, Body: `{"message":"Too Many Attempts."}`},
			check: func(t *testing.T, got answer) {
				t.Helper()
				require.Equal(t, 429, got.status)
				require.Equal(t, "7", got.header.Get("Retry-After"))
				require.Equal(t, "Too Many Attempts.", got.str("message"))
			},
		},
		"status by default": {
			fault: iam.Fault{Kind: iam.Status},
			check: func(t *testing.T, got answer) {
				t.Helper()
				require.Equal(t, 503, got.status)
			},
		},
		"html": {
			fault: iam.Fault{Kind: iam.HTML},
			check: func(t *testing.T, got answer) {
				t.Helper()
				require.Equal(t, 200, got.status)
				require.Contains(t, got.raw, "<html>")
			},
		},
		"html after it happened": {
			fault: iam.Fault{Kind: iam.HTML, Status: 502, Did: true}, did: true,
			check: func(t *testing.T, got answer) {
				t.Helper()
				require.Equal(t, 502, got.status)
			},
		},
		"empty": {
			fault: iam.Fault{Kind: iam.Empty},
			check: func(t *testing.T, got answer) {
				t.Helper()
				require.Equal(t, 200, got.status)
				require.Empty(t, got.raw)
			},
		},
		"huge": {
			fault: iam.Fault{Kind: iam.Huge},
			check: func(t *testing.T, got answer) {
				t.Helper()
				require.Len(t, got.raw, 16<<20)
				require.NotEmpty(t, got.str("access_token"))
			},
		},
		"huge by size": {
			fault: iam.Fault{Kind: iam.Huge, Size: 100_000},
			check: func(t *testing.T, got answer) {
				t.Helper()
				require.Len(t, got.raw, 100_000)
			},
		},
		"redirect": {
			fault: iam.Fault{Kind: iam.Redirect},
			check: func(t *testing.T, got answer) {
				t.Helper()
				require.Equal(t, 307, got.status)
				require.Equal(t, "/_iam/redirected", got.header.Get("Location"))
			},
		},
		"redirect by location": {
			fault: iam.Fault{Kind: iam.Redirect, Header: map[string]string{"Location": "/here"}},
			check: func(t *testing.T, got answer) {
				t.Helper()
				require.Equal(t, "/here", got.header.Get("Location"))
			},
		},
		"lie": {
			fault: iam.Fault{Kind: iam.Lie, Answer: map[string]any{"expires_in": 86400, "refresh_token": nil}}, did: true,
			check: func(t *testing.T, got answer) {
				t.Helper()
				require.Equal(t, 86400, got.seconds("expires_in"))
				require.NotContains(t, got.body, "refresh_token")
				require.NotEmpty(t, got.str("access_token"))
			},
		},
		"delay": {
			fault: iam.Fault{Kind: iam.Delay, Delay: time.Millisecond}, did: true,
			check: func(t *testing.T, got answer) {
				t.Helper()
				require.NotEmpty(t, got.str("access_token"))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, c *caller) {
				t.Helper()
				tc.fault.Count = 1
				c.server.Inject(tc.fault)
				tc.check(t, c.login())
				require.Equal(t, tc.did, c.stats().Logins == 1)
				c.open() // the fault is used up
			})
		})
	}
}

func TestAFaultCutsTheConnection(t *testing.T) {
	for kind, did := range map[iam.Kind]bool{iam.Reset: false, iam.LoseAnswer: true} {
		t.Run(string(kind), func(t *testing.T) {
			eachWay(t, func(t *testing.T, c *caller) {
				t.Helper()
				c.server.Inject(iam.Fault{Kind: kind, Op: iam.OpLogin})
				_, err := c.try(c.formRequest("token", loginFields()...))
				require.Error(t, err)
				require.True(t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF), err.Error())
				require.Equal(t, did, c.stats().Logins == 1)
			})
		})
	}
}

func TestATruncatedAnswerEndsInAnUnexpectedEOF(t *testing.T) {
	eachWay(t, func(t *testing.T, c *caller) {
		t.Helper()
		c.server.Inject(iam.Fault{Kind: iam.Truncated})
		got, err := c.try(c.formRequest("token", loginFields()...))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.True(t, strings.HasPrefix(got.raw, `{"access_token":"`))
		require.Equal(t, 1, c.stats().Logins)
	})
}

func TestAHangingRequestEndsWithItsContextOrWhenFaultsAreCleared(t *testing.T) {
	eachWay(t, func(t *testing.T, c *caller) {
		t.Helper()
		c.server.Inject(iam.Fault{Kind: iam.Hang, Op: iam.OpLogin, Did: true, Count: 1})
		ctx, cancel := context.WithCancel(t.Context())
		r := c.formRequest("token", loginFields()...).WithContext(ctx)
		failed := make(chan error)
		go func() { _, err := c.try(r); failed <- err }()
		require.Eventually(t, func() bool { return c.stats().Logins == 1 }, 5*time.Second, time.Millisecond)
		cancel()
		require.ErrorIs(t, <-failed, context.Canceled)

		c.server.Inject(iam.Fault{Kind: iam.Hang, Op: iam.OpLogin})
		r = c.formRequest("token", loginFields()...)
		go func() { _, err := c.try(r); failed <- err }()
		require.Eventually(t, func() bool { return c.server.Stats().Calls[iam.OpLogin] == 2 }, 5*time.Second, time.Millisecond)
		c.server.ClearFaults()
		require.Error(t, <-failed)
		require.Equal(t, 1, c.stats().Logins)
	})
}

func TestADelayPassesBeforeTheRequestOrAfterItTookEffect(t *testing.T) {
	for _, did := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCaller(t, plain())
			c.server.Inject(iam.Fault{Kind: iam.Delay, Delay: 7 * time.Second, Did: did, Op: iam.OpLogin})
			start := time.Now()
			open := c.open()
			require.Equal(t, 7*time.Second, time.Since(start))
			sessions := c.server.Sessions(realmName, username)
			require.Equal(t, did, sessions[0].Started.Equal(start))
			c.logout(open.str("refresh_token"))

			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := c.try(c.formRequest("token", loginFields()...).WithContext(ctx))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			synctest.Wait()
			require.Equal(t, did, c.stats().Sessions == 1)
		})
	}
}

func TestALoginGoesOnWhenItsClientGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := plain()
		r.LoginTime = time.Minute
		c := newCaller(t, r)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.try(c.formRequest("token", loginFields()...).WithContext(ctx))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		synctest.Wait()
		require.Equal(t, 1, c.stats().Sessions)
	})
}

func TestAFaultMatchesByOperationRealmAndPathAndIsUsedUp(t *testing.T) {
	c := newCaller(t, plain())
	open := c.open()
	c.server.Inject(iam.Fault{Kind: iam.Status, Op: iam.OpRefresh, Count: 2})
	c.server.Inject(iam.Fault{Kind: iam.Status, Realm: "another"})
	c.server.Inject(iam.Fault{Kind: iam.Status, Path: "/logout", Status: 500})
	c.open()
	require.Equal(t, 503, c.refresh(open.str("refresh_token")).status)
	require.Equal(t, 503, c.refresh(open.str("refresh_token")).status)
	require.Equal(t, 200, c.refresh(open.str("refresh_token")).status)
	require.Equal(t, 500, c.logout(open.str("refresh_token")).status)
	require.Equal(t, 500, c.logout(open.str("refresh_token")).status)
	c.server.ClearFaults()
	require.Equal(t, 204, c.logout(open.str("refresh_token")).status)
	require.Equal(t, map[iam.Op]int{iam.OpLogin: 2, iam.OpRefresh: 3, iam.OpLogout: 3}, c.server.Stats().Calls)
}

func TestAFaultThatCouldNeverDoAnythingIsAMistakeInTheTest(t *testing.T) {
	c := newCaller(t, plain())
	require.Panics(t, func() { c.server.Inject(iam.Fault{Kind: "nonsense"}) })
	require.Panics(t, func() { c.server.Inject(iam.Fault{Kind: iam.Reset, Op: "nonsense"}) })
	require.Panics(t, func() { c.server.Inject(iam.Fault{Kind: iam.Status, Status: 7}) })
}
