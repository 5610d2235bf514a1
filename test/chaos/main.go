// Command chaos kills, cuts off and starves the plugin and its servers under
// load, and checks that nothing is lost: no session stays open past its horizon,
// none is over budget, no one-time code is used twice, no lease becomes
// irrevocable, no reader holds a dead token. It prints a table, and what was
// broken, and fails if anything was.
//
// `make chaos` runs it. The servers are real, the identity server is the
// emulator, in this process. Seeds decide what happens when; what the machine
// makes of it differs from run to run. A cluster's nodes are in network
// namespaces of their own, which needs root.
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
	"syscall"
	"time"
)

// options are what the flags say.
type options struct {
	seed  uint64
	only  string
	kills int
	soak  time.Duration
	doc   string
}

func main() {
	var o options
	flag.Uint64Var(&o.seed, "seed", 0, "decides what happens when; 0: another one each time")
	flag.StringVar(&o.only, "only", "", "run only the faults whose name contains this")
	flag.IntVar(&o.kills, "kills", 100, "how often to kill a plugin or its Vault; a cluster's leader a twentieth as often")
	flag.DurationVar(&o.soak, "soak", 2*time.Minute, "how long to soak")
	flag.StringVar(&o.doc, "doc", "", "`file` to write the table into, between its markers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	if ctx.Err() != nil {
		err = errors.New("interrupted; everything that was started is stopped")
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	begin := time.Now()
	log := func(format string, args ...any) {
		fmt.Printf("%7.1f s  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}
	log("seed %d", o.seed)
	var (
		results []*result
		failed  error
	)
	for _, s := range scenarios(o) {
		if !s.chosen(o.only) {
			continue
		}
		done, err := s.runAll(ctx, o.seed, log)
		results = append(results, done...)
		failed = errors.Join(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	if len(results) == 0 && failed == nil {
		return fmt.Errorf("-only %s: there is no such fault", o.only)
	}
	fmt.Println()
	fmt.Print(table(results))
	fmt.Print(remarks(results))
	for _, r := range results {
		for _, b := range r.broken {
			failed = errors.Join(failed, fmt.Errorf("%s: %s", r.fault, b))
		}
	}
	if failed != nil {
		return fmt.Errorf("seed %d:\n%w", o.seed, failed)
	}
	log("nothing was lost")
	if o.doc != "" && o.only == "" {
		return writeDoc(o, results, time.Since(begin))
	}
	return nil
}
