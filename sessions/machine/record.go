package machine

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// AccountID names an upstream account: token endpoint and principal, hashed.
type AccountID string

// SessionID names a session of ours, and the login attempt that opens it: it is
// part of the mark that the server keeps with the session.
type SessionID string

// Stage is what the ledger knows of a session.
type Stage string

// The stages of a ledger record. Their values are stored: never change one.
const (
	// Opening: a login may have happened. Counts until it is known not to have,
	// or until the server must have dropped its session.
	Opening Stage = "opening"
	// Open: Refresh ends this session.
	Open Stage = "open"
	// Closing: a logout failed; it is tried until it succeeds or DiesAt.
	Closing Stage = "closing"
	// Spent: nothing is open any more; the record only holds a one-time code.
	Spent Stage = "spent"
)

// Record is the durable form of a session, one storage entry. Every transition
// that must survive a crash is one write of it.
type Record struct {
	ID     SessionID         `json:"-"` // part of the entry's key
	Stage  Stage             `json:"stage"`
	Mode   providers.Mode    `json:"mode"`
	Scopes []string          `json:"scopes,omitempty"`
	Params map[string]string `json:"params,omitempty"` // token_params of its login
	// Connection is how it is reached.
	Connection ConnectionID `json:"connection,omitempty"`

	Condition
}

// Condition is what changes of a record.
type Condition struct {
	// Refresh is the newest refresh token that was stored. A superseded one
	// still logs out at Keycloak, so it is always good enough to close.
	Refresh providers.Secret `json:"-"`
	// Access is the newest access token of a session that has no refresh token, where
	// the server ends it by that one.
	Access providers.Secret `json:"-"`
	// ServerID is the server's id of it, to find it in the server's list; empty:
	// not known.
	ServerID string `json:"server_id,omitempty"`
	// Generation counts the tokens of this session: 1 from the login, one more
	// from each refresh.
	Generation int `json:"generation,omitempty"`

	OpenedAt time.Time `json:"opened_at"`
	// RefreshedAt is when its newest token came by a refresh; zero: none did.
	RefreshedAt time.Time `json:"refreshed_at,omitzero"`
	// Horizon is when the newest access token expires. No lease outlives it.
	Horizon time.Time `json:"horizon,omitzero"`
	// Idle is how long the server keeps a new session that is left alone: what it told, else
	// the life of its token and an idle time after that. DiesAt is when it has surely
	// dropped this one.
	Idle   time.Duration `json:"idle"`
	DiesAt time.Time     `json:"dies_at"`

	// Code is the one-time code that its login spent; nil: it sent none.
	Code *SpentCode `json:"code,omitempty"`

	// Logout is how its logout stands; nil: it never waited for one.
	Logout *PendingLogout `json:"logout,omitempty"`
}

// PendingLogout is the logout that a session waits for. It is immutable: a write
// of it may be under way.
type PendingLogout struct {
	Since time.Time `json:"since"`
	// Tries counts the logouts that failed; Revocations counts those of them that
	// failed a revocation visibly (rule 5).
	Tries       int    `json:"tries,omitempty"`
	Revocations int    `json:"revocations,omitempty"`
	LastError   string `json:"last_error,omitempty"`
}

// pendingLogout is how its logout stands; zero: it never waited for one.
func (c *Condition) pendingLogout() PendingLogout {
	if c.Logout == nil {
		return PendingLogout{}
	}
	return *c.Logout
}

// SpentCode is a one-time code that was used. It is immutable.
type SpentCode struct {
	// Ends is the end of its step, for a code that we made: a time, since steps
	// are counted anew where a config changes their length.
	Ends time.Time `json:"ends,omitzero"`
	// Digest is of a code that a person typed.
	Digest string `json:"digest,omitempty"`
	// Until is when the server does not accept it any more.
	Until time.Time `json:"until"`

	person string // who typed it; not stored
}

// typist is who typed the code; empty: nobody did.
func (c *SpentCode) typist() string {
	if c == nil {
		return ""
	}
	return c.person
}

// remembered says that the server could still take the code again, if there is one.
func (c *SpentCode) remembered(now time.Time) bool { return c != nil && now.Before(c.Until) }

// Guard is what is remembered of an account besides its sessions, above all
// what keeps it from being locked out (rule 7). The zero value is an open
// account of which nothing is known.
type Guard struct {
	// ClosedUntil: no login before it, after refused ones, the last at ClosedAt.
	// Reason says why, for people; Strikes counts those refused in a row.
	ClosedAt    time.Time `json:"closed_at,omitzero"`
	ClosedUntil time.Time `json:"closed_until,omitzero"`
	Reason      string    `json:"reason,omitempty"`
	Strikes     int       `json:"strikes,omitempty"`
	// FullUntil: no login before it, since the server reported its session limit, the
	// last of FullStrikes times in a row at FullAt. FullReason says how.
	FullAt      time.Time `json:"full_at,omitzero"`
	FullUntil   time.Time `json:"full_until,omitzero"`
	FullReason  string    `json:"full_reason,omitempty"`
	FullStrikes int       `json:"full_strikes,omitempty"`
	// TypedStrikes counts the codes typed by people that were refused in a row.
	TypedStrikes int `json:"typed_strikes,omitempty"`
	// AsksForCode: a login without a one-time code was refused, so the next one
	// needs a code (rule 6).
	AsksForCode bool `json:"asks_for_code,omitempty"`
	// Codeless: a login without a code has succeeded where the server may ask for
	// one, so the account has no second factor.
	Codeless bool `json:"codeless,omitempty"`
	// Idle is how long the server keeps a new session that is left alone, if
	// that is not Keycloak's default; 0: as far as we know it is.
	Idle time.Duration `json:"idle,omitempty"`
	// LastLogin is when somebody logged in, where the account is kept alive: at
	// most a tenth of that interval before the last time; zero: not known.
	LastLogin time.Time `json:"last_login,omitzero"`
}

