package sessions_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

// inTasks is a test in virtual time on the goroutines of an engine.
func inTasks(t *testing.T, test func(*testing.T, sessions.Tasks)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, sessions.NewTasks(hclog.NewNullLogger())) })
}

// patient waits for its tasks for a minute.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestATaskBeginsAfterAllOthersHaveEnded(t *testing.T) {
	inTasks(t, func(t *testing.T, tasks sessions.Tasks) {
		begun := 0
		for range 2 {
			require.True(t, tasks.Do(func(context.Context) { begun++ }))
			synctest.Wait()
		}
		tasks.End(patient(t))
		require.Equal(t, 2, begun)
	})
}

func TestTheEndOfTasksWaitsForThem(t *testing.T) {
	inTasks(t, func(t *testing.T, tasks sessions.Tasks) {
		var left error
		tasks.Do(func(ctx context.Context) {
			time.Sleep(10 * time.Second)
			left = ctx.Err()
		})
		tasks.Do(func(context.Context) { time.Sleep(5 * time.Second) })
		began := time.Now()
		tasks.End(patient(t))
		require.Equal(t, 10*time.Second, time.Since(began))
		require.NoError(t, left, "it is not cut off")
	})
}

func TestTheEndOfTasksWaitsForWhatTheyBeginMeanwhile(t *testing.T) {
	inTasks(t, func(t *testing.T, tasks sessions.Tasks) {
		stored := false
		tasks.Do(func(context.Context) {
			time.Sleep(time.Second)
			require.True(t, tasks.Do(func(context.Context) {
				time.Sleep(time.Second)
				stored = true
			}))
		})
		tasks.End(patient(t))
		require.True(t, stored)
	})
}

func TestTheEndOfTasksCutsOffWhatTakesTooLong(t *testing.T) {
	inTasks(t, func(t *testing.T, tasks sessions.Tasks) {
		cleared := false
		tasks.Do(func(ctx context.Context) {
			<-ctx.Done()
			time.Sleep(time.Second)
			cleared = true
		})
		began := time.Now()
		tasks.End(patient(t))
		require.Equal(t, time.Minute+time.Second, time.Since(began))
		require.True(t, cleared, "it is waited for nevertheless")
	})
}

func TestNoTaskBeginsAfterTheEnd(t *testing.T) {
	for name, last := range map[string]time.Duration{"at rest": 0, "at work": time.Second} {
		t.Run(name, func(t *testing.T) {
			inTasks(t, func(t *testing.T, tasks sessions.Tasks) {
				var life context.Context
				tasks.Do(func(ctx context.Context) {
					life = ctx //nolint:fatcontext // that of the tasks
					time.Sleep(last)
				})
				if last == 0 {
					synctest.Wait()
				}
				tasks.End(patient(t))
				require.False(t, tasks.Do(func(context.Context) { t.Error("it was begun") }))
				require.Error(t, life.Err(), "who waits for a task is told that none comes")
				synctest.Wait()
			})
		})
	}
}

func TestTasksCanBeEndedAgain(t *testing.T) {
	inTasks(t, func(t *testing.T, tasks sessions.Tasks) {
		tasks.Do(func(context.Context) { time.Sleep(2 * time.Second) })
		first := make(chan struct{})
		go func() {
			defer close(first)
			tasks.End(patient(t))
		}()
		time.Sleep(time.Second)
		tasks.End(patient(t)) // while it is being ended
		<-first
		tasks.End(patient(t))
	})
}

func TestAPanicOfATaskIsLoggedAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		tasks := sessions.NewTasks(hclog.New(&hclog.LoggerOptions{Output: &log}))
		tasks.Do(func(context.Context) { panic("of a task") })
		tasks.End(patient(t))
		require.Contains(t, log.String(), `panic: please report this: in="a test" panic="of a task"`)
	})
}
