package iam

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Kind is what a Fault does to an answer.
type Kind string

// The kinds of fault. Truncated, Lie and LoseAnswer spoil the answer to a
// request that took effect; with the others it takes effect where Fault.Did is
// set, and with Delay always, unless the client leaves first.
const (
	Delay      Kind = "delay"       // nothing but Fault.Delay
	Status     Kind = "status"      // Fault.Status (503), Header and Body
	Hang       Kind = "hang"        // no answer until the client leaves or faults are cleared
	Reset      Kind = "reset"       // the connection is reset
	HTML       Kind = "html"        // a page with Fault.Status (200)
	Empty      Kind = "empty"       // no body, Fault.Status (200)
	Huge       Kind = "huge"        // Fault.Size bytes (16 MiB) of JSON
	Redirect   Kind = "redirect"    // 307 to Fault.Header's Location (one that counts OpFollowedRedirect)
	Truncated  Kind = "truncated"   // half of the body, then the connection ends
	Lie        Kind = "lie"         // the JSON answer with Fault.Answer written over it
	LoseAnswer Kind = "lose-answer" // it did it, but the connection is reset
	// Unreachable refuses the connection in memory; over a socket it is Reset.
	Unreachable Kind = "unreachable"
)

// redirectTarget is where Redirect leads to. Who follows is counted.
const redirectTarget = "/_iam/redirected"

// Fault spoils requests. The oldest fault that matches a request is applied to
// it, and no other.
type Fault struct {
	// What it matches; an empty field matches everything.
	Op    Op     `json:"op"`
	Realm string `json:"realm"`
	Path  string `json:"path"` // part of the URL's path

	// After is how many matching requests pass unharmed first.
	After int `json:"after"`
	// Count is how many requests it spoils; 0: all, until faults are cleared.
	Count int `json:"count"`

	Kind Kind `json:"kind"`
	// Did lets the request take effect before its answer is spoiled.
	Did bool `json:"did"`
	// Delay passes before the answer, and, without Did, before the request is
	// looked at. A client that leaves meanwhile is not waited for.
	Delay time.Duration `json:"-"`

	Status int               `json:"status"`
	Header map[string]string `json:"header"`
	Body   string            `json:"body"`
	Size   int               `json:"size"`
	// Answer are fields of the JSON answer; nil removes one. {"expires_in":
	// 86400} is a server that lies about expiry.
	Answer map[string]any `json:"answer"`
}

func (f *Fault) validate() error {
	switch f.Kind {
	case Delay, Status, Hang, Reset, HTML, Empty, Huge, Redirect, Truncated, Lie, LoseAnswer, Unreachable:
	default:
		return fmt.Errorf("kind %q does not exist", f.Kind)
	}
	switch f.Op {
	case "", OpLogin, OpRefresh, OpClientCredentials, OpLogout, OpRevoke, OpUserinfo,
		OpAccount, OpAccountList, OpAccountEnd, OpPartnerToken, OpResource, OpUnknownGrant:
	case OpFollowedRedirect:
		return fmt.Errorf("op %q cannot be spoiled", f.Op)
	default:
		return fmt.Errorf("op %q does not exist", f.Op)
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("status %d: want 200 to 599", f.Status)
	}
	if f.After < 0 || f.Count < 0 || f.Delay < 0 || f.Size < 0 {
		return errors.New("after, count, delay and size cannot be negative")
	}
	return nil
}

func (f *Fault) matches(op Op, r *http.Request) bool {
	account := op == OpAccountList || op == OpAccountEnd
	return (f.Op == "" || f.Op == op || f.Op == OpAccount && account) &&
		(f.Realm == "" || f.Realm == r.PathValue("realm")) &&
		strings.Contains(r.URL.Path, f.Path)
}

// Inject adds a fault. It panics on one that could never do anything, which is
// a mistake in the test.
func (s *Server) Inject(f Fault) {
	if err := f.validate(); err != nil {
		panic("iam: " + err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults removes all faults and lets go the requests that hang.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	close(s.unhang)
	s.unhang = make(chan struct{})
}

// faulty counts a call and serves it, spoiled where a fault matches.
func (s *Server) faulty(op func(*http.Request) Op, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := readBody(r); err != nil {
			refuse(http.StatusBadRequest, "invalid_request", err.Error()).write(w, r)
			return
		}
		f, unhang := s.match(op(r), r)
		if f == nil {
			next(w, r)
			return
		}
		f.spoil(w, r, next, unhang)
	})
}

