// Command bench measures the plugin against what it could be at best, on a real
// Vault, and its engine alone, and prints one table. `make bench` runs it.
//
// The environment says how much:
//
//	ROUNDS         rounds of each kind of read on Vault; default 16
//	ROUND_SECONDS  how long a round takes; default 2
//	BENCH          short: one round of a second and the smallest benchmarks, to see
//	               that all of it works; docs/benchmarks.md stays as it is
//
// reads.go is where to start reading. The plugin is PLUGIN_BIN, see
// test/servers.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// effort is how much is measured.
type effort struct {
	short   bool
	rounds  int
	seconds int // of a round
	profile int // seconds
	pods    int // of a day in simulated time
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	begin := time.Now()
	much, err := effortOf(os.Getenv)
	if err != nil {
		return err
	}
	var r report
	for _, part := range []struct {
		name    string
		measure func(context.Context, effort, *report) error
	}{
		{"the engine alone", measureEngine},
		{"reads on a real Vault", measureReads},
		{"reads on a real Vault with raft storage", measureReadsOnDisk},
	} {
		say("measuring %s …", part.name)
		if err := part.measure(ctx, much, &r); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	text := r.markdown(much, time.Since(begin))
	fmt.Print("\n" + text)
	if much.short {
		say("BENCH=short: %s stays as it is", document)
		return nil
	}
	return writeDocument(text)
}

func effortOf(env func(string) string) (effort, error) {
	much := effort{rounds: 16, seconds: 2, profile: 15, pods: 100_000}
	switch env("BENCH") {
	case "":
	case "short":
		much = effort{short: true, rounds: 1, seconds: 1, profile: 1, pods: 1000}
	default:
		return effort{}, fmt.Errorf("BENCH=%s: want short or nothing", env("BENCH"))
	}
	for name, field := range map[string]*int{"ROUNDS": &much.rounds, "ROUND_SECONDS": &much.seconds} {
		n, err := strconv.Atoi(cmp.Or(env(name), strconv.Itoa(*field)))
		if err != nil || n < 1 {
			return effort{}, errors.New(name + ": want a whole number, at least 1")
		}
		*field = n
	}
	return much, nil
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
