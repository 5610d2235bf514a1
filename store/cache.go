package store

import (
	"context"
	"maps"
	"sync"
)

// Cache remembers what was made from storage entries. A hit touches no storage,
// and no lock is held while a value is loaded.
//
// A load that was under way when anything was dropped is answered but not
// remembered: it may have read what the write behind that Drop replaced.
type Cache[T any] struct {
	mu         sync.RWMutex
	values     map[string]T
	generation uint64
}

// Get returns the value of a key, from memory or else by load. What load does
// not find (false) is not remembered: anybody may ask for names that do not exist.
func (c *Cache[T]) Get(ctx context.Context, key string, load func(context.Context) (T, bool, error)) (T, bool, error) {
	c.mu.RLock()
	value, ok := c.values[key]
	generation := c.generation
	c.mu.RUnlock()
	if ok {
		return value, true, nil
	}

	value, ok, err := load(ctx)
	if err != nil || !ok {
		return value, false, err
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation == generation {
		c.set(key, value)
	}
	return value, true, nil
}

// Set remembers a value that was written just now, instead of what is loaded
// meanwhile.
func (c *Cache[T]) Set(key string, value T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.set(key, value)
}

func (c *Cache[T]) set(key string, value T) {
	if c.values == nil {
		c.values = make(map[string]T)
	}
	c.values[key] = value
}

// Drop forgets one value. Call it after every write of what it was made from.
func (c *Cache[T]) Drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	delete(c.values, key)
}

// DropWhere forgets the values for which match says so.
func (c *Cache[T]) DropWhere(match func(T) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	maps.DeleteFunc(c.values, func(_ string, value T) bool { return match(value) })
}
