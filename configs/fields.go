package configs

import (
	"maps"
	"slices"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// settings are the fields of a config: the account, and how it is used.
type settings struct {
	providers.Account

	SessionMode string // empty: the method's default
	MaxSessions *int   // nil: the method's default
	Linger      time.Duration
	TTL         time.Duration
	MaxTTL      time.Duration
	KeepAlive   time.Duration
}

// Role is a narrower view of a config.
type Role struct {
	Config      string
	Scopes      []string
	TokenParams map[string]string
	TTL         time.Duration
	MaxTTL      time.Duration
	SessionMode string // empty: the config's
}

// configTable is every field of a config.
func configTable() providers.Table[settings] {
	var table providers.Table[settings]
	for _, row := range providers.AccountFields() {
		table = append(table, providers.Row[settings]{Field: row.Field, At: func(s *settings) any { return row.At(&s.Account) }})
	}
	return append(table, useTable()...)
}

// useTable are the fields that say how an account is used, whatever its provider.
func useTable() providers.Table[settings] {
	return providers.Table[settings]{
		{Field: providers.Field{Name: "session_mode", Help: "dedicated: each lease has its own session. shared: all leases use one session. The default depends on the auth_method."}, At: func(s *settings) any { return &s.SessionMode }},
		{Field: providers.Field{Name: "max_sessions", Type: providers.Number, Help: "How many sessions may be open at once; 0: no limit. The default depends on the auth_method. 4 keeps one of OCP's five sessions for people."}, At: func(s *settings) any { return &s.MaxSessions }},
		{Field: providers.Field{Name: "linger", Type: providers.Duration, Default: "0s", Help: "How long a shared session is kept after its last lease. 10s or more avoids a login for each of many short jobs."}, At: func(s *settings) any { return &s.Linger }},
		{Field: providers.Field{Name: "ttl", Type: providers.Duration, Help: "How long a lease lasts, but never longer than its token. The default is the mount's, but at most 1h for a personal access token."}, At: func(s *settings) any { return &s.TTL }},
		{Field: providers.Field{Name: "max_ttl", Type: providers.Duration, Help: "Maximum duration of a lease. The default is the mount's."}, At: func(s *settings) any { return &s.MaxTTL }},
		{Field: providers.Field{Name: keepAliveField, Type: providers.Duration, Default: "0s", Help: "The engine logs in and out again after this time without a login to the account, because OCP deactivates an account, and its personal access tokens, after 90 days without one. At least 1h; 0: never. Only with auth_method password."}, At: func(s *settings) any { return &s.KeepAlive }},
	}
}

// roleTable is every field of a role.
func roleTable() providers.Table[Role] {
	return providers.Table[Role]{
		{Field: providers.Field{Name: "config", Required: true, Help: "Name of the config that this role uses."}, At: func(r *Role) any { return &r.Config }},
		{Field: providers.Field{Name: "scopes", Type: providers.List, Help: "Scopes to request: a subset of the config's, if the config has any. The default is the config's."}, At: func(r *Role) any { return &r.Scopes }},
		{Field: providers.Field{Name: "token_params", Type: providers.Params, Help: "Parameters of the login request in addition to the config's: name=value, or a JSON object of strings. A parameter that the config sets is refused."}, At: func(r *Role) any { return &r.TokenParams }},
		{Field: providers.Field{Name: "ttl", Type: providers.Duration, Help: "How long a lease lasts, but never longer than its token. The default is the config's."}, At: func(r *Role) any { return &r.TTL }},
		{Field: providers.Field{Name: "max_ttl", Type: providers.Duration, Help: "Maximum duration of a lease. The config's maximum applies as well."}, At: func(r *Role) any { return &r.MaxTTL }},
		{Field: providers.Field{Name: "session_mode", Help: "dedicated: each lease of this role has its own session, even if the config is shared. The default is the config's."}, At: func(r *Role) any { return &r.SessionMode }},
	}
}

// Fields are all fields of a config.
func Fields() []providers.Field { return configTable().Fields() }

// RoleFields are all fields of a role.
func RoleFields() []providers.Field { return roleTable().Fields() }

// FieldsOfUse are the fields that say how an account is used, with a method's
// defaults.
func FieldsOfUse(m providers.Method) []providers.Field {
	var used []providers.Field
	for _, f := range useTable().Fields() {
		if isUsed(f.Name, m) {
			used = append(used, f)
		}
	}
	return used
}

// isUsed says of a field of use whether a method uses it.
func isUsed(field string, m providers.Method) bool {
	switch field {
	case "ttl", "max_ttl":
		return true
	case keepAliveField:
		return m.Name == providers.Password
	}
	return m.Name != providers.PersonalAccessToken
}

// usedByLogin says whether a login uses a field.
func usedByLogin(field string) bool {
	if _, ofUse := useTable().Lookup(field); ofUse {
		return false
	}
	return !slices.Contains([]string{
		"logout_url", "revocation_url", "tenant_id", "session_limit_message", "request_timeout", "personal_access_token", "expires_at",
	}, field)
}

// Change is the fields that a write gives, by their names, as JSON has them; nil
// takes a field back to its default, as an empty text, list or map does.
type Change map[string]any

// applyTo returns the fields with a change; what stands in the table is checked by
// its type.
func applyTo[T any](given store.Fields, change Change, table providers.Table[T]) (store.Fields, error) {
	next := maps.Clone(given)
	if next == nil {
		next = store.Fields{}
	}
	for _, name := range slices.Sorted(maps.Keys(change)) {
		row, ok := table.Lookup(name)
		if !ok {
			return nil, refuse(name, "is not a field here")
		}
		if change[name] == nil {
			delete(next, name)
			continue
		}
		value, err := row.Parse(change[name])
		if err != nil {
			return nil, err
		}
		if isEmpty(value) {
			delete(next, name)
			continue
		}
		next[name] = value
	}
	return next, nil
}

func isEmpty(value any) bool {
	switch v := value.(type) {
	case string:
		return v == ""
	case []string:
		return len(v) == 0
	case map[string]string:
		return len(v) == 0
	}
	return false
}

// decode puts stored fields into a T.
func decode[T any](given store.Fields, table providers.Table[T]) (T, error) {
	var t T
	for name, raw := range given {
		row, ok := table.Lookup(name)
		if !ok {
			return t, refuse(name, "is not a field of this version")
		}
		value, err := row.Parse(raw)
		if err != nil {
			return t, err
		}
		row.Put(&t, value)
	}
	return t, nil
}
