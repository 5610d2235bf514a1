package oauth2

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// maxLife is the longest life of a token that we believe in.
const maxLife = 10 * 365 * 24 * time.Hour

// errNotTokens: an answer of which it cannot be said whether it grants anything.
var errNotTokens = errors.New("the answer is not a JSON object")

// granted is the answer to a granted request, RFC 6749 section 5.1.
type granted struct {
	AccessToken      string          `json:"access_token"`
	TokenType        json.RawMessage `json:"token_type"`
	ExpiresIn        json.RawMessage `json:"expires_in"`
	RefreshToken     string          `json:"refresh_token"`
	RefreshExpiresIn json.RawMessage `json:"refresh_expires_in"` // Keycloak
	SessionState     string          `json:"session_state"`      // Keycloak
	Scope            json.RawMessage `json:"scope"`
}

// readObject reads a JSON object, leniently: a field of another type stays empty,
// and a byte order mark may stand before it. It says whether there was an object.
func readObject(text []byte, into any) bool {
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte(byteOrderMark)), " \t\r\n")
	return bytes.HasPrefix(text, []byte("{")) && exceptFieldTypes(json.Unmarshal(text, into)) == nil
}

const byteOrderMark = "\xef\xbb\xbf"

// exceptFieldTypes forgives a field of another type: json has read all others.
func exceptFieldTypes(err error) error {
	if mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && mistyped.Field != "" {
		return nil
	}
	return err
}

// decodeTokens reads the answer to a granted request. tokenTTL is how long a token
// lives that does not say it; 0: not known. On any error but errNotTokens the server
// may have granted something that is of no use; the response then holds the tokens
// that there are, so that its session can be ended. The text of an error holds
// nothing of the answer.
func decodeTokens(text []byte, tokenTTL time.Duration) (providers.TokenResponse, error) {
	var said granted
	if !readObject(text, &said) {
		return providers.TokenResponse{}, errNotTokens
	}
	got := providers.TokenResponse{
		RefreshToken: providers.NewSecret(said.RefreshToken),
		TokenType:    "Bearer",
		ServerID:     validServerID(said.SessionState),
		Scope:        scopesOf(said.Scope),
	}
	if said.AccessToken == "" {
		return got, errors.New("the answer has no access_token")
	}
	if !fitsHeader(said.AccessToken) || said.RefreshToken != "" && !fitsHeader(said.RefreshToken) {
		return got, errors.New("a token in the answer has characters that a token cannot have (RFC 6749 appendix A)")
	}
	got.AccessToken = providers.NewSecret(said.AccessToken)
	claims := claimsOf(said.AccessToken)
	fillFromClaims(&got, claims)
	// RFC 6749 requires token_type; servers that leave it out mean Bearer.
	if isSet(said.TokenType) && string(said.TokenType) != `""` && !strings.EqualFold(string(said.TokenType), `"bearer"`) {
		return got, errors.New("the answer's token_type is not Bearer, which is the only one that can be handed out")
	}
	var err error
	if got.ExpiresIn, err = lifeOf(said.ExpiresIn, claims, tokenTTL); err != nil {
		return got, err
	}
	// Keycloak says 0 for a session without an end; that is "did not say" to us,
	// and so is a value that makes no sense, since nothing depends on this alone.
	if said.RefreshToken != "" {
		got.RefreshExpiresIn, _ = seconds(said.RefreshExpiresIn)
	}
	return got, nil
}

func isSet(value json.RawMessage) bool { return len(value) > 0 && string(value) != "null" }

// lifeOf is how long an access token lives: expires_in, which RFC 6749 section 5.1
// only recommends and some servers send as 0 or in words, else what its claims say,
// else what the config says.
func lifeOf(expiresIn json.RawMessage, claims tokenClaims, tokenTTL time.Duration) (time.Duration, error) {
	claimed := claims.life()
	life, ok := seconds(expiresIn)
	switch {
	// A token that dies sooner than the answer says does so whatever it says; less
	// than a second is rounding.
	case ok && (claimed == 0 || claimed > life-time.Second):
		return life, nil
	case claimed > 0:
		return claimed, nil
	case tokenTTL > 0:
		return tokenTTL, nil
	case isSet(expiresIn):
		return 0, errors.New("the answer's expires_in is not a number of seconds above 0 and up to ten years, and its token does not say how long it lives: set token_ttl")
	}
	return 0, errors.New("the answer has no expires_in, and its token does not say how long it lives: set token_ttl")
}

// seconds reads a number of seconds, written as a number or as a string.
func seconds(value json.RawMessage) (time.Duration, bool) {
	n, err := strconv.ParseFloat(strings.Trim(string(value), `"`), 64)
	life := n * float64(time.Second)
	// The comparison is written so that NaN fails it.
	if err != nil || !(life >= 1 && life <= float64(maxLife)) {
		return 0, false
	}
	return time.Duration(life), true
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

// tokenClaims are what an access token claims for itself, if it is a JWT. The
// signature is not checked: nothing that rests on it gives anybody more than the
// holder of the token has.
type tokenClaims struct {
	IssuedAt  float64         `json:"iat"`
	ExpiresAt float64         `json:"exp"`
	SessionID string          `json:"sid"`
	Scope     json.RawMessage `json:"scope"`
	Scopes    json.RawMessage `json:"scopes"` // the partner API
}

func claimsOf(token string) tokenClaims {
	var claims tokenClaims
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	if text, err := base64.RawURLEncoding.DecodeString(payload); err != nil || !readObject(text, &claims) {
		return tokenClaims{}
	}
	return claims
}

// life is what lies between two claims, which needs nobody's clock; 0: not known.
func (c tokenClaims) life() time.Duration {
	n := c.ExpiresAt - c.IssuedAt
	if !(c.IssuedAt > 0 && n > 0 && n <= maxLife.Seconds()) {
		return 0
	}
	return time.Duration(n * float64(time.Second))
}

// fillFromClaims takes what the answer does not say from the token.
func fillFromClaims(got *providers.TokenResponse, claims tokenClaims) {
	if got.ServerID == "" {
		got.ServerID = validServerID(claims.SessionID)
	}
	if got.Scope == "" {
		got.Scope = scopesOf(claims.Scopes)
	}
	if got.Scope == "" {
		got.Scope = scopesOf(claims.Scope)
	}
	got.ServerTime = instant(claims.IssuedAt)
}

// scopesOf reads scopes, written as one string (RFC 6749 section 3.3) or as a list,
// and leaves out what is no scope.
func scopesOf(value json.RawMessage) string {
	const maxScopes = 16 << 10 // bytes
	var written []string
	switch {
	case len(value) > maxScopes:
		return ""
	case len(value) > 0 && value[0] == '[':
		_ = json.Unmarshal(value, &written) // an entry of another type stays empty
	default:
		var one string
		_ = json.Unmarshal(value, &one)
		written = []string{one}
	}
	var valid []string
	for scope := range strings.FieldsSeq(strings.Join(written, " ")) {
		if providers.ValidScope(scope) {
			valid = append(valid, scope)
		}
	}
	return strings.Join(valid, " ")
}

var serverID = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,128}$`)

// validServerID returns the id of a session if it can stand in a path as it is
// (RFC 3986 section 2.3), else nothing. Keycloak's are UUIDs or base64url.
func validServerID(id string) string {
	if strings.Trim(id, ".") == "" || !serverID.MatchString(id) {
		return ""
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
