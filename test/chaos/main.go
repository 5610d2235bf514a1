// Command chaos kills, partitions and starves the plugin and its servers under
// load, and checks that nothing is lost. See docs/survival.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "")
	kills := flag.Int("kills", 100, "")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	begin := time.Now()
	log := func(f string, a ...any) {
		fmt.Printf("%7.1f s  "+f+"\n", append([]any{time.Since(begin).Seconds()}, a...)...)
	}
	log("seed %d", *seed)
	var r *result
	var err error
	switch flag.Arg(0) {
	case "kill":
		r, err = killed(ctx, rand.New(rand.NewPCG(*seed, 1)), log, *kills)
	case "net":
		for _, x := range lines {
			if strings.HasPrefix(x.fault, flag.Arg(1)) {
				r, err = cutOff(ctx, rand.New(rand.NewPCG(*seed, 1)), log, x)
			}
		}
	case "lk":
		r, err = failedOver(ctx, rand.New(rand.NewPCG(*seed, 1)), log, flag.Arg(1), leaderKilled, *kills)
	case "lc":
		r, err = failedOver(ctx, rand.New(rand.NewPCG(*seed, 1)), log, flag.Arg(1), leaderCutOff, *kills)
	}
	if r != nil {
		for _, x := range r.remarks {
			fmt.Println(x[:min(len(x), 200)])
		}
		fmt.Println(strings.Join(r.broken, "\n"))
		r.remarks, r.broken = nil, nil
	}
	fmt.Printf("%+v\n%v\n", r, err)
}
