package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// failover is what happens to the leader of a cluster of three.
type failover string

const (
	leaderKilled failover = "leader killed"
	leaderCutOff failover = "leader cut off"
)

// failedOver kills the leader of a cluster under load, or cuts it off from the
// other nodes; not from the identity server and its clients, so that there are
// two for a moment that both could log in and out.
func failedOver(ctx context.Context, random *rand.Rand, log func(string, ...any), server string, what failover, times int) (*result, error) {
	w, c, err := startCluster(ctx, random, log, servers.Options{Server: server})
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := w.configure(ctx); err != nil {
		return nil, err
	}
	t, err := startWitness(ctx, w, accounts)
	if err != nil {
		return nil, err
	}
	l := startLoad(ctx, w, allReaders())
	r := &result{fault: fmt.Sprintf("%s, %s", server, what), repetitions: times}
	for i := range times {
		if err := w.failOver(ctx, c, what, l, t); err != nil {
			err = fmt.Errorf("%s, %d of %d: %w", what, i+1, times, err)
			l.stop()
			t.stop()
			return nil, errors.Join(err, broken(l, t))
		}
	}
	return r, r.finish(ctx, w, l, t)
}

func (w *world) failOver(ctx context.Context, c *servers.Cluster, what failover, l *load, t *witness) error {
	l.rest(ctx, between(w.random, 500*time.Millisecond, 3*time.Second))
	leader, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	at := slices.Index(w.nodes, leader)
	t.up.Store(false)
	begin := time.Now()
	switch what {
	case leaderKilled:
		leader.Kill()
	case leaderCutOff:
		err = c.Cut(ctx, leader)
	}
	if err != nil {
		return err
	}
	// The ledger is asked for at a node that is in the majority.
	w.good.Store(int32((at + 1) % len(w.nodes)))
	if err := w.anotherLeads(ctx, c, leader); err != nil {
		return err
	}
	if err := l.tokenGiven(ctx, time.Minute); err != nil {
		return err
	}
	w.log("%s; a token again after %s", what, time.Since(begin).Round(time.Millisecond))
	t.up.Store(true)
	l.rest(ctx, between(w.random, 0, w.lives.token/2))

	switch what {
	case leaderKilled:
		err = leader.Restart(ctx)
	case leaderCutOff:
		err = c.Mend(ctx, leader)
	}
	if err != nil {
		return err
	}
	return c.Healthy(ctx)
}

// anotherLeads waits until another node than the former leader is active.
func (w *world) anotherLeads(ctx context.Context, c *servers.Cluster, former *servers.Vault) error {
	return eventually(ctx, time.Minute, "a new leader", func() error {
		for _, v := range c.Nodes {
			if v != former && v.Active(ctx) {
				return nil
			}
		}
		return errors.New("there is none")
	})
}
