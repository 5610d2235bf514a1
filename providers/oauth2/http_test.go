package oauth2_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// server answers on a loopback socket and counts the requests.
func server(t *testing.T, handler http.HandlerFunc) (url string, calls *atomic.Int32) {
	t.Helper()
	calls = new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, calls
}

func at(url string) providers.Account {
	a := account("keycloak")
	a.BaseURL = url
	return a
}

func assertFailed(t *testing.T, err error, kind providers.Kind, outcome providers.Outcome) providers.Error {
	t.Helper()
	failure := asError(t, err)
	assert.Equal(t, kind.String(), failure.Kind.String())
	assert.Equal(t, outcome.String(), failure.Outcome.String())
	return *failure
}

func TestALoginOverARealConnection(t *testing.T) {
	url, calls := server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, granted) })
	got, err := do(t.Context(), connect(t, at(url), "keycloak", nil), "login")
	require.NoError(t, err)
	assert.Equal(t, "at", got.AccessToken.Reveal())
	assert.EqualValues(t, 1, calls.Load())
}

func TestNothingIsRepeatedOverARealConnection(t *testing.T) {
	hangUp := func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.(*net.TCPConn).SetLinger(0) // reset instead of an orderly end
			_ = conn.Close()
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		kind    providers.Kind
		outcome providers.Outcome
	}{
		"reset after the request": {hangUp, providers.Unavailable, providers.Unknown},
		"closed after the request": {
			func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			providers.Unavailable, providers.Unknown,
		},
		"an answer that breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, granted)
		}, providers.Protocol, providers.Unknown},
		"a refusal that breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusBadRequest)
		}, providers.Protocol, providers.DidNotHappen},
		"ten megabytes": {func(w http.ResponseWriter, _ *http.Request) {
			for range 10 << 4 {
				if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
					return
				}
			}
		}, providers.Protocol, providers.Unknown},
		"a header without end": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
		}, providers.Unavailable, providers.Unknown},
		"a redirect": {
			func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/again", http.StatusTemporaryRedirect)
			},
			providers.Protocol, providers.DidNotHappen,
		},
		"no HTTP": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, "your secret was "+testClientSecret+"\r\n\r\n")
				_ = conn.Close()
			}
		}, providers.Unavailable, providers.Unknown},
	} {
		for _, op := range []string{"login", "refresh"} {
			t.Run(name+", "+op, func(t *testing.T) {
				url, calls := server(t, c.handler)
				_, err := do(t.Context(), connect(t, at(url), "keycloak", nil), op)
				failure := assertFailed(t, err, c.kind, c.outcome)
				assert.NotContains(t, failure.Message, "your secret was", "a server's words that are not OAuth's")
				assert.EqualValues(t, 1, calls.Load())
			})
		}
	}
}

func TestAnAnswerIsTakenUpToItsBounds(t *testing.T) {
	const kib = 1 << 10
	for name, c := range map[string]struct {
		header, body int
		refused      bool
		kind         providers.Kind
	}{
		"a long header":     {header: 64*kib - 512}, // there are others
		"too long a header": {header: 64*kib + 1, refused: true, kind: providers.Unavailable},
		"a long body":       {body: 1024 * kib},
		"too long a body":   {body: 1024*kib + 1, refused: true, kind: providers.Protocol},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := server(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Long", strings.Repeat("x", c.header))
				_, _ = io.WriteString(w, granted+strings.Repeat(" ", max(0, c.body-len(granted))))
			})
			_, err := do(t.Context(), connect(t, at(url), "keycloak", nil), "login")
			if !c.refused {
				require.NoError(t, err)
				return
			}
			assertFailed(t, err, c.kind, providers.Unknown)
		})
	}
}

func TestHTTP2IsNotSpoken(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, 1, r.ProtoMajor)
		_, _ = io.WriteString(w, granted)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	a := at(s.URL)
	a.CACert = pemOf(s.Certificate())
	_, err := do(t.Context(), connect(t, a, "keycloak", nil), "login")
	require.NoError(t, err)
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func TestEachCallHasAConnectionOfItsOwn(t *testing.T) {
	var connections atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, granted) }))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	up := connect(t, at(s.URL), "keycloak", nil)
	for range 3 {
		_, err := do(t.Context(), up, "login")
		require.NoError(t, err)
	}
	assert.EqualValues(t, 3, connections.Load())
}

func TestAnErrorOfDiallerOrWriteMeansThatTheRequestWasNotSent(t *testing.T) {
	for op, outcome := range map[string]providers.Outcome{
		"dial":         providers.DidNotHappen,
		"proxyconnect": providers.DidNotHappen,
		"write":        providers.DidNotHappen,
		"read":         providers.Unknown,
	} {
		rt := &roundTrip{err: &net.OpError{Op: op, Net: "tcp", Err: syscall.ECONNRESET}}
		_, err := do(t.Context(), connect(t, account("ocp"), "ocp", rt), "login")
		assertFailed(t, err, providers.Unavailable, outcome)
	}
}

