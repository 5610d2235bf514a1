// Package servers starts and stops the real servers that the tests and the
// demo run against: Vault or OpenBao with the plugin in it, and Keycloak with
// the realms of iam.Demo.
//
// A server lives in a temporary directory of its own, listens on free loopback
// ports, and writes its log to a file there. Whatever becomes of the process
// that started it (Stop, a panic, Ctrl-C, SIGKILL), the server, its children
// and its directory go too, unless Keep was called.
//
// Programs call StartVault and StartKeycloak, tests call RunVault and
// RunKeycloak, which end with the test.
package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a server with its children, a group of processes of its own: the
// terminal's Ctrl-C does not reach it, so it can be stopped in order.
type process struct {
	cmd     *exec.Cmd
	log     string
	exited  chan struct{} // closed when cmd has ended
	unguard func()        // ends the guard; nil: there is none
}

// guardScript waits for the end of its stdin, which comes when the process that
// holds the other end ends in whatever way, and then clears up.
const guardScript = `read -r _; kill -s KILL -- "-$1"; rm -rf -- "$2"`

// spawn starts a program in dir. The log is appended to, since a restarted
// server goes on in the same file.
func spawn(dir, program string, args, env []string) (*process, error) {
	logPath := filepath.Join(dir, "server.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()

	cmd := exec.Command(program, args...) //nolint:noctx // a context would kill the server alone and leave its children
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, log: logPath, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.exited)
	}()

	p.unguard, err = guard(guardScript, fmt.Sprint(cmd.Process.Pid), dir)
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("start the guard of %s: %w", program, err)
	}
	return p, nil
}

// stop ends the server in order, then whatever is left of its group.
func (p *process) stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(grace):
	}
	p.kill()
}

// kill ends the whole group at once.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
	p.detach()
}

// detach ends the guard, so that the group outlives us.
func (p *process) detach() {
	if p.unguard != nil {
		p.unguard()
		p.unguard = nil
	}
}

func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// await asks ready until it says yes, the process ends, or time is up.
func (p *process) await(ctx context.Context, what string, limit time.Duration, ready func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready(ctx) {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended by itself:\n%s", what, tail(p.log))
		case <-ctx.Done():
			return fmt.Errorf("%s: %w:\n%s", what, ctx.Err(), tail(p.log))
		case <-tick.C:
		}
	}
}

// status is the HTTP status that url answers to a GET, 0 if it does not answer.
func status(ctx context.Context, url string) int {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0
	}
	resp, err := plain.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// plain ignores the environment's proxies and keeps no connection open.
var plain = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// tail returns the last lines of a file.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-30):], []byte("\n")))
}

// attempts is how often a start is tried when another program takes the port
// between our look and the server's.
const attempts = 3

func portTaken(err error) bool {
	return strings.Contains(err.Error(), "address already in use") || strings.Contains(err.Error(), "already bound")
}

var (
	portsMutex sync.Mutex
	portsGiven = map[int]bool{}
)

// freePort returns a port that is free on loopback, and so is the next one,
// which Vault takes for its cluster. It is below the range from which the
// kernel serves outgoing connections, so that nobody takes it while a server
// restarts.
func freePort() (int, error) {
	portsMutex.Lock()
	defer portsMutex.Unlock()
	for range 1000 {
		port := 20000 + 2*rand.IntN(6000)
		if !portsGiven[port] && free(port) && free(port+1) {
			portsGiven[port] = true
			return port, nil
		}
	}
	return 0, errors.New("no free pair of ports between 20000 and 32000")
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // returns at once
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// Plugin returns the path of the plugin's binary: PLUGIN_BIN, else a new build.
func Plugin(ctx context.Context) (string, error) {
	if path := os.Getenv("PLUGIN_BIN"); path != "" {
		return path, nil
	}
	return script(ctx, "build")
}

// script runs one of the module's scripts and returns the path that it prints.
// What it has to say goes to our stderr, since it may take minutes.
func script(ctx context.Context, name string, args ...string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "scripts", name), args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("scripts/%s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// moduleRoot is the nearest directory above with a go.mod: tests run in the
// directory of their package, programs anywhere in the module.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the working directory is not inside the module")
		}
		dir = parent
	}
}

// newDir makes the directory of a server, with a tmp in it. It is short,
// because sockets that plugins make there must have short names.
func newDir() (string, error) {
	dir, err := os.MkdirTemp("", "panta-")
	if err != nil {
		return "", err
	}
	// Vault refuses a plugin directory behind a symbolic link, and temporary
	// directories are behind one on some systems.
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return dir, os.Mkdir(filepath.Join(dir, "tmp"), 0o700)
}

// environment is what a server gets to see: nothing of ours that could change
// what it does, and a home of its own.
func environment(dir string, more ...string) []string {
	env := append([]string{"HOME=" + dir, "TMPDIR=" + filepath.Join(dir, "tmp")}, more...)
	for _, name := range []string{"PATH", "JAVA_HOME", "LANG"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
