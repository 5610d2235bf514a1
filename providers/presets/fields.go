package presets

import (
	"slices"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// fields are rows of providers.AccountFields, in its order: those that are required,
// and others.
func fields(required []string, others ...[]string) []providers.Field {
	used := slices.Concat(append(others, required)...)
	var all []providers.Field
	for _, row := range providers.AccountFields() {
		f := row.Field
		f.Required = slices.Contains(required, f.Name)
		if i := slices.Index(used, f.Name); i >= 0 {
			used = slices.Delete(used, i, i+1)
			all = append(all, f)
		}
	}
	if len(used) > 0 {
		panic("no fields of an account: " + used[0])
	}
	return all
}

// withDefault gives one of the fields a default of the provider's own.
func withDefault(all []providers.Field, name, value string) []providers.Field {
	i := slices.IndexFunc(all, func(f providers.Field) bool { return f.Name == name })
	all[i].Default = value
	return all
}

// login are the fields of every method that logs in.
func login() []string {
	return []string{"scopes", "token_params", "token_ttl", "session_mark", "request_timeout", "ca_cert", "tls_server_name", "allow_http"}
}

// environments are those of a Keycloak whose address is known.
func environments() []string { return []string{"environment", "base_url", "realm"} }

// anyClient are the fields of a client that proves itself as its server wants it.
func anyClient() []string { return []string{"client_auth", "client_secret", "private_key", "key_id"} }
