package providers

import (
	"encoding/json"
	"unique"
)

const masked = "***"

// Secret is a string that never prints. Formatting, JSON and logs show "***"
// (nothing for an empty one); only Reveal gives the value. Secrets compare
// with ==.
//
// The value stands behind a handle, not in a string field: fmt calls String
// neither for a Secret inside an unexported field nor for verbs such as %d,
// and would then print a string field as it is. Of a handle it prints an address.
type Secret struct{ value unique.Handle[string] }

// NewSecret wraps a value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{unique.Make(value)}
}

// Reveal returns the value, for the wire or for storage.
func (s Secret) Reveal() string {
	if s.Empty() {
		return ""
	}
	return s.value.Value()
}

// Empty says that there is no value.
func (s Secret) Empty() bool { return s == Secret{} }

// String implements fmt.Stringer.
func (s Secret) String() string {
	if s.Empty() {
		return ""
	}
	return masked
}

// GoString implements fmt.GoStringer, for %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalJSON masks the value: a Secret reaches storage only by Reveal.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }
