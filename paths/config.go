package paths

import (
	"context"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

type configurer interface {
	Write(ctx context.Context, name string, change configs.Change, o configs.WriteOptions) (warnings []string, err error)
	Read(ctx context.Context, name string) (configs.Reading, bool, error)
	Exists(ctx context.Context, name string) (bool, error)
	List(ctx context.Context) ([]string, error)
	Delete(ctx context.Context, name string, force bool) (warnings []string, err error)
}

// Config returns the paths of the upstream accounts.
func Config(c configurer) []*framework.Path {
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

// storedFields are the fields of a config that are stored.
func storedFields() described {
	return described{
		"provider":              required(text("What to log in to: panta, ocp, partner, keycloak or oauth2. Required for a new config; see providers/.")),
		"environment":           text("Named preset of base_url and realm, such as dmo for panta, or eu1, us1, us2, ca1 and frankfurt for ocp."),
		"base_url":              text("Address of the identity server. Wins over the environment's."),
		"realm":                 text("Keycloak realm. Wins over the environment's."),
		"token_url":             text("Token endpoint, for provider oauth2."),
		"logout_url":            text("Logout endpoint of a Keycloak, if it is not the realm's own."),
		"revocation_url":        text("Revocation endpoint (RFC 7009), for provider oauth2."),
		"auth_method":           text("How to log in: password, client_credentials or pat. The default is the first that the provider lists."),
		"client_id":             text("OAuth 2.0 client identifier."),
		"client_secret":         secretText("Secret of the client. Never returned."),
		"username":              text("Name of the user who logs in."),
		"password":              secretText("Password of that user. Never returned."),
		"tenant_id":             text("Panta's tenant, sent with each API request as X-CLIENT-ID."),
		"totp_secret":           secretText("Secret of the user's authenticator, from which one-time codes are made: base32, or the otpauth:// URL of its QR code. Never returned."),
		"totp_digits":           number("Length of a one-time code: 6 (the default) or 8."),
		"totp_period":           duration("How long a one-time code is valid. The default is 30s."),
		"totp_algorithm":        text("Hash of the one-time codes: SHA1 (the default), SHA256 or SHA512."),
		"personal_access_token": secretText("OCP's static token, for auth_method pat. Never returned by this path."),
		"scopes":                texts("Scopes to ask for, as a list or with commas. offline_access is not allowed."),
		"session_mode":          text("dedicated: each lease has a session of its own. shared: all leases use one. The default is the auth_method's."),
		"max_sessions":          number("Most sessions that may be open at once; 0: no limit. The default is the auth_method's; 4 keeps one of OCP's five for people."),
		"linger":                duration("How long a shared session is kept after its last lease. The default is 0."),
		"ttl":                   duration("How long a lease lasts; never longer than its token. The default is the mount's."),
		"max_ttl":               duration("The most that a lease lasts. The default is the mount's."),
		"request_timeout":       duration("Time limit of one call to the server. The default is 10s."),
		"ca_cert":               text("Certificates, in PEM, of authorities to trust besides the system's."),
		"tls_server_name":       text("Name that the server's certificate must have, if it is not the host of its address."),
		"keepalive_interval":    duration("How long nobody logs in to the owner of a personal access token before the engine does, in and out: OCP deactivates an account after 90 days without a login, and its tokens with it. At least 1h; the default is 30 days. With auth_method pat."),
		"allow_http":            flag("Allow plain http to hosts other than this one. Passwords then cross the network unencrypted."),
	}
}

func configFields() fields {
	return storedFields().and(fields{
		nameField: required(text("Name of the config. Roles and configs share one namespace.")),
		"verify":  flag("Log in to verify this write. The default is to do so where a field that a login uses changes, or none is given."),
		"otp":     secretText("One-time code for that login, typed by a person, where there is no totp_secret."),
		"force":   query(flag("Only for delete: delete although some sessions cannot be logged out now; that goes on in the background.")),
	})
}

// configAnswer is what a read shows: secrets only as far as they are set.
func configAnswer() fields {
	shown := fields{}
	for name, f := range storedFields() {
		if f.DisplayAttrs != nil && f.DisplayAttrs.Sensitive {
			shown[name+"_set"] = flag("Whether " + name + " is set.")
			continue
		}
		f.Required = false
		if f.Type == framework.TypeDurationSecond {
			f.Description += " In seconds."
		}
		shown[name] = f
	}
	shown["last_login"] = text("When somebody last logged in to the owner of a personal access token, RFC 3339 in UTC; after a restart up to a tenth of keepalive_interval too early. Left out while no login is known.")
	shown["keepalive_error"] = text("Why the engine could not log in to keep the owner's account alive, and when it tries again. Left out where there is no such problem.")
	return shown
}

type configPath struct{ configs configurer }

func (p configPath) writing(summary string) framework.OperationHandler {
	return &framework.PathOperation{
		Callback:                    p.write,
		Summary:                     summary,
		Responses:                   answersNothing("The config is stored."),
		ForwardPerformanceStandby:   true,
		ForwardPerformanceSecondary: true,
	}
}

func (p configPath) write(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := data.Get(nameField).(string)
	if given[bool](data, "force") != nil {
		return logical.ErrorResponse("%s: field \"force\": is only for delete", configSubject(name)), nil
	}
	o := configs.WriteOptions{Verify: given[bool](data, "verify")}
	if otp := given[string](data, "otp"); otp != nil {
		o.OTP = providers.NewSecret(*otp)
	}
	warnings, err := p.configs.Write(ctx, name, configChange(data), o)
	if err != nil {
		return failure(configSubject(name), err)
	}
	return onlyWarnings(warnings), nil
}

// configChange is what a request gives of the fields that are stored.
func configChange(data *framework.FieldData) configs.Change {
	change := configs.Change{}
	for field, schema := range storedFields() {
		if data.Raw[field] == nil {
			continue
		}
		value := data.Get(field)
		if seconds, ok := value.(int); ok && schema.Type == framework.TypeDurationSecond {
			value = time.Duration(seconds) * time.Second
		}
		change[field] = value
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

A write changes the given fields and leaves the others. It is verified by a
login where a field that a login uses changes, or where none is given;
verify=false leaves that out, and verify=true asks for it. A write whose login
fails stores nothing. One that succeeds also reopens an account that was closed
after refused logins.

An account can have one config: make roles for narrower views of it. An update
may not change which account it is.

A second config of an account may hold a personal access token of it. Readers of
that token never log in. But OCP deactivates an account that nobody logs in to
for 90 days, and its tokens with it. So give that config the owner's username
and password, and totp_secret where the account has one: where nobody else has
logged in for keepalive_interval, the engine logs in and out. Where the account
has a config that logs in, that one's login is used, and the username is enough.
Such a write is verified like any other: the owner is logged in and out, within
the account's budget. A read says when the last_login was, and warns when the
engine cannot log in or when 90 days come near.

A read returns no secrets; <field>_set says which are there. A delete logs out
all sessions first, and is refused while a role uses the config.

  $ vault write panta/config/dmo provider=panta environment=dmo \
      client_id=... client_secret=... username=... password=... tenant_id=...
`
)
