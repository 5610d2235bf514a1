package sessions

import (
	"errors"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// Observer hears of what an engine does. Config is the name of the account's
// config, empty where it has been deleted. The methods are called in the midst of
// the work: they are quick and wait for nothing. None is called for a read that is
// answered from memory.
type Observer interface {
	// Called: a call to a server has ended; err nil: well. Op is that of a
	// *providers.Error: "login", "refresh", "logout", …
	Called(config, op string, took time.Duration, err *providers.Error)
	// Noted: something happened that people want to know.
	Noted(config string, n machine.Note)
	// Refused: a reader got no token.
	Refused(config string, r machine.Reason)
}

func (a *account) tell(n machine.Note) {
	if len(a.engine.options.Observers) == 0 {
		return
	}
	config := a.configName()
	for _, o := range a.engine.options.Observers {
		o.Noted(config, n)
	}
}

func (a *account) tellCalled(op string, began time.Time, err *providers.Error) {
	config, took := a.configName(), a.engine.options.Now().Sub(began)
	for _, o := range a.engine.options.Observers {
		o.Called(config, op, took, err)
	}
}

func (a *account) tellRefused(err error) {
	refusal, ok := errors.AsType[*Error](err)
	if !ok {
		return // the account was dropped, and is asked for again
	}
	config := a.configName()
	for _, o := range a.engine.options.Observers {
		o.Refused(config, refusal.Reason)
	}
}

// Reading is what an account shows to whoever measures.
type Reading struct {
	Config string // empty: it has been deleted
	Status Status
	// Hits and Misses count the reads that were answered from memory at once, and
	// those that had to wait for something or were refused.
	Hits, Misses uint64
	// StaticHits and StaticMisses count those without a lease.
	StaticHits, StaticMisses uint64
}

// Readings returns what the accounts in memory show now. It loads none.
func (e *Engine) Readings() []Reading {
	var all []Reading
	e.eachLoaded(func(a *account) { all = append(all, a.reading()) })
	return all
}

func (a *account) reading() Reading {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Reading{
		Config: a.config,
		Status: a.machine.Status(a.engine.options.Now()),
		Hits:   a.hits.Load(),
		Misses: a.misses.Load(),

		StaticHits: a.staticHits.Load(), StaticMisses: a.staticMisses.Load(),
	}
}