// Limits is what a config says about the use of its account.
type Limits struct {
	// MaxSessions is the most sessions that may count at once; 0: no limit.
	MaxSessions int
	// Linger keeps a shared session after its last lease.
	Linger time.Duration
	// RequestTimeout bounds one call to the server.
	RequestTimeout time.Duration
	Capabilities   providers.Capabilities
	// KeepAlive is the longest time that nobody logs in: after that the engine
	// does, once (keepalive.go); 0: it does not. DeactivatedAfter is how long
	// the server would wait before it deactivates the account; 0: for ever.
	KeepAlive        time.Duration
	DeactivatedAfter time.Duration
	// NoMark: logins do not carry rule 11's mark.
	NoMark bool
}

// Past is what is known of an account before its first event. Without
// Connection no config names it.
type Past struct {
	Limits     Limits
	Connection ConnectionID
	// Known are all connections, Stored those of them that were read from storage.
	Known, Stored []Connection
	Guard         Guard
	Records       []Record
}

// Recover builds an account from what its ledger holds; without records it is
// an account that was never used. Boot names this run of the engine, newID
// gives ids that were never used before.
func Recover(st Past, boot string, newID func() SessionID, now time.Time) *Account {
	a := &Account{
		limits:     st.Limits,
		boot:       boot,
		newID:      newID,
		connection: st.Connection,
		sessions:   make(map[SessionID]*session, len(st.Records)),
		purposes:   map[string]*purpose{},
		counters:   counters{closing: map[*session]struct{}{}},
		releasing:  map[SessionID][]WaiterID{},
		guard:      guardState{Guard: st.Guard.credible(now), setAt: now},
		list:       sessionList{access: AccessUnknown, wanted: true},
		keep:       keepAlive{lastLogin: st.Guard.LastLogin},
		now:        now,
	}
	a.setConnections(st.Known)
	for _, c := range st.Stored {
		a.connectionOf(c.ID).stored = true
	}
	for _, r := range st.Records {
		a.recover(r)
	}
	return a
}

// recover takes one record back in.
func (a *Account) recover(r Record) {
	s := &session{id: r.ID, mode: r.Mode, purpose: a.purposeOf(r.Scopes, r.Params), rec: r.Condition, durable: true, dueIndex: notDue}
	a.sessions[r.ID] = s
	if r.Connection != "" {
		a.refer(s, r.Connection)
	}
	a.spend(&s.rec)
	s.rec.comeNearer(a.now)
	if r.Stage == Open || r.Stage == Closing {
		s.rec.DiesAt = s.rec.surelyDead(a.now)
	}
	switch {
	case r.Stage == Opening:
		a.enter(s, lost)
	case r.Stage == Open && a.now.Before(s.rec.DiesAt):
		a.recoverOpen(s)
	case r.Stage == Open, r.Stage == Closing:
		// One that the server must have dropped is not logged out: if it is there all
		// the same, somebody else keeps it alive, and this storage is a copy of theirs.
		a.enter(s, closing)
		s.callAt = a.now
	case r.Stage == Spent:
		a.enter(s, codeHold)
	default:
		// A stage of a later version: hold what it may have open until it is dead.
		a.enter(s, lost)
	}
	a.schedule(s)
}

// comeNearer takes back by how much the clock was ahead that a record was written by,
// if it was: else its session would count for as much longer (rule 6).
func (c *Condition) comeNearer(now time.Time) {
	ahead := later(c.OpenedAt, c.RefreshedAt).Sub(now)
	if ahead <= codeWindow {
		return
	}
	for _, at := range []*time.Time{&c.OpenedAt, &c.RefreshedAt, &c.Horizon, &c.DiesAt} {
		if !at.IsZero() {
			*at = at.Add(-ahead)
		}
	}
	if c.Code != nil {
		code := *c.Code
		code.Until = code.Until.Add(-ahead)
		c.Code = &code
	}
}

// surelyDead is when the server has surely dropped the session of a record that was
// stored some time before now. A refresh whose answer was lost may have kept it
// alive after the record was stored, up to its horizon: a later one stores first.
func (c *Condition) surelyDead(now time.Time) time.Time {
	if c.Refresh.Empty() {
		return c.DiesAt // nothing prolongs it
	}
	used := earliest(now, c.Horizon.Add(maxTimeout))
	return later(c.DiesAt, used.Add(c.Idle+deathMargin))
}

