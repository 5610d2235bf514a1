package sessions

import (
	"crypto/rand"
	"encoding/base32"
	"regexp"
	"strings"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// Keycloak keeps at most 22 characters of "<mount>-<attempt>", without dots and
// slashes (rule 11).
const (
	mountIDLength   = 8
	sessionIDLength = 13
)

var numericVersion = regexp.MustCompile(`^\d+(\.\d+){0,2}`)

const markName = "vault-plugin-secrets-panta"

// userAgent is what a login sends: the mark that Keycloak lists with the session, of
// whose mount and which login attempt opened it. Its version can hold three numbers
// and nothing else.
func (e *Engine) userAgent(l machine.Login) string {
	number := numericVersion.FindString(strings.TrimPrefix(e.options.Version, "v"))
	if number == "" {
		number = "0"
	}
	if l.NoMark {
		return markName + "/" + number
	}
	return markName + "-" + mark(e.mountID(), l.Session) + "-bot/" + number
}

var marked = regexp.MustCompile(`^` + markName + `-([a-z2-7]+)-([a-z2-7]+)-bot(/|$)`)

// listings reads the marks of the sessions that a server lists.
func listings(mount string, listed []providers.ServerSession) []machine.Listing {
	all := make([]machine.Listing, len(listed))
	for i, s := range listed {
		l := machine.Listing{ServerSession: s, Owner: machine.People}
		if parts := marked.FindStringSubmatch(s.UserAgent); parts != nil {
			l.Mount, l.Attempt = parts[1], machine.SessionID(parts[2])
			l.Owner = machine.OtherMount
			if l.Mount == mount {
				l.Owner = machine.ThisMount
			}
		}
		all[i] = l
	}
	return all
}

// mark is the part of a login's User-Agent that is its own.
func mark(mount string, attempt machine.SessionID) string { return mount + "-" + string(attempt) }

// randomID returns n random characters of a-z and 2-7.
func randomID(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))[:n]
}

func newSessionID() machine.SessionID { return machine.SessionID(randomID(sessionIDLength)) }
