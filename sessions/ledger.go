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
)

// ledger is the durable record of every session that the engine opened or may
// have opened.
type ledger struct {
	storage logical.Storage
	byID    store.Collection[sessionEntry]
	guards  store.Collection[guardEntry]
	mounts  store.Collection[mountEntry]
}

func newLedger(s logical.Storage) *ledger {
	return &ledger{
		storage: s,
		byID:    store.NewCollection[sessionEntry](s, SessionPrefix, 1),
		guards:  store.NewCollection[guardEntry](s, GuardPrefix, 1),
		mounts:  store.NewCollection[mountEntry](s, MountPrefix, 1),
	}
}

// sessionEntry is machine.Record as it is stored.
type sessionEntry struct {
	Stage        machine.Stage  `json:"stage"`
	Mode         providers.Mode `json:"mode"`
	Scopes       []string       `json:"scopes,omitempty"`
	RefreshToken string         `json:"refresh_token,omitempty"`
	ServerID     string         `json:"server_id,omitempty"`
	Generation   int            `json:"generation,omitempty"`
	OpenedAt     time.Time      `json:"opened_at"`
	RefreshedAt  time.Time      `json:"refreshed_at,omitzero"`
	ClosingAt    time.Time      `json:"closing_at,omitzero"`
	Horizon      time.Time      `json:"horizon,omitzero"`
	Idle         time.Duration  `json:"idle"`
	DiesAt       time.Time      `json:"dies_at"`
	CodeEnds     time.Time      `json:"code_ends,omitzero"`
	CodeDigest   string         `json:"code_digest,omitempty"`
	CodeUntil    time.Time      `json:"code_until,omitzero"`
	Revocations  int            `json:"revocations,omitempty"`
	Tries        int            `json:"tries,omitempty"`
	LastError    string         `json:"last_error,omitempty"`
}

// guardEntry is machine.Guard as it is stored.
type guardEntry struct {
	ClosedUntil time.Time     `json:"closed_until,omitzero"`
	Reason      string        `json:"reason,omitempty"`
	Strikes     int           `json:"strikes,omitempty"`
	FullUntil   time.Time     `json:"full_until,omitzero"`
	FullReason  string        `json:"full_reason,omitempty"`
	AsksForCode bool          `json:"asks_for_code,omitempty"`
	Idle        time.Duration `json:"idle,omitempty"`
	LastLogin   time.Time     `json:"last_login,omitzero"`
}

// mountEntry is the id that marks this mount's logins.
type mountEntry struct {
	ID string `json:"id"`
}

func (l *ledger) put(ctx context.Context, id AccountID, r machine.Record) error {
	ctx, cancel := context.WithTimeout(ctx, storagePatience)
	defer cancel()
	entry := sessionEntry{
		Stage:        r.Stage,
		Mode:         r.Mode,
		Scopes:       r.Scopes,
		RefreshToken: r.Refresh.Reveal(),
		ServerID:     r.ServerID,
		Generation:   r.Generation,
		OpenedAt:     r.OpenedAt,
		RefreshedAt:  r.RefreshedAt,
		Horizon:      r.Horizon,
		Idle:         r.Idle,
		DiesAt:       r.DiesAt,
	}
	if c := r.Code; c != nil {
		entry.CodeEnds, entry.CodeDigest, entry.CodeUntil = c.Ends, c.Digest, c.Until
	}
	if p := r.Logout; p != nil {
		entry.ClosingAt, entry.Tries, entry.Revocations, entry.LastError = p.Since, p.Tries, p.Revocations, p.LastError
	}
	return l.byID.Put(ctx, key(id, r.ID), entry)
}

func (l *ledger) remove(ctx context.Context, id AccountID, s machine.SessionID) error {
	ctx, cancel := context.WithTimeout(ctx, storagePatience)
	defer cancel()
	return l.byID.Delete(ctx, key(id, s))
}

func key(id AccountID, s machine.SessionID) string { return string(id) + "/" + string(s) }

// accounts lists the accounts that have records.
func (l *ledger) accounts(ctx context.Context) ([]AccountID, error) {
	names, err := l.byID.List(ctx)
	if err != nil {
		return nil, err
	}
	var ids []AccountID
	for _, name := range names {
		if id, folder := strings.CutSuffix(name, "/"); folder {
			ids = append(ids, AccountID(id))
		}
	}
	return ids, nil
}

// load reads the records of an account. One that is corrupt may be an open
// session: it counts until the server must have dropped that.
func (l *ledger) load(ctx context.Context, id AccountID, now time.Time, logger hclog.Logger) ([]machine.Record, error) {
	records := store.NewCollection[sessionEntry](l.storage, SessionPrefix+string(id)+"/", 1)
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
	r := machine.Record{
		ID:          id,
		Stage:       e.Stage,
		Mode:        e.Mode,
		Scopes:      e.Scopes,
		Refresh:     providers.NewSecret(e.RefreshToken),
		ServerID:    e.ServerID,
		Generation:  e.Generation,
		OpenedAt:    e.OpenedAt,
		RefreshedAt: e.RefreshedAt,
		Horizon:     e.Horizon,
		Idle:        e.Idle,
		DiesAt:      e.DiesAt,
	}
	if !e.CodeUntil.IsZero() {
		r.Code = &machine.SpentCode{Ends: e.CodeEnds, Digest: e.CodeDigest, Until: e.CodeUntil}
	}
	if !e.ClosingAt.IsZero() {
		r.Logout = &machine.PendingLogout{Since: e.ClosingAt, Tries: e.Tries, Revocations: e.Revocations, LastError: e.LastError}
	}
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
	return machine.Guard(e), nil
}

// putGuard stores a guard; an open account needs none.
func (l *ledger) putGuard(ctx context.Context, id AccountID, g machine.Guard) error {
	ctx, cancel := context.WithTimeout(ctx, storagePatience)
	defer cancel()
	if g == (machine.Guard{}) {
		return l.guards.Delete(ctx, string(id))
	}
	return l.guards.Put(ctx, string(id), guardEntry(g))
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
