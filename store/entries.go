package store

import "github.com/hashicorp/vault/sdk/logical"

// The prefixes of the entries. Those that hold secrets are seal-wrapped.
const (
	ConfigPrefix = "config/"
	RolePrefix   = "role/"
	OwnerPrefix  = "account/"
)

// Fields are a config or a role: the fields that were given, by their names. What a
// value is, and what the names are, is in a table of package configs.
type Fields map[string]any

// Owner says which config an account belongs to. It counts only as far as that
// config says the same.
type Owner struct {
	Config string `json:"config"`
}

// Entries are the collections of configured things.
type Entries struct {
	Configs Collection[Fields]
	Roles   Collection[Fields]
	Owners  Collection[Owner]
}

// NewEntries returns the collections in a storage.
func NewEntries(storage logical.Storage) Entries {
	return Entries{
		Configs: NewCollection[Fields](storage, ConfigPrefix),
		Roles:   NewCollection[Fields](storage, RolePrefix),
		Owners:  NewCollection[Owner](storage, OwnerPrefix),
	}
}
