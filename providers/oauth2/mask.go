package oauth2

import (
	"html"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// maxMessage is how much of a message an error keeps, in characters.
const maxMessage = 300

// mask hides known secrets in text that may come from a server.
type mask struct{ hide *strings.Replacer }

func newMask(secrets ...providers.Secret) mask {
	var written []string
	for _, s := range secrets {
		if v := s.Reveal(); v != "" {
			quoted := strconv.Quote(v)
			written = append(written, v, url.QueryEscape(v), url.PathEscape(v), html.EscapeString(v), quoted[1:len(quoted)-1])
		}
	}
	// The longest first: of a secret that begins with another, the rest would stay.
	slices.SortFunc(written, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, w := range written {
		pairs = append(pairs, w, "***")
	}
	return mask{strings.NewReplacer(pairs...)}
}

// clean masks secrets, makes the text printable, and cuts it. In that order: a
// secret that is cut or altered first would not be found.
func (m mask) clean(text string) string {
	return printable(m.hide.Replace(text), maxMessage)
}

// printable makes a server's text fit to be shown, and cuts it.
func printable(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	text = strings.TrimSpace(text)
	if runes := []rune(text); len(runes) > limit {
		text = string(runes[:limit]) + "…"
	}
	return text
}
