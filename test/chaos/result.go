package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// result is a row of the table, and what was broken.
type result struct {
	fault       string
	repetitions int
	opened      int // sessions, by the server's count
	closed      int // logged out
	found       int // ended through the server's list of sessions (rule 11)
	aged        int // left to the server: their logins had no answer
	lost        int // everything else; must be 0
	peak        int // of the account with a budget
	budget      int
	unserved    time.Duration // the longest time in which no reader got a token
	remarks     []string
	broken      []string
}

func (r *result) breaks(format string, args ...any) {
	r.broken = append(r.broken, fmt.Sprintf(format, args...))
}

// count takes the server's counts in. Every session has ended by then.
func (r *result) count(w *world, watched []account) {
	for _, a := range watched {
		s := w.stats(a)
		r.opened += s.Logins
		r.closed += s.Logouts
		r.found += s.Ended
		r.aged += s.Logins - s.Logouts - s.Ended
		if s.CodeReuses > 0 {
			r.breaks("%s: %d one-time codes were used twice", a.config, s.CodeReuses)
		}
		if n := s.LimitDenials - s.StaleDenials; n > 0 {
			r.breaks("%s: the server denied %d logins over its session limit", a.config, n)
		}
		if s.StaleDenials > 0 {
			r.remarks = append(r.remarks, fmt.Sprintf("%s: the server denied %d logins because of sessions that had expired", a.config, s.StaleDenials))
		}
		if a.limit > 0 {
			r.peak, r.budget = s.PeakSessions, a.limit
			if s.PeakSessions > a.limit {
				r.breaks("%s: %d sessions at once, over the budget of %d", a.config, s.PeakSessions, a.limit)
			}
		}
	}
}

// takeFrom takes in what load and witness have seen.
func (r *result) takeFrom(l *load, t *witness) {
	for _, gap := range l.gaps {
		r.unserved = max(r.unserved, gap)
	}
	for _, config := range []string{"shared", "dmo", "eu1"} {
		if l.reads[config] > 0 {
			r.remarks = append(r.remarks, fmt.Sprintf("%s: %d reads, longest time without one %s", config, l.reads[config], l.gaps[config].Round(10*time.Millisecond)))
		}
	}
	r.remarks = append(r.remarks, l.told()...)
	r.broken = append(append(r.broken, l.broken...), t.broken...)
	r.lost += t.lost
	r.aged -= t.lost
}

// leasesEnd waits until Vault has no lease of ours any more, and sees to it that
// none became irrevocable.
func leasesEnd(ctx context.Context, w *world) error {
	client := w.client()
	err := eventually(ctx, 2*time.Minute, "all leases end", func() error {
		left := 0
		for _, name := range []string{"shared", "shared-role", "dmo", "dmo-role", "eu1", "eu1-own"} {
			s, err := client.Logical().ListWithContext(ctx, "sys/leases/lookup/"+servers.Mount+"/creds/"+name)
			if err != nil {
				return err
			}
			if s != nil {
				keys, _ := s.Data["keys"].([]any)
				left += len(keys)
			}
		}
		if left > 0 {
			return fmt.Errorf("%d are left", left)
		}
		return nil
	})
	return errors.Join(err, noneIrrevocable(ctx, w))
}

func noneIrrevocable(ctx context.Context, w *world) error {
	s, err := w.client().Logical().ReadWithDataWithContext(ctx, "sys/leases/count", map[string][]string{"type": {"irrevocable"}})
	if err != nil {
		return err
	}
	if n := cmp.Or(fmt.Sprint(s.Data["lease_count"]), "0"); n != "0" {
		return fmt.Errorf("%s leases are irrevocable", n)
	}
	return nil
}
