package configs

import (
	"context"
	"sync"
)

// names makes the writes of one name wait for each other, and no others.
type names struct {
	mu   sync.Mutex
	held map[string]*name
}

type name struct {
	turn    chan struct{} // holds one element while somebody has the name
	waiting int           // who has it or wants it
}

// lock waits for the name and returns what gives it back.
func (n *names) lock(ctx context.Context, key string) (unlock func(), err error) {
	n.mu.Lock()
	e := n.held[key]
	if e == nil {
		e = &name{turn: make(chan struct{}, 1)}
		n.held[key] = e
	}
	e.waiting++
	n.mu.Unlock()

	select {
	case e.turn <- struct{}{}:
		return func() { <-e.turn; n.leave(key, e) }, nil
	case <-ctx.Done():
		n.leave(key, e)
		return nil, &Refusal{
			Message: "another write of this name is still at work",
			Advice:  "try again when it is done",
			Err:     ctx.Err(),
		}
	}
}

func (n *names) leave(key string, e *name) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.waiting--; e.waiting == 0 {
		delete(n.held, key)
	}
}
