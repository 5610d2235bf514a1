package oauth2

import (
	"encoding/base32"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// The defaults of RFC 6238 and of the otpauth:// format.
const (
	defaultDigits    = 6
	defaultPeriod    = 30 * time.Second
	defaultAlgorithm = "SHA1"
	maxPeriod        = 300 * time.Second
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
	case !r.OTP.Empty() && !u.method.OneTimeCode:
		return providers.Secret{}, noCode, &providers.FieldError{Field: "otp", Problem: fmt.Sprintf(
			"is not used by %s with auth_method %s; leave it out", u.account.Provider, u.method.Name)}
	case !r.OTP.Empty():
		if !isCode(r.OTP.Reveal()) {
			return providers.Secret{}, noCode, &providers.FieldError{Field: "otp", Problem: "must be the 6 or 8 digits that the authenticator app shows; nothing was sent"}
		}
		return r.OTP, typedCode, nil
	case u.account.TOTPSecret.Empty():
		return providers.Secret{}, noCode, nil
	}
	code, err := totp.GenerateCodeCustom(u.account.TOTPSecret.Reveal(), r.CodeAt, totp.ValidateOpts{
		Period:    uint(codePeriod(u.account) / time.Second), //nolint:gosec // Normalize keeps it from 1 to 300
		Digits:    otp.Digits(u.account.TOTPDigits),
		Algorithm: algorithms()[u.account.TOTPAlgorithm],
	})
	if err != nil {
		return providers.Secret{}, noCode, &providers.FieldError{Field: "totp_secret", Problem: notBase32}
	}
	return providers.NewSecret(code), generatedCode, nil
}

func isCode(s string) bool {
	return (len(s) == 6 || len(s) == 8) && strings.Trim(s, "0123456789") == ""
}

// codePeriod is the length of a step: the account's, else the usual one.
func codePeriod(a providers.Account) time.Duration {
	if a.TOTPPeriod == 0 {
		return defaultPeriod
	}
	return a.TOTPPeriod
}

func algorithms() map[string]otp.Algorithm {
	return map[string]otp.Algorithm{
		"SHA1":   otp.AlgorithmSHA1,
		"SHA256": otp.AlgorithmSHA256,
		"SHA512": otp.AlgorithmSHA512,
	}
}

const notBase32 = "must be base32 (letters A to Z and digits 2 to 7) as an authenticator app takes it, or an otpauth:// URL"

// normalizeTOTP checks the totp_* fields, takes an otpauth:// URL apart, and
// fills in the defaults. Without a totp_secret the other fields are refused.
func normalizeTOTP(a *providers.Account) error {
	a.TOTPAlgorithm = strings.ToUpper(a.TOTPAlgorithm)
	if a.TOTPSecret.Empty() {
		for _, f := range givenFields(*a) {
			if strings.HasPrefix(f.name, "totp_") && f.given {
				return &providers.FieldError{Field: f.name, Problem: "is of use only with totp_secret; set that too, or leave this out"}
			}
		}
		return nil
	}
	key := totpKey{secret: a.TOTPSecret.Reveal(), digits: a.TOTPDigits, period: a.TOTPPeriod, algorithm: a.TOTPAlgorithm}
	if isOTPAuth(key.secret) {
		fromURL, err := parseOTPAuth(key.secret)
		if err != nil {
			return err
		}
		if field := key.disagrees(fromURL); field != "" {
			return &providers.FieldError{Field: field, Problem: "disagrees with the otpauth:// URL in totp_secret (where a URL does not say, it means 6 digits, 30 seconds and SHA1); leave this field out"}
		}
		key = fromURL
	}
	if key.digits == 0 {
		key.digits = defaultDigits
	}
	if key.period == 0 {
		key.period = defaultPeriod
	}
	if key.algorithm == "" {
		key.algorithm = defaultAlgorithm
	}
	if err := key.check(); err != nil {
		return err
	}
	secret, ok := canonicalBase32(key.secret)
	if !ok {
		return &providers.FieldError{Field: "totp_secret", Problem: notBase32}
	}
	a.TOTPSecret = providers.NewSecret(secret)
	a.TOTPDigits, a.TOTPPeriod, a.TOTPAlgorithm = key.digits, key.period, key.algorithm
	return nil
}