func TestAServerThatIsNotThereIsUnavailable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	_, err = do(t.Context(), connect(t, at("http://"+addr), "keycloak", nil), "login")
	failure := assertFailed(t, err, providers.Unavailable, providers.DidNotHappen)
	assert.Equal(t, addr, failure.Host)
	assert.Contains(t, failure.Message, "connection refused")
}

func TestAnUnknownHostSaysSo(t *testing.T) {
	_, err := do(t.Context(), connect(t, at("https://nowhere.invalid"), "keycloak", nil), "login")
	assertFailed(t, err, providers.Unavailable, providers.DidNotHappen)
}

func TestTheServersCertificateIsChecked(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, granted) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	own := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))

	trusted := at(s.URL)
	trusted.CACert = own
	_, err := do(t.Context(), connect(t, trusted, "keycloak", nil), "login")
	require.NoError(t, err)

	_, err = do(t.Context(), connect(t, at(s.URL), "keycloak", nil), "login")
	assert.Contains(t, assertFailed(t, err, providers.Unavailable, providers.DidNotHappen).Advice, "ca_cert")

	wrongName := trusted
	wrongName.TLSServerName = "other.example.org"
	_, err = do(t.Context(), connect(t, wrongName, "keycloak", nil), "login")
	assert.Contains(t, assertFailed(t, err, providers.Unavailable, providers.DidNotHappen).Advice, "tls_server_name")

	rightName := trusted
	rightName.TLSServerName = "example.com" // the name in httptest's certificate
	_, err = do(t.Context(), connect(t, rightName, "keycloak", nil), "login")
	require.NoError(t, err)
}

func TestOldTLSIsRefused(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} // that is the point
	s.StartTLS()
	t.Cleanup(s.Close)
	_, err := do(t.Context(), connect(t, at(s.URL), "keycloak", nil), "login")
	assertFailed(t, err, providers.Unavailable, providers.DidNotHappen)
}

func TestAPlainServerBehindHTTPSSaysSo(t *testing.T) {
	url, calls := server(t, func(http.ResponseWriter, *http.Request) {})
	_, err := do(t.Context(), connect(t, at(strings.Replace(url, "http", "https", 1)), "keycloak", nil), "login")
	assert.Contains(t, assertFailed(t, err, providers.Unavailable, providers.DidNotHappen).Message, "does not speak TLS")
	assert.Zero(t, calls.Load())
}

// waiting is a transport without an answer. Where unread, it has not begun to send.
type waiting struct{ unread bool }

func (w waiting) RoundTrip(r *http.Request) (*http.Response, error) {
	if !w.unread {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

func TestSilenceEndsWithTheTimeAllowed(t *testing.T) {
	for _, c := range []struct {
		name    string
		unread  bool
		limit   time.Duration // of the caller; 0: none
		want    time.Duration
		outcome providers.Outcome
		message string
	}{
		{"after sending, request_timeout", false, 0, 10 * time.Second, providers.Unknown, "no answer within the time allowed"},
		{"after sending, the caller's deadline", false, 3 * time.Second, 3 * time.Second, providers.Unknown, "no answer within the time allowed"},
		{"before sending", true, 0, 10 * time.Second, providers.DidNotHappen, "no connection within the time allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.limit > 0 {
					ctx, cancel = context.WithTimeout(ctx, c.limit)
					defer cancel()
				}
				start := time.Now()
				_, err := do(ctx, connect(t, account("ocp"), "ocp", waiting{c.unread}), "login")
				assert.Equal(t, c.want, time.Since(start))
				assert.Equal(t, c.message, assertFailed(t, err, providers.Unavailable, c.outcome).Message)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			})
		})
	}
}

func TestACallerThatLeavesEndsTheCall(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url, _ := server(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_, err := do(ctx, connect(t, at(url), "keycloak", nil), "login")
	failure := assertFailed(t, err, providers.Unavailable, providers.Unknown)
	assert.Equal(t, "the request was cancelled before its answer came", failure.Message)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestABodyThatHangsEndsWithTheTimeAllowed(t *testing.T) {
	a := account("keycloak")
	url, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, granted[:20])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	a.BaseURL, a.RequestTimeout = url, 100*time.Millisecond
	_, err := do(t.Context(), connect(t, a, "keycloak", nil), "login")
	assertFailed(t, err, providers.Unavailable, providers.Unknown)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

// half is a transport that fails with the end of the request still in its hands.
type half struct{ err error }

func (h half) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength-1)
	return nil, h.err
}

