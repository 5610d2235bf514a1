package backend_test

import (
	"encoding/json"
	"flag"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// keepStorage writes what this version stores into a file that all later ones
// have to read. It is run once, before a release:
//
//	go test ./backend -run TestTheStorageOfThisVersionIsKept -keep-storage v0.1.0
var keepStorage = flag.String("keep-storage", "", "version whose storage is written to testdata/storage")

// storedMount is the storage of a mount that died, in the middle of everything,
// with what Vault and an operator knew of it. The times in it are those of a
// synctest bubble, which begins with the year 2000.
type storedMount struct {
	Died    time.Time                  `json:"died"`
	Storage map[string]json.RawMessage `json:"storage"`
	// Configs and Roles are what reads of config/ and roles/ answered.
	Configs map[string]map[string]any `json:"configs"`
	Roles   map[string]map[string]any `json:"roles"`
	// Leases are the internal data of leases that are not revoked yet.
	Leases map[string]map[string]any `json:"leases"`
}

func TestTheStorageOfThisVersionIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := dieInTheMiddle(t)
		stages := map[string]int{}
		for key, value := range kept.Storage {
			if strings.HasPrefix(key, "session/") {
				stages[entryOf(t, value)["stage"].(string)]++
			}
		}
		require.Equal(t, map[string]int{"open": 4, "closing": 1, "opening": 1, "spent": 1}, stages, "a session of every stage")
		for _, prefix := range []string{"config/", "role/", "account/", "connection/", "guard/", "mount/", "connection/"} {
			require.True(t, slices.ContainsFunc(slices.Collect(maps.Keys(kept.Storage)), func(key string) bool { return strings.HasPrefix(key, prefix) }), prefix)
		}
		if *keepStorage != "" {
			data, err := json.MarshalIndent(kept, "", "  ")
			require.NoError(t, err)
			file, err := os.OpenFile(filepath.Join("testdata", "storage", *keepStorage+".json"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			require.NoError(t, err, "what a version stored does not change any more")
			_, err = file.Write(append(data, '\n'))
			require.NoError(t, err)
			require.NoError(t, file.Close())
		}
	})
}

