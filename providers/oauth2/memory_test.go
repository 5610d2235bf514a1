package oauth2

import (
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// fill repeats one thing up to a length.
func fill(one string, length int) string { return strings.Repeat(one, length/len(one)) }

// stream is an answer without a length, as a hostile server sends it.
type stream struct{ body string }

func (s stream) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, ContentLength: -1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(s.body)),
	}, nil
}

// heap is how much of it a call takes at most, in bytes: it is looked at whenever
// something is read, and what the call returns is still there.
func heap(body string, call func(http.RoundTripper) any) uint64 {
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	var most uint64
	look := func() {
		runtime.GC()
		runtime.ReadMemStats(&now)
		most = max(most, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
	}
	kept := call(watched{stream{body}, look})
	look()
	runtime.KeepAlive(kept)
	return most
}

// watched looks at every 128th read of an answer.
type watched struct {
	http.RoundTripper
	look func()
}

func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := w.RoundTripper.RoundTrip(r)
	response.Body = io.NopCloser(&watchedReader{from: response.Body, look: w.look})
	return response, err
}

type watchedReader struct {
	from  io.Reader
	look  func()
	reads int
}

func (w *watchedReader) Read(p []byte) (int, error) {
	if w.reads++; w.reads%128 == 0 {
		w.look()
	}
	return w.from.Read(p)
}

func TestAnAnswerTakesNoMoreThanFourTimesItsLength(t *testing.T) {
	list := func(transport http.RoundTripper) any {
		c := testClient(t, transport)
		got, err := c.ListSessions(t.Context(), providers.NewSecret("at"))
		return []any{got, err}
	}
	login := func(transport http.RoundTripper) any {
		got, err := testClient(t, transport).Refresh(t.Context(), providers.NewSecret("rt"))
		return []any{got, err}
	}
	entry := `{"id":"6d4e82a1-2d6d-402a-9d52-f3f99d7a477c","ipAddress":"127.0.0.1","started":1764084000,"lastAccess":1764084000,"expires":1764120000,"clients":[{"clientId":"ocp","clientName":"","userConsentRequired":false,"inUse":false,"offlineAccess":false}],"browser":"vault-plugin-secrets-panta-6f1c22aa-0192abcd-bot/1.2.3","current":true},`
	for _, c := range []struct {
		name, body string
		call       func(http.RoundTripper) any
	}{
		{"empty entries", "[" + fill("{},", maxList-2) + "{}]", list},
		{"short entries", "[" + fill(`{"id":"a"},`, maxList-20) + `{"id":"a"}]`, list},
		{"real entries", "[" + fill(entry, maxList-1000) + `{"id":"a"}]`, list},
		{"long texts", "[" + fill(`{"id":"a","browser":"`+fill("x", 60<<10)+`"},`, maxList-100) + `{"id":"a"}]`, list},
		{"one long text", `[{"id":"a","browser":"` + fill("x", maxList-100) + `"}]`, list},
		{"many clients", "[" + fill(`{"id":"a","clients":[`+fill("{},", 60<<10)+`{}]},`, maxList-100) + `{"id":"a"}]`, list},
		{"many fields", "[" + fill(`{"id":"a",`+fill(`"b":1,`, 60<<10)+`"c":1},`, maxList-100) + `{"id":"a"}]`, list},
		{"blanks", "[" + fill(" ", maxList-2) + "]", list},
		{"nested", fill("[", maxList), list},
		{"a long token", `{"expires_in":300,"access_token":"` + fill("x", maxAnswer-100) + `"}`, login},
		{"a long JWT", `{"expires_in":300,"access_token":"x.` + fill("eyJhIjpbMSwx", maxAnswer-100) + `.x"}`, login},
		{"many scopes", `{"access_token":"at","expires_in":300,"scope":[` + fill(`"a",`, maxAnswer-100) + `"a"]}`, login},
		{"many fields of an answer", `{"access_token":"at","expires_in":300,` + fill(`"b":1,`, maxAnswer-100) + `"c":1}`, login},
		{"a long error", `{"error":"` + fill("<", maxAnswer-100) + `"}`, login},
		{"an error in base64", `{"error":"` + fill("YWFh ", maxAnswer-100) + `"}`, login},
	} {
		t.Run(c.name, func(t *testing.T) {
			most := heap(c.body, c.call)
			t.Logf("%d KiB of %d KiB", most>>10, len(c.body)>>10)
			assert.Less(t, most, 4*uint64(len(c.body)))
		})
	}
}

func TestAListIsBounded(t *testing.T) {
	one := func(length int) string { return `{"id":"a","unread":"` + fill("x", length) + `"}` }
	many := func(n int) string { return strings.Repeat(`{"id":"a"},`, n-1) + `{"id":"a"}` }
	for text, want := range map[string]error{
		one(60 << 10):       nil,
		one(65 << 10):       errNotSessions,
		many(maxListed):     nil,
		many(maxListed + 1): errTooMany,
	} {
		_, err := decodeSessions(strings.NewReader("[" + text + "]"))
		require.ErrorIs(t, err, want, "%d bytes that begin with %s", len(text), text[:20])
	}
	_, err := decodeSessions(strings.NewReader("[]" + fill(" ", 2*maxEntry)))
	require.ErrorIs(t, err, errNotSessions, "what comes after the list may not be without end, too")
}

func testClient(t *testing.T, transport http.RoundTripper) providers.Client {
	t.Helper()
	p := New(Preset{Description: providers.Description{Name: "test", Methods: []providers.Method{{Name: providers.Password, Sessions: true}}}}, transport)
	c, err := p.Client(providers.Connection{
		AuthMethod: providers.Password, TokenURL: "https://login.example.com/token", SessionsURL: "https://login.example.com/sessions", RequestTimeout: time.Minute,
	})
	require.NoError(t, err)
	return c
}
