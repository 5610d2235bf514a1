package sessions

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// account is the shell around one machine: its mutex, which is held for a
// decision and never across I/O, the requests that wait, the effects that are
// to be done, and one timer.
type account struct {
	id     AccountID
	engine *Engine

	// ready is closed when the account is loaded, or has failed to (loadErr).
	ready   chan struct{}
	loadErr error

	mu      sync.Mutex
	machine *machine.Account
	config  string // its name; empty: there is none any more
	// connections are those of the config in force (inForce; empty: there is none), of
	// all sessions, and of verifications under way.
	connections map[machine.ConnectionID]*connection
	inForce     machine.ConnectionID
	waiting     map[machine.WaiterID]chan machine.Reply
	lastWaiter  machine.WaiterID
	effects     []machine.Effect // decided, not done yet, in order
	running     bool             // a runner is doing them
	timer       *time.Timer
	wakeAt      time.Time
	logouts     []machine.Logout // that wait for their turn
	loggingOut  int              // workers that do them
	dropped     bool             // by the engine: ask it for the account again

	// loginTook is how long the last call of a login took, for a check. An account's
	// logins come one after the other.
	loginTook    atomic.Int64
	hits, misses atomic.Uint64 // reads answered from memory at once, and others
	// The same of reads without a lease.
	staticHits, staticMisses atomic.Uint64
}

// step tells the machine an event.
func (a *account) step(ev machine.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stepLocked(ev)
}

// locked calls f under the mutex, or returns errDropped.
func (a *account) locked(f func()) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dropped {
		return errDropped
	}
	f()
	return nil
}

// stepLocked is step for those who hold the lock. An account that was dropped hears
// nothing more.
func (a *account) stepLocked(ev machine.Event) {
	if a.dropped {
		return
	}
	a.effects = append(a.effects, a.machine.Step(ev, a.engine.options.Now())...)
	a.setTimer()
	if (len(a.effects) > 0 || a.machine.Forgettable()) && !a.running {
		a.running = a.engine.tasks.do("the work of an account", a.run)
	}
}

// setTimer sees to it that the machine gets its Tick.
func (a *account) setTimer() {
	at := a.machine.NextWake()
	if at.Equal(a.wakeAt) {
		return
	}
	a.wakeAt = at
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	if !at.IsZero() {
		a.timer = time.AfterFunc(at.Sub(a.engine.options.Now()), a.tick)
	}
}

func (a *account) tick() {
	a.engine.tasks.do("a timer", func(context.Context) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.wakeAt = time.Time{} // this timer is spent, whatever NextWake says
		a.stepLocked(machine.Tick{})
	})
}

// stop has the account begin nothing new. One that is loading is told at its end.
func (a *account) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.machine != nil {
		a.stepLocked(machine.Stop{})
	}
}

// tryGrant is the hot path: one short lock, nothing else.
func (a *account) tryGrant(w machine.Want) (machine.Grant, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.machine.TryGrant(w, a.engine.options.Now())
}

// tryStatic is the hot path of a read without a lease.
func (a *account) tryStatic(w machine.Want) (machine.Static, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.machine.TryStatic(w, a.engine.options.Now())
}

// tryRelease is the hot path of a lease's end; false: the machine has to decide.
func (a *account) tryRelease(s machine.SessionID, g machine.GrantID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.machine.TryRelease(s, g)
}

// ask tells the machine an event that ends in a Reply, and waits for it or for
// the end of the request. The machine goes on without us: others may wait for
// the same login.
func (a *account) ask(ctx context.Context, event func(machine.WaiterID) machine.Event) (machine.Reply, error) {
	id, answer, err := a.enter(event)
	if err != nil {
		return machine.Reply{}, err
	}
	select {
	case r := <-answer:
		if r.Err != nil {
			return r, r.Err
		}
		return r, nil
	case <-ctx.Done():
		err = &Error{Reason: machine.Canceled, Message: "the request ended before the identity server answered", Advice: "if many wait: logins of one account come one after the other, so share sessions where you can", Err: ctx.Err()}
	case <-a.engine.tasks.ctx.Done():
		err = errStopping
	}
	a.abandon(id, answer)
	return machine.Reply{}, err
}

// enter takes a request in.
func (a *account) enter(event func(machine.WaiterID) machine.Event) (id machine.WaiterID, _ <-chan machine.Reply, _ error) {
	answer := make(chan machine.Reply, 1)
	err := a.locked(func() {
		a.lastWaiter++
		id = a.lastWaiter
		a.waiting[id] = answer
		a.stepLocked(event(id))
	})
	return id, answer, err
}

// abandon withdraws a request. An answer that was faster than the withdrawal is
// given back.
func (a *account) abandon(id machine.WaiterID, answer <-chan machine.Reply) {
	a.mu.Lock()
	if _, waits := a.waiting[id]; waits {
		delete(a.waiting, id)
		a.stepLocked(machine.Abandon{Waiter: id})
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	a.giveBack(<-answer)
}

// giveBack releases a grant that nobody will use.
func (a *account) giveBack(r machine.Reply) {
	if r.Grant.Token != nil {
		a.step(machine.Release{Session: r.Session, Grant: r.Grant.ID})
	}
}

// run does what the machine has decided, in order, until nothing is left.
func (a *account) run(ctx context.Context) {
	for {
		a.mu.Lock()
		batch := a.effects
		a.effects = nil
		if len(batch) == 0 {
			a.running = false
			forget := a.machine.Forgettable()
			a.mu.Unlock()
			if forget {
				a.engine.forget(a)
			}
			return
		}
		a.mu.Unlock()
		for _, effect := range batch {
			a.perform(ctx, effect)
		}
	}
}

// configName is the name of the account's config; empty: it has none any more.
func (a *account) configName() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.config
}

// nameFor names an account whose config is just being created.
func (a *account) nameFor(config string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.config == "" {
		a.config = config
	}
}

// putInForce has the next logins use other settings.
func (a *account) putInForce(s Settings) {
	a.config, a.inForce = s.Config, ""
	if s.Upstream != nil {
		a.inForce = a.connectionTo(s.Upstream)
	}
}