// totpKey is what a code is made from; zero values are not given.
type totpKey struct {
	secret    string
	digits    int
	period    time.Duration
	algorithm string
}

// disagrees names the field of k that is given and differs from the other key.
func (k totpKey) disagrees(with totpKey) string {
	switch {
	case k.digits != 0 && k.digits != with.digits:
		return "totp_digits"
	case k.period != 0 && k.period != with.period:
		return "totp_period"
	case k.algorithm != "" && k.algorithm != with.algorithm:
		return "totp_algorithm"
	default:
		return ""
	}
}

func (k totpKey) check() error {
	if k.digits != 6 && k.digits != 8 {
		return &providers.FieldError{Field: "totp_digits", Problem: "must be 6 or 8"}
	}
	if k.period < time.Second || k.period > maxPeriod || k.period%time.Second != 0 {
		return &providers.FieldError{Field: "totp_period", Problem: "must be whole seconds from 1 to 300"}
	}
	if _, ok := algorithms()[k.algorithm]; !ok {
		return &providers.FieldError{Field: "totp_algorithm", Problem: "must be SHA1, SHA256 or SHA512"}
	}
	return nil
}

func isOTPAuth(s string) bool {
	return strings.HasPrefix(strings.ToLower(strings.TrimSpace(s)), "otpauth:")
}

// parseOTPAuth reads the URL that a QR code for authenticator apps holds
// (https://github.com/google/google-authenticator/wiki/Key-Uri-Format). The
// error is a *providers.FieldError for totp_secret.
//
// It reads the parameters itself: otp.Key, of the library that makes our codes,
// takes a period, digits or algorithm that it cannot read for the default, and
// then every login would send a wrong code.
func parseOTPAuth(text string) (totpKey, error) {
	refuse := func(problem string) (totpKey, error) {
		return totpKey{}, &providers.FieldError{Field: "totp_secret", Problem: "the otpauth:// URL " + problem}
	}
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil {
		return refuse("cannot be read; copy it again from the QR code, or give the base32 secret alone")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return refuse("cannot be read; copy it again from the QR code, or give the base32 secret alone")
	}
	if !strings.EqualFold(u.Host, "totp") {
		return refuse("must be of type totp (otpauth://totp/…)")
	}
	if query.Get("secret") == "" {
		return refuse("has no secret")
	}
	if query.Get("encoder") != "" {
		return refuse("asks for an encoder; only codes of digits can be made")
	}
	key := totpKey{secret: query.Get("secret"), digits: defaultDigits, period: defaultPeriod, algorithm: defaultAlgorithm}
	if v := query.Get("digits"); v != "" {
		if v != "6" && v != "8" {
			return refuse("has digits other than 6 or 8")
		}
		key.digits = int(v[0] - '0')
	}
	if v := query.Get("period"); v != "" {
		n, err := strconv.ParseUint(v, 10, 16)
		key.period = time.Duration(n) * time.Second
		if err != nil || n == 0 || key.period > maxPeriod {
			return refuse("has a period that is not from 1 to 300 seconds")
		}
	}
	if v := query.Get("algorithm"); v != "" {
		key.algorithm = strings.ToUpper(v)
		if _, ok := algorithms()[key.algorithm]; !ok {
			return refuse("has an algorithm other than SHA1, SHA256 and SHA512")
		}
	}
	return key, nil
}

// canonicalBase32 returns a secret in upper case, without the spaces that apps
// show it with and without padding. It is false for what is not base32.
func canonicalBase32(secret string) (string, bool) {
	secret = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return unicode.ToUpper(r)
	}, secret)
	secret = strings.TrimRight(secret, "=")
	_, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	return secret, err == nil && secret != ""
}
