package oauth2

import (
	"encoding/base32"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// The default of RFC 6238 and of the otpauth:// format, and what we take.
const (
	defaultPeriod = 30 * time.Second
	maxPeriod     = 300 * time.Second
	leastSecret   = 16 // characters of base32; some servers stay below the 26 that RFC 4226 requires (R6)
)

// codeOrigin says where a login's one-time code came from.
type codeOrigin int

const (
	noCode codeOrigin = iota
	typedCode
	generatedCode
)

// code returns the one-time code that a login sends.
func (u *upstream) code(r providers.LoginRequest) (providers.Secret, codeOrigin, error) {
	switch {
	case !r.OTP.Empty():
		return r.OTP, typedCode, nil
	case u.account.TOTPSecret.Empty():
		return providers.Secret{}, noCode, nil
	}
	key, err := parseTOTP(u.account.TOTPSecret.Reveal())
	if err != nil {
		return providers.Secret{}, noCode, err
	}
	code, err := totp.GenerateCodeCustom(key.secret, r.CodeAt, totp.ValidateOpts{
		Period:    uint(key.period / time.Second), //nolint:gosec // it is from 1 to 300
		Digits:    otp.Digits(key.digits),
		Algorithm: key.algorithm,
	})
	return providers.NewSecret(code), generatedCode, err
}

// codePeriod is the length of a step: that of the totp_secret, else the usual one.
func codePeriod(a providers.Account) time.Duration {
	key, err := parseTOTP(a.TOTPSecret.Reveal())
	if err != nil {
		return defaultPeriod
	}
	return key.period
}

// totpKey is what a code is made from.
type totpKey struct {
	secret    string // base32 without padding
	digits    int    // 6 or 8
	period    time.Duration
	algorithm otp.Algorithm
}

const notBase32 = "must be base32 (letters A to Z and digits 2 to 7) as an authenticator app takes it, or an otpauth:// URL"

// parseTOTP reads a totp_secret. The error is a *providers.FieldError for it, which
// repeats nothing of it.
func parseTOTP(text string) (totpKey, error) {
	text = strings.TrimSpace(text)
	key := totpKey{secret: text, digits: 6, period: defaultPeriod, algorithm: otp.AlgorithmSHA1}
	scheme, _, isURL := strings.Cut(strings.ToLower(text), ":")
	switch {
	case isURL && scheme == "otpauth":
		if problem := key.parseURL(text); problem != "" {
			return totpKey{}, refuse("totp_secret", "the otpauth:// URL "+problem)
		}
	case isURL:
		return totpKey{}, refuse("totp_secret", otherThanTOTP(scheme))
	case isHex.MatchString(text) && strings.ContainsAny(text, "0189"):
		return totpKey{}, refuse("totp_secret", "is hexadecimal; give the same secret in base32, as an authenticator app takes it")
	}
	var ok bool
	if key.secret, ok = canonicalBase32(key.secret); !ok {
		return totpKey{}, refuse("totp_secret", notBase32+"; whole, since a part of one makes no codes")
	}
	if len(key.secret) < leastSecret {
		return totpKey{}, refuse("totp_secret", "is shorter than 16 characters (80 bits), and RFC 4226 requires 128 bits; give the whole secret")
	}
	return key, nil
}

var isHex = regexp.MustCompile(`^[0-9A-Fa-f]{16,}$`)

// otherThanTOTP says what an address is that is taken for an otpauth:// URL.
func otherThanTOTP(scheme string) string {
	switch scheme {
	case "otpauth-migration":
		return "is an export of an authenticator app (otpauth-migration://), which holds several accounts in a form of its own; give the base32 secret or the otpauth:// URL of this one"
	case "steam":
		return "is a secret of Steam, whose codes are no TOTP; none can be made"
	case "http", "https", "data":
		return "is the address or the data of a picture; give the otpauth:// URL that its QR code holds, or the base32 secret"
	}
	return notBase32
}

// parseURL reads the URL that a QR code for authenticator apps holds
// (https://github.com/google/google-authenticator/wiki/Key-Uri-Format), and says
// what is wrong with it.
//
// It reads the parameters itself: otp.Key, of the library that makes our codes,
// takes a period, digits or algorithm that it cannot read for the default, and
// then every login would send a wrong code.
func (k *totpKey) parseURL(text string) (problem string) {
	const unreadable = "cannot be read; copy it again from the QR code, or give the base32 secret alone"
	u, err := url.Parse(text)
	if err != nil {
		return unreadable
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return unreadable
	}
	params := map[string]string{}
	for name, values := range query {
		name = strings.ToLower(name)
		for _, value := range values {
			if before, twice := params[name]; twice && before != value {
				return fmt.Sprintf("has %q twice, with two values", name)
			}
			params[name] = value
		}
	}
	switch {
	case !strings.EqualFold(u.Host, "totp"):
		return "must be of type totp (otpauth://totp/…)"
	case params["secret"] == "":
		return "has no secret"
	case params["encoder"] != "":
		return "asks for an encoder; only codes of digits can be made"
	}
	k.secret = params["secret"]
	return k.parseOptions(params)
}

func (k *totpKey) parseOptions(params map[string]string) (problem string) {
	switch params["digits"] {
	case "", "6":
	case "8":
		k.digits = 8
	default:
		return "has digits other than 6 or 8"
	}
	if text := params["period"]; text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		k.period = time.Duration(n) * time.Second
		if err != nil || n == 0 || k.period > maxPeriod {
			return "has a period that is not from 1 to 300 seconds"
		}
	}
	name := strings.NewReplacer("-", "", "_", "").Replace(strings.ToUpper(params["algorithm"]))
	switch strings.TrimPrefix(name, "HMAC") {
	case "", "SHA1":
	case "SHA256":
		k.algorithm = otp.AlgorithmSHA256
	case "SHA512":
		k.algorithm = otp.AlgorithmSHA512
	default:
		return "has an algorithm other than SHA1, SHA256 and SHA512"
	}
	return ""
}

// canonicalBase32 returns a secret in upper case, without the blanks and dashes that
// apps show it with and without padding. It is false for what is no base32 of whole
// bytes: Go's decoder takes a last character that makes no byte.
func canonicalBase32(secret string) (string, bool) {
	secret = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.In(r, unicode.Pd, unicode.Cf) {
			return -1
		}
		return unicode.ToUpper(r)
	}, secret)
	secret = strings.TrimRight(secret, "=")
	_, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	whole := map[int]bool{0: true, 2: true, 4: true, 5: true, 7: true}[len(secret)%8]
	return secret, err == nil && whole && secret != ""
}
