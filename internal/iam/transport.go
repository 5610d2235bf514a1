package iam

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"syscall"
)

// Transport returns a RoundTripper that answers from this server in memory,
// for every host and for https as well, without sockets and goroutines. The
// handler runs in the caller's goroutine and sees the request's context; when
// that ends, the error is the context's and the request may have taken place.
// Of an httptrace.ClientTrace it calls WroteRequest, unless the server was
// Unreachable, and GotFirstResponseByte, if there is an answer.
func (s *Server) Transport() http.RoundTripper { return transport{s} }

type transport struct{ server *Server }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer func() { _ = req.Body.Close() }()
	}
	ctx := req.Context()
	if err := ctx.Err(); err != nil {
		return nil, err // surely did not take place
	}
	in := req.Clone(ctx)
	in.RequestURI = req.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:1"
	if in.Host == "" {
		in.Host = req.URL.Host
	}
	if req.URL.Scheme == "https" {
		in.TLS = &tls.ConnectionState{}
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}

	rec := newRecorder()
	aborted := t.serve(rec, in)
	if rec.unreachable {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case aborted:
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	}
	if trace != nil && trace.GotFirstResponseByte != nil {
		trace.GotFirstResponseByte()
	}
	return rec.response(req), nil
}

// serve runs the handler and says whether it broke the connection off.
func (t transport) serve(rec *recorder, r *http.Request) (aborted bool) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		if err, ok := cause.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
			panic(cause)
		}
		aborted = true
	}()
	t.server.ServeHTTP(rec, r)
	return false
}

// response turns the recorded answer into a client's.
func (rec *recorder) response(req *http.Request) *http.Response {
	status := max(rec.status, http.StatusOK)
	if rec.header["Date"] == nil {
		delete(rec.header, "Date")
	}
	length := int64(rec.body.Len())
	var body io.Reader = &rec.body
	if promised, err := strconv.ParseInt(rec.header.Get("Content-Length"), 10, 64); err == nil && promised > length {
		length = promised
		body = io.MultiReader(&rec.body, brokenOff{})
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: rec.header, Body: io.NopCloser(body), ContentLength: length, Request: req,
	}
}

// brokenOff is the rest of a body that never came.
type brokenOff struct{}

// Read implements io.Reader.
func (brokenOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
