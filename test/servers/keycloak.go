package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// TOTPPeriod is that of the realms in test/keycloak/realms, which otherwise are
// those of iam.Demo: same names, users, clients and secrets. It is short because
// a code works once, and tests should not wait half a minute for the next.
const TOTPPeriod = 5 * time.Second

const (
	adminClientID     = "admin-client"
	adminClientSecret = "admin-secret"
)

// Keycloak is a running Keycloak server.
type Keycloak struct {
	Version string
	BaseURL string // http://127.0.0.1:…/auth: the base_url of panta and keycloak
	Origin  string // the same without the prefix: the base_url of ocp
	Dir     string // everything the server writes; gone after Stop
	Log     string

	proc *process
}

// StartKeycloak starts a Keycloak of a version, with the realms of
// test/keycloak/realms in memory. It returns when they answer.
func StartKeycloak(ctx context.Context, version string) (*Keycloak, error) {
	for attempt := 1; ; attempt++ {
		k, err := startKeycloak(ctx, version)
		if err == nil || attempt == attempts || !portTaken(err) {
			return k, err
		}
	}
}

// RunKeycloak is StartKeycloak for a test: the server ends with the test, and
// the end of its log is shown if the test failed.
func RunKeycloak(tb testing.TB, version string) *Keycloak {
	tb.Helper()
	k, err := StartKeycloak(tb.Context(), version)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("end of the log of Keycloak %s:\n%s", version, tail(k.Log))
		}
		k.Stop()
	})
	return k
}

func startKeycloak(ctx context.Context, version string) (_ *Keycloak, err error) {
	dist, err := script(ctx, "keycloak", version)
	if err != nil {
		return nil, err
	}
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	origin := fmt.Sprintf("http://127.0.0.1:%d", port)
	k := &Keycloak{Version: version, Origin: origin, BaseURL: origin + "/auth"}
	if k.Dir, err = newDir(); err != nil {
		return nil, err
	}
	k.Log = filepath.Join(k.Dir, "server.log")
	defer func() {
		if err != nil {
			k.Stop()
		}
	}()

	// Keycloak's home is where its script lies, and it writes below it. So each
	// server gets the script and a data directory; the rest is shared.
	if err := os.CopyFS(filepath.Join(k.Dir, "bin"), os.DirFS(filepath.Join(dist, "bin"))); err != nil {
		return nil, err
	}
	for _, shared := range []string{"lib", "conf", "providers", "themes"} {
		if err := os.Symlink(filepath.Join(dist, shared), filepath.Join(k.Dir, shared)); err != nil {
			return nil, err
		}
	}
	realms := os.DirFS(filepath.Join(root, "test", "keycloak", "realms"))
	if err := os.CopyFS(filepath.Join(k.Dir, "data", "import"), realms); err != nil {
		return nil, err
	}

	k.proc, err = spawn(k.Dir, filepath.Join(k.Dir, "bin", "kc.sh"),
		[]string{
			"start", "--optimized", "--import-realm", "--cache=local",
			"--http-enabled=true", "--hostname-strict=false",
			"--http-host=127.0.0.1", fmt.Sprintf("--http-port=%d", port),
		},
		environment(k.Dir,
			"KC_BOOTSTRAP_ADMIN_CLIENT_ID="+adminClientID,
			"KC_BOOTSTRAP_ADMIN_CLIENT_SECRET="+adminClientSecret,
			// A quick start counts for more here than a fast server, and Java
			// should write nothing outside of our directory.
			"JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1 -XX:-UsePerfData -Djava.io.tmpdir="+filepath.Join(k.Dir, "tmp"),
		))
	if err != nil {
		return nil, err
	}
	return k, k.proc.await(ctx, "Keycloak "+version, 3*time.Minute, func(ctx context.Context) bool {
		for _, realm := range []string{iam.DemoSwarmRealm, iam.DemoK8sRealm, iam.DemoPantaRealm} {
			if status(ctx, k.BaseURL+"/realms/"+realm) != http.StatusOK {
				return false
			}
		}
		return true
	})
}

// Sessions counts the sessions that the server has of a user.
func (k *Keycloak) Sessions(ctx context.Context, realm, username string) (int, error) {
	id, err := k.userID(ctx, realm, username)
	if err != nil {
		return 0, err
	}
	var sessions []struct{}
	err = k.admin(ctx, http.MethodGet, "/"+realm+"/users/"+id+"/sessions", nil, &sessions)
	return len(sessions), err
}

// LogoutUser ends all sessions of a user.
func (k *Keycloak) LogoutUser(ctx context.Context, realm, username string) error {
	id, err := k.userID(ctx, realm, username)
	if err != nil {
		return err
	}
	return k.admin(ctx, http.MethodPost, "/"+realm+"/users/"+id+"/logout", nil, nil)
}

func (k *Keycloak) userID(ctx context.Context, realm, username string) (string, error) {
	var users []struct{ ID string }
	err := k.admin(ctx, http.MethodGet, "/"+realm+"/users?exact=true&username="+url.QueryEscape(username), nil, &users)
	if err != nil {
		return "", err
	}
	if len(users) != 1 {
		return "", fmt.Errorf("realm %s has %d users %s", realm, len(users), username)
	}
	return users[0].ID, nil
}

// admin calls the admin REST API at /admin/realms<path> as a service account,
// whose token opens no session. It sends in as JSON, if there is any, and reads
// the answer into out, if that is wanted.
func (k *Keycloak) admin(ctx context.Context, method, path string, in, out any) error {
	var token struct {
		AccessToken string `json:"access_token"`
	}
	form := url.Values{
		"grant_type": {"client_credentials"},
		"client_id":  {adminClientID}, "client_secret": {adminClientSecret},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		k.BaseURL+"/realms/master/protocol/openid-connect/token", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if err := do(req, &token); err != nil {
		return err
	}
	var body io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err = http.NewRequestWithContext(ctx, method, k.BaseURL+"/admin/realms"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	return do(req, out)
}

func do(req *http.Request, out any) error {
	resp, err := plain.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s", req.Method, req.URL.Path, resp.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// Keep lets the server outlive this process; Stop still stops it. It returns
// its process id, whose negative names the whole group to kill(1).
func (k *Keycloak) Keep() int {
	k.proc.detach()
	return k.proc.cmd.Process.Pid
}

// Stop ends the server and removes its directory. More than once is no error.
// Everything is in memory, so there is nothing to wait for.
func (k *Keycloak) Stop() {
	if k.proc != nil && k.proc.alive() {
		k.proc.kill()
	}
	_ = os.RemoveAll(k.Dir)
}
