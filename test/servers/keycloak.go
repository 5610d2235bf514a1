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
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// TOTPPeriod is that of the server's realms, which otherwise are those of
// iam.Demo. It is short because a code works once, and tests should not wait
// half a minute for the next.
const TOTPPeriod = 5 * time.Second

const (
	adminName         = "admin" // and the password, see scripts/keycloak
	adminClientID     = "admin-client"
	adminClientSecret = "admin-secret"
)

// Keycloak is a running Keycloak server.
type Keycloak struct {
	Release iam.Release
	BaseURL string // http://127.0.0.1:…/auth: the base_url of panta and keycloak
	Origin  string // the same without the prefix: the base_url of ocp
	Dir     string // everything the server writes; gone after Stop
	Log     string

	proc  *process
	clock string // the file that says how far its clock is off; "": it goes right
}

// StartKeycloak starts a Keycloak of a release, as iam.Releases names them, with
// the realms of iam.Demo. It returns when they answer.
func StartKeycloak(ctx context.Context, release string) (*Keycloak, error) {
	return tryKeycloak(ctx, release, false)
}

func tryKeycloak(ctx context.Context, release string, ownClock bool) (*Keycloak, error) {
	for attempt := 1; ; attempt++ {
		k, err := startKeycloak(ctx, release, ownClock)
		if err == nil || attempt == attempts || !portTaken(err) {
			return k, err
		}
	}
}

// RunKeycloak is StartKeycloak for a test: the server ends with the test, and
// the end of its log is shown if the test failed.
func RunKeycloak(tb testing.TB, release string) *Keycloak {
	tb.Helper()
	return runKeycloak(tb, release, false)
}

// RunKeycloakWithClock is RunKeycloak for a server whose clock ShiftClock moves.
func RunKeycloakWithClock(tb testing.TB, release string) *Keycloak {
	tb.Helper()
	return runKeycloak(tb, release, true)
}

func runKeycloak(tb testing.TB, release string, ownClock bool) *Keycloak {
	tb.Helper()
	k, err := tryKeycloak(tb.Context(), release, ownClock)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("end of the log of Keycloak %s:\n%s", release, tail(k.Log))
		}
		k.Stop()
	})
	return k
}

