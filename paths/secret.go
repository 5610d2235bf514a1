package paths

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// tokenType is stored with every lease. It never changes.
const tokenType = "panta_token"

// Token returns the type of secret that creds/ hands out.
func Token(d Dependencies) *framework.Secret {
	p := tokenSecret(d)
	return &framework.Secret{
		Type:   tokenType,
		Fields: credsAnswer(),
		Renew:  p.renew,
		Revoke: p.revoke,
	}
}

type tokenSecret Dependencies

// renew refuses: leases cannot be renewed (rule 4), but one from before may still be
// marked so. Clients throw the data of a renewal away and go on with the first token.
func (p tokenSecret) renew(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	return nil, logical.CodedError(badRequest, "the lease cannot be renewed, since a renewal brings no client a new token; read the credentials again")
}

// revoke ends a lease. It returns plain errors: at some others Vault gives up
// at once and leaves the lease irrevocable (rule 5).
func (p tokenSecret) revoke(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	internal, err := decodeInternalData(req.Secret.InternalData)
	if err != nil {
		p.Logger.Warn("a lease is released without a logout: its data cannot be read; its session ends by age", "error", err)
		return &logical.Response{Warnings: []string{
			fmt.Sprintf("the lease is released without a logout: %s; its session ends by age", err),
		}}, nil
	}
	if !internal.holdsSession() {
		return nil, nil
	}
	if err := p.Sessions.Release(ctx, internal.lease); err != nil {
		return nil, errors.New(configSubject(internal.config) + ": " + err.Error() + storageAdvice(err))
	}
	return nil, nil
}
