package paths

import (
	"context"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// Providers returns the paths that say what can be configured.
func Providers(c configs.Registry) []*framework.Path {
	p := providersPath{providers: c}
	return []*framework.Path{{
		Pattern:         "providers/?$",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "providers"},
		HelpSynopsis:    providersListSynopsis,
		HelpDescription: providersListDescription,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: &framework.PathOperation{
				Callback:  p.list,
				Summary:   "List the providers.",
				Responses: answersNames("The names of all providers."),
			},
		},
	}, {
		Pattern:         "providers/" + framework.GenericNameRegex(nameField),
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "provider"},
		HelpSynopsis:    providersSynopsis,
		HelpDescription: providersDescription,
		Fields:          fields{nameField: required(text("Name of the provider."))},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: p.read,
				Summary:  "Read what can be configured for a provider.",
				Responses: answers("What can be configured.", fields{
					nameField:          required(text("Name of the provider.")),
					"summary":          required(text("What it is, in a line.")),
					"environments":     required(object("The named presets, each with its base_url and realm, and its endpoints.")),
					"token_endpoint":   required(text("Where logins go: a template of base_url and realm.")),
					"logout_endpoint":  required(text("Where logouts go; empty: there are none.")),
					"account_endpoint": required(text("Where an account's sessions are listed and ended (Keycloak's Account REST API); empty: the server cannot.")),
					"default_method":   required(text("The auth_method of a config that names none.")),
					"auth_methods":     required(object("By auth_method: its fields (required, secret, default, description), its default session_mode and max_sessions, and after how many seconds without a login (deactivated_after; 0: never) the server deactivates the account; of a personal access token the services.")),
				}),
			},
		},
	}}
}

type providersPath struct{ providers configs.Registry }

func (p providersPath) list(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	var names []string
	for _, provider := range p.providers.All() {
		names = append(names, provider.Describe().Name)
	}
	slices.Sort(names)
	return logical.ListResponse(names), nil
}

func (p providersPath) read(_ context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	provider, found := p.providers.Lookup(data.Get(nameField).(string))
	if !found {
		return nil, nil
	}
	d := provider.Describe()
	environments := make(map[string]any)
	for _, e := range d.Environments {
		written := strings.NewReplacer("{base_url}", e.BaseURL, "{realm}", e.Realm)
		environments[e.Name] = map[string]any{
			"base_url": e.BaseURL, "realm": e.Realm,
			"token_endpoint": written.Replace(d.TokenEndpoint), "logout_endpoint": written.Replace(d.LogoutEndpoint),
		}
	}
	methods := make(map[string]any)
	for _, m := range d.Methods {
		methods[string(m.Name)] = describeMethod(m)
	}
	return &logical.Response{Data: map[string]any{
		nameField:          d.Name,
		"summary":          d.Summary,
		"environments":     environments,
		"token_endpoint":   d.TokenEndpoint,
		"logout_endpoint":  d.LogoutEndpoint,
		"account_endpoint": d.AccountEndpoint,
		"default_method":   string(d.Methods[0].Name),
		"auth_methods":     methods,
	}}, nil
}

func describeMethod(m providers.Method) map[string]any {
	fields := make(map[string]any)
	for _, f := range slices.Concat(m.Fields, configs.FieldsOfUse(m)) {
		fields[f.Name] = map[string]any{
			"required":    f.Required,
			"secret":      f.Secret,
			"default":     f.Default,
			"description": f.Help,
		}
	}
	described := map[string]any{"fields": fields}
	if m.Name == providers.PersonalAccessToken {
		described["services"] = m.Services
		return described
	}
	described["deactivated_after"] = int64(m.DeactivatedAfter.Seconds())
	described["session_mode"] = string(m.Mode)
	described["max_sessions"] = m.MaxSessions
	return described
}

const (
	providersListSynopsis    = `List what can be logged in to.`
	providersListDescription = `The names are for the field "provider" of config/<name>.`

	providersSynopsis    = `What can be configured for a provider: environments, endpoints, fields, defaults.`
	providersDescription = `
Read this before config/<name> is written. The auth_methods list every field that
a config of this provider takes; any other is refused.

  $ vault read -format=json panta/providers/ocp
`
)
