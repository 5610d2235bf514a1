// Package contract says what the plugin relies on of a Keycloak server, one
// sentence for each scenario, and tries it: on the emulator in every test run,
// on real releases with make test-keycloak. Real Keycloak is the law: where they
// disagree, the emulator is wrong.
//
// Start with Test. A scenario has users of its own in a realm of the shape that
// it needs, described once, as the emulator's, for both.
package contract

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// Config is the server that is tried.
type Config struct {
	// Release is Keycloak's.
	Release iam.Release
	// Run runs a scenario: the emulator's in a bubble of virtual time (testing/
	// synctest), a real server's beside others.
	Run func(t *testing.T, scenario func(t *testing.T))
	// Realm makes a realm, or finds it if that name was made before.
	Realm func(t *testing.T, r iam.Realm) Server
	// Report is told of each scenario as it begins; nil: nobody is.
	Report func(t *testing.T, group, scenario string) Row
}

// Row is a scenario's line in the table that make test-keycloak prints.
type Row interface {
	// Found adds what was seen where the scenario leaves it open.
	Found(what string)
	// NotSo says that the sentence is not about this release.
	NotSo()
}

// Server is how a scenario reaches its realm, and what it does there as an
// administrator.
type Server struct {
	// Origin is scheme, host and port; realms are below /auth.
	Origin string
	// Transport is nil for a real server.
	Transport http.RoundTripper
	// PantaPrefix stands before the path of Panta's realm, which has none at
	// Panta: "/auth" where a real server has all realms there.
	PantaPrefix string
	// Sessions counts the sessions of a user.
	Sessions func(t *testing.T, username string) int
	// Disable keeps a user from everything.
	Disable func(t *testing.T, username string)
}

// scenario is one sentence of the contract.
type scenario struct {
	group    string
	sentence string
	of       releases // the zero value: all
	realm    shape
	try      func(w *world)
}

// Test tries the whole contract. Its subtests are named <group>/<sentence>.
func Test(t *testing.T, c Config) {
	t.Helper()
	run := fmt.Sprintf("%08x", rand.Uint32())
	all := scenarios()
	for n, s := range all {
		t.Run(s.group+"/"+s.says(), func(t *testing.T) {
			c.Run(t, func(t *testing.T) {
				w := &world{T: t, release: c.Release, row: unreported{}}
				w.alice, w.bob, w.carol = users(n)
				if c.Report != nil {
					w.row = c.Report(t, s.group, s.says())
				}
				if s.of.have != nil && !s.of.have(c.Release) {
					w.row.NotSo()
					return
				}
				realm := s.realm.realm(c.Release, run, all)
				w.realm = realm.Name
				w.Server = c.Realm(t, realm)
				s.try(w)
			})
		})
	}
}

// says is the sentence, and of which releases it is true.
func (s scenario) says() string {
	if s.of.have == nil {
		return s.sentence
	}
	return s.of.named + ": " + s.sentence
}

func scenarios() []scenario {
	var all []scenario
	for _, group := range []struct {
		name      string
		scenarios []scenario
	}{
		{"contract", slices.Concat(logins(), serviceAccounts(), sessions(), codes())},
		{"limit", limits()},
		{"rotation", rotation()},
		{"brute force", bruteForce()},
	} {
		for _, s := range group.scenarios {
			s.group = group.name
			all = append(all, s)
		}
	}
	return all
}

type unreported struct{}

// Found implements Row.
func (unreported) Found(string) {}

// NotSo implements Row.
func (unreported) NotSo() {}
