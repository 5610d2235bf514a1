package paths

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// sessionField is the part of a path that names one session.
const sessionField = "session"

// Sessions returns the paths that show and end sessions. They never log in. What
// they show is in the memory of the active node, so even reads are forwarded.
func Sessions(d Dependencies) []*framework.Path {
	p := sessionsPath(d)
	operation := func(f framework.OperationFunc, summary, suffix string, responses map[int][]framework.Response) framework.OperationHandler {
		return forwarded(f, summary, responses, "", suffix)
	}
	account := required(text("Name of a config; or, where it has been deleted, the id of its account, as the list shows it."))
	return []*framework.Path{{
		Pattern:         "sessions/?$",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix},
		HelpSynopsis:    sessionsListSynopsis,
		HelpDescription: sessionsListDescription,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: operation(p.listAccounts, "List the configs that have sessions.", "accounts-with-sessions",
				answersInfo("Names of the configs that have sessions; of an account whose config has been deleted, its id.")),
		},
	}, {
		Pattern:         "sessions/" + framework.GenericNameRegex(nameField) + "/?$",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix},
		HelpSynopsis:    sessionsAccountSynopsis,
		HelpDescription: sessionsAccountDescription,
		Fields:          fields{nameField: account},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: operation(p.readAccount, "Read how the sessions of an account stand.", "account-sessions",
				answers("The account: its budget, and what holds logins back.", accountAnswer())),
			logical.ListOperation: operation(p.listSessions, "List the sessions of an account.", "sessions",
				answersInfo("The ids of the sessions, oldest first.")),
		},
	}, {
		Pattern:         "sessions/" + framework.GenericNameRegex(nameField) + "/" + framework.GenericNameRegex(sessionField),
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix},
		HelpSynopsis:    sessionsSynopsis,
		HelpDescription: sessionsDescription,
		Fields: fields{
			nameField:    account,
			sessionField: required(text("Id of the session: the session_id of an answer, with or without its generation.")),
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: operation(p.readSession, "Read a session.", "session",
				answers("The session.", sessionAnswer())),
			logical.DeleteOperation: operation(p.deleteSession, "Log a session out now, whatever leases are on it.", "session",
				answersNothing("The session is logged out.")),
		},
	}}
}

func accountAnswer() fields {
	return useAnswer().and(fields{
		"account":         required(text("Id of the account: a hash of its token endpoint and user.")),
		"config":          required(text("The config of the account; empty: it has been deleted.")),
		"states":          required(object("How many sessions are in each state: opening, open, unknown (its login had no answer), waiting for logout, ending by age (nothing can log it out), ended.")),
		"oldest_logout":   text("Since when the first of those that wait for their logout waits, RFC 3339 in UTC."),
		"waiting":         required(number("How many readers wait for a token.")),
		"closed_until":    text("No login before this time, since the server refused the credentials."),
		"closed_reason":   text("What the server said then."),
		"refused_logins":  required(number("How many logins in a row were refused for their credentials.")),
		"full_until":      text("No login before this time, since the server reported its session limit."),
		"full_reason":     text("What the server said then."),
		"paused_until":    text("No login before this time, since the last one failed for no fault of its credentials."),
		"paused_reason":   text("Why that one failed."),
		"last_login":      text("When somebody last logged in, where the account is kept alive for a personal access token. Left out while no login is known."),
		"keepalive_due":   text("When the engine logs in to keep it alive, unless somebody else does before."),
		"keepalive_error": text("Why that login does not succeed."),
		"asks_for_code":   required(flag("Whether a login without a one-time code is known to be refused.")),
		"draining":        required(flag("Whether the config is being deleted at this moment.")),
		"retired":         required(flag("Whether no config is in force for the account: then nothing logs in, and what is open is logged out.")),
	})
}

func sessionAnswer() fields {
	return fields{
		"session":        required(text("Id of the session. With a point and its generation it is the session_id of answers.")),
		"config":         required(text("The config of the account; empty: it has been deleted.")),
		"state":          required(text("opening, open, unknown (its login had no answer), waiting for logout, ending by age (nothing can log it out), or ended (only the record is left).")),
		"session_mode":   required(text("dedicated or shared; empty: the record cannot be read.")),
		"scopes":         texts("The scopes that it was opened for; none: the config's."),
		"generation":     required(number("How many tokens it has had: one from its login, one more from each refresh.")),
		"leases":         required(number("How many leases are on it.")),
		"earlier_leases": required(flag("Whether there may be leases on it from before the plugin was started, which are not counted.")),
		"mark":           required(text("What the identity server lists with the session: part of the User-Agent of its login.")),
		"opened_at":      required(text("When its login began, RFC 3339 in UTC.")),
		"refreshed_at":   text("When it was refreshed last."),
		"expires_at":     text("When the token that readers get expires. Left out where none is held: a dedicated session's is not kept."),
		"horizon":        text("When its newest token expires. No lease lasts longer."),
		"dies_at":        text("When the server must have dropped it, if it were left alone from now on."),
		"closing_since":  text("Since when it waits for its logout."),
		"next_logout":    text("When its logout is tried again."),
		"tries":          required(number("How many logouts of it have failed.")),
		"revocations":    required(number("How many revocations of its lease have failed visibly.")),
		"last_error":     text("Why the last logout failed."),
	}
}

