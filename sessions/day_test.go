package sessions_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestADayOfAThousandPodsTakesThreeLogins: each pod has a Vault Agent, which
// reads again when nine tenths of its lease are over; Vault ends the old lease
// in its time. The account is one of OCP: five sessions, one-time codes, tokens
// of 300 s, and no session older than ten hours.
func TestADayOfAThousandPodsTakesThreeLogins(t *testing.T) {
	setup := func(w *world) {
		w.limit, w.limits.MaxSessions = 5, 5
		w.rotate = true
		withTOTP(w)
	}
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		const pods = 1000
		random := rand.New(rand.NewPCG(1, 2))
		end := time.Now().Add(24 * time.Hour)
		var all sync.WaitGroup
		reads := make([]int, pods)
		for pod := range pods {
			start := time.Duration(random.Int64N(int64(5 * time.Minute)))
			all.Go(func() {
				time.Sleep(start)
				for time.Now().Before(end) {
					lease, err := p.Acquire(t.Context(), shared)
					if err != nil {
						t.Errorf("pod %d: %v", pod, err)
						return
					}
					reads[pod]++
					if !w.live(lease.Token.AccessToken) {
						t.Errorf("pod %d got a dead token", pod)
						return
					}
					left := time.Until(lease.Until)
					all.Go(func() {
						time.Sleep(left)
						if err := p.Release(t.Context(), lease.Ref); err != nil {
							t.Errorf("pod %d: %v", pod, err)
						}
					})
					time.Sleep(left * 9 / 10)
				}
			})
		}
		all.Wait()

		total := 0
		for _, n := range reads {
			total += n
		}
		require.LessOrEqual(t, w.count(&w.logins), 3)
		require.LessOrEqual(t, w.count(&w.peak), 2, "one, and its successor")
		require.Zero(t, w.count(&w.refused))
		require.Zero(t, w.openNow(), "the last lease has ended")
		for name, n := range map[string]int{
			"reads": total, "logins": w.count(&w.logins), "refreshes": w.count(&w.refreshes), "peak-sessions": w.count(&w.peak),
		} {
			t.Attr(name, fmt.Sprint(n))
		}
	})
}
