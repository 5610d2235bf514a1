package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// accounts collects, at each scrape, how the accounts in memory stand.
type accounts struct {
	readings func() []sessions.Reading
	now      func() time.Time
	descs    []*prometheus.Desc

	states, inUse, foreign, most, drift, orphans, lastLogin, oldestLogout, waiting, heldUntil, refusedLogins, reads *prometheus.Desc
}

func newAccounts(readings func() []sessions.Reading, now func() time.Time) *accounts {
	c := &accounts{readings: readings, now: now}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc(name, help, append([]string{"config"}, labels...), nil)
		c.descs = append(c.descs, d)
		return d
	}
	c.states = desc("panta_sessions", "Sessions by their state, as sessions/ shows it.", "state")
	c.inUse = desc("panta_sessions_in_use", "Sessions that count towards max_sessions.")
	c.foreign = desc("panta_sessions_foreign", "Of these, sessions that the server listed last and that are not in this mount's ledger, by owner: people, another mount, or stray (this mount's mark, never in its ledger).", "owner")
	c.drift = desc("panta_clock_drift_seconds", "How far the identity server's clock is ahead of this machine's. Not there until an answer has shown it.")
	c.orphans = desc("panta_orphans_closed_total", "Sessions that the server listed, of logins whose answer was lost, and that were ended.")
	c.lastLogin = desc("panta_keepalive_last_login_timestamp_seconds", "When somebody last logged in to an account that is kept alive. Not there where no login is known.")
	c.most = desc("panta_sessions_max", "The config's max_sessions. Not there where it sets no limit.")
	c.oldestLogout = desc("panta_logout_pending_seconds", "How long the oldest pending logout has been waiting. 0 where none is.")
	c.waiting = desc("panta_readers_waiting", "Readers and verifications that wait for a token.")
	c.heldUntil = desc("panta_logins_held_until_timestamp_seconds", "No login before this time, by the cause: credentials (they were refused), limit (the server reported its session limit), pause (another failure). 0 where it holds none back.", "cause")
	c.refusedLogins = desc("panta_logins_refused_in_a_row", "Logins in a row that were refused for their credentials.")
	c.reads = desc("panta_creds_reads_total", "Reads of tokens, by the path (creds, static): hit where memory had the answer at once, else miss.", "kind", "cache")
	return c
}

// Describe implements prometheus.Collector.
func (c *accounts) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Accounts of deleted configs are told
// as one, whose config has no name.
func (c *accounts) Collect(ch chan<- prometheus.Metric) {
	byConfig := map[string]sessions.Reading{}
	for _, r := range c.readings() {
		if before, several := byConfig[r.Config]; several {
			r = joined(before, r)
		}
		byConfig[r.Config] = r
	}
	now := c.now()
	for config, r := range byConfig {
		c.collect(ch, config, r, now)
	}
}

func (c *accounts) collect(ch chan<- prometheus.Metric, config string, r sessions.Reading, now time.Time) {
	st := r.Status
	tell := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, value, append([]string{config}, labels...)...)
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		tell(d, prometheus.GaugeValue, value, labels...)
	}
	for _, state := range machine.States() {
		gauge(c.states, float64(st.States[state]), string(state))
	}
	gauge(c.inUse, float64(st.Usage.Taken()))
	gauge(c.foreign, float64(st.Usage.People), "people")
	gauge(c.foreign, float64(st.Usage.OtherMounts), "another mount")
	gauge(c.foreign, float64(st.Usage.Strays), "stray")
	if st.Usage.Limit > 0 {
		gauge(c.most, float64(st.Usage.Limit))
	}
	if st.Clock.Known {
		gauge(c.drift, st.Clock.Drift.Seconds())
	}
	if last := st.KeepAlive.LastLogin; !last.IsZero() {
		gauge(c.lastLogin, seconds(last))
	}
	tell(c.orphans, prometheus.CounterValue, float64(st.Orphans))
	gauge(c.oldestLogout, age(st.OldestLogout, now))
	gauge(c.waiting, float64(st.Waiting))
	gauge(c.heldUntil, toCome(st.Guard.ClosedUntil, now), "credentials")
	gauge(c.heldUntil, toCome(st.Guard.FullUntil, now), "limit")
	gauge(c.heldUntil, toCome(st.PausedUntil, now), "pause")
	gauge(c.refusedLogins, float64(st.Guard.Strikes))
	tell(c.reads, prometheus.CounterValue, float64(r.Hits), "creds", "hit")
	tell(c.reads, prometheus.CounterValue, float64(r.Misses), "creds", "miss")
	tell(c.reads, prometheus.CounterValue, float64(r.StaticHits), "static", "hit")
	tell(c.reads, prometheus.CounterValue, float64(r.StaticMisses), "static", "miss")
}

// age is how long ago a time was, in seconds; 0: there is none.
func age(at, now time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return now.Sub(at).Seconds()
}

// toCome is a time in Unix seconds; 0: it is over.
func toCome(at, now time.Time) float64 {
	if !now.Before(at) {
		return 0
	}
	return seconds(at)
}

// seconds is a time in Unix seconds.
func seconds(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }

// joined tells two accounts without a config as one.
func joined(a, b sessions.Reading) sessions.Reading {
	states := map[machine.State]int{}
	for _, counts := range []map[machine.State]int{a.Status.States, b.Status.States} {
		for state, n := range counts {
			states[state] += n
		}
	}
	st := sessions.Status{
		Usage:        a.Status.Usage.Plus(b.Status.Usage),
		Orphans:      a.Status.Orphans + b.Status.Orphans,
		States:       states,
		OldestLogout: earlier(a.Status.OldestLogout, b.Status.OldestLogout),
		Waiting:      a.Status.Waiting + b.Status.Waiting,
	}
	return sessions.Reading{Config: a.Config, Status: st, Hits: a.Hits + b.Hits, Misses: a.Misses + b.Misses, StaticHits: a.StaticHits + b.StaticHits, StaticMisses: a.StaticMisses + b.StaticMisses}
}

// earlier returns the first of two times, of which a zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
