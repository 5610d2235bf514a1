package machine

import (
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

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
	return a.clock.String() + ", which makes one-time codes fail: have the clock that is wrong set (NTP)"
}
