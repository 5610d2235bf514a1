// Command iam runs the IAM emulator with its demo realms on a loopback address,
// for end-to-end tests, demonstrations and benchmarks. It knows no secret that
// is worth anything and must never be reachable from elsewhere.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the command: it serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opts, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2 // package flag has said why
	}
	if err := serve(ctx, opts, stdout); err != nil {
		_, _ = fmt.Fprintln(stderr, "iam:", err)
		return 1
	}
	return 0
}
