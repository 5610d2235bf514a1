package paths

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

// Creds returns the path that hands out tokens.
func Creds(d Dependencies) []*framework.Path {
	p := credsPath(d)
	issuing := func(summary, suffix string) framework.OperationHandler {
		return forwarded(p.issue, summary, answers("A token and its lease.", credsAnswer()), "generate", suffix)
	}
	return []*framework.Path{{
		Pattern:         "creds/" + framework.GenericNameRegex(nameField),
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix},
		HelpSynopsis:    credsSynopsis,
		HelpDescription: credsDescription,
		Fields: fields{
			nameField:  required(text("Name of a role, or of a config.")),
			"min_ttl":  query(duration("How long the lease must be able to last at least. Refused where the server's tokens never live that long.")),
			"otp":      query(secretText("One-time code for the login, typed by a person, where the config has no totp_secret.")),
			"rejected": query(text("The session_id of an answer whose token an API refused with 401: asks for another token.")),
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation:   issuing("Get a token.", "credentials"),
			logical.UpdateOperation: issuing("Get a token, with parameters in the body.", "credentials-with-parameters"),
		},
	}}
}

func credsAnswer() fields {
	return fields{
		"access_token":          secretText("The token. Left out for a personal access token."),
		"personal_access_token": secretText("The personal access token, where the config has one."),
		"token_type":            required(text("How the token is sent, as in \"Bearer\"; pat for a personal access token.")),
		"expires_at":            text("When the token expires, RFC 3339 in UTC. Of a personal access token: if that is known."),
		"expires_in":            number("How long the token is valid yet, in seconds."),
		"scope":                 text("The scopes of the token, separated by spaces."),
		"headers":               required(object("The HTTP headers to send with each API request, ready to use.")),
		"tenant_id":             required(text("The config's tenant; empty: it has none.")),
		"provider":              required(text("The config's provider.")),
		"environment":           required(text("The config's environment; empty: it names its own endpoints.")),
		"config":                required(text("The config behind the role or name that was read.")),
		"session_id":            text("Names the session and the generation of its token; give it as rejected when an API refuses the token."),
		"services":              texts("Where a personal access token works; otherwise left out."),
	}
}

// credsPath is what the path needs.
type credsPath Dependencies

func (p credsPath) issue(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(nameField).(string)
	target, err := p.Configs.Resolve(ctx, name)
	if err != nil {
		return failure(fmt.Sprintf("creds %q", name), err)
	}
	if target == nil {
		return noSuchName(name), nil
	}
	r := request(target, req, data)
	if problem := p.problem(target, r); problem != "" {
		return logical.ErrorResponse("%s: %s", configSubject(target.Config), problem), nil
	}
	if !target.Token.Empty() {
		return personalToken(target, p.Mount), nil
	}
	lease, err := p.Sessions.Acquire(ctx, r)
	if err != nil {
		return failure(configSubject(target.Config), err)
	}
	now := time.Now()
	return leased(target, lease, leaseTTLOf(target, p.Mount, max(lease.Until.Sub(now), 1), r.MinTTL), now), nil
}

func noSuchName(name string) *logical.Response {
	return logical.ErrorResponse("there is no role or config %q; `vault list` at roles/ and config/ shows what there is", name)
}

func request(target *configs.Target, req *logical.Request, data *framework.FieldData) sessions.Request {
	r := sessions.Request{Account: target.Account, Mode: target.Mode, Scopes: target.Scopes, Params: target.Params}
	if len(data.Raw) == 1 { // the name: by far the most frequent read
		return r
	}
	if d := givenDuration(data, "min_ttl"); d != nil {
		r.MinTTL = *d
	}
	if otp := given[string](data, "otp"); otp != nil {
		r.OTP, r.Person = providers.NewSecret(*otp), personOf(req)
	}
	if rejected := given[string](data, "rejected"); rejected != nil {
		r.Rejected = *rejected
	}
	return r
}

// personOf says who typed a one-time code: their entity in Vault, else their token.
func personOf(req *logical.Request) string {
	if req.EntityID != "" {
		return "entity " + req.EntityID
	}
	sum := sha256.Sum256([]byte(req.ClientTokenAccessor + req.DisplayName))
	return "token " + hex.EncodeToString(sum[:8])
}

