package sessions_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// witness writes down what an observer hears.
type witness struct {
	mu    sync.Mutex
	heard []string
}

func (w *witness) add(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, fmt.Sprintf(format, args...))
}

func (w *witness) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	heard := w.heard
	w.heard = nil
	return heard
}

func (w *witness) Called(config, op string, took time.Duration, err *providers.Error) {
	result := "well"
	if err != nil {
		result = err.Kind.String()
	}
	w.add("%s: %s took %s: %s", config, op, took, result)
}

func (w *witness) Noted(config string, n machine.Note) { w.add("%s: %s", config, n.What) }
func (w *witness) Refused(config string, r machine.Reason) {
	w.add("%s: a reader was refused: %s", config, r)
}

var _ sessions.Observer = (*witness)(nil)

func TestAnObserverHearsOfCallsAndOccurrences(t *testing.T) {
	seen := &witness{}
	setup := func(w *world) { withBudget(1)(w); w.observer = seen }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, []string{"dmo: login took 50ms: well", "dmo: session-opened"}, seen.take())
		for range 5 {
			_, err = p.Acquire(t.Context(), shared)
			require.NoError(t, err)
		}
		require.Empty(t, seen.take(), "none is called for a read from memory")

		for range 3 {
			_, err = p.Acquire(t.Context(), dedicated)
			require.Equal(t, machine.BudgetFull, reason(t, err))
		}
		heard := seen.take()
		require.Len(t, heard, 4)
		require.Contains(t, heard, "dmo: budget-full", "once, not for each reader")
		require.Contains(t, heard, "dmo: a reader was refused: budget full")
		_, err = p.Static(t.Context(), sessions.Request{Account: accountID, Mode: shared.Mode, Scopes: []string{"others"}})
		require.Equal(t, machine.BudgetFull, reason(t, err))
		require.Contains(t, seen.take(), "dmo: a reader was refused: budget full")

		w.setDown(true)
		_, _, _, err = p.CloseSession(t.Context(), accountID, idOf(l))
		require.Error(t, err)
		require.Equal(t, []string{"dmo: logout took 0s: unavailable", "dmo: logout-pending"}, seen.take())
		w.setDown(false)
		_, _, _, err = p.CloseSession(t.Context(), accountID, idOf(l))
		require.NoError(t, err)
		require.Equal(t, []string{"dmo: logout took 50ms: well", "dmo: session-closed"}, seen.take())
	})
}

// alarmed panics when it hears of a logout, or of what people want to know.
type alarmed struct{ witness }

func (*alarmed) Noted(string, machine.Note) { panic("alarmed") }

func (*alarmed) Called(_, op string, _ time.Duration, _ *providers.Error) {
	if op == "logout" {
		panic("alarmed")
	}
}

func TestAnObserverThatPanicsMakesNoReaderWait(t *testing.T) {
	inWorld(t, func(w *world) { w.observer = &alarmed{} }, func(t *testing.T, _ *world, p *process) {
		for range 2 {
			_, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
		}
	})
}

func TestAnObserverThatPanicsKeepsNoSessionOpen(t *testing.T) {
	inWorld(t, func(w *world) { w.observer = &alarmed{} }, func(t *testing.T, w *world, p *process) {
		for range 40 { // more than are logged out side by side
			_, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
		}
		time.Sleep(w.tokenLife + time.Minute)
		require.Zero(t, w.openNow())
	})
}

func TestAnObserverHearsTheNameOfAConfigThatIsBeingCreated(t *testing.T) {
	seen := &witness{}
	inWorld(t, func(w *world) { w.observer, w.isConfig, w.config = seen, false, "wrong" }, func(t *testing.T, _ *world, p *process) {
		require.Error(t, p.Verify(t.Context(), p.trial(), dedicated))
		require.Contains(t, seen.take(), "dmo: account-guarded")
		next := p.trial()
		next.Config = "next"
		require.Error(t, p.Verify(t.Context(), next, dedicated))
		require.Contains(t, seen.take(), "dmo: account-guarded", "the first one has the account")
	})
}

func TestAReadingCountsReadsFromMemoryAndOthers(t *testing.T) {
	inWorld(t, withBudget(3), func(t *testing.T, _ *world, p *process) {
		require.Empty(t, p.Readings(), "an account that nobody used is not loaded to be read")
		for range 4 {
			_, err := p.Acquire(t.Context(), shared)
			require.NoError(t, err)
		}
		for range 3 {
			_, err := p.Static(t.Context(), shared)
			require.NoError(t, err)
		}
		all := p.Readings()
		require.Len(t, all, 1)
		require.Equal(t, sessions.Reading{
			Config: "dmo", Hits: 3, Misses: 1, StaticHits: 2, StaticMisses: 1,
			Status: sessions.Status{Usage: machine.Usage{Limit: 3, Open: 1}, Clock: machine.Clock{Known: true}, Listing: machine.AccessNone, States: map[machine.State]int{machine.StateOpen: 1}},
		}, all[0])
	})
}

func TestAReadFromMemoryAllocatesNoMoreThanItsLease(t *testing.T) {
	w := newWorld(t)
	w.latency = 0
	p := w.start()
	defer p.Stop()
	defer w.killAll()
	_, err := p.Acquire(t.Context(), shared)
	require.NoError(t, err)
	ctx := t.Context()
	allocated := testing.AllocsPerRun(1000, func() {
		if _, err := p.Acquire(ctx, shared); err != nil {
			t.Error(err)
		}
	})
	require.LessOrEqual(t, allocated, 2.0, "the names of session and grant")
}
