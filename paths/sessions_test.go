package paths_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// ledger is what the engine says of its sessions: as it is told.
type ledger struct {
	statuses map[sessions.AccountID]sessions.Status
	held     []sessions.SessionStatus
	after    sessions.SessionStatus
	closed   []machine.SessionID
	ledger   error // of every look
	closing  error
}

func (l *ledger) Accounts(context.Context) ([]sessions.AccountID, error) {
	return slices.Sorted(maps.Keys(l.statuses)), l.ledger
}

func (l *ledger) Status(_ context.Context, id sessions.AccountID) (sessions.Status, error) {
	return l.statuses[id], l.ledger
}

func (l *ledger) Sessions(context.Context, sessions.AccountID) ([]sessions.SessionStatus, error) {
	return l.held, l.ledger
}

func (l *ledger) Session(_ context.Context, _ sessions.AccountID, id machine.SessionID) (sessions.SessionStatus, bool, error) {
	for _, s := range l.held {
		if s.ID == id {
			return s, true, l.ledger
		}
	}
	return sessions.SessionStatus{}, false, l.ledger
}

func (l *ledger) CloseSession(ctx context.Context, a sessions.AccountID, id machine.SessionID) (before, after sessions.SessionStatus, found bool, err error) {
	before, found, _ = l.Session(ctx, a, id)
	if found {
		l.closed = append(l.closed, id)
	}
	return before, l.after, found, l.closing
}

// hold has the engine hold a session with nothing but these.
func (h *mount) hold(s machine.SessionStatus) {
	s.ID, s.Mode, s.OpenedAt = "ses", providers.Shared, time.Unix(0, 0)
	h.engine.held = []sessions.SessionStatus{{SessionStatus: s, Mark: "mount-ses"}}
}

// accountOf is the account of a config that is stored.
func (h *mount) accountOf(config string) sessions.AccountID {
	h.t.Helper()
	return sessions.AccountID(h.read("sessions/"+config, nil).Data["account"].(string))
}

func TestSessionsOfAnAccount(t *testing.T) {
	h := newMount(t)
	h.mustWrite("config/eu1", ocp(nil))
	id := h.accountOf("eu1")
	at := time.Now().Add(time.Minute).UTC()
	h.engine.statuses = map[sessions.AccountID]sessions.Status{id: {
		Usage: machine.Usage{Limit: 5, Open: 1, Unknown: 1, Closing: 1, ListedAt: at}, Listing: machine.AccessGranted, Waiting: 2, OldestLogout: at,
		States:      map[machine.State]int{machine.StateOpen: 1, machine.StateUnknown: 1, machine.StateWaiting: 1},
		Guard:       machine.Guard{ClosedUntil: at, Reason: "refused", Strikes: 2, FullUntil: at, FullReason: "full", AsksForCode: true},
		PausedUntil: at, PauseReason: "down",
	}}
	stamp := at.Format(time.RFC3339)
	require.Equal(t, map[string]any{
		"account": string(id), "config": "eu1", "waiting": 2,
		"budget": "3 of 5 in use (1 open, 1 unknown, 1 waiting for logout)", "max_sessions": 5, "in_use": 3, "open": 1, "unknown": 1,
		"waiting_for_logout": 1, "other_mounts": 0, "people": 0, "strays": 0, "listed_at": stamp, "account_api": "allowed",
		"clock": "the server's clock is not known: none of its answers has shown it", "oldest_logout": stamp,
		"states":       map[string]int{"open": 1, "unknown": 1, "waiting for logout": 1},
		"closed_until": stamp, "closed_reason": "refused", "refused_logins": 2, "full_until": stamp, "full_reason": "full",
		"asks_for_code": true, "paused_until": stamp, "paused_reason": "down", "draining": false, "retired": false,
	}, h.read("sessions/eu1", nil).Data)

	t.Run("what is over is left out", func(t *testing.T) {
		past := time.Now().Add(-time.Second)
		h.engine.statuses = map[sessions.AccountID]sessions.Status{id: {Guard: machine.Guard{ClosedUntil: past, FullUntil: past}}}
		answer := h.read("sessions/eu1", nil).Data
		require.NotContains(t, answer, "closed_until")
		require.NotContains(t, answer, "full_reason")
		require.NotContains(t, answer, "oldest_logout")
		require.NotContains(t, answer, "keepalive_due")
	})

	t.Run("an account that is kept alive says how", func(t *testing.T) {
		last := time.Now().Add(-80 * 24 * time.Hour).UTC()
		h.engine.statuses = map[sessions.AccountID]sessions.Status{id: {KeepAlive: sessions.KeepAlive{
			Interval: time.Hour, DeactivatedAfter: 90 * 24 * time.Hour, LastLogin: last, DueAt: at, Problem: "the server is down",
		}}}
		a := h.read("sessions/eu1", nil)
		require.Equal(t, last.Format(time.RFC3339), a.Data["last_login"])
		require.Equal(t, stamp, a.Data["keepalive_due"])
		require.Equal(t, "the server is down", a.Data["keepalive_error"])
		require.Equal(t, []string{`config "eu1": the login that keeps the account alive does not succeed: the server is down; the last login was at ` +
			last.Format(time.RFC3339) + `, 80 days ago, and the server deactivates an account after 90 days without one`}, a.Warnings)
	})
}