func TestARequestWhoseEndWasNeverTakenDidNotHappen(t *testing.T) {
	_, err := do(t.Context(), connect(t, account("ocp"), "ocp", half{errors.New("broken pipe " + testPassword)}), "login")
	assertFailed(t, err, providers.Unavailable, providers.DidNotHappen)
}

func TestAProxysPasswordIsNotShown(t *testing.T) {
	_, err := do(t.Context(), connect(t, account("ocp"), "ocp", half{errors.New(`invalid proxy address "http://u:pr0xy@h": x`)}), "login")
	failure := assertFailed(t, err, providers.Unavailable, providers.DidNotHappen)
	assert.NotContains(t, failure.Error(), "pr0xy")
	assert.Contains(t, failure.Advice, "HTTPS_PROXY")
}

// certificateWanted is a server that wants a client certificate. It takes what the
// client has sent before it closes, so that no reset overtakes its alert.
func certificateWanted(t *testing.T, version uint16) (url, roots string) {
	t.Helper()
	s := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(s.Close)
	config := &tls.Config{Certificates: s.TLS.Certificates, MinVersion: version, MaxVersion: version, ClientAuth: tls.RequireAnyClientCert}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { _ = listener.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			assert.Error(t, tls.Server(conn, config).Handshake())
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()
	return "https://" + listener.Addr().String(), pemOf(s.Certificate())
}

func TestAServerThatWantsAClientCertificateWasNotReached(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			url, roots := certificateWanted(t, version)
			a := at(url)
			a.CACert = roots
			up := connect(t, a, "keycloak", nil)
			// Under TLS 1.3 net/http may tell the failed write of the request instead of
			// the alert, which has come at the same time.
			require.Eventually(t, func() bool {
				_, err := do(t.Context(), up, "login")
				failure := assertFailed(t, err, providers.Unavailable, providers.DidNotHappen)
				return strings.Contains(failure.Message, "the server refused the TLS connection: ") && strings.Contains(failure.Advice, "client certificate")
			}, 10*time.Second, time.Millisecond)
		})
	}
}

// What a server finds wrong with us in the handshake it finds before it reads anything.
func TestAnAlertOfTheHandshakeMeansThatNothingWasRead(t *testing.T) {
	ofTheHandshake := []string{
		"handshake failure", "bad certificate", "unsupported certificate", "revoked certificate", "expired certificate", "unknown certificate",
		"unknown certificate authority", "access denied", "protocol version not supported", "insufficient security level",
		"unrecognized name", "certificate required", "no application protocol",
	}
	for alert := range 256 {
		said := tls.AlertError(alert).Error()
		outcome := providers.Unknown
		if slices.Contains(ofTheHandshake, strings.TrimPrefix(said, "tls: ")) {
			outcome = providers.DidNotHappen
		}
		rt := &roundTrip{err: &net.OpError{Op: "remote error", Err: tls.AlertError(alert)}}
		_, err := do(t.Context(), connect(t, account("panta"), "panta", rt), "login")
		assert.Equal(t, outcome, assertFailed(t, err, providers.Unavailable, outcome).Outcome, "%d: %s", alert, said)
	}
}

func TestACallThatEndsWithoutAnAnswerSaysHow(t *testing.T) {
	for _, c := range []struct {
		err     error
		message string
	}{
		{io.EOF, "the connection broke before the answer came"},
		{io.ErrUnexpectedEOF, "the connection broke before the answer came"},
		{syscall.ECONNRESET, "the connection broke before the answer came"},
		{syscall.EPIPE, "the connection broke before the answer came"},
		{errors.New("malformed HTTP response"), "the connection broke before the answer came, or brought something that is not HTTP"},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, "no connection within the time allowed"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "no connection: connection refused"},
		{&net.OpError{Op: "dial", Err: &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}}, "the server's certificate is not valid: x509: certificate has expired or is not yet valid:"},
	} {
		up := connect(t, account("panta"), "panta", &roundTrip{err: c.err})
		for _, op := range []string{"login", "refresh", "logout"} {
			_, err := do(t.Context(), up, op)
			assert.Equal(t, c.message, asError(t, err).Message, op)
		}
		_, err := up.ListSessions(t.Context(), providers.NewSecret("at"))
		assert.Equal(t, c.message, asError(t, err).Message)
		assert.Equal(t, c.message, asError(t, up.EndSession(t.Context(), providers.NewSecret("at"), "id")).Message)
	}
}

