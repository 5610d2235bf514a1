package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// usage is what a plugin's process takes of the machine, from Linux's /proc.
type usage struct {
	resident   int // bytes of memory
	most       int // the most there ever were
	threads    int
	files      int // open descriptors
	goroutines int // 0: not counted
}

func (u usage) String() string {
	s := fmt.Sprintf("%d MB, %d threads, %d descriptors", u.resident>>20, u.threads, u.files)
	if u.goroutines > 0 {
		s += fmt.Sprintf(", %d goroutines", u.goroutines)
	}
	return s
}

// pluginOf is the one plugin process of a server.
func pluginOf(v *servers.Vault) (int, error) {
	pids, err := v.Plugins()
	if err != nil {
		return 0, err
	}
	if len(pids) != 1 {
		return 0, fmt.Errorf("want one plugin process, there are %d", len(pids))
	}
	return pids[0], nil
}

func usageOf(pid int) (usage, error) {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return usage{}, err
	}
	files, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return usage{}, err
	}
	number := func(name string) int {
		_, rest, _ := strings.Cut(string(status), "\n"+name+":")
		n := 0
		_, _ = fmt.Sscan(rest, &n)
		return n
	}
	u := usage{resident: number("VmRSS") << 10, most: number("VmHWM") << 10, threads: number("Threads"), files: len(files)}
	if u.resident == 0 || u.threads == 0 {
		return usage{}, errors.New("/proc does not say what the plugin uses")
	}
	return u, nil
}

var goroutineLine = regexp.MustCompile(`(?m)goroutine [1-9][0-9]* .*\[`)

// lastWords measures the plugin and ends it by SIGQUIT, at which the Go runtime
// writes the stack of every goroutine to the log: no door has to be left open in
// the plugin to count them. Vault starts it anew with the next request. The
// server must log at the level debug.
func lastWords(ctx context.Context, v *servers.Vault) (usage, error) {
	pid, err := pluginOf(v)
	if err != nil {
		return usage{}, err
	}
	u, err := usageOf(pid)
	if err != nil {
		return usage{}, err
	}
	before, err := os.ReadFile(v.Log)
	if err != nil {
		return usage{}, err
	}
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		return usage{}, err
	}
	// The registers follow the stacks.
	err = eventually(ctx, 20*time.Second, "the plugin's last words", func() error {
		log, err := os.ReadFile(v.Log)
		if err != nil {
			return err
		}
		words := log[len(before):]
		if !bytes.Contains(words, []byte("rflags")) && !bytes.Contains(words, []byte("pstate")) && syscall.Kill(pid, 0) == nil {
			return errors.New("they are not there yet")
		}
		u.goroutines = len(goroutineLine.FindAll(words, -1))
		if u.goroutines == 0 {
			return errors.New("no goroutine in them")
		}
		return nil
	})
	if err != nil {
		return u, err
	}
	return u, eventually(ctx, 20*time.Second, "the plugin's process is gone", func() error {
		if syscall.Kill(pid, 0) == nil {
			return fmt.Errorf("process %d is there", pid)
		}
		return nil
	})
}
