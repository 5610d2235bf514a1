package sessions

import (
	"context"
	"sync"
)

// crew counts the goroutines of an engine, so that Stop can wait for them.
// Unlike a sync.WaitGroup it may be given work while it is being waited for: an
// answer that comes in during Stop still has to be stored.
type crew struct {
	ctx    context.Context //nolint:containedctx // the life of the engine, which no request's context is
	cancel context.CancelFunc

	mu     sync.Mutex
	atWork int
	closed bool
	idle   chan struct{} // closed when nobody is at work and the crew is dismissed
}

func newCrew() *crew {
	ctx, cancel := context.WithCancel(context.Background())
	return &crew{ctx: ctx, cancel: cancel}
}

// do runs f in a goroutine; false: the crew is gone and f will not run.
func (c *crew) do(f func(ctx context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.atWork++
	go func() {
		defer c.done()
		f(c.ctx)
	}()
	return true
}

func (c *crew) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.atWork--
	if c.atWork == 0 && c.idle != nil {
		c.closed = true
		close(c.idle)
		c.idle = nil
	}
}

// dismiss waits until nobody is at work, at most until patience ends; then it
// cancels what is left and waits for that. No work is taken afterwards.
func (c *crew) dismiss(patience context.Context) {
	c.mu.Lock()
	if c.closed || c.atWork == 0 {
		c.closed = true
		c.mu.Unlock()
		c.cancel()
		return
	}
	idle := make(chan struct{})
	c.idle = idle
	c.mu.Unlock()
	select {
	case <-idle:
	case <-patience.Done():
	}
	c.cancel()
	<-idle
}