func TestSessionsAreListed(t *testing.T) {
	h := newMount(t)
	require.Empty(t, h.do(logical.ListOperation, "sessions/", nil).Data)
	h.mustWrite("config/eu1", ocp(nil))
	h.mustWrite("config/dmo", panta(nil))
	id := h.accountOf("eu1")
	const gone = "00aa11bb22cc33dd44ee55ff"
	h.engine.statuses = map[sessions.AccountID]sessions.Status{id: {Usage: machine.Usage{Limit: 5, Open: 1}}, gone: {Retired: true}}
	list := h.do(logical.ListOperation, "sessions/", nil).Data
	require.Equal(t, []string{gone, "eu1"}, list["keys"], "dmo has none")
	require.Equal(t, map[string]any{
		"eu1": map[string]any{"account": string(id), "config": "eu1", "max_sessions": 5, "in_use": 1, "states": map[string]int{}},
		gone:  map[string]any{"account": gone, "config": "", "max_sessions": 0, "in_use": 0, "states": map[string]int{}},
	}, list["key_info"])

	h.hold(machine.SessionStatus{State: machine.StateOpen, Leases: 2})
	list = h.do(logical.ListOperation, "sessions/eu1/", nil).Data
	require.Equal(t, []string{"ses"}, list["keys"])
	require.Equal(t, map[string]any{"ses": map[string]any{
		"state": "open", "session_mode": "shared", "leases": 2, "opened_at": "1970-01-01T00:00:00Z",
	}}, list["key_info"])

	t.Run("those of a deleted config by the account's id", func(t *testing.T) {
		require.Equal(t, true, h.read("sessions/"+gone, nil).Data["retired"])
		require.Empty(t, h.read("sessions/"+gone+"/ses", nil).Data["config"])
		require.Equal(t, "eu1", h.read("sessions/"+string(id), nil).Data["config"], "a config's too")
	})
}

func TestReadingASession(t *testing.T) {
	h := newMount(t)
	h.mustWrite("config/eu1", ocp(nil))
	h.hold(machine.SessionStatus{State: machine.StateOpening})
	least := map[string]any{
		"session": "ses", "config": "eu1", "state": "opening", "session_mode": "shared", "scopes": []string{}, "generation": 0,
		"leases": 0, "earlier_leases": false, "mark": "mount-ses", "tries": 0, "revocations": 0, "opened_at": "1970-01-01T00:00:00Z",
	}
	require.Equal(t, least, h.read("sessions/eu1/ses", nil).Data)
	require.Equal(t, least, h.read("sessions/eu1/ses.4", nil).Data, "as a session_id names it")
	require.Nil(t, h.read("sessions/eu1/other", nil).Response)

	at := func(n int64) time.Time { return time.Unix(n, 0) }
	h.hold(machine.SessionStatus{
		State: machine.StateWaiting, Scopes: []string{"email"}, Generation: 3, Leases: 1, EarlierLeases: true, RefreshedAt: at(1),
		ExpiresAt: at(2), Horizon: at(3), DiesAt: at(4), ClosingAt: at(5), LogoutAt: at(6), Revocations: 2, Tries: 4, LastError: "no answer",
	})
	require.Equal(t, map[string]any{
		"session": "ses", "config": "eu1", "state": "waiting for logout", "session_mode": "shared", "scopes": []string{"email"},
		"generation": 3, "leases": 1, "earlier_leases": true, "mark": "mount-ses", "tries": 4, "revocations": 2,
		"opened_at": "1970-01-01T00:00:00Z", "refreshed_at": "1970-01-01T00:00:01Z", "expires_at": "1970-01-01T00:00:02Z",
		"horizon": "1970-01-01T00:00:03Z", "dies_at": "1970-01-01T00:00:04Z", "closing_since": "1970-01-01T00:00:05Z",
		"next_logout": "1970-01-01T00:00:06Z", "last_error": "no answer",
	}, h.read("sessions/eu1/ses", nil).Data)
}

