package oauthservers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Call is a request to the token or the revocation endpoint, and its status.
type Call struct {
	Revocation bool
	Form       url.Values
	ClientID   string
	AuthMethod string // as a client registers it, RFC 7591
	Status     int
}

// Login says that the call asks for a token without having one.
func (c Call) Login() bool { return !c.Revocation && !c.Refresh() }

// Refresh says that the call redeems a refresh token.
func (c Call) Refresh() bool { return c.Form.Get("grant_type") == "refresh_token" }

// Recorder is the proxy before a server. It keeps each call, in the order of
// their answers.
type Recorder struct {
	socket *httptest.Server

	mu    sync.Mutex
	calls []Call
}

func newRecorder(target string, config Config) *Recorder {
	at, err := url.Parse(target)
	if err != nil {
		panic(err) // it is made of a port
	}
	r := &Recorder{}
	through := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(at)
		p.Out.Host = p.In.Host // the server names itself after it
	}}
	r.socket = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // the client has gone
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		call := newCall(req, body)
		call.Revocation = req.URL.Path == config.RevocationPath
		answer := &statusWriter{ResponseWriter: w}
		through.ServeHTTP(answer, req)
		call.Status = answer.status
		r.mu.Lock()
		defer r.mu.Unlock()
		r.calls = append(r.calls, call)
	}))
	return r
}

func newCall(r *http.Request, body []byte) Call {
	form, _ := url.ParseQuery(string(body)) // what cannot be read is missing in the call
	call := Call{Form: form, ClientID: form.Get("client_id"), AuthMethod: "none"}
	switch id, _, basic := r.BasicAuth(); {
	case basic:
		call.ClientID, _ = url.QueryUnescape(id)
		call.AuthMethod = "client_secret_basic"
	case form.Has("client_assertion"):
		call.ClientID = subject(form.Get("client_assertion"))
		call.AuthMethod = "private_key_jwt"
	case form.Has("client_secret"):
		call.AuthMethod = "client_secret_post"
	}
	return call
}

// Calls returns those of a client that a filter wants.
func (r *Recorder) Calls(client string, wanted func(Call) bool) []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.calls), func(c Call) bool { return c.ClientID != client || !wanted(c) })
}

// subject is the claim sub of an assertion, which the server verifies.
func subject(assertion string) string {
	var who struct {
		Subject string `json:"sub"`
	}
	if text, isJWT := claims(assertion); isJWT {
		_ = json.Unmarshal(text, &who) // without claims there is no subject
	}
	return who.Subject
}

// claims are those of a JWT, unverified.
func claims(jwt string) ([]byte, bool) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return nil, false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	return text, err == nil
}

type statusWriter struct {
	http.ResponseWriter

	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
