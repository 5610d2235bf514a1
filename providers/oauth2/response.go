package oauth2

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// maxLife is the longest life of a token that we believe in.
const maxLife = 10 * 365 * 24 * time.Hour

// errNotTokens: an answer of which it cannot be said whether it grants anything.
var errNotTokens = errors.New("the answer is not a JSON object")

// decodeTokens reads the answer to a granted request (RFC 6749 section 5.1).
// On any error but errNotTokens the server did grant something that is of no
// use; the response then holds the refresh token, if there is one, so that its
// session can be ended. The text of an error holds nothing of the answer.
func decodeTokens(text []byte) (providers.TokenResponse, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil || fields == nil {
		return providers.TokenResponse{}, errNotTokens
	}
	got := providers.TokenResponse{
		RefreshToken: providers.NewSecret(stringField(fields, "refresh_token")),
		TokenType:    "Bearer",
		ServerID:     validServerID(stringField(fields, "session_state")),
	}
	accessToken := stringField(fields, "access_token")
	if accessToken == "" {
		return got, errors.New("the answer has no access_token")
	}
	if !fitsHeader(accessToken) || !got.RefreshToken.Empty() && !fitsHeader(got.RefreshToken.Reveal()) {
		return got, errors.New("a token in the answer has characters that a token cannot have (RFC 6749 appendix A)")
	}
	// RFC 6749 requires token_type; servers that leave it out mean Bearer.
	if _, said := fields["token_type"]; said && !strings.EqualFold(stringField(fields, "token_type"), "bearer") {
		return got, errors.New("the answer's token_type is not Bearer, which is the only one that can be handed out")
	}
	expiresIn, ok := lifeField(fields, "expires_in")
	if !ok {
		return got, errors.New("the answer's expires_in is not a number of seconds above 0 and up to ten years")
	}
	got.AccessToken = providers.NewSecret(accessToken)
	got.ExpiresIn = expiresIn
	// Keycloak says 0 for a session without an end; that is "did not say" to us,
	// and so is a value that makes no sense, since nothing depends on this alone.
	got.RefreshExpiresIn, _ = lifeField(fields, "refresh_expires_in")
	if got.RefreshToken.Empty() {
		got.RefreshExpiresIn = 0
	}
	got.Scope = strings.Join(validScopes(strings.Fields(stringField(fields, "scope"))), " ")
	return got, nil
}

// stringField returns a field's string; empty where it is missing or no string.
func stringField(fields map[string]json.RawMessage, name string) string {
	var s string
	if err := json.Unmarshal(fields[name], &s); err != nil {
		return ""
	}
	return s
}

// lifeField reads a number of seconds, written as a number or as a string.
func lifeField(fields map[string]json.RawMessage, name string) (time.Duration, bool) {
	seconds, err := strconv.ParseFloat(strings.Trim(string(fields[name]), `"`), 64)
	// The comparison is written so that NaN fails it.
	if err != nil || !(seconds > 0 && seconds <= maxLife.Seconds()) {
		return 0, false
	}
	life := time.Duration(seconds * float64(time.Second))
	return life, life > 0
}

// fitsHeader says that a value can be sent in an HTTP header as it is.
func fitsHeader(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// fillFromClaims takes what the answer does not say from what the access token
// claims for itself, if it is a JWT. The signature is not checked: nothing that
// rests on it gives anybody more than the holder of the token has.
func fillFromClaims(got *providers.TokenResponse) {
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(got.AccessToken.Reveal(), claims); err != nil {
		return
	}
	if got.Scope == "" {
		got.Scope = claimedScope(claims)
	}
	if got.ServerID == "" {
		sid, _ := claims["sid"].(string)
		got.ServerID = validServerID(sid)
	}
	iat, _ := claims["iat"].(float64)
	if got.ServerTime.IsZero() {
		got.ServerTime = instant(iat)
	}
	// A token that dies sooner than the answer says does so whatever it says; less
	// than a second is rounding. The difference of two claims needs nobody's clock.
	exp, _ := claims["exp"].(float64)
	if life := time.Duration((exp - iat) * float64(time.Second)); iat > 0 && life > 0 && life <= got.ExpiresIn-time.Second {
		got.ExpiresIn = life
	}
}

// claimedScope returns the scopes that a token claims: the partner API's answer
// has no scope, its tokens have a `scopes` array.
func claimedScope(claims jwt.MapClaims) string {
	for _, claim := range []any{claims["scopes"], claims["scope"]} {
		var scopes []string
		switch claim := claim.(type) {
		case string:
			scopes = strings.Fields(claim)
		case []any:
			for _, s := range claim {
				if s, ok := s.(string); ok {
					scopes = append(scopes, s)
				}
			}
		}
		if scopes = validScopes(scopes); len(scopes) > 0 {
			return strings.Join(scopes, " ")
		}
	}
	return ""
}

// validScopes leaves out what is not a scope token of RFC 6749 section 3.3.
func validScopes(scopes []string) []string {
	var valid []string
	for _, s := range scopes {
		if providers.ValidScope(s) {
			valid = append(valid, s)
		}
	}
	return valid
}

// validServerID returns the id of a session if it can stand in a path as it is
// (RFC 3986 section 2.3), else nothing. Keycloak's are UUIDs or base64url.
func validServerID(id string) string {
	const maxServerID = 128
	if len(id) > maxServerID || strings.Trim(id, ".") == "" {
		return ""
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._~", c) >= 0:
		default:
			return ""
		}
	}
	return id
}

// instant reads a server's time in seconds since 1970, to the second; zero for
// what no server means.
func instant(seconds float64) time.Time {
	const year9999 = 253402300799 // time.Time can be written as JSON up to there
	// The comparison is written so that NaN fails it.
	if !(seconds >= 1 && seconds <= year9999) {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}
