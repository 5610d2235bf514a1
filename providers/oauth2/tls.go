package oauth2

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/http"
	"time"
)

// certificateWait bounds how long a server that has asked for a client certificate may
// take to accept that there is none.
const certificateWait = time.Second

// dialTLS returns the function with which a transport makes its TLS connections.
//
// Under TLS 1.3 a server refuses a client without a certificate only when the client
// takes the handshake for done. A request that went out by then makes the server reset
// the connection, and the reset can overtake the alert that says why: nobody could tell
// whether a login took effect. So nothing is sent before the server's next word, an
// alert or, as a rule, the tickets of a new session.
func dialTLS(t *http.Transport) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		plain, err := t.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		config := t.TLSClientConfig.Clone()
		if config.ServerName == "" {
			config.ServerName, _, _ = net.SplitHostPort(address)
		}
		asked := false
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return &tls.Certificate{}, nil
		}
		peeked := &peekedConn{Conn: plain, text: bufio.NewReader(plain)}
		secure := tls.Client(peeked, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = plain.Close()
			return nil, err
		}
		if asked && secure.ConnectionState().Version == tls.VersionTLS13 {
			if err := peeked.nextWord(secure); err != nil {
				_ = plain.Close()
				return nil, err
			}
		}
		return secure, nil
	}
}

// peekedConn is a connection on which can be seen that something has come.
type peekedConn struct {
	net.Conn
	text *bufio.Reader
}

// Read implements net.Conn.
func (c *peekedConn) Read(p []byte) (int, error) { return c.text.Read(p) }

// An encrypted alert is the one record of this length: two bytes, their type, and the
// tag (RFC 8446 sections 5.2 and 6).
const (
	recordHeader = 5
	alertLength  = 2 + 1 + 16
)

// nextWord waits for what the server says after the handshake, and returns the alert
// if it is one.
func (c *peekedConn) nextWord(secure *tls.Conn) error {
	_ = c.SetReadDeadline(time.Now().Add(certificateWait))
	header, _ := c.text.Peek(recordHeader)
	_ = c.SetReadDeadline(time.Time{})
	if len(header) < recordHeader || binary.BigEndian.Uint16(header[3:]) != alertLength {
		return nil // not an alert: nothing has been taken from what the server sent
	}
	_, err := secure.Read(make([]byte, 1))
	return err
}
