package oauth2

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a server says may repeat what we sent it: a password, or a scope that
// somebody gave who may write configs and not read them. If only secrets were hidden
// in it, a right guess that is sent as a scope would look unlike a wrong one. So a
// text that repeats anything of the request is not shown at all, whatever it is that
// it repeats.

// echo knows what was sent with a request.
type echo struct{ sent []string }

// add notes values that were sent.
func (e *echo) add(values ...string) { e.sent = append(e.sent, values...) }

// addWords notes values that a config can choose freely, and their words: a server may
// repeat one alone. (Those of a name, such as batch-client-1, are any server's.)
func (e *echo) addWords(values ...string) {
	for _, value := range values {
		e.add(value)
		e.add(strings.FieldsFunc(value, betweenWords)...)
	}
}

// addURL notes what a config may put into an endpoint; the parts that endpoints
// usually have occur in the messages of any server.
func (e *echo) addURL(endpoint string) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return
	}
	usual := []string{"auth", "oauth", "oauth2", "realms", "protocol", "openid-connect", "connect", "token", "logout", "revoke", "account", "sessions"}
	for part := range strings.SplitSeq(u.Path, "/") {
		if !slices.Contains(usual, part) {
			e.addWords(part)
		}
	}
	for name, values := range u.Query() {
		e.addWords(name)
		e.addWords(values...)
	}
}

// window is the length of a part of a value whose occurrence is a repetition: a
// server may cut what it repeats. A shorter value has to occur whole, and a very
// short one, which occurs in any text, as a word of its own.
const (
	window = 8
	short  = 3
)

// repeatedIn says whether a text repeats something that was sent, as it is or in an
// encoding.
func (e *echo) repeatedIn(text string) bool {
	texts := readings(text)
	for _, value := range e.sent {
		for _, v := range readings(value) {
			if slices.ContainsFunc(texts, func(t string) bool { return repeats(t, v) }) {
				return true
			}
		}
	}
	return false
}

func repeats(text, value string) bool {
	for i := range len(value) - window + 1 {
		if strings.Contains(text, value[i:i+window]) {
			return true
		}
	}
	switch {
	case strings.TrimSpace(value) == "" || len(value) >= window:
		return false
	case len(value) > short || strings.ContainsFunc(value, betweenWords):
		return strings.Contains(text, value)
	}
	return slices.Contains(strings.FieldsFunc(text, betweenWords), value)
}

func betweenWords(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }

var (
	percent = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	escaped = regexp.MustCompile(`(?i)(\\(u[0-9a-f]{4}|[bfnrt]))+`)
	base64s = regexp.MustCompile(`[A-Za-z0-9+/_-]{4,}`)
)

// readings returns what a text may mean: itself without the encodings of URLs, HTML
// and JSON, and what its parts are if they are base64.
func readings(text string) []string {
	text = unescape(text)
	all := []string{plain(text)}
	for _, part := range base64s.FindAllString(text, -1) {
		part = strings.NewReplacer("-", "+", "_", "/").Replace(part)
		if len(part)%4 == 1 { // cut, or none
			part = part[:len(part)-1]
		}
		if decoded, err := base64.RawStdEncoding.DecodeString(part); err == nil && utf8.Valid(decoded) && len(decoded) > short {
			all = append(all, plain(unescape(string(decoded))))
		}
	}
	return all
}

// unescape takes the encodings of URLs, HTML and JSON off, also where they are in each
// other.
func unescape(text string) string {
	const most = 20
	for range most {
		plainer := unescapeOnce(text)
		if plainer == text {
			return text
		}
		text = plainer
	}
	return text
}

func unescapeOnce(text string) string {
	text = html.UnescapeString(text)
	text = percent.ReplaceAllStringFunc(text, func(s string) string {
		b, _ := hex.DecodeString(s[1:])
		return string(b)
	})
	return escaped.ReplaceAllStringFunc(text, func(s string) string {
		var plain string
		_ = json.Unmarshal([]byte(`"`+strings.ToLower(s)+`"`), &plain)
		return plain
	})
}

// plain brings two spellings of one text together.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '+' || unicode.IsSpace(r):
			return ' '
		case r == '\\' || !unicode.IsPrint(r):
			return -1
		}
		return unicode.ToLower(unicode.ToUpper(r)) // ſ and s are one letter
	}, text)
	return strings.NewReplacer("https://", "", "http://", "").Replace(text)
}

// printable makes a server's text fit to be shown, and cuts it.
func printable(text string, limit int) string {
	var b strings.Builder
	for _, r := range strings.TrimSpace(text) {
		if limit == 0 {
			return b.String() + "…"
		}
		limit--
		if !unicode.IsPrint(r) {
			r = ' '
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}