// dieInTheMiddle uses everything that is stored, and returns it as a crash
// would leave it.
func dieInTheMiddle(t *testing.T) storedMount {
	server := iam.New(iam.Demo())
	p := start(t, server, &logical.InmemStorage{})
	defer p.Cleanup(t.Context())
	kept := storedMount{Leases: map[string]map[string]any{}}

	// Open: two of its own for dmo, one shared for eu1, whose code is remembered.
	p.write("config/dmo", dmo())
	shared := eu1()
	maps.Copy(shared, map[string]any{"max_sessions": 4, "linger": "1m", "keepalive_interval": "30d"})
	p.write("config/eu1", shared)
	p.write("config/eu1-pat", map[string]any{
		"provider": "ocp", "environment": "eu1", "auth_method": "pat", "personal_access_token": iam.DemoSwarmPAT,
	})
	p.write("roles/reports", map[string]any{"config": "eu1", "ttl": "1m", "max_ttl": "4m"})
	p.write("roles/nlu", map[string]any{"config": "eu1-pat", "ttl": "10m"})
	time.Sleep(5 * time.Minute) // what verified them is logged out
	synctest.Wait()
	kept.Leases["dmo"] = p.read("creds/dmo").Secret.InternalData
	kept.Leases["dmo again"] = p.read("creds/dmo").Secret.InternalData
	kept.Leases["eu1"] = p.read("creds/eu1").Secret.InternalData
	kept.Leases["eu1-pat"] = p.read("creds/eu1-pat").Secret.InternalData

	// Logged out, and still in the ledger for its one-time code.
	k8s := eu1()
	k8s["environment"] = "frankfurt"
	p.write("config/frankfurt", k8s)
	require.NoError(t, p.revoke(p.read("creds/frankfurt")))
	synctest.Wait()

	// Spent: a code went with a login that was refused; and a guard.
	wrong := eu1()
	maps.Copy(wrong, map[string]any{"environment": "us2", "password": "wrong-password", "verify": false})
	p.write("config/guarded", wrong)
	resp, err := p.do(logical.ReadOperation, "creds/guarded", nil)
	require.NoError(t, err)
	require.Error(t, resp.Error())

	// Opening: an answer was lost.
	plain := map[string]any{
		"provider": "ocp", "environment": "us1", "username": iam.DemoPlainUser, "password": iam.DemoPlainPassword, "verify": false,
	}
	p.write("config/us1", plain)
	server.Inject(iam.Fault{Op: iam.OpLogin, Kind: iam.LoseAnswer, Count: 1})
	resp, err = p.do(logical.ReadOperation, "creds/us1", nil)
	require.NoError(t, err)
	require.Error(t, resp.Error())

	// Closing, of an account without config.
	peter := dmo()
	maps.Copy(peter, map[string]any{"username": iam.DemoPlainUser, "password": iam.DemoPlainPassword, "verify": false})
	p.write("config/deleted", peter)
	kept.Leases["deleted"] = p.read("creds/deleted").Secret.InternalData
	server.Inject(iam.Fault{Op: iam.OpLogout, Kind: iam.Status})
	_, err = p.do(logical.DeleteOperation, "config/deleted", map[string]any{"force": true})
	require.NoError(t, err)

	// Others.
	p.write("config/partner", map[string]any{
		"provider": "partner", "base_url": "https://partner.example.com", "client_id": iam.DemoPartnerID, "client_secret": iam.DemoPartnerSecret,
		"verify": false,
	})
	p.write("config/keycloak", map[string]any{
		"provider": "keycloak", "base_url": "https://iam.example.com", "realm": "internal", "auth_method": "client_credentials",
		"client_id": iam.DemoService, "client_secret": iam.DemoServiceSecret, "scopes": "reports", "verify": false,
	})
	p.write("config/oauth2", map[string]any{
		"provider": "oauth2", "token_url": "https://as.example.com/token", "revocation_url": "https://as.example.com/revoke",
		"client_id": "app", "client_secret": "app-secret", "username": "ann", "password": "anns-password", "ttl": "2m", "verify": false,
	})
	synctest.Wait()

	kept.Died = time.Now()
	kept.Configs, kept.Roles = p.readAll("config"), p.readAll("roles")
	kept.Storage = map[string]json.RawMessage{}
	keys, err := logical.CollectKeys(t.Context(), p.storage)
	require.NoError(t, err)
	for _, key := range keys {
		entry, err := p.storage.Get(t.Context(), key)
		require.NoError(t, err)
		kept.Storage[key] = entry.Value
	}
	server.ClearFaults()
	return kept
}

func (p *plugin) readAll(kind string) map[string]map[string]any {
	list, err := p.do(logical.ListOperation, kind+"/", nil)
	require.NoError(p.t, err)
	all := map[string]map[string]any{}
	for _, name := range list.Data["keys"].([]string) {
		all[name] = p.read(kind + "/" + name).Data
	}
	return all
}

// A storage of an earlier version is read as that version would: configs and
// roles answer the same, every session is found and ended once, what is guarded
// stays closed, and leases revoke. Its files are never changed: new ones come.
func TestTheStorageOfEarlierVersionsIsRead(t *testing.T) {
	files, err := filepath.Glob("testdata/storage/v*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			var old storedMount
			require.NoError(t, json.Unmarshal(data, &old))
			synctest.Test(t, func(t *testing.T) { takeOver(t, old) })
		})
	}
}

