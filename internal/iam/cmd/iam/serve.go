package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// shutdownTime is what requests under way get to end after a signal.
const shutdownTime = 2 * time.Second

// serve listens and answers until ctx ends.
func serve(ctx context.Context, o options, stdout io.Writer) error {
	listener, err := listenLoopback(ctx, o.listen)
	if err != nil {
		return err
	}
	emulator := iam.New(o.config())
	server := &http.Server{Handler: emulator, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()

	base := "http://" + listener.Addr().String()
	err = announce(base, o.addrFile, stdout)
	if err == nil {
		select {
		case err = <-failed:
			return err
		case <-ctx.Done():
		}
	}
	emulator.ClearFaults() // lets go what hangs
	return errors.Join(err, shutDown(ctx, server), closed(<-failed))
}

func shutDown(ctx context.Context, server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return server.Close() // what is still under way is cut off
	}
	return nil
}

func closed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// listenLoopback refuses every address that another machine could reach.
func listenLoopback(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("-listen %s is not a loopback address", address)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	return listener, nil
}

// announce tells where the server is, in the file first: whoever reads the line
// may open the file. The file appears whole or not at all.
func announce(base, file string, stdout io.Writer) error {
	if file != "" {
		part, err := os.CreateTemp(filepath.Dir(file), ".iam-*")
		if err != nil {
			return fmt.Errorf("-addr-file: %w", err)
		}
		_, err = io.WriteString(part, base+"\n")
		err = errors.Join(err, part.Close())
		if err == nil {
			err = os.Rename(part.Name(), file)
		}
		if err != nil {
			return fmt.Errorf("-addr-file: %w", errors.Join(err, os.Remove(part.Name())))
		}
	}
	_, err := fmt.Fprintln(stdout, "listening on", base)
	return err
}
