package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// The emulator is this program once more, as a process of its own, so that KEEP
// can leave it running. It ends with its stdin, that is with the demo, unless it
// is told to stay.
const (
	emulatorArgument = "emulator"
	stay             = "stay\n"
)

func serveEmulator(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: iam.New(iam.Demo()), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if order, _ := bufio.NewReader(os.Stdin).ReadString('\n'); order != stay {
			_ = server.Close()
		}
	}()
	fmt.Println("http://" + listener.Addr().String())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// emulator is that process as the demo holds it.
type emulator struct {
	url   string
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

func startEmulator() (*emulator, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, emulatorArgument) //nolint:noctx // KEEP lets it outlive us
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo
	e := &emulator{cmd: cmd}
	if e.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		e.stop()
		return nil, fmt.Errorf("the emulator did not start: %w", err)
	}
	e.url = strings.TrimSpace(line)
	return e, nil
}

// keep lets the emulator outlive us, and returns its process group.
func (e *emulator) keep() (int, error) {
	_, err := io.WriteString(e.stdin, stay)
	return e.cmd.Process.Pid, err
}

func (e *emulator) stop() {
	_ = e.stdin.Close()
	_ = e.cmd.Wait()
}
