package sessions

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// The prefixes of the ledger's entries. SessionPrefix holds refresh tokens.
const (
	SessionPrefix = "session/" // session/<account>/<session>
	GuardPrefix   = "guard/"   // guard/<account>
	MountPrefix   = "mount/"   // mount/id
	// ConnectionPrefix holds client secrets: connection/<account>/<connection>.
	ConnectionPrefix = "connection/"
)

// ledger is the durable record of every session that the engine opened or may
// have opened.
type ledger struct {
	storage logical.Storage
	byID    store.Collection[sessionEntry]
	guards  store.Collection[machine.Guard]
	mounts  store.Collection[mountEntry]
	reached store.Collection[connectionEntry]
}

func newLedger(s logical.Storage) *ledger {
	return &ledger{
		storage: s,
		byID:    store.NewCollection[sessionEntry](s, SessionPrefix),
		guards:  store.NewCollection[machine.Guard](s, GuardPrefix),
		mounts:  store.NewCollection[mountEntry](s, MountPrefix),
		reached: store.NewCollection[connectionEntry](s, ConnectionPrefix),
	}
}

// sessionEntry is machine.Record as it is stored.
type sessionEntry struct {
	machine.Record

	RefreshToken string `json:"refresh_token,omitempty"`
	AccessToken  string `json:"access_token,omitempty"`
}

// mountEntry is the id that marks this mount's logins.
type mountEntry struct {
	ID string `json:"id"`
}

func (l *ledger) put(ctx context.Context, id AccountID, r machine.Record) error {
	return l.byID.Put(ctx, key(id, r.ID), sessionEntry{Record: r, RefreshToken: r.Refresh.Reveal(), AccessToken: r.Access.Reveal()})
}

func (l *ledger) remove(ctx context.Context, id AccountID, s machine.SessionID) error {
	return l.byID.Delete(ctx, key(id, s))
}

func key(id AccountID, s machine.SessionID) string { return string(id) + "/" + string(s) }

// accounts lists the accounts that have records.
func (l *ledger) accounts(ctx context.Context) ([]AccountID, error) {
	names, err := l.byID.List(ctx)
	return folders(names), err
}

// leftovers lists the accounts that have something else than records.
func (l *ledger) leftovers(ctx context.Context) ([]AccountID, error) {
	names, err := l.reached.List(ctx)
	if err != nil {
		return nil, err
	}
	ids := folders(names)
	guarded, err := l.guards.List(ctx)
	for _, name := range guarded {
		ids = append(ids, AccountID(name))
	}
	return ids, err
}

func folders(names []string) (ids []AccountID) {
	for _, name := range names {
		if id, folder := strings.CutSuffix(name, "/"); folder {
			ids = append(ids, AccountID(id))
		}
	}
	return ids
}

func (l *ledger) putConnection(ctx context.Context, id AccountID, c machine.ConnectionID, connection providers.Connection) error {
	return l.reached.Put(ctx, string(id)+"/"+string(c), newConnectionEntry(connection))
}

func (l *ledger) removeConnection(ctx context.Context, id AccountID, c machine.ConnectionID) error {
	return l.reached.Delete(ctx, string(id)+"/"+string(c))
}

// connections reads the connections of an account, those that can be read.
func (l *ledger) connections(ctx context.Context, id AccountID, logger hclog.Logger) (map[machine.ConnectionID]providers.Connection, error) {
	entries := store.NewCollection[connectionEntry](l.storage, ConnectionPrefix+string(id)+"/")
	names, err := entries.List(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[machine.ConnectionID]providers.Connection, len(names))
	for _, name := range names {
		entry, found, err := entries.Get(ctx, name)
		_, corrupt := errors.AsType[*store.CorruptError](err)
		switch {
		case corrupt:
			logger.Error("a stored connection cannot be read; the sessions that it opened end by age", "account", string(id), "connection", name, "error", err)
			all[machine.ConnectionID(name)] = providers.Connection{} // to be removed with them
		case err != nil:
			return nil, err
		case found:
			all[machine.ConnectionID(name)] = entry.connection()
		}
	}
	return all, nil
}

// holds says whether an account other than the given one has a record of that id; if
// that cannot be known, it may.
func (l *ledger) holds(ctx context.Context, except AccountID, s machine.SessionID) bool {
	ids, err := l.accounts(ctx)
	if err != nil {
		return true
	}
	for _, id := range ids {
		if id == except {
			continue
		}
		entry, err := l.storage.Get(ctx, SessionPrefix+key(id, s))
		if entry != nil || err != nil {
			return true
		}
	}
	return false
}

// load reads the records of an account. One that is corrupt may be an open
// session: it counts until the server must have dropped that.
func (l *ledger) load(ctx context.Context, id AccountID, now time.Time, logger hclog.Logger) ([]machine.Record, error) {
	records := store.NewCollection[sessionEntry](l.storage, SessionPrefix+string(id)+"/")
	names, err := records.List(ctx)
	if err != nil {
		return nil, err
	}
	loaded := make([]machine.Record, 0, len(names))
	for _, name := range names {
		entry, found, err := records.Get(ctx, name)
		_, corrupt := errors.AsType[*store.CorruptError](err)
		switch {
		case corrupt:
			logger.Error("a session in the ledger cannot be read; it counts until the server must have dropped it", "account", string(id), "session", name, "error", err)
			loaded = append(loaded, machine.Unreadable(machine.SessionID(name), now))
		case err != nil:
			return nil, err
		case found:
			loaded = append(loaded, entry.record(machine.SessionID(name)))
		}
	}
	return loaded, nil
}

func (e sessionEntry) record(id machine.SessionID) machine.Record {
	r := e.Record
	r.ID, r.Refresh, r.Access = id, providers.NewSecret(e.RefreshToken), providers.NewSecret(e.AccessToken)
	return r
}

// guard reads an account's guard; one that cannot be read is an open account.
func (l *ledger) guard(ctx context.Context, id AccountID) (machine.Guard, error) {
	e, _, err := l.guards.Get(ctx, string(id))
	if _, corrupt := errors.AsType[*store.CorruptError](err); corrupt {
		return machine.Guard{}, nil
	}
	if err != nil {
		return machine.Guard{}, err
	}
	return e, nil
}

// putGuard stores a guard; an open account needs none.
func (l *ledger) putGuard(ctx context.Context, id AccountID, g machine.Guard) error {
	if g == (machine.Guard{}) {
		return l.guards.Delete(ctx, string(id))
	}
	return l.guards.Put(ctx, string(id), g)
}

// mountID reads the mount's id, or makes it.
func (l *ledger) mountID(ctx context.Context) (string, error) {
	const name = "id"
	e, found, err := l.mounts.Get(ctx, name)
	if err != nil || found {
		return e.ID, err
	}
	e.ID = randomID(mountIDLength)
	return e.ID, l.mounts.Put(ctx, name, e)
}
