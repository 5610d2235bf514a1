package machine

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// defaultCodePeriod is RFC 6238's step, for codes that a person types.
const defaultCodePeriod = 30 * time.Second

// codes remembers which one-time codes are used (rule 6).
type codes struct {
	freeAt time.Time            // when the step after the last spent one begins
	typed  map[string]time.Time // digest of a typed code, until its look-around is over
}

// code is the one-time code of one login; the zero value sends none.
type code struct {
	typed providers.Secret
	at    time.Time // the code of this moment's step
	spent *SpentCode
}

// codeFor says which code a login may use now; if none, from when on one is free.
//
// A server accepts a code also one step before and one after its own, so one
// that was taken early is used up in its own step too: a step is used once,
// and remembered until the step after it is over.
func (a *Account) codeFor(c providers.Capabilities, typed providers.Secret) (next code, freeAt time.Time) {
	period := max(c.CodePeriod, time.Second)
	switch {
	case !typed.Empty():
		digest := digestOf(typed)
		until := a.codes.typed[digest]
		if a.now.Before(until) {
			return code{}, until
		}
		return code{typed: typed, spent: &SpentCode{Digest: digest, Until: a.now.Add(3 * defaultCodePeriod)}}, time.Time{}
	case c.GeneratesCode:
		if a.now.Before(a.codes.freeAt) {
			return code{}, a.codes.freeAt
		}
		step := a.now.UnixNano() / int64(period)
		ends := time.Unix(0, (step+1)*int64(period))
		return code{at: a.now, spent: &SpentCode{Ends: ends, Until: ends.Add(period)}}, time.Time{}
	}
	return code{}, time.Time{}
}

// spend marks a code as used: before it is sent, and when its record is read again.
func (a *Account) spend(c *SpentCode) {
	if c == nil {
		return
	}
	if c.Ends.After(a.codes.freeAt) {
		a.codes.freeAt = c.Ends
	}
	if c.Digest != "" {
		a.rememberTyped(c.Digest, c.Until)
	}
}

func (a *Account) rememberTyped(digest string, until time.Time) {
	if a.codes.typed == nil {
		a.codes.typed = map[string]time.Time{}
	}
	for d, end := range a.codes.typed {
		if !a.now.Before(end) {
			delete(a.codes.typed, d)
		}
	}
	a.codes.typed[digest] = until
}

// digestOf recognizes a typed code without keeping it.
func digestOf(c providers.Secret) string {
	sum := sha256.Sum256([]byte(c.Reveal()))
	return hex.EncodeToString(sum[:])
}