// match takes one use of the first fault that matches the request.
func (s *Server) match(op Op, r *http.Request) (*Fault, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[op]++
	for i, f := range s.faults {
		if !f.matches(op, r) {
			continue
		}
		if f.After > 0 {
			f.After--
			continue
		}
		if f.Count == 1 {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		} else if f.Count > 1 {
			f.Count--
		}
		s.faulted[op]++
		taken := *f
		return &taken, s.unhang
	}
	return nil, nil
}

// spoil serves one request with the fault. Whatever cuts the connection ends in
// http.ErrAbortHandler, which net/http and RoundTripper both understand.
func (f *Fault) spoil(w http.ResponseWriter, r *http.Request, next http.HandlerFunc, unhang <-chan struct{}) {
	var answer *recorder
	if f.Did {
		answer = record(next, r)
	}
	if !pause(r.Context(), f.Delay) {
		panic(http.ErrAbortHandler)
	}
	if answer == nil && f.needsAnswer() {
		answer = record(next, r)
	}
	for name, value := range f.Header {
		w.Header().Set(name, value)
	}
	switch f.Kind {
	case Delay:
		answer.replay(w, answer.body.Bytes())
	case Truncated:
		w.Header().Set("Content-Length", strconv.Itoa(answer.body.Len()))
		answer.replay(w, answer.body.Bytes()[:answer.body.Len()/2])
	case Lie:
		answer.replay(w, f.overwrite(answer.body.Bytes()))
	case LoseAnswer, Reset:
		cut(w)
	case Unreachable:
		if memory, ok := w.(*recorder); ok {
			memory.unreachable = true
			return
		}
		cut(w)
	case Hang:
		select {
		case <-r.Context().Done():
		case <-unhang:
		}
		panic(http.ErrAbortHandler)
	case Status:
		w.WriteHeader(f.statusOr(http.StatusServiceUnavailable))
		_, _ = w.Write([]byte(f.Body))
	case HTML:
		writePage(w, f.statusOr(http.StatusOK), "The service is being maintained.")
	case Empty:
		w.WriteHeader(f.statusOr(http.StatusOK))
	case Huge:
		f.writeHuge(w)
	case Redirect:
		if w.Header().Get("Location") == "" {
			w.Header().Set("Location", redirectTarget)
		}
		w.WriteHeader(f.statusOr(http.StatusTemporaryRedirect))
	}
}

func (f *Fault) needsAnswer() bool {
	switch f.Kind {
	case Delay, Truncated, Lie, LoseAnswer:
		return true
	case Status, Hang, Reset, HTML, Empty, Huge, Redirect, Unreachable:
	}
	return false
}

// countRedirected answers whoever followed a Redirect.
func (s *Server) countRedirected(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	s.calls[OpFollowedRedirect]++
	s.mu.Unlock()
	writePage(w, http.StatusOK, "You were redirected.")
}

func record(next http.HandlerFunc, r *http.Request) *recorder {
	rec := newRecorder()
	next(rec, r)
	return rec
}

func (f *Fault) statusOr(otherwise int) int {
	if f.Status != 0 {
		return f.Status
	}
	return otherwise
}

// overwrite puts Answer over a JSON object; any other body stays as it is.
func (f *Fault) overwrite(body []byte) []byte {
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil {
		return body
	}
	maps.Copy(fields, f.Answer)
	for name, value := range f.Answer {
		if value == nil {
			delete(fields, name)
		}
	}
	return encodeJSON(fields)
}

// writeHuge writes a JSON object that is well formed but for its size.
func (f *Fault) writeHuge(w http.ResponseWriter) {
	size := f.Size
	setDefault(&size, 16<<20)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.statusOr(http.StatusOK))
	const opening, closing = `{"access_token":"`, `"}`
	_, _ = w.Write([]byte(opening))
	chunk := []byte(strings.Repeat("a", 64<<10))
	for left := size - len(opening) - len(closing); left > 0; left -= len(chunk) {
		if _, err := w.Write(chunk[:min(left, len(chunk))]); err != nil {
			return // the client has read enough
		}
	}
	_, _ = w.Write([]byte(closing))
}

// cut resets the connection, or closes it where it cannot be got hold of.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tls, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = tls.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // makes Close send a reset
	}
	_ = conn.Close()
}
