package machine

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

var benchLimits = Limits{RequestTimeout: 10 * time.Second, Capabilities: providers.Capabilities{Sessions: true, Logout: true}}

var benchConnection = Connection{ID: "connection", RequestTimeout: 10 * time.Second}

// newBenchAccount has n open dedicated sessions that are due an hour from now.
func newBenchAccount(n int, limits Limits, now time.Time) *Account {
	records := make([]Record, n)
	for i := range records {
		records[i] = Record{
			ID: SessionID(fmt.Sprintf("session-%d", i)), Stage: Open, Mode: providers.Dedicated, Connection: benchConnection.ID,
			Condition: Condition{
				Generation: 1, Refresh: providers.NewSecret(fmt.Sprintf("refresh-token-%d", i)),
				OpenedAt: now, Horizon: now.Add(time.Hour), Idle: time.Hour, DiesAt: now.Add(time.Hour),
			},
		}
	}
	last := 0
	newID := func() SessionID {
		last++
		return SessionID(fmt.Sprintf("new-%d", last))
	}
	connection := benchConnection
	connection.Capabilities = limits.Capabilities
	return Recover(Past{Limits: limits, Connection: connection.ID, Known: []Connection{connection}, Records: records}, "boot", newID, now)
}

// openShared logs in for one reader and returns its grant.
func openShared(tb testing.TB, a *Account, now time.Time) Grant {
	tb.Helper()
	pending := a.Step(Acquire{Waiter: 1, Want: Want{Mode: providers.Shared}}, now)
	for len(pending) > 0 {
		if reply, ok := pending[0].(Reply); ok {
			require.Nil(tb, reply.Err)
			return reply.Grant
		}
		answer := answerTo(pending[0], 1)
		pending = pending[1:]
		if answer != nil {
			pending = append(pending, a.Step(answer, now)...)
		}
	}
	tb.Fatal("no answer")
	return Grant{}
}

// BenchmarkStatus is what a scrape of the metrics asks of an account.
func BenchmarkStatus(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			now := time.Now()
			a := newBenchAccount(n, benchLimits, now)
			b.ReportAllocs()
			for b.Loop() {
				if st := a.Status(now); st.States[StateOpen] != n {
					b.Fatalf("%+v", st)
				}
			}
		})
	}
}

// BenchmarkTickWithNothingDue is the reaper's pass over an account.
func BenchmarkTickWithNothingDue(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			now := time.Now()
			a := newBenchAccount(n, benchLimits, now)
			b.ReportAllocs()
			for b.Loop() {
				if effects := a.Step(Tick{}, now); len(effects) > 0 {
					b.Fatal("something was due")
				}
			}
		})
	}
}

// BenchmarkLeasesEndAtTheirHorizon is how long an account is busy with a token
// whose time is over, by how many leases were on it.
func BenchmarkLeasesEndAtTheirHorizon(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("leases=%d", n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				now := time.Now()
				a := newBenchAccount(0, benchLimits, now)
				openShared(b, a, now)
				for range n {
					if _, granted := a.TryGrant(Want{Mode: providers.Shared}, now); !granted {
						b.Fatal("not granted")
					}
				}
				b.StartTimer()
				a.Step(Tick{}, now.Add(6*time.Minute))
			}
		})
	}
}

// BenchmarkADedicatedLease is all that the machine does for the whole life of a
// dedicated lease, beside other sessions of an account with a budget.
func BenchmarkADedicatedLease(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			now := time.Now()
			limits := benchLimits
			limits.MaxSessions = n + 1
			a := newBenchAccount(n, limits, now)
			b.ReportAllocs()
			for b.Loop() {
				pending := a.Step(Acquire{Waiter: 1, Want: Want{Mode: providers.Dedicated}}, now)
				for len(pending) > 0 {
					var ev Event
					if reply, ok := pending[0].(Reply); ok && reply.Grant.Token != nil {
						ev = Release{Waiter: 2, Session: reply.Session, Grant: reply.Grant.ID}
					} else {
						ev = answerTo(pending[0], 1)
					}
					pending = pending[1:]
					if ev != nil {
						pending = append(pending, a.Step(ev, now)...)
					}
				}
				if a.usageOf(&a.limits).Ours() != n {
					b.Fatal("the session did not end")
				}
			}
		})
	}
}

// BenchmarkAReaderThatGoesAway is what a cancelled request costs an account with
// other sessions.
func BenchmarkAReaderThatGoesAway(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			now := time.Now()
			a := newBenchAccount(n, benchLimits, now)
			a.Step(Acquire{Waiter: 1, Want: Want{Mode: providers.Dedicated}}, now) // its login is under way
			for b.Loop() {
				a.Step(Acquire{Waiter: 2, Want: Want{Mode: providers.Dedicated}}, now)
				a.Step(Abandon{Waiter: 2}, now)
			}
		})
	}
}

// BenchmarkADrain is all that the machine does to log out every session of an
// account: at a server that answers, at one that does not, and, without a drain,
// at one that is back after it did not.
func BenchmarkADrain(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		for _, server := range []string{"up", "down", "back"} {
			b.Run(fmt.Sprintf("sessions=%d/server=%s", n, server), func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					now := time.Now()
					a := newBenchAccount(n, benchLimits, now)
					left := 0
					if server == "back" {
						drainAll(a, false, now)
						now = a.NextWake()
					}
					b.StartTimer()
					switch server {
					case "up":
						drainAll(a, true, now)
					case "down":
						drainAll(a, false, now)
						left = n
					case "back":
						answerAll(a, a.Step(Tick{}, now), true, now)
					}
					if a.usageOf(&a.limits).Ours() != left {
						b.Fatalf("%d sessions are left", a.usageOf(&a.limits).Ours())
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/session")
			})
		}
	}
}

func drainAll(a *Account, up bool, now time.Time) {
	answerAll(a, a.Step(Drain{Waiter: 1}, now), up, now)
}

// answerAll answers effects, and those that follow, one after the other: the
// writes of a session come before the next logout.
func answerAll(a *Account, effects []Effect, up bool, now time.Time) {
	for _, e := range effects {
		answer := answerTo(e, 1)
		if logout, ok := e.(Logout); ok && !up {
			answer = LoggedOut{Session: logout.Session, Connection: logout.Connection, Err: &providers.Error{Kind: providers.Unavailable, Outcome: providers.DidNotHappen}}
		}
		if answer != nil {
			answerAll(a, a.Step(answer, now), up, now)
		}
	}
}
