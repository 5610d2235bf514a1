package sessions_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

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
