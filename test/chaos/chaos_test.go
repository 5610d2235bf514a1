package main

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The short form of `make chaos`: what needs neither root nor minutes. Each test
// prints its seed; SEED in `make chaos` takes it.
func tried(t *testing.T, seed uint64, try func(context.Context, *rand.Rand, func(string, ...any)) (*result, error)) *result {
	t.Helper()
	t.Parallel()
	t.Logf("seed %d", seed)
	r, err := try(t.Context(), rand.New(rand.NewPCG(seed, 0)), t.Logf)
	require.NoError(t, err)
	assert.Empty(t, r.broken)
	require.NotZero(t, r.opened)
	require.Zero(t, r.lost)
	return r
}

func anySeed() uint64 { return uint64(time.Now().UnixNano()) % 1_000_000 }

func TestNothingIsLostWhenPluginOrVaultAreKilled(t *testing.T) {
	tried(t, anySeed(), func(ctx context.Context, random *rand.Rand, log func(string, ...any)) (*result, error) {
		return killed(ctx, random, log, 6)
	})
}

func TestReadersOfASharedSessionNoticeNoResets(t *testing.T) {
	tried(t, anySeed(), func(ctx context.Context, random *rand.Rand, log func(string, ...any)) (*result, error) {
		what := lines[1]
		what.lasts = 4 * time.Second
		return cutOff(ctx, random, log, short, what)
	})
}

func TestThePluginReturnsToWhereItWas(t *testing.T) {
	tried(t, anySeed(), func(ctx context.Context, random *rand.Rand, log func(string, ...any)) (*result, error) {
		return soaked(ctx, random, log, 5*time.Second)
	})
}

func TestManySessionsFitIntoTheMemory(t *testing.T) {
	tried(t, anySeed(), func(ctx context.Context, random *rand.Rand, log func(string, ...any)) (*result, error) {
		return starved(ctx, random, log, 300)
	})
}
