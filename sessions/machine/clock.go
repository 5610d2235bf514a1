package machine

import (
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// driftOfNote is a difference of clocks that explains failing one-time codes.
const driftOfNote = 10 * time.Second

// clock is what is known of the server's clock.
type clock struct {
	known bool
	drift time.Duration // how far the server's clock is ahead of ours; to the second
}

// read learns from the time that an answer showed; zero: it showed none.
func (c *clock) read(there, now time.Time) {
	if !there.IsZero() {
		c.known, c.drift = true, there.Sub(now).Round(time.Second)
	}
}

// readClock learns from an answer of the server, or from its refusal.
func (a *Account) readClock(got providers.TokenResponse, err *providers.Error) {
	a.clock.read(got.ServerTime, a.now)
	if err != nil {
		a.clock.read(err.ServerTime, a.now)
	}
}

// here is our time at which the server's clock shows t, there the other way round.
func (c *clock) here(t time.Time) time.Time  { return t.Add(-c.drift) }
func (c *clock) there(t time.Time) time.Time { return t.Add(c.drift) }

// far says that the clocks differ enough to make one-time codes fail.
func (c *clock) far() bool { return c.known && c.drift.Abs() > driftOfNote }

// String says how the clocks differ.
func (c *clock) String() string {
	switch {
	case !c.known:
		return "the server's clock is not known"
	case c.drift < 0:
		return "the server's clock is " + c.drift.Abs().String() + " behind this machine's"
	}
	return "the server's clock is " + c.drift.String() + " ahead of this machine's"
}

// ClockDrift is how far the server's clock is ahead of ours, to the second; false:
// nothing has shown it yet.
func (a *Account) ClockDrift() (time.Duration, bool) { return a.clock.drift, a.clock.known }

// clockRemark explains a refused one-time code by clocks that differ; empty: they
// do not, as far as we know.
func (a *Account) clockRemark(s *session, err *providers.Error) string {
	if err.Kind != providers.BadCredentials || !s.rec.sentCode() || !a.clock.far() {
		return ""
	}
	return a.clock.String() + ", which makes one-time codes fail: have the clock that is wrong set (NTP)"
}
