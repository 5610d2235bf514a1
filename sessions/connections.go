package sessions

import (
	"context"
	"fmt"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// Providers knows the providers by their names.
type Providers interface {
	Lookup(name string) (providers.Provider, bool)
}

// connection is how some sessions of an account are reached.
type connection struct {
	providers.Connection

	client providers.Client // nil: this plugin cannot reach them
	stored bool
}

// connectionTo takes in how settings reach the account: as one that is known, if it
// is equal, else under a new id, which must say nothing of the secrets in it.
func (a *account) connectionTo(u providers.Upstream) machine.ConnectionID {
	next := u.Connection()
	for id, c := range a.connections {
		if c.Equal(next) {
			c.client = u
			return id
		}
	}
	id := machine.ConnectionID(randomID(sessionIDLength))
	a.connections[id] = &connection{Connection: next, client: u}
	return id
}

// knownConnections tells the machine what it needs of each connection; inForce is
// that of the config, empty: there is none.
func (a *account) knownConnections(inForce machine.ConnectionID) []machine.Connection {
	current := a.connections[inForce]
	known := make([]machine.Connection, 0, len(a.connections))
	for id, c := range a.connections {
		m := a.knownConnection(id)
		m.SameClient = current != nil && c.SameClient(current.Connection)
		known = append(known, m)
	}
	return known
}

func (a *account) knownConnection(id machine.ConnectionID) machine.Connection {
	c := a.connections[id]
	m := machine.Connection{ID: id, RequestTimeout: c.RequestTimeout}
	if c.client != nil {
		m.Capabilities = c.client.Capabilities()
	}
	return m
}

// clientOf is the client of a connection; nil: this plugin cannot reach it.
func (a *account) clientOf(id machine.ConnectionID) providers.Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.connections[id]; c != nil {
		return c.client
	}
	return nil
}

// storeConnection stores a connection unless it is there: no record may refer to one
// that is not.
func (a *account) storeConnection(ctx context.Context, id machine.ConnectionID) error {
	a.mu.Lock()
	c := a.connections[id]
	needed := c != nil && !c.stored
	a.mu.Unlock()
	if !needed {
		return nil
	}
	if err := a.engine.ledger.putConnection(ctx, a.id, id, c.Connection); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c.stored = true
	return nil
}

// dropConnection forgets a connection that no session needs.
func (a *account) dropConnection(ctx context.Context, e machine.DropConnection) {
	a.mu.Lock()
	if c := a.connections[e.ID]; c != nil {
		c.stored = false
		if !a.machine.Knows(e.ID) { // a verification may have taken it up again
			delete(a.connections, e.ID)
		}
	}
	a.mu.Unlock()
	if !e.Stored {
		return
	}
	err := a.write(ctx, func(ctx context.Context) error { return a.engine.ledger.removeConnection(ctx, a.id, e.ID) })
	a.step(machine.ConnectionDropped{ID: e.ID, Err: err})
}

// loadConnections reads the stored connections of an account.
func (e *Engine) loadConnections(ctx context.Context, id AccountID) (map[machine.ConnectionID]*connection, error) {
	stored, err := e.ledger.connections(ctx, id, e.logger)
	if err != nil {
		return nil, err
	}
	all := make(map[machine.ConnectionID]*connection, len(stored))
	for name, c := range stored {
		client, err := e.client(c)
		if err != nil {
			client = nil // not a nil of the provider's type
			e.logger.Error("a stored connection cannot be used; the sessions that it opened end by age", "account", string(id), "connection", string(name), "error", err)
		}
		all[name] = &connection{Connection: c, client: client, stored: true}
	}
	return all, nil
}

func (e *Engine) client(c providers.Connection) (providers.Client, error) {
	p, known := e.options.Providers.Lookup(c.Provider)
	if !known {
		return nil, fmt.Errorf("this plugin has no provider %q", c.Provider)
	}
	return p.Client(c)
}

// connectionEntry is providers.Connection as it is stored: by the names of its fields,
// of which the secret ones are hidden by those below.
type connectionEntry struct {
	providers.Connection

	ClientSecret, PrivateKey string
}

func newConnectionEntry(c providers.Connection) connectionEntry {
	return connectionEntry{Connection: c, ClientSecret: c.ClientSecret.Reveal(), PrivateKey: c.PrivateKey.Reveal()}
}

func (e connectionEntry) connection() providers.Connection {
	c := e.Connection
	c.ClientSecret, c.PrivateKey = providers.NewSecret(e.ClientSecret), providers.NewSecret(e.PrivateKey)
	return c
}
