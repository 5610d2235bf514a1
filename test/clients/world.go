package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

const (
	realm    = iam.DemoPantaRealm
	password = "password"
)

// world is a Vault with the plugin before an emulated identity server, which
// has a user for each client.
type world struct {
	options
	emulator *iam.Server
	url      string // the emulator's
	vault    *servers.Vault
	root     *api.Client
	dir      string // of the clients
	closers  []func()
}

func newWorld(ctx context.Context, o options, chosen []scenario) (_ *world, err error) {
	w := &world{options: o}
	defer func() {
		if err != nil {
			w.stop()
		}
	}()
	if err := w.startEmulator(ctx, chosen); err != nil {
		return nil, err
	}
	plugin, err := servers.Plugin(ctx)
	if err != nil {
		return nil, err
	}
	w.vault, err = servers.StartVault(ctx, servers.Options{Server: "vault", Storage: "inmem", Plugin: plugin})
	if err != nil {
		return nil, err
	}
	w.closers = append(w.closers, w.vault.Stop)
	if w.root, err = w.vault.Client(); err != nil {
		return nil, err
	}
	if err := w.root.Sys().EnableAuthWithOptionsWithContext(ctx, "approle", &api.MountInput{Type: "approle"}); err != nil {
		return nil, err
	}
	if w.dir, err = os.MkdirTemp("", "clients-"); err != nil {
		return nil, err
	}
	w.closers = append(w.closers, func() { _ = os.RemoveAll(w.dir) })
	return w, w.root.Sys().EnableAuditWithOptionsWithContext(ctx, "file", &api.EnableAuditOptions{
		Type: "file", Options: map[string]string{"file_path": w.auditLog()},
	})
}

// auditLog is where Vault writes what it was asked.
func (w *world) auditLog() string { return filepath.Join(w.dir, "audit.log") }

func (w *world) startEmulator(ctx context.Context, chosen []scenario) error {
	cfg := iam.Demo()
	for i := range cfg.Realms {
		cfg.Realms[i].TokenLife = w.life
	}
	panta, swarm := &cfg.Realms[0], &cfg.Realms[1]
	for _, s := range chosen {
		panta.Users = append(panta.Users, iam.User{Username: s.name(), Password: password, AccountRoles: true})
	}
	// Two users, since one of the emulator's has one token.
	for _, token := range []string{oldPAT, newPAT} {
		swarm.Users = append(swarm.Users, iam.User{Username: "owner-of-" + token, PersonalAccessToken: token})
	}
	w.emulator = iam.New(cfg)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: w.emulator, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	w.closers = append(w.closers, func() { _ = server.Close() })
	w.url = "http://" + listener.Addr().String()
	return nil
}

// stop undoes everything, the newest first.
func (w *world) stop() {
	for _, undo := range slices.Backward(w.closers) {
		undo()
	}
}

// site is where one client runs.
type site struct {
	*world
	scenario

	dir      string // of the client alone
	path     string // what it reads
	token    string // of Vault, with a policy for that path
	roleID   string // the same as an AppRole
	secretID string

	mu      sync.Mutex
	remark  string
	deleted string // a personal access token that its owner deleted
}

// prepare writes the client's account and its policy, and lets it into Vault.
func (w *world) prepare(ctx context.Context, s scenario) (*site, error) {
	at := &site{world: w, scenario: s, dir: filepath.Join(w.dir, s.name()), path: servers.Mount + "/" + s.reads + "/" + s.name()}
	if err := os.Mkdir(at.dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(at.dir, "tmp"), 0o700); err != nil {
		return nil, err
	}
	if s.reads == "" {
		at.token = w.vault.Token
		return at, nil
	}
	if _, err := w.root.Logical().WriteWithContext(ctx, servers.Mount+"/config/"+s.name(), w.account(s)); err != nil {
		return nil, err
	}
	policy := fmt.Sprintf("path %q {\n  capabilities = [\"read\"]\n}\n", at.path)
	if s.revokes {
		policy += "path \"sys/leases/revoke\" {\n  capabilities = [\"update\"]\n}\n"
	}
	if err := w.root.Sys().PutPolicyWithContext(ctx, s.name(), policy); err != nil {
		return nil, err
	}
	secret, err := w.root.Auth().Token().CreateWithContext(ctx, &api.TokenCreateRequest{Policies: []string{s.name()}, Period: "10m"})
	if err != nil {
		return nil, err
	}
	at.token = secret.Auth.ClientToken
	return at, at.prepareAppRole(ctx)
}

