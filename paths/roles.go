package paths

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
)

// Roles returns the paths of the narrower views of configs.
func Roles(c *configs.Configs) []*framework.Path {
	p := rolesPath{configs: c}
	return []*framework.Path{{
		Pattern:         "roles/?$",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "roles"},
		HelpSynopsis:    rolesListSynopsis,
		HelpDescription: rolesListDescription,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: &framework.PathOperation{
				Callback:  p.list,
				Summary:   "List the names of all roles.",
				Responses: answersNames("The names of all roles."),
			},
		},
	}, {
		Pattern:         "roles/" + framework.GenericNameRegex(nameField),
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "role", ItemType: "Role"},
		HelpSynopsis:    rolesSynopsis,
		HelpDescription: rolesDescription,
		Fields:          schemasOf(configs.RoleFields(), fields{nameField: required(text("Name of the role. Roles and configs share one namespace."))}),
		ExistenceCheck:  p.exists,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.CreateOperation: p.writing("Create a role."),
			logical.UpdateOperation: p.writing("Change the given fields of a role."),
			logical.ReadOperation: &framework.PathOperation{
				Callback:  p.read,
				Summary:   "Read a role.",
				Responses: answers("The role.", schemasOf(configs.RoleFields(), fields{})),
			},
			logical.DeleteOperation: &framework.PathOperation{
				Callback:                    p.delete,
				Summary:                     "Delete a role. Its leases live on and can still be revoked.",
				Responses:                   answersNothing("The role is deleted."),
				ForwardPerformanceStandby:   true,
				ForwardPerformanceSecondary: true,
			},
		},
	}}
}

type rolesPath struct{ configs *configs.Configs }

func (p rolesPath) writing(summary string) framework.OperationHandler {
	return &framework.PathOperation{
		Callback:                    p.write,
		Summary:                     summary,
		Responses:                   answersNothing("The role is stored."),
		ForwardPerformanceStandby:   true,
		ForwardPerformanceSecondary: true,
	}
}

func (p rolesPath) write(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(nameField).(string)
	err := p.configs.WriteRole(ctx, name, changeOf(configs.RoleFields(), data))
	if err != nil {
		return failure(roleSubject(name), err)
	}
	return nil, nil
}

func (p rolesPath) read(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(nameField).(string)
	role, found, err := p.configs.ShowRole(ctx, name)
	if err != nil {
		return failure(roleSubject(name), err)
	}
	if !found {
		return nil, nil
	}
	return &logical.Response{Data: role}, nil
}

func (p rolesPath) delete(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(nameField).(string)
	if err := p.configs.DeleteRole(ctx, name); err != nil {
		return failure(roleSubject(name), err)
	}
	return nil, nil
}

func (p rolesPath) exists(ctx context.Context, _ *logical.Request, data *framework.FieldData) (bool, error) {
	return p.configs.RoleExists(ctx, data.Get(nameField).(string))
}

func (p rolesPath) list(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := p.configs.ListRoles(ctx)
	if err != nil {
		return failure("roles/", err)
	}
	return logical.ListResponse(names), nil
}

const (
	rolesListSynopsis    = `List the roles.`
	rolesListDescription = `Each role is a narrower view of a config. Its fields are explained at roles/<name>.`

	rolesSynopsis    = `A narrower view of a config: fewer scopes, shorter leases.`
	rolesDescription = `
A role names a config and narrows what a reader of creds/<role> gets. It shares
the config's account: its sessions where scopes agree, its budget, its one-time
codes. Policies can then allow creds/<role> and nothing else.

A config that roles use cannot be deleted.

  $ vault write panta/roles/reports config=dmo scopes=openid ttl=60s
`
)
