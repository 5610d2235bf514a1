package contract_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/contract"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheEmulatorKeepsTheContract(t *testing.T) {
	for _, release := range iam.Releases() {
		t.Run(release.Name, func(t *testing.T) {
			contract.Test(t, contract.Config{
				Release: release,
				Run:     func(t *testing.T, scenario func(*testing.T)) { t.Helper(); synctest.Test(t, scenario) },
				Realm:   emulated,
			})
		})
	}
}

func TestTheEmulatorHasTheEnvironmentsOfThePresets(t *testing.T) {
	for _, release := range iam.Releases() {
		t.Run(release.Name, func(t *testing.T) {
			contract.Environments(t, contract.Config{
				Release: release,
				Run:     func(t *testing.T, scenario func(*testing.T)) { t.Helper(); synctest.Test(t, scenario) },
				Realm: func(t *testing.T, r iam.Realm) contract.Server {
					t.Helper()
					r.Release = release
					return emulated(t, r)
				},
			}, 30*time.Second)
		})
	}
}

func emulated(t *testing.T, r iam.Realm) contract.Server {
	t.Helper()
	server := iam.New(iam.Config{Realms: []iam.Realm{r}})
	return contract.Server{
		Origin:    "http://127.0.0.1:8080",
		Transport: server.Transport(),
		Sessions: func(_ *testing.T, username string) int {
			return server.Counted(r.Name, username)
		},
		Disable: func(t *testing.T, username string) {
			t.Helper()
			require.True(t, server.UpdateUser(r.Name, username, func(u *iam.User) { u.Disabled = true }))
		},
	}
}
