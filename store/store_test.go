package store

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAnEntryComesBackAsItWasWritten(t *testing.T) {
	ctx := t.Context()
	entries := NewEntries(&logical.InmemStorage{})
	want := Fields{"provider": "panta", "allow_http": true, "token_params": map[string]any{"audience": "a"}}

	_, found, err := entries.Configs.Get(ctx, "dmo")
	require.NoError(t, err)
	require.False(t, found)

	require.NoError(t, entries.Configs.Put(ctx, "dmo", want))
	got, found, err := entries.Configs.Get(ctx, "dmo")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, want, got)

	names, err := entries.Configs.List(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"dmo"}, names)

	require.NoError(t, entries.Configs.Delete(ctx, "dmo"))
	require.NoError(t, entries.Configs.Delete(ctx, "dmo"), "what is gone is gone")
}

func TestUnreadableEntriesAreRefusedByKeyAndNeverQuoted(t *testing.T) {
	const secret = "hunter2"
	for name, test := range map[string]struct{ value, want string }{
		"no JSON":       {secret, "the storage entry config/dmo is corrupt; write it again or restore it from a backup"},
		"no version":    {`{"entry":{"account":{"password":"hunter2"}}}`, "the storage entry config/dmo is corrupt; write it again or restore it from a backup"},
		"other types":   {`{"version":1,"entry":["hunter2"]}`, "the storage entry config/dmo is corrupt; write it again or restore it from a backup"},
		"newer version": {`{"version":7,"entry":"hunter2"}`, "the storage entry config/dmo was written by a newer plugin (version 7, this one reads up to 1); upgrade the plugin"},
	} {
		t.Run(name, func(t *testing.T) {
			storage := &logical.InmemStorage{}
			require.NoError(t, storage.Put(t.Context(), &logical.StorageEntry{Key: "config/dmo", Value: []byte(test.value)}))
			_, found, err := NewEntries(storage).Configs.Get(t.Context(), "dmo")
			require.False(t, found)
			require.EqualError(t, err, test.want)
		})
	}
}

func TestACachedValueIsLoadedOnceAndMissesAreNotRemembered(t *testing.T) {
	var cache Cache[int]
	loads := 0
	load := func(found bool) func(context.Context) (int, bool, error) {
		return func(context.Context) (int, bool, error) { loads++; return loads, found, nil }
	}
	for range 2 {
		_, found, err := cache.Get(t.Context(), "a", load(false))
		require.NoError(t, err)
		require.False(t, found)
	}
	require.Equal(t, 2, loads)
	for range 2 {
		value, found, err := cache.Get(t.Context(), "a", load(true))
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, 3, value)
	}
	cache.Set("b", 9)
	cache.DropWhere(func(v int) bool { return v == 3 })
	value, _, err := cache.Get(t.Context(), "a", load(true))
	require.NoError(t, err)
	require.Equal(t, 4, value)
	value, _, err = cache.Get(t.Context(), "b", load(true))
	require.NoError(t, err)
	require.Equal(t, 9, value)
}

func TestAReadThatAWriteOvertookIsNotRemembered(t *testing.T) {
	var cache Cache[string]
	old := func(context.Context) (string, bool, error) {
		cache.Drop("a") // the write happens while we read
		return "old", true, nil
	}
	value, _, err := cache.Get(t.Context(), "a", old)
	require.NoError(t, err)
	require.Equal(t, "old", value, "it began before the write, so it may see what was there")

	value, _, err = cache.Get(t.Context(), "a", func(context.Context) (string, bool, error) { return "new", true, nil })
	require.NoError(t, err)
	require.Equal(t, "new", value)
}

func TestAReaderNeverSeesLessThanTheLastFinishedWrite(t *testing.T) {
	ctx := t.Context()
	c := NewCollection[int](&logical.InmemStorage{}, "n/")
	var cache Cache[int]
	var finished [2]atomic.Int64
	var wg sync.WaitGroup
	for k := range 4 {
		key := strconv.Itoa(k % 2)
		if k < 2 {
			require.NoError(t, c.Put(ctx, key, 0))
		}
		wg.Go(func() {
			for range 2000 {
				written := int(finished[k%2].Load())
				v, _, err := cache.Get(ctx, key, func(ctx context.Context) (int, bool, error) { return c.Get(ctx, key) })
				if err != nil || v < written {
					t.Errorf("read %d after %d was written: %v", v, written, err)
					return
				}
			}
		})
	}
	for i := 1; i <= 500; i++ {
		for k, key := range []string{"0", "1"} {
			require.NoError(t, c.Put(ctx, key, i))
			cache.Drop(key)
			finished[k].Store(int64(i))
			v, _, err := cache.Get(ctx, key, func(ctx context.Context) (int, bool, error) { return c.Get(ctx, key) })
			require.NoError(t, err)
			require.Equal(t, i, v)
		}
	}
	wg.Wait()
}
