package oauth2

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-cleanhttp"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

const (
	maxAnswer = 1 << 20  // bytes of an answer's body
	maxList   = 8 << 20  // of a list of sessions
	maxHeader = 64 << 10 // bytes of an answer's header
)

// newTransport returns the HTTP transport of one connection.
//
// It makes a new connection for each try. On one that is kept, a server's
// closing can cross our request; whether a login then took effect is not known,
// and such a login holds a place in the budget until its session would have
// died. Against that a handshake is cheap, calls of an account are rare, and
// there are no idle connections to close when a config changes.
//
// It speaks HTTP/1.1 only: a connection that carries one request gains nothing from
// HTTP/2, whose client repeats requests by itself and hides a TLS alert that comes
// before the request.
func newTransport(a providers.Connection) *http.Transport {
	t := cleanhttp.DefaultTransport()
	t.ForceAttemptHTTP2 = false
	t.MaxResponseHeaderBytes = maxHeader
	t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, proxy *http.Response) error {
		if proxy.StatusCode != http.StatusOK {
			return proxyError(proxy.StatusCode)
		}
		return nil
	}
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: a.TLSServerName}
	if a.CACert != "" {
		roots, err := x509.SystemCertPool()
		if err != nil { // a system without roots: ours are then all there is
			roots = x509.NewCertPool()
		}
		roots.AppendCertsFromPEM([]byte(a.CACert))
		t.TLSClientConfig.RootCAs = roots
	}
	return t
}

// proxyError is the status with which a proxy refused to connect us.
type proxyError int

// Error implements error.
func (p proxyError) Error() string {
	return fmt.Sprintf("the proxy answered %d and made no connection", int(p))
}

// answer is what a server sent back.
type answer struct {
	status int
	header http.Header
	body   []byte
	list   []providers.ServerSession // instead of the body of a list
	cut    error                     // why it is not whole or cannot be read; nil: it is, and can
}

// date is the server's clock, RFC 9110 section 6.6.1; zero where it does not say.
func (a answer) date() time.Time {
	at, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

// post sends the parameters to the endpoint of the attempt, with what proves the client.
func (c *client) post(ctx context.Context, try *attempt, params map[string]string, asJSON bool, userAgent string) (answer, *providers.Error) {
	header := http.Header{"User-Agent": {userAgent}}
	if err := c.authenticate(params, header); err != nil {
		return answer{}, try.cannotBeMade()
	}
	text, contentType := encode(params, asJSON)
	header.Set("Content-Type", contentType)
	try.echo.add(c.connection.ClientID, c.connection.ClientSecret.Reveal())
	for name, value := range params {
		if !slices.Contains(constants(), name) {
			try.echo.add(value)
		}
	}
	return c.send(ctx, try, http.MethodPost, text, header)
}

// constants are the parameters whose values no config decides.
func constants() []string { return []string{"grant_type", "token_type_hint", "client_assertion_type"} }

// send sends one request and reads its answer, within the account's
// request_timeout. The transport is used without an http.Client, which would
// follow redirects and fail on a redirect whose address it cannot read.
func (c *client) send(ctx context.Context, try *attempt, method, text string, header http.Header) (answer, *providers.Error) {
	ctx, cancel := context.WithTimeout(ctx, c.connection.RequestTimeout)
	defer cancel()
	try.echo.addURL(try.endpoint)
	try.echo.add(header.Get("User-Agent"))
	_, credentials, _ := strings.Cut(header.Get("Authorization"), " ")
	try.echo.add(credentials)
	request, sent, err := newRequest(ctx, method, try.endpoint, text, header)
	if err != nil || request.URL.Host == "" { // a call that Capabilities rule out has no address
		return answer{}, try.cannotBeMade()
	}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return answer{}, try.unanswered(ctx, err, sent.taken())
	}
	defer func() { _ = response.Body.Close() }()
	a := answer{status: response.StatusCode, header: response.Header}
	if try.op == List && a.status == http.StatusOK {
		a.list, a.cut = decodeSessions(http.MaxBytesReader(nil, response.Body, maxList))
	} else {
		a.body, a.cut = io.ReadAll(http.MaxBytesReader(nil, response.Body, maxAnswer))
	}
	if a.cut != nil && ctx.Err() != nil {
		a.cut = ctx.Err()
	}
	try.serverTime = a.date()
	return a, nil
}

func (t *attempt) cannotBeMade() *providers.Error {
	return t.failed(providers.Protocol, providers.DidNotHappen, "the request could not be made", "check the fields of this config")
}

