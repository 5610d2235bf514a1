// Command clients runs the programs and libraries that read tokens from Vault,
// the real ones, against a real Vault with the plugin, for some lives of a token,
// side by side. Once a second it calls an API with the token that each client
// shows at that moment. It prints a table, and fails if a call was refused or a
// session is left open when the clients are gone.
//
// `make test-clients` runs it. The identity server is the emulator, in this
// process, with a user of its own for each client. The operators of Kubernetes
// cannot be built from package registries: kubernetes.go imitates what was seen
// of them.
//
// scenarios.go is where to start reading.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// options are what the flags say.
type options struct {
	only  *regexp.Regexp
	life  time.Duration
	lives int
	doc   string
}

func main() {
	only := flag.String("only", "", "run only the clients whose name and mode this `regexp` matches")
	var o options
	flag.DurationVar(&o.life, "life", 40*time.Second, "how long a token lives")
	flag.IntVar(&o.lives, "lives", 3, "how many lives of a token each client runs")
	flag.StringVar(&o.doc, "doc", "", "`file` to write the table into, between its markers, where all clients ran")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if o.only, err = regexp.Compile("(?i)" + *only); err == nil {
		err = run(ctx, o)
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted; everything that was started is stopped")
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	var chosen []scenario
	for _, s := range scenarios() {
		if o.only.MatchString(s.client + " " + s.mode) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("-only %s: there is no such client", o.only)
	}
	w, err := newWorld(ctx, o, chosen)
	if err != nil {
		return err
	}
	defer w.stop()
	rows := w.runAll(ctx, chosen)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	fmt.Print(table(rows))
	var failed error
	for _, r := range rows {
		failed = errors.Join(failed, r.failure())
	}
	if failed == nil && o.doc != "" && len(chosen) == len(scenarios()) {
		return writeDoc(o.doc, rows)
	}
	return failed
}
