package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"
)

// Collection is all entries of one kind: those under one prefix of the storage.
// It holds no state of its own and is safe for concurrent use.
type Collection[T any] struct {
	storage logical.Storage
	prefix  string
}

// NewCollection returns the entries under prefix, which ends in a slash.
func NewCollection[T any](storage logical.Storage, prefix string) Collection[T] {
	return Collection[T]{storage: storage, prefix: prefix}
}

// version is the newest form of entries that this plugin knows.
const version = 1

// envelope is an entry as it is stored.
type envelope struct {
	Version int             `json:"version"`
	Entry   json.RawMessage `json:"entry"`
}

// Get reads an entry; false: there is none.
func (c Collection[T]) Get(ctx context.Context, name string) (T, bool, error) {
	var entry T
	raw, err := c.storage.Get(ctx, c.prefix+name)
	if err != nil {
		return entry, false, fmt.Errorf("reading %s%s from storage: %w", c.prefix, name, err)
	}
	if raw == nil {
		return entry, false, nil
	}
	entry, err = c.decode(name, raw.Value)
	return entry, err == nil, err
}

// Put writes an entry. One that fails may have been written all the same.
func (c Collection[T]) Put(ctx context.Context, name string, entry T) error {
	body, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("encoding %s%s: %w", c.prefix, name, err)
	}
	value, err := json.Marshal(envelope{Version: version, Entry: body})
	if err != nil {
		return fmt.Errorf("encoding %s%s: %w", c.prefix, name, err)
	}
	if err := c.storage.Put(ctx, &logical.StorageEntry{Key: c.prefix + name, Value: value}); err != nil {
		return fmt.Errorf("writing %s%s to storage: %w", c.prefix, name, err)
	}
	return nil
}

// Delete removes an entry; one that is not there is a success.
func (c Collection[T]) Delete(ctx context.Context, name string) error {
	if err := c.storage.Delete(ctx, c.prefix+name); err != nil {
		return fmt.Errorf("deleting %s%s from storage: %w", c.prefix, name, err)
	}
	return nil
}

// List returns the names directly under the prefix, sorted. One that ends in a
// slash stands for all entries below it.
func (c Collection[T]) List(ctx context.Context) ([]string, error) {
	names, err := c.storage.List(ctx, c.prefix)
	if err != nil {
		return nil, fmt.Errorf("listing %s in storage: %w", c.prefix, err)
	}
	return names, nil
}

// Name returns which entry of the collection a storage key is, if it is one.
func (c Collection[T]) Name(key string) (string, bool) { return strings.CutPrefix(key, c.prefix) }

// decode never quotes what it could not read: entries hold secrets.
func (c Collection[T]) decode(name string, value []byte) (T, error) {
	var entry T
	var e envelope
	if err := json.Unmarshal(value, &e); err != nil || e.Version < 1 {
		return entry, &CorruptError{Key: c.prefix + name}
	}
	if e.Version > version {
		return entry, &NewerError{Key: c.prefix + name, Version: e.Version}
	}
	if err := json.Unmarshal(e.Entry, &entry); err != nil {
		var none T
		return none, &CorruptError{Key: c.prefix + name}
	}
	return entry, nil
}

// CorruptError refuses an entry that cannot be read. It does not quote it.
type CorruptError struct{ Key string }

// Error names the key and what to do.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("the storage entry %s is corrupt; write it again or restore it from a backup", e.Key)
}

// NewerError refuses an entry of a form that this plugin does not know yet.
type NewerError struct {
	Key     string
	Version int
}

// Error names the key, both versions and what to do.
func (e *NewerError) Error() string {
	return fmt.Sprintf("the storage entry %s was written by a newer plugin (version %d, this one reads up to %d); upgrade the plugin",
		e.Key, e.Version, version)
}
