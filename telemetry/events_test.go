package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
	"github.com/pantaindex/vault-plugin-secrets-panta/telemetry"
)

// bus is Vault's event bus.
type bus struct {
	mu    sync.Mutex
	got   []string
	fails error
	hangs bool
	takes time.Duration
}

func (b *bus) SendEvent(ctx context.Context, kind logical.EventType, ev *logical.EventData) error {
	if b.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	time.Sleep(b.takes)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, fmt.Sprintf("%s %v", kind, ev.GetMetadata().AsMap()))
	return b.fails
}

func (b *bus) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.got
}

func TestEachOccurrenceIsAnEventThatNamesConfigAndSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bus{}
		e := telemetry.NewEvents(b, hclog.NewNullLogger())
		e.Noted("eu1", machine.Note{What: machine.SessionOpened, Session: "ses"})
		e.Noted("eu1", machine.Note{What: machine.AccountGuarded, Session: "ses", Detail: "s3cret"})
		e.Noted("eu1", machine.Note{What: machine.BudgetIsFull, Detail: "s3cret"})
		e.Called("eu1", "login", time.Second, &providers.Error{Message: "s3cret"})
		e.Refused("eu1", machine.Guarded)
		synctest.Wait()
		require.Equal(t, []string{
			"panta/session-opened map[config:eu1 data_path:sessions/eu1/ses modified:true operation:session-opened path:sessions/eu1/ses session:ses]",
			"panta/account-guarded map[config:eu1 data_path:sessions/eu1/ses modified:false operation:account-guarded path:sessions/eu1/ses session:ses]",
			"panta/budget-full map[config:eu1 data_path:sessions/eu1 modified:false operation:budget-full path:sessions/eu1]",
		}, b.take())
		require.Zero(t, e.Dropped())
	})
}

func TestEveryOccurrenceHasAnEventOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bus{}
		e := telemetry.NewEvents(b, hclog.NewNullLogger())
		for _, o := range machine.Occurrences() {
			e.Noted("eu1", machine.Note{What: o})
		}
		synctest.Wait()
		kinds := map[string]bool{}
		for _, got := range b.take() {
			var kind string
			_, err := fmt.Sscan(got, &kind)
			require.NoError(t, err)
			require.Regexp(t, `^panta/[a-z]+(-[a-z]+)+$`, kind)
			kinds[kind] = true
		}
		require.Len(t, kinds, len(machine.Occurrences()))
	})
}

func TestASenderThatHangsBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bus{hangs: true}
		e := telemetry.NewEvents(b, hclog.NewNullLogger())
		start := time.Now()
		for range 1000 {
			e.Noted("eu1", machine.Note{What: machine.SessionOpened})
		}
		require.Zero(t, time.Since(start))
		require.GreaterOrEqual(t, e.Dropped(), uint64(1000-256-1))
		e.Stop(time.Second)
		require.Equal(t, time.Second, time.Since(start), "its end is waited for as long as it was told")
	})
}

func TestStopSendsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bus{takes: 100 * time.Millisecond}
		e := telemetry.NewEvents(b, hclog.NewNullLogger())
		for range 5 {
			e.Noted("eu1", machine.Note{What: machine.SessionClosed})
		}
		e.Stop(time.Second)
		require.Len(t, b.take(), 5)
		e.Noted("eu1", machine.Note{What: machine.SessionClosed})
		require.EqualValues(t, 1, e.Dropped(), "after its end nothing is sent")
	})
}

func TestAVaultWithoutEventsIsNormal(t *testing.T) {
	var nowhere bytes.Buffer
	logger := hclog.New(&hclog.LoggerOptions{Output: &nowhere, Level: hclog.Info})
	telemetry.NewEvents(nil, logger).Noted("eu1", machine.Note{What: machine.SessionOpened})

	synctest.Test(t, func(t *testing.T) {
		b := &bus{fails: errors.New("no event sender configured")}
		e := telemetry.NewEvents(b, logger)
		for range 3 {
			e.Noted("eu1", machine.Note{What: machine.SessionOpened})
		}
		synctest.Wait()
		require.Len(t, b.take(), 3)
		require.Empty(t, nowhere.String())
		require.Zero(t, e.Dropped())
	})
}
