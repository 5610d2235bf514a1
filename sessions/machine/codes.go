package machine

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// defaultCodePeriod is RFC 6238's step, for codes that a person types.
const defaultCodePeriod = 30 * time.Second

// codeWindow is the time-step window: how long a server may accept a code, in the
// steps before and after its own too.
const codeWindow = 3 * defaultCodePeriod

// codes remembers which one-time codes are used (rule 6).
type codes struct {
	freeAt time.Time        // by the clock that codes are made for: when the step after the last spent one begins
	typed  expiring[string] // digest of a typed code, until no server accepts it any more
}

// code is the one-time code of one login; the zero value sends none.
type code struct {
	typed providers.Secret
	at    time.Time // the code of this moment's step, by the server's clock
	until time.Time // not sent later: the server would not take it any more
	spent *SpentCode
}

// codeFor says which code a login may use now; if none, from when on one is free.
//
// A server accepts a code also one step before and one after its own, so one
// that was taken early is used up in its own step too: a step is used once,
// and remembered until the step after it is over.
func (a *Account) codeFor(c providers.Capabilities, typed providers.Secret, person string) (next code, freeAt time.Time) {
	switch {
	case !typed.Empty():
		digest := digestOf(typed)
		until := a.codes.typed[digest]
		if a.now.Before(until) {
			return code{}, until
		}
		return code{
			typed: typed, until: a.now.Add(defaultCodePeriod),
			spent: &SpentCode{Digest: digest, Until: a.now.Add(codeWindow), person: person},
		}, time.Time{}
	case c.GeneratesCode:
		period := max(c.CodePeriod, time.Second)
		clock := a.clock.forCodes()
		at := clock.there(a.now)
		if latest := at.Add(period + codeWindow); a.codes.freeAt.After(latest) {
			a.codes.freeAt = a.spentUntil(latest) // the last one was made by a clock that was ahead
		}
		if at.Before(a.codes.freeAt) {
			return code{}, clock.here(a.codes.freeAt)
		}
		step := at.UnixNano() / int64(period)
		ends := time.Unix(0, (step+1)*int64(period))
		return code{
			at: at, until: a.now.Add(ends.Sub(at) + period/2),
			spent: &SpentCode{Ends: ends, Until: a.now.Add(ends.Sub(at) + period)},
		}, time.Time{}
	}
	return code{}, time.Time{}
}

// spentUntil is when the last code ends that is used and ends until a time: a code made
// by a clock that was ahead must not hide the one before.
func (a *Account) spentUntil(latest time.Time) (end time.Time) {
	for _, s := range a.sessions {
		if c := s.rec.Code; c != nil && !c.Ends.After(latest) {
			end = later(end, c.Ends)
		}
	}
	return end
}

// spend marks the code of a login as used: before it is sent, and when its record is
// read again. One of long after now was made by a clock that was ahead: codeFor passes
// it over, and it must not hide those that count.
func (a *Account) spend(login *Condition) {
	c := login.Code
	if c == nil {
		return
	}
	soon := a.clock.forCodes().there(a.now).Add(c.Until.Sub(login.OpenedAt) + codeWindow)
	if c.Ends.After(a.codes.freeAt) && !c.Ends.After(soon) {
		a.codes.freeAt = c.Ends
	}
	if c.Digest != "" {
		a.codes.typed.add(c.Digest, earliest(c.Until, a.now.Add(codeWindow)), a.now)
	}
}

// digestOf recognizes a typed code without keeping it.
func digestOf(c providers.Secret) string {
	sum := sha256.Sum256([]byte(c.Reveal()))
	return hex.EncodeToString(sum[:])
}

// driftOfNote is a difference of clocks that explains failing one-time codes.
const driftOfNote = 10 * time.Second

// Clock is what is known of the server's clock. The zero value is nothing.
type Clock struct {
	Known bool
	// Drift is how far the server's clock is ahead of ours, to the second.
	Drift time.Duration
}

// Far says that the clocks differ enough to make one-time codes fail.
func (c Clock) Far() bool { return c.Known && c.Drift.Abs() > driftOfNote }

// String says how the clocks differ, in a clause.
func (c Clock) String() string {
	switch {
	case !c.Known:
		return "the server's clock is not known: none of its answers has shown it"
	case c.Drift.Abs() <= time.Second: // what rounding alone can make
		return "the server's clock is as this machine's"
	case c.Drift < 0:
		return "the server's clock is " + c.Drift.Abs().String() + " behind this machine's"
	}
	return "the server's clock is " + c.Drift.String() + " ahead of this machine's"
}

// driftMost is the greatest difference of clocks that codes are made for: more is
// rather a mistake of what showed the time.
const driftMost = time.Hour

// forCodes is the clock that one-time codes are made for: the server's, as far as
// that is known and to be believed.
func (c Clock) forCodes() Clock {
	if c.Drift.Abs() <= time.Second || c.Drift.Abs() > driftMost { // a second is what rounding makes
		return Clock{}
	}
	return c
}

// here is our time at which the server's clock shows t, there the other way round.
func (c Clock) here(t time.Time) time.Time  { return t.Add(-c.Drift) }
func (c Clock) there(t time.Time) time.Time { return t.Add(c.Drift) }

// Clock returns what is known of the server's clock.
func (a *Account) Clock() Clock { return a.clock }

// readClock learns from an answer of the server, or from its refusal.
func (a *Account) readClock(got providers.TokenResponse, err *providers.Error) {
	shown := got.ServerTime
	if err != nil {
		shown = err.ServerTime
	}
	if !shown.IsZero() {
		a.clock = Clock{Known: true, Drift: shown.Sub(a.now).Round(time.Second)}
	}
}

// clockRemark explains a refused one-time code by clocks that differ; empty: they
// do not, as far as we know.
func (a *Account) clockRemark(s *session, err *providers.Error) string {
	if err.Kind != providers.BadCredentials || s.rec.Code == nil || !a.clock.Far() {
		return ""
	}
	return a.clock.String() + ", which makes one-time codes fail: the next one is made for the server's clock; have the clock that is wrong set (NTP)"
}
