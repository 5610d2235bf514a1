package sessions_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAHotReadAndItsReleaseTouchNeitherStorageNorServerAndAllocateLittle(t *testing.T) {
	p := newPlant()
	e := p.engine()
	defer e.Stop()
	r := shared
	r.Scopes = []string{"email", "profile"}
	_, err := e.Acquire(t.Context(), r)
	require.NoError(t, err)
	require.EqualValues(t, 1, p.calls.Load(), "the login")
	operations := p.operations.Load()

	allocations := testing.AllocsPerRun(1000, func() {
		lease, err := e.Acquire(t.Context(), r)
		if err != nil || e.Release(t.Context(), lease.Ref) != nil {
			t.Fatal("refused")
		}
	})
	require.LessOrEqual(t, allocations, 5.0)
	require.Equal(t, operations, p.operations.Load(), "of the storage")
	require.EqualValues(t, 1, p.calls.Load(), "to the server")
}

func TestThousandsOfSessionsThatEndAtOnceAreLoggedOutFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlant()
		e := p.engine()
		defer e.Stop()
		for range 2000 {
			_, err := e.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
		}
		p.latency = time.Second
		before := p.calls.Load()
		begin := time.Now()
		require.NoError(t, e.Drain(t.Context(), accountID))
		require.EqualValues(t, 2000, p.calls.Load()-before)
		require.EqualValues(t, 32, p.logoutsPeak.Load())
		require.Equal(t, 63*time.Second, time.Since(begin), "although a call may take 10 s at most")
		n, err := e.InUse(t.Context(), accountID)
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

func TestADedicatedLeaseCostsThreeWritesInItsWholeLife(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		writes := 0
		p.faults.set(func(op string) fault {
			if op == "put" || op == "delete" {
				writes++
			}
			return none
		})
		first, err := p.Acquire(t.Context(), dedicated) // writes the mount's id and the connection
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), first.Ref))
		synctest.Wait()
		before := writes
		lease, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), lease.Ref))
		synctest.Wait()
		require.Zero(t, w.openNow())
		require.Empty(t, w.records())
		require.Equal(t, 3, writes-before, "the intent, the refresh token, the removal")
		t.Attr("writes-of-a-dedicated-lease", fmt.Sprint(writes-before))
	})
}
