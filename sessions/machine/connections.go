package machine

import (
	"slices"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// Every session keeps the connection that opened it until it is closed, whatever
// becomes of its config (rule 1). The shell knows the connections and stores each
// before the first record that refers to it; the machine says when one may go.

// ConnectionID names a connection of the account.
type ConnectionID string

// Connection is what the machine needs to know of one.
type Connection struct {
	ID             ConnectionID
	Capabilities   providers.Capabilities
	RequestTimeout time.Duration
	// SameClient: the one in force reaches the same server as the same client, so
	// that it can stand in where this one's client authentication is refused.
	SameClient bool
}

// connection is one that is known, and how it is used.
type connection struct {
	Connection

	sessions int       // that refer to it
	stored   bool      // a record referred to it: the storage may hold it
	unusedAt time.Time // since when no session refers to it
	dropAt   time.Time // not removed before: the last try failed
	dropping bool      // its removal is under way
}

// connectionKept is how long the connection in force stays in storage without a
// session, so that an account of short leases does not write it for each of them.
const connectionKept = time.Minute

// setConnections takes in what the shell knows.
func (a *Account) setConnections(known []Connection) {
	for _, c := range known {
		a.connectionOf(c.ID).Connection = c
	}
}

// known returns the connection of that id, nil if there is none.
func (a *Account) known(id ConnectionID) *connection {
	for _, c := range a.connections { // there are few, and each step looks at all of them: a map would cost more
		if c.ID == id {
			return c
		}
	}
	return nil
}

// connectionOf returns the connection of that id, a new one if there is none.
func (a *Account) connectionOf(id ConnectionID) *connection {
	c := a.known(id)
	if c == nil {
		c = &connection{Connection: Connection{ID: id}, unusedAt: a.now}
		a.connections = append(a.connections, c)
	}
	return c
}

// refer has a session use a connection from now on.
func (a *Account) refer(s *session, id ConnectionID) {
	a.unrefer(s)
	c := a.connectionOf(id) // a new one: its entry could not be read, the session ends by age
	s.connection = c
	c.sessions++
	c.stored = c.stored || s.durable
}

// unrefer takes a session off its connection.
func (a *Account) unrefer(s *session) {
	if c := s.connection; c != nil {
		c.sessions--
		c.unusedAt = a.now
		s.connection = nil
	}
}

// via is how the session is reached; zero: that is not known.
func (s *session) via() *Connection {
	if s.connection == nil {
		return &Connection{}
	}
	return &s.connection.Connection
}

// timeout bounds one call for the session.
func (s *session) timeout() time.Duration { return max(s.via().RequestTimeout, time.Second) }

// dropConnections removes the connections that no session needs any more.
func (a *Account) dropConnections() {
	for i, c := range slices.Backward(a.connections) {
		if at, unused := a.connectionEnds(c); !unused || a.now.Before(at) {
			continue
		}
		c.dropping = c.stored
		a.emit(DropConnection{ID: c.ID, Stored: c.stored})
		if !c.stored {
			a.connections = slices.Delete(a.connections, i, i+1)
		}
	}
}

// Knows says that the connection is in use, or may be.
func (a *Account) Knows(id ConnectionID) bool { return a.known(id) != nil }

// connectionEnds is when a connection is to be removed; false: it is needed, or
// there is nothing to remove.
func (a *Account) connectionEnds(c *connection) (time.Time, bool) {
	switch {
	case c.sessions > 0 || c.dropping || a.isOnTrial(c.ID):
		return time.Time{}, false
	case c.ID != a.connection:
		return c.dropAt, true
	case !c.stored:
		return time.Time{}, false
	}
	return later(c.dropAt, c.unusedAt.Add(connectionKept)), true
}

// isOnTrial says that a verification waits to use the connection.
func (a *Account) isOnTrial(id ConnectionID) bool {
	for _, w := range a.waiters {
		if w.trial != nil && w.trial.Connection.ID == id {
			return true
		}
	}
	return false
}

// apply takes the answer to a DropConnection.
func (e ConnectionDropped) apply(a *Account) {
	c := a.known(e.ID)
	if c == nil {
		return
	}
	c.dropping = false
	switch {
	case e.Err != nil:
		c.dropAt = a.now.Add(storageRetry)
	case c.sessions > 0: // used again meanwhile: its next write stores it
	default:
		c.stored = false
	}
}

// standInFor is the connection in force, where it may be tried instead of a session's
// own: the server refused that one's client, and only its secret was changed.
func (a *Account) standInFor(s *session, tried ConnectionID, err *providers.Error) (ConnectionID, bool) {
	refused := err != nil && err.Kind == providers.BadCredentials && err.Outcome == providers.DidNotHappen
	switch {
	case !refused || !s.via().SameClient:
		return "", false
	case tried != s.via().ID:
		s.standInRefused = true
		return "", false
	}
	return a.connection, a.connection != "" && a.connection != tried && !s.standInRefused
}
