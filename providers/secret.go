package providers

import "encoding/json"

const masked = "***"

// Secret is a string that never prints. Formatting, JSON and logs show "***"
// (nothing for an empty one); only Reveal gives the value.
//
// The value stands behind a pointer, not in a string field: fmt calls String
// neither for a Secret inside an unexported field nor for verbs such as %d,
// and would then print a string field as it is. Of a pointer it prints an address.
type Secret struct {
	_     [0]func() // no ==, which would compare the pointers
	value *string
}

// NewSecret wraps a value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{value: &value}
}

// Reveal returns the value, for the wire or for storage.
func (s Secret) Reveal() string {
	if s.Empty() {
		return ""
	}
	return *s.value
}

// Empty says that there is no value.
func (s Secret) Empty() bool { return s.value == nil }

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