// unanswered explains a call that got no answer. taken: the transport has had
// the whole request. It is not enough to say that the request went out: an error of
// the dialler or of a write says that it did not, whatever was done with the body.
func (t *attempt) unanswered(ctx context.Context, err error, taken bool) *providers.Error {
	outcome, message, advice := providers.Unknown, silence(ctx, err), t.unknownAdvice()
	if !taken || unsent(err) || refusedHandshake(err) != "" {
		outcome = providers.DidNotHappen
		message, advice = t.noConnection(ctx, err)
	}
	failure := t.failed(providers.Unavailable, outcome, message, advice)
	failure.Err = ctx.Err()
	return failure
}

// unsent says that no server can have had the whole request: the connection was not
// made, or did not take the request's last bytes.
func unsent(err error) bool {
	network, ok := errors.AsType[*net.OpError](err)
	return ok && (network.Op == "dial" || network.Op == "proxyconnect") || writeFailed(err)
}

func writeFailed(err error) bool {
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network.Op == "write"
	}
	// Of a write to a TLS connection that net/http has closed, since a read had failed.
	return errors.Is(err, net.ErrClosed)
}

// refusedHandshake returns the alert with which a server refused the TLS connection
// (RFC 8446 section 6.2), or nothing. Under TLS 1.3 it comes when the request has gone
// out already, and says all the same that nobody read it. Where the server's reset of
// the connection overtakes it, nobody can tell.
func refusedHandshake(err error) string {
	// From handshake_failure to no_application_protocol: what the server finds wrong
	// with us before it reads anything.
	alerts := []tls.AlertError{40, 42, 43, 44, 45, 46, 48, 49, 70, 71, 112, 116, 120}
	var network *net.OpError
	if !errors.As(err, &network) || network.Op != "remote error" {
		return ""
	}
	text := network.Err.Error()
	if !slices.ContainsFunc(alerts, func(a tls.AlertError) bool { return a.Error() == text }) {
		return ""
	}
	return strings.TrimPrefix(text, "tls: ")
}

// noConnection tells why a request could not be sent. It words what it knows
// and leaves out the text of other errors, which may quote what a server sent.
func (t *attempt) noConnection(ctx context.Context, err error) (message, advice string) {
	const reach = "check that the host is up and reached from here, and the proxy variables (HTTPS_PROXY, NO_PROXY)"
	var (
		proxy   proxyError
		verify  *tls.CertificateVerificationError
		network *net.OpError
		timed   net.Error
	)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return "the request was cancelled before it was sent", "ask again"
	case strings.HasPrefix(err.Error(), "invalid proxy address"): // and then quotes it, with its password
		return "the address of the proxy cannot be read", "correct HTTPS_PROXY (HTTP_PROXY) in this plugin's environment"
	case errors.As(err, &proxy):
		return proxy.Error(), "have the host allowed at the proxy, or correct HTTPS_PROXY and NO_PROXY in this plugin's environment"
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.As(err, &timed) && timed.Timeout():
		return "no connection within the time allowed", reach
	case is[x509.UnknownAuthorityError](err):
		return "the server's certificate is signed by an authority that is not trusted here", "set ca_cert to the PEM certificate of that authority"
	case is[x509.HostnameError](err):
		return "the server's certificate is for another name", "set tls_server_name to the name in the certificate, or correct " + t.endpointField()
	case errors.As(err, &verify):
		return "the server's certificate is not valid: " + verify.Err.Error(), "have the certificate renewed, or correct ca_cert"
	case is[tls.RecordHeaderError](err), errors.Is(err, http.ErrSchemeMismatch):
		return "the server does not speak TLS", "correct the scheme or the port in " + t.endpointField()
	case is[*net.DNSError](err):
		return "the host name is not known", "correct " + t.endpointField() + ", or the name servers of this machine"
	case refusedHandshake(err) != "":
		return "the server refused the TLS connection: " + refusedHandshake(err),
			"if it wants a client certificate, which this engine does not send, use an address that wants none; else look at the TLS versions that the server allows, and at tls_server_name"
	case writeFailed(err):
		return "the server closed the connection before the request was sent", reach
	case errors.As(err, &network):
		return "no connection: " + network.Err.Error(), reach
	default:
		return "no connection", reach
	}
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// silence says how a call ended whose request had gone out.
func silence(ctx context.Context, err error) string {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return "the request was cancelled before its answer came"
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "no answer within the time allowed"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection broke before the answer came"
	default:
		return "the connection broke before the answer came, or brought something that is not HTTP"
	}
}

// unknownAdvice goes with the outcome Unknown.
func (t *attempt) unknownAdvice() string {
	switch t.op {
	case Login:
		return "the login may have taken effect all the same: do not repeat it at once; if the server is slow, raise request_timeout"
	case Refresh:
		return "the refresh may have taken effect all the same; if the server is slow, raise request_timeout"
	case Logout:
		return "the logout may have taken effect all the same; it can be repeated"
	case List:
		return "nothing was changed; if the server is slow, raise request_timeout"
	case End:
		return "the session may be ended all the same; it can be ended again"
	}
	return ""
}
