package oauth2

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// newRequest makes a request with the text for its body; with an empty text it
// goes out without one.
func newRequest(ctx context.Context, method, endpoint, text string, header http.Header) (*http.Request, *body, error) {
	// A body of a type that net/http does not know leaves Request.GetBody nil.
	// That is what keeps its transports from sending a request again: HTTP/2
	// would after a stream error, HTTP/1 on a connection that had died. Both can
	// only repeat a body which they can get afresh, or have not begun to read.
	b := &body{left: strings.NewReader(text)}
	r, err := http.NewRequestWithContext(ctx, method, endpoint, b)
	if err != nil {
		return nil, nil, err
	}
	r.ContentLength = int64(len(text))
	r.Header = header
	r.Header.Set("Accept", "application/json") // without it Keycloak answers refusals with a page
	return r, b, nil
}

func encode(params map[string]string, asJSON bool) (text, contentType string) {
	if asJSON {
		b, _ := json.Marshal(params) // strings always can
		return string(b), "application/json"
	}
	form := make(url.Values, len(params))
	for name, value := range params {
		form.Set(name, value)
	}
	return form.Encode(), "application/x-www-form-urlencoded"
}

// body is a request's body that knows how much of it the transport has taken.
//
// Nothing else tells for certain that a request did not reach the server: the
// hook httptrace.WroteRequest comes before HTTP/1 flushes its buffer, and in
// HTTP/2 possibly after the call has returned. But a server cannot act on a
// request whose end was never handed out.
type body struct {
	mu     sync.Mutex
	left   *strings.Reader
	asked  bool // an empty one is taken when the transport has asked for it
	closed bool
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	b.asked = true
	return b.left.Read(p)
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.taken()
	return nil
}

// taken closes the body and says whether all of it has been handed out. The
// answer is final, also where a transport's goroutine still writes.
func (b *body) taken() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.asked && b.left.Len() == 0
}

var _ io.ReadCloser = (*body)(nil)

// Op is a call to the server.
type Op string

// The calls.
const (
	Login   Op = "login"
	Refresh Op = "refresh"
	Logout  Op = "logout"
	List    Op = "list sessions"
	End     Op = "end session"
)