type sessionsPath Dependencies

// account is what a name at sessions/ stands for.
type account struct {
	id     sessions.AccountID
	config string // empty: it has been deleted
}

func (a account) subject() string {
	if a.config == "" {
		return fmt.Sprintf("account %q", a.id)
	}
	return configSubject(a.config)
}

// name is what lists call it.
func (a account) name() string {
	if a.config == "" {
		return string(a.id)
	}
	return a.config
}

// account finds a config's account, or one by its id: the operator may have
// deleted the config.
func (p sessionsPath) account(ctx context.Context, name string) (account, bool, error) {
	id, found, err := p.Configs.Account(ctx, name)
	if err != nil || found {
		return account{id: id, config: name}, found, err
	}
	ids, err := p.Sessions.Accounts(ctx)
	if err != nil || !slices.Contains(ids, sessions.AccountID(name)) {
		return account{}, false, err
	}
	a := account{id: sessions.AccountID(name)}
	a.config, err = p.Configs.ConfigOf(ctx, a.id)
	return a, err == nil, err
}

// of answers a request about an account.
func (p sessionsPath) of(ctx context.Context, data *framework.FieldData, answer func(account) (*logical.Response, error)) (*logical.Response, error) {
	name := data.Get(nameField).(string)
	a, found, err := p.account(ctx, name)
	if err != nil {
		return failure(fmt.Sprintf("sessions %q", name), err)
	}
	if !found {
		return logical.ErrorResponse("there is no config %q, and no account of that id has sessions; `vault list` at config/ and sessions/ shows what there is", name), nil
	}
	resp, err := answer(a)
	if err != nil {
		return failure(a.subject(), err)
	}
	return resp, nil
}

func (p sessionsPath) listAccounts(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	ids, err := p.Sessions.Accounts(ctx)
	if err != nil {
		return failure("sessions/", err)
	}
	info := map[string]any{}
	for _, id := range ids {
		a := account{id: id}
		if a.config, err = p.Configs.ConfigOf(ctx, id); err != nil {
			return failure("sessions/", err)
		}
		st, err := p.Sessions.Status(ctx, id)
		if err != nil {
			return failure(a.subject(), err)
		}
		info[a.name()] = map[string]any{
			"account": string(id), "config": a.config, "max_sessions": st.Usage.Limit, "in_use": st.Usage.Taken(), "states": states(st),
		}
	}
	var names []string
	for name := range info {
		names = append(names, name)
	}
	slices.Sort(names)
	return logical.ListResponseWithInfo(names, info), nil
}

func (p sessionsPath) readAccount(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	return p.of(ctx, data, func(a account) (*logical.Response, error) {
		st, err := p.Sessions.Status(ctx, a.id)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		resp := &logical.Response{Data: describeAccount(a, st, now)}
		if warning := st.KeepAlive.Warning(now); warning != "" {
			resp.AddWarning(a.subject() + ": " + warning)
		}
		return resp, nil
	})
}

func describeAccount(a account, st sessions.Status, now time.Time) map[string]any {
	answer := map[string]any{
		"account":        string(a.id),
		"config":         a.config,
		"states":         states(st),
		"waiting":        st.Waiting,
		"refused_logins": st.Guard.Strikes,
		"asks_for_code":  st.Guard.AsksForCode,
		"draining":       st.Draining,
		"retired":        st.Retired,
	}
	describeUse(answer, st.Usage, st.Listing, st.Clock)
	setTime(answer, "oldest_logout", st.OldestLogout)
	until := func(field string, at time.Time, reason string) {
		if now.Before(at) {
			setTime(answer, field+"_until", at)
			answer[field+"_reason"] = reason
		}
	}
	until("closed", st.Guard.ClosedUntil, st.Guard.Reason)
	until("full", st.Guard.FullUntil, st.Guard.FullReason)
	until("paused", st.PausedUntil, st.PauseReason)
	if k := st.KeepAlive; k.Interval > 0 {
		setTime(answer, "last_login", k.LastLogin)
		setTime(answer, "keepalive_due", k.DueAt)
		if k.Problem != "" {
			answer["keepalive_error"] = k.Problem
		}
	}
	return answer
}

func states(st sessions.Status) map[string]int {
	counts := map[string]int{}
	for state, n := range st.States {
		counts[string(state)] = n
	}
	return counts
}

func (p sessionsPath) listSessions(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	return p.of(ctx, data, func(a account) (*logical.Response, error) {
		all, err := p.Sessions.Sessions(ctx, a.id)
		if err != nil {
			return nil, err
		}
		ids, info := []string{}, map[string]any{}
		for _, s := range all {
			ids = append(ids, string(s.ID))
			info[string(s.ID)] = sessionInBrief(s)
		}
		return logical.ListResponseWithInfo(ids, info), nil
	})
}

