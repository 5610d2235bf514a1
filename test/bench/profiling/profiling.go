// Package profiling lets the benchmark take a CPU profile of a plugin process
// under load. The plugin that is released has nothing of it.
package profiling

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Serve serves profiles on a free loopback port, and writes its address to a
// file in dir, named after the process: Vault also starts a plugin to ask for
// its version.
func Serve(dir string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // returns at once
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/profile", pprof.Profile)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "profiles:", err)
		}
	}()
	file := filepath.Join(dir, strconv.Itoa(os.Getpid()))
	return os.WriteFile(file, []byte(listener.Addr().String()), 0o600)
}