func takeOver(t *testing.T, old storedMount) {
	storage := &logical.InmemStorage{}
	refreshTokens := map[string]bool{}
	for key, value := range old.Storage {
		require.NoError(t, storage.Put(t.Context(), &logical.StorageEntry{Key: key, Value: value}))
		if token, ok := entryOf(t, value)["refresh_token"].(string); ok && strings.HasPrefix(key, "session/") && entryOf(t, value)["stage"] != "spent" {
			refreshTokens[token] = true
		}
	}
	require.Len(t, refreshTokens, 5)
	time.Sleep(time.Until(old.Died.Add(5 * time.Second)))
	server := &bookkeeper{}
	p := startWith(t, server, storage, logical.TestSystemView())
	defer p.Cleanup(t.Context())

	requireAnswers(t, old.Configs, p.readAll("config"))
	requireAnswers(t, old.Roles, p.readAll("roles"))

	resp, err := p.do(logical.ReadOperation, "creds/guarded", nil)
	require.NoError(t, err)
	require.ErrorContains(t, resp.Error(), "the account is closed to logins until")
	second := dmo()
	second["verify"] = false
	resp, err = p.do(logical.CreateOperation, "config/second", second)
	require.NoError(t, err)
	require.ErrorContains(t, resp.Error(), `config "dmo" holds this account already`)

	for name, data := range old.Leases {
		// As Vault gives it back: numbers have crossed JSON.
		_, err := p.HandleRequest(t.Context(), &logical.Request{
			Operation: logical.RevokeOperation, Storage: storage,
			Secret: &logical.Secret{InternalData: data},
		})
		require.NoError(t, err, name)
	}
	synctest.Wait()
	require.Contains(t, server.refreshTokens(), refreshTokenOf(t, old, "dmo"), "the revocation of a lease logs out its session")

	require.NoError(t, p.revoke(p.read("creds/dmo")))
	var mount string
	for key, value := range old.Storage {
		if strings.HasPrefix(key, "mount/") {
			mount = entryOf(t, value)["id"].(string)
		}
	}
	require.Contains(t, server.lastMark(), "vault-plugin-secrets-panta-"+mount+"-", "the mount's mark stays")

	time.Sleep(2 * time.Hour) // reaper and age have done their work
	synctest.Wait()
	for token := range refreshTokens {
		require.Contains(t, server.refreshTokens(), token, "every session is ended")
	}
	left, err := logical.CollectKeysWithPrefix(t.Context(), storage, "session/")
	require.NoError(t, err)
	require.Empty(t, left, "and nothing of it is left in the ledger")
	time.Sleep(2 * time.Minute)
	left, err = logical.CollectKeysWithPrefix(t.Context(), storage, "connection/")
	require.NoError(t, err)
	require.Empty(t, left, "nor of the connections")
}

func entryOf(t *testing.T, value json.RawMessage) map[string]any {
	t.Helper()
	var e struct {
		Version int            `json:"version"`
		Entry   map[string]any `json:"entry"`
	}
	require.NoError(t, json.Unmarshal(value, &e))
	require.NotZero(t, e.Version)
	return e.Entry
}

func refreshTokenOf(t *testing.T, old storedMount, lease string) string {
	t.Helper()
	data := old.Leases[lease]
	session, _, _ := strings.Cut(data["session"].(string), ".")
	return entryOf(t, old.Storage["session/"+data["account"].(string)+"/"+session])["refresh_token"].(string)
}

// requireAnswers wants what was answered then; a later version may answer more.
func requireAnswers(t *testing.T, then, now map[string]map[string]any) {
	t.Helper()
	encoded, err := json.Marshal(now)
	require.NoError(t, err)
	var got map[string]map[string]any
	require.NoError(t, json.Unmarshal(encoded, &got))
	require.ElementsMatch(t, slices.Collect(maps.Keys(then)), slices.Collect(maps.Keys(got)))
	for name, fields := range then {
		delete(fields, "last_login") // stored at most a tenth of its interval late
		for field, value := range fields {
			require.Equal(t, value, got[name][field], "%s of %s", field, name)
		}
	}
}

// bookkeeper lets everyone in, and out again: the emulator of that time is gone,
// and with it the sessions that the stored refresh tokens are of.
type bookkeeper struct {
	mu    sync.Mutex
	ended []string
	mark  string
}

func (b *bookkeeper) refreshTokens() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.ended)
}

func (b *bookkeeper) lastMark() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mark
}

// RoundTrip implements http.RoundTripper.
func (b *bookkeeper) RoundTrip(r *http.Request) (*http.Response, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	status, body := http.StatusForbidden, `{"error":"insufficient_permissions"}`
	if r.Method == http.MethodPost {
		sent, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(sent))
		if err != nil {
			return nil, err
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/logout"):
			b.ended = append(b.ended, form.Get("refresh_token"))
			status, body = http.StatusNoContent, ""
		case form.Get("grant_type") == "password":
			b.mark = r.UserAgent()
			status, body = http.StatusOK, `{"access_token":"a","refresh_token":"r","expires_in":300,"refresh_expires_in":1800,"token_type":"Bearer"}`
		}
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}
