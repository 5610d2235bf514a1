package paths

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

type renewer interface {
	Renew(ctx context.Context, ref sessions.LeaseRef, r sessions.Request) (sessions.Lease, error)
	Release(ctx context.Context, ref sessions.LeaseRef) error
}

// tokenType is stored with every lease. It never changes.
const tokenType = "panta_token"

// Token returns the type of secret that creds/ hands out.
func Token(names resolver, s renewer, mount mountTTLs, logger hclog.Logger) *framework.Secret {
	p := tokenSecret{names: names, sessions: s, mount: mount, logger: logger}
	return &framework.Secret{
		Type:   tokenType,
		Fields: credsAnswer(),
		Renew:  p.renew,
		Revoke: p.revoke,
	}
}

type tokenSecret struct {
	names    resolver
	sessions renewer
	mount    mountTTLs
	logger   hclog.Logger
}

// renew refuses with plain errors: of an error response Vault prints the whole
// structure.
func (p tokenSecret) renew(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	resp, err := p.renewed(ctx, req, data)
	if resp.IsError() {
		return nil, logical.CodedError(badRequest, resp.Error().Error())
	}
	return resp, err
}

// renewed refreshes the token upstream and answers the new one.
func (p tokenSecret) renewed(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	internal, err := decodeInternalData(req.Secret.InternalData)
	if err != nil {
		return logical.ErrorResponse("the lease cannot be renewed: %s; read creds again", err), nil
	}
	subject := configSubject(internal.config)
	target, err := p.names.Resolve(ctx, internal.name())
	if err != nil {
		return failure(subject, err)
	}
	if problem := renewalProblem(internal, target); problem != "" {
		return logical.ErrorResponse("%s: the lease cannot be renewed: %s", subject, problem), nil
	}
	now := time.Now()
	issued := req.Secret.IssueTime
	if issued.IsZero() || issued.After(now) {
		issued = now
	}
	if maximum(target, p.mount)-now.Sub(issued) < shortestLease {
		return logical.ErrorResponse("%s: the lease cannot be renewed: its max_ttl is over; read creds again", subject), nil
	}

	lease, err := p.sessions.Renew(ctx, internal.lease, sessions.Request{
		Account: target.Account, Mode: internal.lease.Mode, Scopes: target.Scopes,
	})
	if err != nil {
		return failure(subject, err)
	}
	now = time.Now()
	return leased(target, lease, termOf(target, p.mount, span{issued: issued, now: now, until: lease.Until}), now), nil
}

// renewalProblem says why a lease cannot be renewed as its name stands now;
// empty: it can.
func renewalProblem(internal internalData, target *configs.Target) string {
	switch {
	case target == nil && internal.role != "":
		return fmt.Sprintf("role %q does not exist any more; its session lives until the lease ends", internal.role)
	case target == nil:
		return "the config does not exist any more"
	case target.Config != internal.config, target.Role != internal.role, target.Account != internal.lease.Account:
		return fmt.Sprintf("%q names another account now; read creds again", internal.name())
	case !internal.holdsSession():
		return "there is nothing to renew of a personal access token; read creds again"
	case !target.Renewable:
		return fmt.Sprintf("%q is not renewable any more; read creds again", internal.name())
	}
	return ""
}

// revoke ends a lease. It returns plain errors: at some others Vault gives up
// at once and leaves the lease irrevocable (rule 5).
func (p tokenSecret) revoke(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	internal, err := decodeInternalData(req.Secret.InternalData)
	if err != nil {
		p.logger.Warn("a lease is released without a logout: its data cannot be read; its session ends by age", "error", err)
		return &logical.Response{Warnings: []string{
			fmt.Sprintf("the lease is released without a logout: %s; its session ends by age", err),
		}}, nil
	}
	if !internal.holdsSession() {
		return nil, nil
	}
	if err := p.sessions.Release(ctx, internal.lease); err != nil {
		return nil, errors.New(configSubject(internal.config) + ": " + err.Error())
	}
	return nil, nil
}
