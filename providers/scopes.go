package providers

import (
	"fmt"
	"slices"
)

// offlineAccess is the scope that asks for an offline session (OpenID Connect Core
// section 11); some servers give refresh tokens for nothing else.
const offlineAccess = "offline_access"

// NormalizeScopes checks scopes, of an account or of a role, and returns them
// sorted, each once; nil for none. The error is a *FieldError for "scopes".
func NormalizeScopes(scopes []string) ([]string, error) {
	for i, s := range scopes {
		if !ValidScope(s) {
			return nil, &FieldError{Field: "scopes", Problem: fmt.Sprintf(
				"scope number %d is empty or has a character that is not allowed; separate scopes by commas, as in openid,email, each of printable ASCII without blanks, quotes and backslashes", i+1)}
		}
	}
	if len(scopes) == 0 {
		return nil, nil
	}
	sorted := slices.Sorted(slices.Values(scopes))
	return slices.Compact(sorted), nil
}

// CheckScopes refuses scopes that a provider does not allow.
func (d Description) CheckScopes(scopes []string) error {
	if slices.Contains(scopes, offlineAccess) && d.AccountEndpoint != "" {
		return &FieldError{Field: "scopes", Problem: offlineAccess + " is not allowed by " + d.Name +
			": its sessions escape the server's list and limit of sessions"}
	}
	return nil
}

// ValidScope says whether s is one scope token of RFC 6749 section 3.3.
func ValidScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}