// problem refuses options that cannot be met; empty: there is none.
func (p credsPath) problem(target *configs.Target, r sessions.Request) string {
	if r.MinTTL > 0 {
		if most := maximum(target, p.Mount); r.MinTTL > most {
			return fmt.Sprintf("field \"min_ttl\": %s is longer than the max_ttl of %s that holds here", r.MinTTL, most)
		}
	}
	switch {
	case target.Token.Empty():
		return ""
	case r.MinTTL > 0:
		return "field \"min_ttl\": is not used for a personal access token, which does not expire by itself; set ttl on the config or a role"
	case !r.OTP.Empty():
		return "field \"otp\": is not used for a personal access token: nothing logs in"
	case r.Rejected != "":
		return "field \"rejected\": a personal access token cannot be replaced by the engine; make a new one in OCP and write it to personal_access_token"
	}
	return ""
}

// leased is the answer with a token.
func leased(target *configs.Target, lease sessions.Lease, l leaseTTL, now time.Time) *logical.Response {
	resp := response(internalData{lease: lease.Ref, config: target.Config}, l)
	resp.Data = tokenData(target, lease.Token, lease.Ref.Session, lease.ExpiresAt, now)
	addWarnings(resp, target, lease.Warnings)
	return resp
}

func tokenData(target *configs.Target, token providers.TokenResponse, session string, expiresAt, now time.Time) map[string]any {
	return map[string]any{
		"access_token": token.AccessToken.Reveal(),
		"token_type":   token.TokenType,
		"expires_at":   expiresAt.UTC().Format(time.RFC3339),
		"expires_in":   int(expiresAt.Sub(now) / time.Second),
		"scope":        token.Scope,
		"headers":      target.Headers(token),
		"tenant_id":    target.TenantID,
		"provider":     target.Provider,
		"environment":  target.Environment,
		"config":       target.Config,
		"session_id":   session,
	}
}

func addWarnings(resp *logical.Response, target *configs.Target, warnings []string) {
	for _, warning := range warnings {
		resp.AddWarning(fmt.Sprintf("config %q: %s", target.Config, warning))
	}
}

// personalToken is the answer with a personal access token.
func personalToken(target *configs.Target, mount mountTTLs) *logical.Response {
	now := time.Now()
	if problem := expired(target, now); problem != nil {
		return problem
	}
	resp := response(internalData{config: target.Config}, leaseTTLOf(target, mount, lifeOf(target, now), 0))
	resp.Data = personalData(target, now)
	addWarnings(resp, target, append(expiryWarnings(target, now),
		"the end of this lease revokes nothing: a personal access token is valid until it ends or is deleted in OCP"))
	return resp
}

func personalData(target *configs.Target, now time.Time) map[string]any {
	data := map[string]any{
		"personal_access_token": target.Token.Reveal(),
		"token_type":            "pat",
		"headers":               target.Headers(providers.TokenResponse{}),
		"services":              target.Services,
		"tenant_id":             target.TenantID,
		"provider":              target.Provider,
		"environment":           target.Environment,
		"config":                target.Config,
	}
	if !target.ExpiresAt.IsZero() {
		data["expires_at"] = target.ExpiresAt.UTC().Format(time.RFC3339)
		data["expires_in"] = int(target.ExpiresAt.Sub(now) / time.Second)
	}
	return data
}

// expired refuses a personal access token that has ended, or is about to.
func expired(target *configs.Target, now time.Time) *logical.Response {
	if target.ExpiresAt.IsZero() || target.ExpiresAt.Sub(now) >= shortestLease {
		return nil
	}
	return logical.ErrorResponse("%s: %s", configSubject(target.Config), configs.ExpiryWarning(target.ExpiresAt, target.ExpiresAt))
}

// lifeOf is how long a personal access token lives yet; 0: its end is not known.
func lifeOf(target *configs.Target, now time.Time) time.Duration {
	if target.ExpiresAt.IsZero() {
		return 0
	}
	return target.ExpiresAt.Sub(now)
}

func expiryWarnings(target *configs.Target, now time.Time) []string {
	if warning := configs.ExpiryWarning(target.ExpiresAt, now); warning != "" {
		return []string{warning}
	}
	return nil
}

const (
	credsSynopsis    = `Get a short-lived token, as a lease.`
	credsDescription = `
Answers a token and the HTTP headers to send it with. The name is a role's or a
config's. The lease never lasts longer than the token; its end, by time or by
revocation, logs out the session that no other lease uses.

Leases cannot be renewed: read again before it ends, as Vault Agent does. When an
API refuses a token with 401, read with rejected=<session_id> of that answer.

  $ vault read panta/creds/dmo
  $ vault read -field=access_token panta/creds/dmo
  $ vault write panta/creds/eu1 otp=123456   # write keeps the code out of URLs
`
)
