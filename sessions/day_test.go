package sessions_test

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

var podsOfADay = flag.Int("pods", 200, "how many pods read in the tests of a day")

// TestADayOfManyPodsTakesThreeLogins: each pod has a Vault Agent, which reads again
// when nine tenths of its lease are over; Vault ends the old lease in its time. The
// account is one of OCP: five sessions, one-time codes, tokens of 300 s, and no session
// older than ten hours.
func TestADayOfManyPodsTakesThreeLogins(t *testing.T) {
	inADay(t, "leases", func(d *dayOfPods) (again time.Duration, err error) {
		lease, err := d.p.Acquire(d.t.Context(), shared)
		if err != nil {
			return 0, err
		}
		left := time.Until(lease.Until)
		d.leases++
		d.peakLeases = max(d.peakLeases, d.leases)
		d.at(left, func() error {
			d.leases--
			return d.p.Release(d.t.Context(), lease.Ref)
		})
		return left * 9 / 10, d.tokenIsLive(lease.Token.AccessToken.Reveal())
	})
}

// TestADayOfManyPodsWithoutLeasesTakesThreeLogins: the same pods at static-creds/, whose
// Agents read again when ttl has passed.
func TestADayOfManyPodsWithoutLeasesTakesThreeLogins(t *testing.T) {
	inADay(t, "static", func(d *dayOfPods) (again time.Duration, err error) {
		token, err := d.p.Static(d.t.Context(), shared)
		if err != nil {
			return 0, err
		}
		return token.TTL, d.tokenIsLive(token.Token.AccessToken.Reveal())
	})
}

// dayOfPods is one day of pods. What happens to them is one event after the other, so that a
// hundred thousand pods take no goroutine each.
type dayOfPods struct {
	t *testing.T
	w *world
	p *process

	events             happenings
	alive              map[string]bool // the tokens that the server was asked for in this moment
	askedAt            time.Time
	reads              int
	leases, peakLeases int
}

func inADay(t *testing.T, kind string, read func(*dayOfPods) (again time.Duration, err error)) {
	t.Helper()
	setup := func(w *world) {
		w.limit, w.limits.MaxSessions = 5, 5
		w.rotate = true
		withTOTP(w)
	}
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		d := &dayOfPods{t: t, w: w, p: p}
		var writes atomic.Int64
		p.faults.set(func(op string) fault {
			if op == "put" || op == "delete" {
				writes.Add(1)
			}
			return none
		})
		random := rand.New(rand.NewPCG(1, 2))
		end := time.Now().Add(24 * time.Hour)
		for range *podsOfADay {
			var pod func() error
			pod = func() error {
				if !time.Now().Before(end) {
					return nil
				}
				d.reads++
				again, err := read(d)
				d.at(again, pod)
				return err
			}
			d.at(time.Duration(random.Int64N(int64(5*time.Minute))), pod)
		}
		for len(d.events) > 0 {
			next := heap.Pop(&d.events).(happening)
			time.Sleep(time.Until(next.at))
			require.NoError(t, next.do())
		}
		time.Sleep(w.tokenLife) // static readers are not there to say that they are gone

		require.LessOrEqual(t, w.count(&w.logins), 3)
		require.LessOrEqual(t, w.count(&w.peak), 2, "one, and its successor")
		require.Zero(t, w.count(&w.refused))
		require.Zero(t, w.openNow(), "nobody holds a session any more")
		for name, n := range map[string]int{
			"reads": d.reads, "logins": w.count(&w.logins), "refreshes": w.count(&w.refreshes),
			"peak-sessions": w.count(&w.peak), "peak-leases": d.peakLeases, "writes": int(writes.Load()),
		} {
			t.Attr(kind+"-"+name, fmt.Sprint(n))
		}
	})
}

// at has something happen after a while.
func (d *dayOfPods) at(after time.Duration, do func() error) {
	heap.Push(&d.events, happening{time.Now().Add(after), do})
}

// tokenIsLive asks the server once for each token and moment.
func (d *dayOfPods) tokenIsLive(token string) error {
	if now := time.Now(); !now.Equal(d.askedAt) || d.alive == nil {
		d.askedAt, d.alive = now, map[string]bool{}
	}
	if _, asked := d.alive[token]; !asked {
		d.alive[token] = d.w.live(providers.NewSecret(token))
	}
	if !d.alive[token] {
		return fmt.Errorf("a pod got a dead token at %s", d.askedAt)
	}
	return nil
}

type happening struct {
	at time.Time
	do func() error
}

// happenings is a heap, the next first.
type happenings []happening

func (h happenings) Len() int           { return len(h) }
func (h happenings) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h happenings) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *happenings) Push(x any) { *h = append(*h, x.(happening)) }

// Pop implements heap.Interface.
func (h *happenings) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
