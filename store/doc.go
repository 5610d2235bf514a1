// Package store is the durable form of what the engine keeps: typed, versioned
// entries in Vault's storage, and a cache for what is made from them. It knows
// types and keys, not rules.
//
// Start with Collection, which reads and writes one kind of entry, and Cache,
// which makes reads free of storage access.
package store
