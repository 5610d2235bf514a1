package providers

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// ownParams are parameters that logins, refreshes and logouts send themselves. OCP
// calls the one-time code "otp (or totp)".
func ownParams() []string {
	return []string{
		"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "assertion",
		"username", "password", "otp", "totp", "scope", "refresh_token", "token", "token_type_hint",
	}
}

// CheckTokenParams refuses further parameters of a login that it sends itself. Some
// servers take names in any case.
func CheckTokenParams(params map[string]string) error {
	folded := map[string]bool{}
	for name, value := range params {
		twice := folded[strings.ToLower(name)]
		folded[strings.ToLower(name)] = true
		switch {
		case twice:
			return &FieldError{Field: "token_params", Problem: fmt.Sprintf("has %s twice, in two spellings", strings.ToLower(name))}
		case HasBlankEnds(name):
			return &FieldError{Field: "token_params", Problem: "has a name with a blank before or after it"}
		case name == "" || strings.ContainsFunc(name+value, func(r rune) bool { return r < ' ' || r == 0x7f }):
			return &FieldError{Field: "token_params", Problem: "has a name that is empty, or a control character; give name=value"}
		case slices.Contains(ownParams(), strings.ToLower(name)):
			return &FieldError{Field: "token_params", Problem: fmt.Sprintf("%s is sent by the engine itself; leave it out", strings.ToLower(name))}
		}
	}
	return nil
}

// HasBlankEnds says whether a text begins or ends with white space, or with a character
// that nobody sees, such as a byte order mark.
func HasBlankEnds(text string) bool {
	return text != strings.TrimFunc(text, func(r rune) bool { return unicode.In(r, unicode.White_Space, unicode.Cf) })
}