func startKeycloak(ctx context.Context, name string, ownClock bool) (_ *Keycloak, err error) {
	release, known := iam.LookupRelease(name)
	if !known {
		return nil, fmt.Errorf("KEYCLOAK=%s: no such release; internal/iam/release.go has the list", name)
	}
	dist, err := script(ctx, "keycloak", release.Version())
	if err != nil {
		return nil, err
	}
	k := &Keycloak{Release: release}
	if k.Dir, err = newDir(); err != nil {
		return nil, err
	}
	k.Log = filepath.Join(k.Dir, "server.log")
	defer func() {
		if err != nil {
			k.Stop()
		}
	}()
	if ownClock {
		k.clock = filepath.Join(k.Dir, "clock")
		if err := k.ShiftClock(0); err != nil {
			return nil, err
		}
	}
	spawn := k.spawnQuarkus
	if release.WildFly {
		spawn = k.spawnWildFly
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	k.Origin = fmt.Sprintf("http://127.0.0.1:%d", port)
	k.BaseURL = k.Origin + "/auth"
	if k.proc, err = spawn(dist, port); err != nil {
		return nil, err
	}
	err = k.proc.await(ctx, "Keycloak "+name, 5*time.Minute, func(ctx context.Context) bool {
		return status(ctx, k.BaseURL+"/realms/master") == http.StatusOK
	})
	if err != nil {
		return nil, err
	}
	if err := k.createAdminClient(ctx); err != nil {
		return nil, err
	}
	for _, realm := range iam.Demo().Realms {
		realm.OTP.Period = TOTPPeriod
		if err := k.CreateRealm(ctx, realm); err != nil {
			return nil, fmt.Errorf("%w:\n%s", err, tail(k.Log))
		}
	}
	return k, nil
}

// ShiftClock sets how far the server's clock is ahead (behind, if negative) of this
// machine's. The server notices within a second.
func (k *Keycloak) ShiftClock(ahead time.Duration) error {
	return os.WriteFile(k.clock, fmt.Appendf(nil, "%+d\n", seconds(ahead)), 0o600)
}

// environment is what the server gets to see. A clock of its own is libfaketime's,
// between Java and the C library.
func (k *Keycloak) environment(more ...string) ([]string, error) {
	if k.clock != "" {
		const library = "/usr/lib/*/faketime/libfaketimeMT.so.1"
		found, err := filepath.Glob(library)
		if err != nil || len(found) == 0 {
			return nil, fmt.Errorf("there is no %s (on Debian: libfaketime), which gives the server a clock of its own", library)
		}
		more = append(more, "LD_PRELOAD="+found[0], "FAKETIME_TIMESTAMP_FILE="+k.clock,
			"FAKETIME_CACHE_DURATION=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_FORCE_MONOTONIC_FIX=0")
	}
	return environment(k.Dir, more...), nil
}

// javaOptions prefer a quick start to a fast server, and keep Java from writing
// outside of our directory.
func (k *Keycloak) javaOptions() string {
	return "-XX:TieredStopAtLevel=1 -XX:-UsePerfData -Djava.io.tmpdir=" + filepath.Join(k.Dir, "tmp")
}

// spawnQuarkus starts a release of Quarkus. Its home is where its script lies,
// and it writes below it: each server gets the script, the rest is shared.
func (k *Keycloak) spawnQuarkus(dist string, port int) (*process, error) {
	if err := os.CopyFS(filepath.Join(k.Dir, "bin"), os.DirFS(filepath.Join(dist, "bin"))); err != nil {
		return nil, err
	}
	for _, shared := range []string{"lib", "conf", "providers", "themes"} {
		if err := os.Symlink(filepath.Join(dist, shared), filepath.Join(k.Dir, shared)); err != nil {
			return nil, err
		}
	}
	args := []string{
		"start", "--http-enabled=true", "--hostname-strict=false",
		"--http-host=127.0.0.1", fmt.Sprintf("--http-port=%d", port),
	}
	major := k.Release.Major()
	if major >= 19 {
		args = append(args, "--optimized") // 18 is so by itself
	}
	if major >= 26 {
		args = append(args, "--cache=local") // an option of the build before, see scripts/keycloak
	}
	env, err := k.environment(
		"KC_BOOTSTRAP_ADMIN_USERNAME="+adminName, "KC_BOOTSTRAP_ADMIN_PASSWORD="+adminName,
		"KEYCLOAK_ADMIN="+adminName, "KEYCLOAK_ADMIN_PASSWORD="+adminName, // the same before 26
		"JAVA_OPTS_APPEND="+k.javaOptions(),
	)
	if err != nil {
		return nil, err
	}
	return spawn(k.Dir, filepath.Join(k.Dir, "bin", "kc.sh"), args, env)
}

// spawnWildFly starts a release of WildFly, which is older than Java 17 and
// reaches for what that has closed. What it writes to is a copy of its own.
func (k *Keycloak) spawnWildFly(dist string, port int) (*process, error) {
	base := filepath.Join(k.Dir, "standalone")
	if err := os.CopyFS(base, os.DirFS(filepath.Join(dist, "standalone"))); err != nil {
		return nil, err
	}
	management, err := freePort()
	if err != nil {
		return nil, err
	}
	args := []string{
		"-Djboss.server.base.dir=" + base, "-Djboss.bind.address=127.0.0.1",
		fmt.Sprintf("-Djboss.http.port=%d", port), fmt.Sprintf("-Djboss.https.port=%d", port+1),
		fmt.Sprintf("-Djboss.management.http.port=%d", management), fmt.Sprintf("-Djboss.management.https.port=%d", management+1),
	}
	if strings.HasSuffix(k.Release.Name, "-api") {
		args = append(args, "-Dkeycloak.profile.feature.account_api=enabled")
	}
	java := []string{"-Xms64m -Xmx768m -Djava.net.preferIPv4Stack=true -Djava.awt.headless=true", k.javaOptions()}
	for _, pkg := range []string{
		"java.base/java.lang", "java.base/java.util", "java.base/java.lang.invoke", "java.base/java.io",
		"java.base/java.security", "java.management/javax.management", "java.naming/javax.naming",
	} {
		java = append(java, "--add-opens="+pkg+"=ALL-UNNAMED")
	}
	for _, pkg := range []string{"java.desktop/sun.awt", "java.naming/com.sun.jndi.ldap"} {
		java = append(java, "--add-exports="+pkg+"=ALL-UNNAMED")
	}
	env, err := k.environment("JBOSS_HOME="+dist, "JAVA_OPTS="+strings.Join(java, " "))
	if err != nil {
		return nil, err
	}
	return spawn(k.Dir, filepath.Join(dist, "bin", "standalone.sh"), args, env)
}

// Sessions counts the sessions that the server has of a user.
func (k *Keycloak) Sessions(ctx context.Context, realm, username string) (int, error) {
	all, err := k.sessions(ctx, realm, username)
	return len(all), err
}

type session struct {
	LastAccess int64 `json:"lastAccess"` // milliseconds since 1970
}

func (k *Keycloak) sessions(ctx context.Context, realm, username string) ([]session, error) {
	id, err := k.userID(ctx, realm, username)
	if err != nil {
		return nil, err
	}
	var all []session
	return all, k.admin(ctx, http.MethodGet, "/"+realm+"/users/"+id+"/sessions", nil, &all)
}

// SessionsUsedSince counts the sessions of a user that were used since then. Old
// releases go on to list what has been idle for too long.
func (k *Keycloak) SessionsUsedSince(ctx context.Context, realm, username string, since time.Time) (int, error) {
	all, err := k.sessions(ctx, realm, username)
	used := 0
	for _, s := range all {
		if s.LastAccess >= since.UnixMilli() {
			used++
		}
	}
	return used, err
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
	var users []struct{ ID, Username string }
	err := k.admin(ctx, http.MethodGet, "/"+realm+"/users?username="+url.QueryEscape(username), nil, &users)
	if err != nil {
		return "", err
	}
	// Old releases find every name that contains this one.
	i := slices.IndexFunc(users, func(u struct{ ID, Username string }) bool { return u.Username == username })
	if i < 0 {
		return "", fmt.Errorf("realm %s has no user %s", realm, username)
	}
	return users[i].ID, nil
}

// createAdminClient makes the service account that admin uses from now on: its
// sessions, if it has any, are not those of the realm master that tests count.
func (k *Keycloak) createAdminClient(ctx context.Context) error {
	asUser := url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {adminName}, "password": {adminName}}
	const clients = "/master/clients"
	err := k.call(ctx, asUser, http.MethodPost, clients, object{
		"clientId": adminClientID, "secret": adminClientSecret, "serviceAccountsEnabled": true,
		"publicClient": false, "standardFlowEnabled": false,
	}, nil)
	if err != nil {
		return err
	}
	var made []struct{ ID string }
	if err := k.call(ctx, asUser, http.MethodGet, clients+"?clientId="+adminClientID, nil, &made); err != nil {
		return err
	}
	if len(made) != 1 {
		return fmt.Errorf("realm master has %d clients %s", len(made), adminClientID)
	}
	var user struct{ ID string }
	if err := k.call(ctx, asUser, http.MethodGet, clients+"/"+made[0].ID+"/service-account-user", nil, &user); err != nil {
		return err
	}
	var role object
	if err := k.call(ctx, asUser, http.MethodGet, "/master/roles/admin", nil, &role); err != nil {
		return err
	}
	return k.call(ctx, asUser, http.MethodPost, "/master/users/"+user.ID+"/role-mappings/realm", []object{role}, nil)
}

// admin calls the admin REST API at /admin/realms<path>. It sends in as JSON, if
// there is any, and reads the answer into out, if that is wanted.
func (k *Keycloak) admin(ctx context.Context, method, path string, in, out any) error {
	return k.call(ctx, url.Values{
		"grant_type": {"client_credentials"},
		"client_id":  {adminClientID}, "client_secret": {adminClientSecret},
	}, method, path, in, out)
}

// call is admin with a token of its own grant: a token knows only the realms
// that there were when it was given.
func (k *Keycloak) call(ctx context.Context, grant url.Values, method, path string, in, out any) error {
	var token struct {
		AccessToken string `json:"access_token"`
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		k.BaseURL+"/realms/master/protocol/openid-connect/token", strings.NewReader(grant.Encode()))
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
	req.Header.Set("Accept", "application/json")
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
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s %s: %s %s", req.Method, req.URL.Path, resp.Status, text)
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
// Nothing that it wrote is wanted, so there is nothing to wait for.
func (k *Keycloak) Stop() {
	if k.proc != nil && k.proc.alive() {
		k.proc.kill()
	}
	_ = os.RemoveAll(k.Dir)
}