// recoverOpen takes back a session that was open. The leases that it had are
// not known by name: the generation is held without one until the horizon that
// the session had then (rule 3). A shared one waits for its first reader, who
// adopts it by a refresh.
func (a *Account) recoverOpen(s *session) {
	a.enter(s, open)
	s.keepUntil = a.now
	if a.now.Before(s.rec.Horizon) {
		s.generations = []generation{{horizon: s.rec.Horizon, nameless: true}}
	}
	if s.mode != providers.Shared {
		return
	}
	if other := s.purpose.current; other == nil || other.rec.Horizon.Before(s.rec.Horizon) {
		s.purpose.current = s
	}
}

// Unreadable stands for a record whose content is lost: a session that may be
// open and cannot be closed.
func Unreadable(id SessionID, now time.Time) Record {
	return Record{ID: id, Stage: Opening, Condition: Condition{OpenedAt: now, Idle: defaultIdle, DiesAt: now.Add(defaultIdle + deathMargin)}}
}

// record is what the ledger should hold of the session.
func (s *session) record() Record {
	return Record{
		ID: s.id, Stage: s.phase.stage(), Mode: s.mode, Scopes: s.purpose.scopes, Params: s.purpose.params,
		Connection: s.via().ID, Condition: s.rec,
	}
}

// stage is what the ledger is told of a session in this phase.
func (p phase) stage() Stage {
	switch p {
	case recording, open:
		return Open
	case closing:
		return Closing
	case codeHold, removing:
		return Spent
	case intending, loggingIn, lost:
	}
	return Opening
}

// The ledger is told what it should hold, one write of a session at a time: a
// change during a write is written when that one is done.

// save has the ledger hold the session's record as it is now. A login that leaves no
// session at the server has none, and goes on at once.
func (a *Account) save(s *session) {
	if !s.durable {
		a.saved(s)
		return
	}
	s.dirty = true
	a.flush(s)
}

// remove has the ledger forget the session; it is gone when that is stored.
func (a *Account) remove(s *session) {
	a.enter(s, removing)
	a.save(s)
}

// flush begins the write that a session needs, unless one is under way.
func (a *Account) flush(s *session) {
	if s.storing || !s.dirty {
		return
	}
	a.setStoring(s, true)
	s.dirty = false
	if s.phase == removing {
		a.emit(Remove{Session: s.id})
	} else {
		a.emit(Put{Record: s.record()})
	}
}

// apply goes on with what waited for a write.
func (e Stored) apply(a *Account) {
	s := a.sessions[e.Session]
	if s == nil {
		return
	}
	a.setStoring(s, false)
	defer a.schedule(s)
	if e.Err != nil {
		a.note(LedgerWriteLost, s, e.Err.Error())
		a.storeFailed(s, e.Err)
		return
	}
	s.unsaved = nil
	if s.dirty {
		a.flush(s)
		return
	}
	a.saved(s)
}

// saved goes on with a session whose record is stored.
func (a *Account) saved(s *session) {
	switch s.phase {
	case intending:
		a.startLogin(s)
	case recording:
		a.opened(s)
	case open:
		if s.unstored != nil {
			a.publish(s)
		}
	case removing:
		a.forget(s)
	case loggingIn, lost, closing, codeHold:
	}
}

// storeFailed: a failed write may still have landed, so nothing is taken back;
// what could not be recorded is closed (rule 1).
func (a *Account) storeFailed(s *session, cause error) {
	refusal := &Refusal{
		Reason:  Storage,
		Message: "Vault's storage did not take the session's record: " + cause.Error(),
		Advice:  "look at the health of Vault's storage and try again",
		Err:     cause,
	}
	switch s.phase {
	case intending:
		a.opening = nil
		a.answerOpeners(s, refusal)
		a.remove(s)
		return
	case recording:
		a.opening = nil
		refusal.AfterLogin = true
		a.answerOpeners(s, refusal)
		a.beginClosing(s)
		return
	case open:
		a.answerRefreshers(s, refusal)
	case loggingIn, lost, closing, codeHold, removing:
	}
	s.dirty = true
	s.unsaved = s.unsaved.again(a.now, func(tries int) time.Duration { return backoff(s.id, tries, time.Minute) })
}

// forget drops a session that nothing is left of.
func (a *Account) forget(s *session) {
	a.enter(s, removing)
	a.leave(s)
	if c := a.list.asking; c != nil {
		c.left[s.id] = true
	}
	delete(a.sessions, s.id)
	a.unrefer(s)
}

// doubling is how long to wait after a try, counted from 1: first, then twice as long
// each time, up to most.
func doubling(first, most time.Duration, try int) time.Duration {
	return min(most, first<<min(try-1, 16))
}

// backoff doubles from a second to most, spread by a quarter either way. The spread
// is drawn from the session's id: the same try of the same session always waits
// the same time, and a thousand sessions do not come back at once.
func backoff(id SessionID, try int, most time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, id, try)
	spread := 0.75 + float64(h.Sum32()%(1<<16))/(1<<17)
	return time.Duration(float64(doubling(time.Second, most, try)) * spread)
}
