package paths

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// Config returns the paths of the upstream accounts.
func Config(c *configs.Configs) []*framework.Path {
	p := configPath{configs: c}
	return []*framework.Path{{
		Pattern:         "config/?$",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "configs"},
		HelpSynopsis:    configListSynopsis,
		HelpDescription: configListDescription,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: &framework.PathOperation{
				Callback:  p.list,
				Summary:   "List the names of all configs.",
				Responses: answersNames("The names of all configs."),
			},
		},
	}, {
		Pattern:         "config/" + framework.GenericNameRegex(nameField),
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "config", ItemType: "Config"},
		HelpSynopsis:    configSynopsis,
		HelpDescription: configDescription,
		Fields:          configFields(),
		ExistenceCheck:  p.exists,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.CreateOperation: p.writing("Create a config and verify it by a login."),
			logical.UpdateOperation: p.writing("Change the given fields of a config; without any, verify it by a login."),
			logical.ReadOperation: &framework.PathOperation{
				Callback:  p.read,
				Summary:   "Read a config, defaults included; of secrets only whether they are set.",
				Responses: answers("The fields that this provider and auth_method use.", configAnswer()),
			},
			logical.DeleteOperation: &framework.PathOperation{
				Callback:                    p.delete,
				Summary:                     "Log out all sessions of a config and delete it.",
				Responses:                   answersNothing("The config is deleted."),
				ForwardPerformanceStandby:   true,
				ForwardPerformanceSecondary: true,
			},
		},
	}}
}

func configFields() fields {
	return schemasOf(configs.Fields(), fields{
		nameField: required(text("Name of the config. Roles and configs share one namespace.")),
		"verify":  flag("Log in to verify this write. The default is to do so where a field that a login uses is given, or none is."),
		"otp":     secretText("One-time code for that login, typed by a person, where there is no totp_secret."),
		"force":   query(flag("Only for delete: delete although some sessions cannot be logged out now; that goes on in the background.")),
	})
}

// configAnswer is what a read shows: secrets only as far as they are set.
func configAnswer() fields {
	shown := fields{
		"last_login":      text("When somebody last logged in to an account that is kept alive, RFC 3339 in UTC; after a restart up to a tenth of keepalive_interval too early. Left out while no login is known."),
		"keepalive_error": text("Why the engine could not log in to keep the account alive, and when it tries again. Left out where there is no such problem."),
	}
	for _, f := range configs.Fields() {
		if f.Secret {
			shown[f.Name+"_set"] = flag("Whether " + f.Name + " is set.")
			continue
		}
		shown[f.Name] = schemaOf(f)
	}
	return shown
}

type configPath struct{ configs *configs.Configs }

func (p configPath) writing(summary string) framework.OperationHandler {
	return &framework.PathOperation{
		Callback:                    p.write,
		Summary:                     summary,
		Responses:                   answersNothing("The config is stored."),
		ForwardPerformanceStandby:   true,
		ForwardPerformanceSecondary: true,
	}
}

func (p configPath) write(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(nameField).(string)
	if given[bool](data, "force") != nil {
		return logical.ErrorResponse("%s: field \"force\": is only for delete; leave it out; nothing was stored", configSubject(name)), nil
	}
	o := configs.WriteOptions{Verify: given[bool](data, "verify")}
	if otp := given[string](data, "otp"); otp != nil {
		o.OTP, o.Person = providers.NewSecret(*otp), personOf(req)
	}
	warnings, err := p.configs.Write(ctx, name, changeOf(configs.Fields(), data), o)
	if err != nil {
		return failure(configSubject(name), err)
	}
	return onlyWarnings(warnings), nil
}

// changeOf is what a request gives of the fields of a table.
func changeOf(table []providers.Field, data *framework.FieldData) configs.Change {
	change := configs.Change{}
	for _, f := range table {
		if value, given := data.Raw[f.Name]; given {
			change[f.Name] = value
		}
	}
	return change
}

func (p configPath) read(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(nameField).(string)
	reading, found, err := p.configs.Read(ctx, name)
	if err != nil {
		return failure(configSubject(name), err)
	}
	if !found {
		return nil, nil
	}
	return &logical.Response{Data: reading.Fields, Warnings: reading.Warnings}, nil
}

func (p configPath) delete(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(nameField).(string)
	force := given[bool](data, "force")
	warnings, err := p.configs.Delete(ctx, name, force != nil && *force)
	if err != nil {
		return failure(configSubject(name), err)
	}
	return onlyWarnings(warnings), nil
}

func (p configPath) exists(ctx context.Context, _ *logical.Request, data *framework.FieldData) (bool, error) {
	return p.configs.Exists(ctx, data.Get(nameField).(string))
}

func (p configPath) list(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := p.configs.List(ctx)
	if err != nil {
		return failure("config/", err)
	}
	return logical.ListResponse(names), nil
}

// onlyWarnings is the answer of a write; nil (204) where there is nothing to say.
func onlyWarnings(warnings []string) *logical.Response {
	if len(warnings) == 0 {
		return nil
	}
	return &logical.Response{Warnings: warnings}
}

const (
	configListSynopsis    = `List the configs.`
	configListDescription = `Each config is one upstream account. Its fields are explained at config/<name>.`

	configSynopsis    = `An upstream account: where to log in, with what, and how its sessions are used.`
	configDescription = `
A config holds the login to one account at one identity server. Which fields it
takes depends on provider and auth_method; providers/<provider> lists them with
their defaults. A field that they do not use is refused.

A write changes the given fields and leaves the others; null in JSON, or an empty
value, takes a field back to its default. It is verified by a login where a field
that a login uses is given, or where none is; verify=false leaves that out, and
verify=true asks for it. A write that is refused stores nothing. One that succeeds
also reopens an account that was closed after refused logins.

An account can have one config: make roles for narrower views of it. An update
may not change which account it is. Where it leads to another host, the stored
secrets are to be given with it.

A personal access token is a config of its own (auth_method=pat) and logs nobody
in. OCP deactivates an account that nobody logs in to for 90 days, and its tokens
with it: give the config that logs in to it a keepalive_interval.

A read returns no secrets; <field>_set says which are there. A delete logs out
all sessions first, and is refused while a role uses the config.

  $ vault write panta/config/dmo provider=panta environment=dmo \
      client_id=... client_secret=... username=... password=... tenant_id=...
`
)
