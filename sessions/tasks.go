package sessions

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// taskGroup counts the goroutines of an engine, so that Stop can wait for them.
// Unlike a sync.WaitGroup it may be given work while it is being waited for: an
// answer that comes in during Stop still has to be stored.
type taskGroup struct {
	ctx    context.Context //nolint:containedctx // the life of the engine, which no request's context is
	cancel context.CancelFunc
	logger hclog.Logger

	mu      sync.Mutex
	running int
	ending  bool          // it takes work as long as some runs
	closed  bool          // it takes none
	idle    chan struct{} // closed with it
}

func newTaskGroup(logger hclog.Logger) *taskGroup {
	ctx, cancel := context.WithCancel(context.Background())
	return &taskGroup{ctx: ctx, cancel: cancel, logger: logger, idle: make(chan struct{})}
}

// do runs f in a goroutine, whose panic is logged as one in what it does; false: the
// group has ended and f will not run.
func (g *taskGroup) do(what string, f func(ctx context.Context)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.running++
	go func() {
		defer g.done()
		defer recoverPanic(g.logger, what)
		f(g.ctx)
	}()
	return true
}

// recoverPanic keeps a panic from ending every mount of the plugin's process.
func recoverPanic(logger hclog.Logger, what string) {
	if p := recover(); p != nil {
		logger.Error("panic: please report this", "in", what, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}

func (g *taskGroup) done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
	g.closeIfIdle()
}

// end waits until no task runs, at most until patience ends; then it
// cancels what is left and waits for that. No work is taken afterwards.
func (g *taskGroup) end(patience context.Context) {
	g.mu.Lock()
	g.ending = true
	g.closeIfIdle()
	g.mu.Unlock()
	select {
	case <-g.idle:
	case <-patience.Done():
	}
	g.cancel()
	<-g.idle
}

// closeIfIdle ends the group when its last task has.
func (g *taskGroup) closeIfIdle() {
	if g.ending && g.running == 0 && !g.closed {
		g.closed = true
		close(g.idle)
	}
}
