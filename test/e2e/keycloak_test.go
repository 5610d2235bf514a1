package e2e

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// keycloak is the real one of all tests here, of the release that KEYCLOAK names:
// it takes a minute to start.
var keycloak = sync.OnceValues(func() (*servers.Keycloak, error) {
	k, err := servers.StartKeycloak(context.Background(), os.Getenv("KEYCLOAK"))
	if err == nil {
		atEnd = k.Stop
	}
	return k, err
})

var atEnd = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	atEnd()
	os.Exit(code)
}