// account is the config of the client's user.
func (w *world) account(s scenario) map[string]any {
	if s.pat {
		return map[string]any{
			"provider": "ocp", "environment": "eu1", "auth_method": "pat", "personal_access_token": oldPAT,
			"ttl": patLease.Seconds(),
		}
	}
	fields := map[string]any{
		"provider": "panta", "environment": "dmo", "base_url": w.url,
		"client_id": iam.DemoPantaClient, "client_secret": iam.DemoPantaSecret,
		"username": s.name(), "password": password, "tenant_id": iam.DemoPantaTenant,
		"session_mode": "shared",
	}
	if s.dedicated {
		fields["session_mode"] = "dedicated"
	}
	return fields
}

func (at *site) prepareAppRole(ctx context.Context) error {
	role := "auth/approle/role/" + at.name()
	_, err := at.root.Logical().WriteWithContext(ctx, role, map[string]any{"token_policies": at.name(), "token_ttl": "10m"})
	if err != nil {
		return err
	}
	id, err := at.root.Logical().ReadWithContext(ctx, role+"/role-id")
	if err != nil {
		return err
	}
	secret, err := at.root.Logical().WriteWithContext(ctx, role+"/secret-id", nil)
	if err != nil {
		return err
	}
	at.roleID, _ = id.Data["role_id"].(string)
	at.secretID, _ = secret.Data["secret_id"].(string)
	return errors.Join(at.write("role-id", at.roleID), at.write("secret-id", at.secretID))
}

// write puts a file into the client's directory, in place at once.
func (at *site) write(name, content string) error {
	path := filepath.Join(at.dir, name)
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// tokenFile is where every client shows its token.
const tokenFile = "token"

// show is how a client in this process shows its token.
func (at *site) show(token any) error {
	text, ok := token.(string)
	if !ok {
		return fmt.Errorf("%s answers access_token %T", at.path, token)
	}
	return at.write(tokenFile, text)
}

// shown is the token that the client shows now; "" before the first.
func (at *site) shown() string {
	token, _ := os.ReadFile(filepath.Join(at.dir, tokenFile))
	return string(token)
}

// note adds a line below the table.
func (at *site) note(format string, args ...any) {
	at.mu.Lock()
	defer at.mu.Unlock()
	at.remark = fmt.Sprintf(format, args...)
}

// client is an API client with the token of this site.
func (at *site) client() (*api.Client, error) {
	c, err := at.vault.Client()
	if err != nil {
		return nil, err
	}
	c.SetToken(at.token)
	return c, nil
}

// run runs a program in the client's directory until ctx ends.
func (at *site) run(ctx context.Context, program string, args []string, env ...string) error {
	env = append(env,
		"HOME="+at.dir, "TMPDIR="+filepath.Join(at.dir, "tmp"), "PATH="+os.Getenv("PATH"), "JAVA_HOME="+os.Getenv("JAVA_HOME"),
		"LANG=C.UTF-8", "VAULT_ADDR="+at.vault.Addr, "VAULT_TOKEN="+at.token)
	p, err := servers.StartProgram(at.dir, program, args, env)
	if err != nil {
		return err
	}
	defer p.Stop(10 * time.Second)
	select {
	case <-ctx.Done():
		return nil
	case <-p.Exited():
		return fmt.Errorf("it ended by itself:\n%s", p.Tail())
	}
}

// wait returns false where ctx ends before the time is over.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
