package docs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long one command may take.
const patience = 3 * time.Minute

// shell is a bash that stays, as that of a reader who types one block after the
// other.
type shell struct {
	t     *testing.T
	dir   string
	env   []string
	typed func(string) string // what is typed instead of what is printed: other ports

	stdin  io.Writer
	output *buffer
	ended  chan struct{}
	blocks int
}

func newShell(t *testing.T, dir string, env []string) *shell {
	t.Helper()
	s := &shell{t: t, dir: dir, env: env, typed: func(s string) string { return s }, output: &buffer{}, ended: make(chan struct{})}
	cmd := s.command("bash", "--norc", "-e")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	s.stdin = stdin
	cmd.Stdout, cmd.Stderr = s.output, s.output
	require.NoError(t, cmd.Start())
	go func() {
		_ = cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-s.ended
	})
	return s
}

// command runs in a group of processes of its own, so that its end is the end
// of all that it started.
func (s *shell) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	return cmd
}

// run types a block.
func (s *shell) run(b block) error {
	for _, step := range b.steps() {
		printed, err := s.do(step.command, step.output != "")
		if err != nil {
			return fmt.Errorf("%s: %w:\n%s%s", b, err, step.command, printed)
		}
		if step.output != "" && differs(step.output, printed) {
			return fmt.Errorf("%s: %q prints\n%s\nand the document shows\n%s", b, step.command, printed, step.output)
		}
	}
	return nil
}

// do types a command and returns what it prints. It may fail where its output is
// shown, since that is what is compared then.
func (s *shell) do(command string, mayFail bool) (string, error) {
	s.blocks++
	file := filepath.Join(s.t.TempDir(), "block")
	if err := os.WriteFile(file, []byte(s.typed(command)), 0o600); err != nil {
		return "", err
	}
	or := ""
	if mayFail {
		or = " || :"
	}
	done := fmt.Sprintf("-- end of block %d --\n", s.blocks)
	s.output.reset()
	if _, err := fmt.Fprintf(s.stdin, "source %s%s; printf %%s '%s'\n", file, or, done); err != nil {
		return s.output.String(), err
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		printed, finished := strings.CutSuffix(s.output.String(), done)
		if finished {
			return printed, nil
		}
		select {
		case <-s.ended:
			return s.output.String(), errors.New("it fails")
		case <-deadline.C:
			return s.output.String(), fmt.Errorf("it takes longer than %s", patience)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// start runs a block beside the shell until the test ends, and returns when it
// is ready.
func (s *shell) start(b block) error {
	output := &buffer{}
	cmd := s.command("bash", "--norc", "-e", "-c", s.typed(b.text))
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	s.t.Cleanup(func() {
		// First in order: a Vault that is killed cannot end its plugins.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		if s.t.Failed() {
			s.t.Logf("what %s printed:\n%s", b, output)
		}
	})
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		ready := exec.CommandContext(ctx, "bash", "--norc", "-e", "-c", s.typed(b.mark.ready))
		ready.Dir, ready.Env = s.dir, s.env
		if ready.Run() == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("%s: it ended before it was ready:\n%s", b, output)
		case <-ctx.Done():
			return fmt.Errorf("%s: it is not ready:\n%s", b, output)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns what was written since reset.
func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *buffer) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Reset()
}

func TestAShellRemembersAndFails(t *testing.T) {
	s := newShell(t, t.TempDir(), os.Environ())
	require.NoError(t, s.run(block{lang: "sh", text: "a=1\nf() { echo \"$a\" two; }\n"}))
	require.NoError(t, s.run(block{lang: "console", text: "$ f\n1 two\n$ false\n…\n"}))
	require.ErrorContains(t, s.run(block{lang: "console", text: "$ f\none three\n"}), "and the document shows")
	require.ErrorContains(t, s.run(block{lang: "sh", text: "false\ntrue\n"}), "it fails")
}