func TestACallThatWasNotSentSaysWhyAndWhatToDo(t *testing.T) {
	over := func(end func(context.Context) (context.Context, context.CancelFunc)) context.Context {
		ctx, cancel := end(t.Context())
		cancel()
		return ctx
	}
	const reach = "check that the host is up and reached from here, and the proxy variables (HTTPS_PROXY, NO_PROXY)"
	inNoTime := func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, 0) }
	for name, c := range map[string]struct {
		ctx             context.Context // nil: that of the test
		err             error
		message, advice string
	}{
		"cancelled":               {over(context.WithCancel), context.Canceled, "the request was cancelled before it was sent", "ask again"},
		"the time is over":        {over(inNoTime), context.DeadlineExceeded, "no connection within the time allowed", reach},
		"the dialler's time":      {nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, "no connection within the time allowed", reach},
		"the proxy's address":     {nil, errors.New(`invalid proxy address "x"`), "the address of the proxy cannot be read", "correct HTTPS_PROXY (HTTP_PROXY) in this plugin's environment"},
		"authority":               {nil, x509.UnknownAuthorityError{}, "the server's certificate is signed by an authority that is not trusted here", "set ca_cert to the PEM certificate of that authority"},
		"name":                    {nil, x509.HostnameError{Certificate: &x509.Certificate{}}, "the server's certificate is for another name", "set tls_server_name to the name in the certificate, or correct base_url"},
		"certificate":             {nil, &tls.CertificateVerificationError{Err: errors.New("it has ended")}, "the server's certificate is not valid: it has ended", "have the certificate renewed, or correct ca_cert"},
		"no TLS":                  {nil, tls.RecordHeaderError{}, "the server does not speak TLS", "correct the scheme or the port in base_url"},
		"HTTP to an HTTPS client": {nil, http.ErrSchemeMismatch, "the server does not speak TLS", "correct the scheme or the port in base_url"},
		"no such host":            {nil, &net.DNSError{Err: "no such host", Name: "h", IsNotFound: true}, "the host name is not known", "correct base_url, or the name servers of this machine"},
		"alert": {
			nil, &net.OpError{Op: "remote error", Err: tls.AlertError(116)}, "the server refused the TLS connection: certificate required",
			"if it wants a client certificate, which this engine does not send, use an address that wants none; else look at the TLS versions that the server allows, and at tls_server_name",
		},
		"write":   {nil, &net.OpError{Op: "write", Err: syscall.EPIPE}, "the server closed the connection before the request was sent", reach},
		"refused": {nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "no connection: connection refused", reach},
		"else":    {nil, errors.New("anything"), "no connection", reach},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := do(cmp.Or(c.ctx, t.Context()), connect(t, account("keycloak"), "keycloak", half{c.err}), "login")
			failure := assertFailed(t, err, providers.Unavailable, providers.DidNotHappen)
			assert.Equal(t, c.message, failure.Message)
			assert.Equal(t, c.advice, failure.Advice)
		})
	}
}

func TestACallOfUnknownOutcomeSaysWhetherItMayBeRepeated(t *testing.T) {
	up := connect(t, account("keycloak"), "keycloak", &roundTrip{err: io.EOF})
	calls := map[string]func() error{
		"the login may have taken effect all the same: do not repeat it at once; if the server is slow, raise request_timeout": func() error { _, err := do(t.Context(), up, "login"); return err },
		"the refresh may have taken effect all the same; if the server is slow, raise request_timeout":                         func() error { _, err := do(t.Context(), up, "refresh"); return err },
		"the logout may have taken effect all the same; it can be repeated":                                                    func() error { _, err := do(t.Context(), up, "logout"); return err },
		"nothing was changed; if the server is slow, raise request_timeout": func() error {
			_, err := up.ListSessions(t.Context(), providers.NewSecret("at"))
			return err
		},
		"the session may be ended all the same; it can be ended again": func() error { return up.EndSession(t.Context(), providers.NewSecret("at"), "id") },
	}
	for advice, call := range calls {
		failure := assertFailed(t, call(), providers.Unavailable, providers.Unknown)
		assert.Equal(t, advice, failure.Advice)
	}
}

// late is a transport whose answers come to their end when the time is over.
type late struct{ err error }

func (l late) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	body, writer := io.Pipe()
	go func() {
		_, _ = io.WriteString(writer, granted)
		<-r.Context().Done()
		_ = writer.CloseWithError(l.err)
	}()
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: body, Request: r}, nil
}

func TestAnAnswerThatIsCutWhenTheTimeIsOverIsOneThatCameTooLate(t *testing.T) {
	a := account("panta")
	a.RequestTimeout = 20 * time.Millisecond
	_, err := do(t.Context(), connect(t, a, "panta", late{io.ErrUnexpectedEOF}), "login")
	failure := assertFailed(t, err, providers.Unavailable, providers.Unknown)
	assert.Equal(t, "the answer did not come to its end in time", failure.Message)
	_, err = do(t.Context(), connect(t, a, "panta", late{io.EOF}), "login")
	assert.NoError(t, err, "a whole answer counts, however late it came")
}
