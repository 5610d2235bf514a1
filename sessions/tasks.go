package sessions

import (
	"context"
	"sync"
)

// taskGroup counts the goroutines of an engine, so that Stop can wait for them.
// Unlike a sync.WaitGroup it may be given work while it is being waited for: an
// answer that comes in during Stop still has to be stored.
type taskGroup struct {
	ctx    context.Context //nolint:containedctx // the life of the engine, which no request's context is
	cancel context.CancelFunc

	mu      sync.Mutex
	running int
	closed  bool
	idle    chan struct{} // closed when no task runs and the group is told to end
}

func newTaskGroup() *taskGroup {
	ctx, cancel := context.WithCancel(context.Background())
	return &taskGroup{ctx: ctx, cancel: cancel}
}

// do runs f in a goroutine; false: the group has ended and f will not run.
func (g *taskGroup) do(f func(ctx context.Context)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.running++
	go func() {
		defer g.done()
		f(g.ctx)
	}()
	return true
}

func (g *taskGroup) done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
	if g.running == 0 && g.idle != nil {
		g.closed = true
		close(g.idle)
		g.idle = nil
	}
}

// end waits until no task runs, at most until patience ends; then it
// cancels what is left and waits for that. No work is taken afterwards.
func (g *taskGroup) end(patience context.Context) {
	g.mu.Lock()
	if g.closed || g.running == 0 {
		g.closed = true
		g.mu.Unlock()
		g.cancel()
		return
	}
	idle := make(chan struct{})
	g.idle = idle
	g.mu.Unlock()
	select {
	case <-idle:
	case <-patience.Done():
	}
	g.cancel()
	<-idle
}