func TestDeletingASession(t *testing.T) {
	dead := machine.SessionStatus{State: machine.StateAgeing, DiesAt: time.Unix(0, 0)}
	for name, test := range map[string]struct {
		before, after machine.SessionStatus
		warnings      []string
	}{
		"nobody held it": {before: machine.SessionStatus{State: machine.StateOpen}},
		"one lease":      {before: machine.SessionStatus{Leases: 1}, warnings: []string{`1 lease was on session "ses" and ends with it: its holder must read creds again`}},
		"leases":         {before: machine.SessionStatus{Leases: 2}, warnings: []string{`2 leases were on session "ses": their tokens are dead now, though Vault lists the leases until their time; their holders must read creds again`}},
		"earlier leases": {before: machine.SessionStatus{EarlierLeases: true}, warnings: []string{`leases from before the plugin was started may have been on session "ses": their tokens are dead now, though Vault lists the leases until their time; their holders must read creds again`}},
		"lost login":     {before: machine.SessionStatus{State: machine.StateUnknown}, warnings: []string{`session "ses" is dropped and does not count any more: its login had no answer. If the server did open it, it ends there by age`}},
		"no logout":      {after: dead, warnings: []string{`session "ses" is handed out no more, but nothing can log it out: it counts until the server must have dropped it, at 1970-01-01T00:00:00Z`}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newMount(t)
			h.mustWrite("config/eu1", ocp(nil))
			h.hold(test.before)
			h.engine.after = sessions.SessionStatus{SessionStatus: test.after}
			a := h.do(logical.DeleteOperation, "sessions/eu1/ses.2", nil)
			require.Equal(t, []machine.SessionID{"ses"}, h.engine.closed)
			if test.warnings == nil {
				require.Equal(t, 204, a.status)
				return
			}
			for i := range test.warnings {
				test.warnings[i] = `config "eu1": ` + test.warnings[i]
			}
			require.Equal(t, test.warnings, a.Warnings)
		})
	}
	t.Run("what is gone is a success that says so", func(t *testing.T) {
		h := newMount(t)
		h.mustWrite("config/eu1", ocp(nil))
		a := h.do(logical.DeleteOperation, "sessions/eu1/other", nil)
		require.Equal(t, []string{`config "eu1": there is no session "other": it has ended, or there never was one`}, a.Warnings)
	})
	t.Run("a server that cannot be reached", func(t *testing.T) {
		h := newMount(t)
		h.mustWrite("config/eu1", ocp(nil))
		h.hold(machine.SessionStatus{})
		h.engine.closing = upstream(providers.Unavailable, providers.DidNotHappen)
		a := h.do(logical.DeleteOperation, "sessions/eu1/ses", nil)
		require.Equal(t, 503, a.status)
		require.Equal(t, fmt.Sprintf(`config "eu1": %s`, h.engine.closing), a.text)
	})
}

func TestSessionsOfANameThatHasNone(t *testing.T) {
	h := newMount(t)
	h.mustWrite("config/eu1", ocp(nil))
	h.mustWrite("roles/reports", map[string]any{"config": "eu1"})
	h.mustWrite("config/token", personal(nil))
	for name, want := range map[string]string{
		"reports": `sessions "reports": "reports" is a role, and its sessions are those of config "eu1"; ask for sessions/eu1`,
		"token":   `sessions "token": config "token" has a personal access token: nothing logs in for it`,
		"nobody":  "there is no config \"nobody\", and no account of that id has sessions; `vault list` at config/ and sessions/ shows what there is",
	} {
		for op, path := range map[logical.Operation]string{
			logical.ListOperation: "sessions/" + name + "/", logical.ReadOperation: "sessions/" + name + "/ses", logical.DeleteOperation: "sessions/" + name + "/ses",
		} {
			a := h.do(op, path, nil)
			require.Equal(t, 400, a.status, "%s %s", op, path)
			require.Equal(t, want, a.text)
		}
	}
}

func TestAStorageThatFailsIsNoEmptyList(t *testing.T) {
	h := newMount(t)
	h.mustWrite("config/eu1", ocp(nil))
	h.engine.ledger.ledger = &sessions.Error{Reason: machine.Storage, Message: "it cannot be read"}
	for op, path := range map[logical.Operation]string{
		logical.ListOperation: "sessions/", logical.ReadOperation: "sessions/eu1",
	} {
		a := h.do(op, path, nil)
		require.Equal(t, 500, a.status)
		require.Contains(t, a.text, "it cannot be read")
	}
}
