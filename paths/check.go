package paths

import (
	"context"
	"fmt"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// Check returns the path that tries an account live.
func Check(d Dependencies) []*framework.Path {
	p := checkPath(d)
	checking := func(verb string) framework.OperationHandler {
		return forwarded(p.check, "Try an account: log in, list its sessions, refresh, log out.",
			answers("How each step went.", checkAnswer()), verb, "account")
	}
	return []*framework.Path{{
		Pattern:         "check/" + framework.GenericNameRegex(nameField),
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix},
		HelpSynopsis:    checkSynopsis,
		HelpDescription: checkDescription,
		Fields: fields{
			nameField:     required(text("Name of a config, or of a role of it.")),
			"otp":         query(secretText("One-time code for the login, typed by a person, where the config has no totp_secret.")),
			"force":       query(flag("Log in although the account is closed to logins after refused ones. One more refusal may lock the account at the server.")),
			"end_orphans": query(flag("End the sessions at the server that have this mount's mark and that its ledger never held. Not on a copy of another Vault's storage: there they are that Vault's.")),
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation:   checking("check"),
			logical.UpdateOperation: checking("check-with-options"),
		},
	}}
}

func checkAnswer() fields {
	const step = " \"ok\" and how long the call took; or \"failed\" or \"skipped\", why, and what to do next."
	return useAnswer().and(fields{
		"config":             required(text("The config that was tried.")),
		"ok":                 required(flag("Whether no step failed.")),
		sessions.LoginStep:   required(text("The login:" + step)),
		sessions.ListStep:    required(text("The server's list of the account's sessions:" + step)),
		sessions.RefreshStep: required(text("The refresh:" + step)),
		sessions.LogoutStep:  required(text("The logout:" + step)),
		"sessions":           required(&framework.FieldSchema{Type: framework.TypeSlice, Description: "The sessions that the server listed during the check, its own among them: of each the owner (this mount, another mount, people), its standing (known, orphan, stray, foreign), session, mount, started_at, last_access, expires_at, clients, ip_address, and whether it was ended."}),
	})
}

type checkPath Dependencies

func (p checkPath) check(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(nameField).(string)
	target, err := p.Configs.Resolve(ctx, name)
	if err != nil {
		return failure(fmt.Sprintf("check %q", name), err)
	}
	switch {
	case target == nil:
		return noSuchName(name), nil
	case !target.Token.Empty():
		return logical.ErrorResponse("%s: there is nothing to check: nothing logs in with a personal access token; try it at an API, with the headers that creds/%s answers", configSubject(target.Config), name), nil
	}
	report, err := p.Sessions.Check(ctx, checkRequest(target, req, data))
	if err != nil {
		return checkFailure(target.Config, err)
	}
	return checkResponse(target.Config, report), nil
}

func checkRequest(target *configs.Target, req *logical.Request, data *framework.FieldData) sessions.CheckRequest {
	r := sessions.CheckRequest{Account: target.Account, Scopes: target.Scopes, Params: target.Params}
	if otp := given[string](data, "otp"); otp != nil {
		r.OTP, r.Person = providers.NewSecret(*otp), personOf(req)
	}
	if force := given[bool](data, "force"); force != nil {
		r.Force = *force
	}
	if end := given[bool](data, "end_orphans"); end != nil {
		r.EndStrays = *end
	}
	return r
}

// checkFailure adds to a guard's refusal how a check passes it.
func checkFailure(config string, err error) (*logical.Response, error) {
	if refusal, ok := err.(*sessions.Error); ok && refusal.Reason == machine.Guarded { //nolint:errorlint // a cause of another error is no refusal of the check
		forceable := *refusal
		forceable.Advice = "try one login all the same with force=true, or " + forceable.Advice
		err = &forceable
	}
	return failure(configSubject(config), err)
}

func checkResponse(config string, r sessions.CheckReport) *logical.Response {
	data := map[string]any{"config": config, "ok": r.OK()}
	describeUse(data, r.Usage, r.Listing, r.Clock)
	for _, s := range r.Steps {
		data[s.Name] = stepSentence(s)
	}
	listed := make([]any, len(r.Listed))
	for i, l := range r.Listed {
		listed[i] = listedSession(l)
	}
	data["sessions"] = listed
	resp := &logical.Response{Data: data}
	if r.Clock.Far() {
		resp.AddWarning(fmt.Sprintf("config %q: %s; one-time codes fail when clocks differ: have the clock that is wrong set (NTP)", config, r.Clock.String()))
	}
	if r.Usage.Strays > 0 {
		resp.AddWarning(fmt.Sprintf("config %q: %d session(s) at the server have this mount's mark, but its ledger never held them: this storage went back in time, or is a copy of another's, whose they then are. If it is no copy, end them with end_orphans=true", config, r.Usage.Strays))
	}
	return resp
}

func stepSentence(s sessions.CheckStep) string {
	sentence := string(s.Outcome)
	if s.Outcome != sessions.StepSkipped {
		sentence += fmt.Sprintf(", %d ms", s.Took.Milliseconds())
	}
	if s.Message != "" {
		sentence += ": " + s.Message
	}
	if s.Advice != "" {
		sentence += "; " + s.Advice
	}
	return sentence
}

func listedSession(l machine.Listing) map[string]any {
	answer := map[string]any{
		"owner":      string(l.Owner),
		"standing":   string(l.Standing),
		"session":    string(l.Attempt),
		"mount":      l.Mount,
		"clients":    l.Clients,
		"ip_address": l.IPAddress,
		"ended":      l.Ended,
	}
	setTime(answer, "started_at", l.StartedAt)
	setTime(answer, "last_access", l.LastAccess)
	setTime(answer, "expires_at", l.ExpiresAt)
	return answer
}

const (
	checkSynopsis    = `Try an account: log in, list its sessions, refresh, log out.`
	checkDescription = `
Logs in to the account of a config with a session of its own, asks the server for
its list of the account's sessions, refreshes, and logs out, and says of each step
how it went, how long it took, and what to do where it failed. It also says how
far the server's clock is off (more than 10 s explains failing one-time codes), and
who uses the session budget: this mount, other mounts, people.

A check obeys the budget, and uses a one-time code up: where that of this moment is
used, it waits for the next one first, half a minute at most. On an account that is
closed to logins after refused ones it does nothing unless force=true; a login that
succeeds reopens the account.

A session in the list with this mount's mark that its ledger never held is a stray:
the storage went back in time, or it is a copy of another Vault's. Strays are
reported, and ended only with end_orphans=true. Sessions of people and of other
mounts are never touched.

  $ vault read panta/check/eu1
  $ vault read panta/check/eu1 force=true
`
)
