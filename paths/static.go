package paths

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

// StaticCreds returns the path that hands out tokens without a lease.
func StaticCreds(d Dependencies) []*framework.Path {
	p := staticPath(d)
	return []*framework.Path{{
		Pattern:         "static-creds/" + framework.GenericNameRegex(nameField),
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix},
		HelpSynopsis:    staticSynopsis,
		HelpDescription: staticDescription,
		Fields:          fields{nameField: required(text("Name of a role, or of a config."))},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: forwarded(p.read, "Get the token of the shared session, without a lease.",
				answers("A token, and when to read again.", staticAnswer()), "read", "static-credentials"),
		},
	}}
}

func staticAnswer() fields {
	answer := credsAnswer()
	answer["ttl"] = required(number("In how many seconds to read again: then the next token is there."))
	answer["rotation_period"] = required(number("How often the token is replaced while it is read, in seconds."))
	answer["last_vault_rotation"] = required(text("When it was replaced last, RFC 3339 in UTC."))
	return answer
}

type staticPath Dependencies

func (p staticPath) read(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(nameField).(string)
	target, err := p.Configs.Resolve(ctx, name)
	switch {
	case err != nil:
		return failure(fmt.Sprintf("static-creds %q", name), err)
	case target == nil:
		return noSuchName(name), nil
	case !target.Token.Empty():
		return p.personalToken(target), nil
	case target.Mode == providers.Dedicated:
		return logical.ErrorResponse("%s: session_mode is dedicated: each lease has a session of its own, and an answer without a lease would have none; read creds/%s, or write a config with session_mode=shared", configSubject(target.Config), name), nil
	}
	token, err := p.Sessions.Static(ctx, sessions.Request{Account: target.Account, Mode: target.Mode, Scopes: target.Scopes, Params: target.Params})
	if err != nil {
		return failure(configSubject(target.Config), err)
	}
	resp := &logical.Response{Data: tokenData(target, token.Token, token.Session, token.ExpiresAt, time.Now())}
	setRotation(resp.Data, token.TTL, token.RotationPeriod, token.LastRotation)
	addWarnings(resp, target, token.Warnings)
	return resp, nil
}

// personalToken answers a personal access token, which is replaced when its owner
// writes another: who reads again in time sees it.
func (p staticPath) personalToken(target *configs.Target) *logical.Response {
	now := time.Now()
	if problem := expired(target, now); problem != nil {
		return problem
	}
	resp := &logical.Response{Data: personalData(target, now)}
	l := leaseTTLOf(target, p.Mount, lifeOf(target, now), 0)
	setRotation(resp.Data, l.ttl, l.ttl, now.Truncate(l.ttl))
	addWarnings(resp, target, expiryWarnings(target, now))
	return resp
}

func setRotation(data map[string]any, ttl, period time.Duration, last time.Time) {
	data["ttl"] = int(ttl / time.Second)
	data["rotation_period"] = int(period / time.Second)
	data["last_vault_rotation"] = last.UTC().Format(time.RFC3339)
}

const (
	staticSynopsis    = `Get the token of the shared session, without a lease.`
	staticDescription = `
Answers what creds/ answers, without a lease, and as the database engine's static
roles do: ttl says in how many seconds the next token will be there, and Vault
Agent, consul-template and the Vault Secrets Operator (allowStaticCreds) read again
by it. The token is replaced at half its life, so who reads at each rotation holds
one that is good for about half a life more. A read is a lookup in memory, and costs
Vault no write.

There is nothing to revoke: the session is logged out once nobody has read it for
the life of its token. Where each holder is to have a token that can be revoked,
read creds/. Configs and roles with session_mode=dedicated have no shared session.

  $ vault read panta/static-creds/eu1
  $ vault read -field=access_token panta/static-creds/eu1
`
)