func (p sessionsPath) readSession(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	return p.of(ctx, data, func(a account) (*logical.Response, error) {
		s, found, err := p.Sessions.Session(ctx, a.id, sessionOf(data))
		if err != nil || !found {
			return nil, err
		}
		return &logical.Response{Data: describeSession(a, s)}, nil
	})
}

// sessionOf reads the id of a session, with or without a generation.
func sessionOf(data *framework.FieldData) machine.SessionID {
	id, _, _ := strings.Cut(data.Get(sessionField).(string), ".")
	return machine.SessionID(id)
}

func describeSession(a account, s sessions.SessionStatus) map[string]any {
	answer := map[string]any{
		"session":        string(s.ID),
		"config":         a.config,
		"state":          string(s.State),
		"session_mode":   string(s.Mode),
		"scopes":         append([]string{}, s.Scopes...),
		"generation":     s.Generation,
		"leases":         s.Leases,
		"earlier_leases": s.EarlierLeases,
		"mark":           s.Mark,
		"tries":          s.Tries,
		"revocations":    s.Revocations,
	}
	setTime(answer, "opened_at", s.OpenedAt)
	setTime(answer, "refreshed_at", s.RefreshedAt)
	setTime(answer, "expires_at", s.ExpiresAt)
	setTime(answer, "horizon", s.Horizon)
	setTime(answer, "dies_at", s.DiesAt)
	setTime(answer, "closing_since", s.ClosingAt)
	setTime(answer, "next_logout", s.LogoutAt)
	if s.LastError != "" {
		answer["last_error"] = s.LastError
	}
	return answer
}

// sessionInBrief is what fits into a line of a list.
func sessionInBrief(s sessions.SessionStatus) map[string]any {
	brief := map[string]any{"state": string(s.State), "session_mode": string(s.Mode), "leases": s.Leases}
	setTime(brief, "opened_at", s.OpenedAt)
	setTime(brief, "horizon", s.Horizon)
	setTime(brief, "closing_since", s.ClosingAt)
	return brief
}

// setTime leaves out what is not known.
func setTime(answer map[string]any, field string, at time.Time) {
	if !at.IsZero() {
		answer[field] = at.UTC().Format(time.RFC3339)
	}
}

func (p sessionsPath) deleteSession(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	return p.of(ctx, data, func(a account) (*logical.Response, error) {
		id := sessionOf(data)
		before, after, found, err := p.Sessions.CloseSession(ctx, a.id, id)
		if err != nil {
			return nil, err
		}
		if !found {
			return onlyWarnings([]string{fmt.Sprintf("%s: there is no session %q: it has ended, or there never was one", a.subject(), id)}), nil
		}
		return onlyWarnings(afterDelete(a, before, after)), nil
	})
}

// afterDelete says what an operator should know of a session that was ended.
func afterDelete(a account, before, after sessions.SessionStatus) (warnings []string) {
	warn := func(format string, args ...any) {
		warnings = append(warnings, a.subject()+": "+fmt.Sprintf(format, args...))
	}
	switch {
	case before.State == machine.StateUnknown:
		warn("session %q is dropped and does not count any more: its login had no answer. If the server did open it, it ends there by age", before.ID)
	case after.State == machine.StateAgeing:
		warn("session %q is handed out no more, but nothing can log it out: it counts until the server must have dropped it, at %s",
			before.ID, after.DiesAt.UTC().Format(time.RFC3339))
	}
	switch {
	case before.Leases == 1:
		warn("1 lease was on session %q and ends with it: its holder must read creds again", before.ID)
	case before.Leases > 1:
		warn("%d leases were on session %q: their tokens are dead now, though Vault lists the leases until their time; their holders must read creds again", before.Leases, before.ID)
	case before.EarlierLeases:
		warn("leases from before the plugin was started may have been on session %q: their tokens are dead now, though Vault lists the leases until their time; their holders must read creds again", before.ID)
	}
	return warnings
}

const (
	sessionsListSynopsis    = `List the configs that have sessions.`
	sessionsListDescription = `
An account whose config was deleted with force=true while its server could not be
reached is listed by its id, until its sessions are logged out or dead.

  $ vault list -detailed panta/sessions
`

	sessionsAccountSynopsis    = `How the sessions of an account stand: budget, states, what holds logins back.`
	sessionsAccountDescription = `
Sessions belong to an account, so ask with the config's name and not with a role's.
A read shows the account, a list its sessions. Nothing here logs in.

  $ vault read panta/sessions/eu1
  $ vault list -detailed panta/sessions/eu1
`

	sessionsSynopsis    = `One session: read it, or log it out now.`
	sessionsDescription = `
A read shows no token. A delete logs the session out at once, whatever leases are
on it: their tokens are dead then, and who holds them must read creds again. If the server
cannot be reached, the delete says so, and the logout goes on in the background.

A session of state unknown is one whose login had no answer. It counts towards
max_sessions until the server must have dropped it; a delete drops it now. Do that
where you know that the login did not happen, or have ended it at the server.

  $ vault delete panta/sessions/eu1/ykq25wq3rdyw7
`
)
