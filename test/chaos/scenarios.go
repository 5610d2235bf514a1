package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
)

// scenario is one fault, or several that are tried side by side: those that
// mostly wait.
type scenario struct {
	name  string
	tries []try
}

type try func(ctx context.Context, random *rand.Rand, log func(string, ...any)) (*result, error)

// scenarios are all faults, with how often each is tried.
func scenarios(o options) []scenario {
	failover := func(server string, what failover, times int) try {
		return func(ctx context.Context, random *rand.Rand, log func(string, ...any)) (*result, error) {
			return failedOver(ctx, random, log, server, what, times)
		}
	}
	standbys := func(server string) try {
		return func(ctx context.Context, random *rand.Rand, log func(string, ...any)) (*result, error) {
			return standbyReads(ctx, random, log, server, 12)
		}
	}
	cut := make([]try, len(lines))
	for i, what := range lines {
		cut[i] = func(ctx context.Context, random *rand.Rand, log func(string, ...any)) (*result, error) {
			return cutOff(ctx, random, log, lasting, what)
		}
	}
	return []scenario{
		{"plugin or server killed", []try{func(ctx context.Context, random *rand.Rand, log func(string, ...any)) (*result, error) {
			return killed(ctx, random, log, o.kills)
		}}},
		{"vault leader killed", []try{failover("vault", leaderKilled, o.kills/20)}},
		{"vault leader cut off", []try{failover("vault", leaderCutOff, 5)}},
		{"openbao leader killed", []try{failover("openbao", leaderKilled, o.kills/33)}},
		{"openbao leader cut off", []try{failover("openbao", leaderCutOff, 3)}},
		{"standbys", []try{standbys("vault"), standbys("openbao")}},
		{"network", cut},
		{"disabled", []try{func(ctx context.Context, random *rand.Rand, log func(string, ...any)) (*result, error) {
			return unmounted(ctx, random, log, "vault", 10)
		}}},
		{"memory", []try{func(ctx context.Context, random *rand.Rand, log func(string, ...any)) (*result, error) {
			return starved(ctx, random, log, 10_000)
		}}},
		{"soak", []try{func(ctx context.Context, random *rand.Rand, log func(string, ...any)) (*result, error) {
			return soaked(ctx, random, log, o.soak)
		}}},
	}
}

func (s scenario) chosen(only string) bool { return strings.Contains(s.name, only) }

// runAll runs what is side by side. Each has random numbers of its own, so that
// it does the same with the same seed whether or not others run.
func (s scenario) runAll(ctx context.Context, seed uint64, log func(string, ...any)) ([]*result, error) {
	var (
		results = make([]*result, len(s.tries))
		errs    = make([]error, len(s.tries))
		all     sync.WaitGroup
	)
	for i, try := range s.tries {
		all.Go(func() {
			r, err := try(ctx, rand.New(rand.NewPCG(seed, uint64(i))), log)
			if err != nil {
				errs[i] = fmt.Errorf("%s: %w", s.name, err)
			}
			results[i] = r
		})
	}
	all.Wait()
	var done []*result
	for _, r := range results {
		if r != nil {
			done = append(done, r)
		}
	}
	return done, errors.Join(errs...)
}
