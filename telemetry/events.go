package telemetry

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

const (
	// eventPrefix begins the type of each event.
	eventPrefix = "panta/"
	// eventsWaiting is how many events may wait for the sender. More are dropped:
	// nothing waits for people who watch.
	eventsWaiting = 256
	// sendPatience bounds one event.
	sendPatience = 5 * time.Second
)

// Events sends what happens to Vault's event bus. Safe for concurrent use.
type Events struct {
	sender logical.EventSender // nil: there is no bus
	logger hclog.Logger

	life    context.Context //nolint:containedctx // of the sender; no request's is
	end     context.CancelFunc
	dropped atomic.Uint64
	failing atomic.Bool // the last one could not be sent

	mu      sync.Mutex
	waiting []event
	done    chan struct{} // closed when the goroutine that sends has ended; nil: there is none
	stopped bool
}

type event struct {
	kind     string
	metadata []string
}

var _ sessions.Observer = (*Events)(nil)

// NewEvents returns events that go to this sender; nil: nowhere, as on a Vault
// without events.
func NewEvents(sender logical.EventSender, logger hclog.Logger) *Events {
	life, end := context.WithCancel(context.Background())
	return &Events{sender: sender, logger: logger, life: life, end: end}
}

// Dropped counts the events that the sender did not take in time.
func (e *Events) Dropped() uint64 { return e.dropped.Load() }

// Called implements sessions.Observer.
func (e *Events) Called(string, string, time.Duration, *providers.Error) {}

// Refused implements sessions.Observer.
func (e *Events) Refused(string, machine.Reason) {}

// Noted implements sessions.Observer. Of the note's text nothing is sent: a
// server wrote some of it.
func (e *Events) Noted(config string, n machine.Note) {
	if e.sender == nil {
		return
	}
	name := string(n.What)
	path := "sessions/"
	if config != "" { // else its config has been deleted: the list of accounts shows it
		path += config
		if n.Session != "" {
			path += "/" + string(n.Session)
		}
	}
	metadata := []string{
		logical.EventMetadataPath, path,
		logical.EventMetadataDataPath, path,
		logical.EventMetadataOperation, name,
		logical.EventMetadataModified, strconv.FormatBool(modifies(n.What)),
		"config", config,
	}
	if n.Session != "" {
		metadata = append(metadata, "session", string(n.Session))
	}
	e.add(event{eventPrefix + name, metadata})
}

// modifies says whether what a read of sessions/ shows is another session now.
func modifies(o machine.Occurrence) bool {
	return slices.Contains([]machine.Occurrence{
		machine.SessionOpened, machine.SessionClosed, machine.SessionDropped, machine.SessionAgedOut, machine.OrphanClosed,
		machine.SessionVanished, machine.LogoutPending, machine.LoginLost,
	}, o)
}

// add queues an event, and has it sent beside what the caller does.
func (e *Events) add(ev event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped || len(e.waiting) >= eventsWaiting {
		e.dropped.Add(1)
		return
	}
	e.waiting = append(e.waiting, ev)
	if e.done == nil {
		e.done = make(chan struct{})
		go e.run(e.done)
	}
}

// run sends what waits, in order, until nothing does.
func (e *Events) run(done chan<- struct{}) {
	defer close(done)
	for {
		ev, more := e.next()
		if !more {
			return
		}
		e.send(ev)
	}
}

// next takes the oldest event that waits; false: there is none any more.
func (e *Events) next() (event, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.life.Err() != nil {
		e.dropped.Add(uint64(len(e.waiting)))
		e.waiting = nil
	}
	if len(e.waiting) == 0 {
		e.done = nil
		return event{}, false
	}
	ev := e.waiting[0]
	e.waiting = e.waiting[1:]
	return ev, true
}

// send sends one event. That Vault has no bus, or takes none, is normal: it is
// said once.
func (e *Events) send(ev event) {
	defer func() {
		if p := recover(); p != nil {
			e.logger.Error("panic in Vault's event sender: please report this", "panic", p)
		}
	}()
	ctx, cancel := context.WithTimeout(e.life, sendPatience)
	defer cancel()
	err := logical.SendEvent(ctx, e.sender, ev.kind, ev.metadata...)
	if err != nil && !e.failing.Load() {
		e.logger.Debug("Vault takes no events", "event", ev.kind, "error", err)
	}
	e.failing.Store(err != nil)
}

// Stop sends what waits, for as long as patience lasts, and ends.
func (e *Events) Stop(patience time.Duration) {
	defer e.end()
	e.mu.Lock()
	e.stopped = true
	done := e.done
	e.mu.Unlock()
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-time.After(patience):
	}
}
