package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// journal writes down what was asked of the identity server about each session,
// so that a broken promise can be explained afterwards. It keeps ids, never a
// token.
type journal struct {
	next  http.Handler
	begin time.Time

	mu    sync.Mutex
	lines []entry
}

// entry is one request and its answer. Times are since the journal's begin.
type entry struct {
	session           string // at the server; empty: it is about none
	arrived, answered time.Duration
	what              string
	status            int
}

func (e entry) String() string {
	return fmt.Sprintf("%.3f s to %.3f s: %s: %d", e.arrived.Seconds(), e.answered.Seconds(), e.what, e.status)
}

func newJournal(next http.Handler) *journal {
	return &journal{next: next, begin: time.Now()}
}

// ServeHTTP implements http.Handler.
func (j *journal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/api/") { // the readers' own requests
		j.next.ServeHTTP(w, r)
		return
	}
	arrived := time.Since(j.begin)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := &copied{ResponseWriter: w}
	j.next.ServeHTTP(answer, r)

	form, _ := url.ParseQuery(string(body))
	session, what := sessionOf(form.Get("refresh_token")), form.Get("grant_type")
	var given struct {
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal(answer.body.Bytes(), &given) == nil && given.AccessToken != "" {
		session = sessionOf(given.AccessToken)
	}
	switch {
	case what == "password":
		what = "login " + attempt(r.UserAgent())
	case strings.Contains(r.URL.Path, "/account/sessions"):
		what = r.Method + " " + r.URL.Path
		_, session, _ = strings.Cut(r.URL.Path, "/account/sessions/")
	case what == "":
		what = r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, entry{
		session: session, arrived: arrived, answered: time.Since(j.begin),
		what: fmt.Sprintf("%s from %s", what, r.RemoteAddr), status: answer.status,
	})
}

// of returns what is written down about a session.
func (j *journal) of(session string) string {
	return strings.Join(j.lookUp(func(e entry) bool { return e.session == session }), "; ")
}

// leftAlone returns what is written down about each session that nobody ended.
func (j *journal) leftAlone() []string {
	ended, all := map[string]bool{}, []string{}
	j.mu.Lock()
	for _, e := range j.lines {
		switch {
		case e.session == "" || e.status >= http.StatusBadRequest:
		case strings.HasPrefix(e.what, "login "):
			all = append(all, e.session)
		case strings.HasPrefix(e.what, "logout "), strings.HasPrefix(e.what, http.MethodDelete):
			ended[e.session] = true
		}
	}
	j.mu.Unlock()
	var left []string
	for _, session := range all {
		if !ended[session] {
			left = append(left, j.of(session))
		}
	}
	return left
}

// since returns what was answered after a moment.
func (j *journal) since(begin time.Duration) []string {
	return j.lookUp(func(e entry) bool { return e.answered >= begin })
}

// all returns everything that is written down.
func (j *journal) all() []string {
	return j.lookUp(func(entry) bool { return true })
}

func (j *journal) lookUp(wanted func(entry) bool) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []string
	for _, e := range j.lines {
		if wanted(e) {
			found = append(found, e.String())
		}
	}
	return found
}

// sessionOf is the id of the session in a token; empty: there is none.
func sessionOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Session string `json:"sid"`
	}
	_ = json.Unmarshal(data, &claims)
	return claims.Session
}

// copied keeps a copy of an answer.
type copied struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

// WriteHeader implements http.ResponseWriter.
func (c *copied) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (c *copied) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	c.body.Write(p)
	return c.ResponseWriter.Write(p)
}

// Unwrap lets faults get hold of the connection.
func (c *copied) Unwrap() http.ResponseWriter { return c.ResponseWriter }
