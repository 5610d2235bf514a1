package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// standbyReads asks the standbys of a cluster (rule 9). Vault's forward every
// request. OpenBao's run the plugin and answer reads by themselves: of a config
// they must see what was written at the leader, and whatever may log in must be
// forwarded before anything happens. The server's journal shows from which node
// each of its requests came.
func standbyReads(ctx context.Context, random *rand.Rand, log func(string, ...any), server string, times int) (*result, error) {
	w, c, err := startCluster(ctx, random, log, servers.Options{Server: server})
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := w.configure(ctx); err != nil {
		return nil, err
	}
	leader, err := c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	t, err := startWitness(ctx, w, accounts)
	if err != nil {
		return nil, err
	}
	r := &result{fault: server + ", reads at standbys", repetitions: times}
	l := startLoad(ctx, w, nil)
	var slowest time.Duration
	for i := range times {
		at := i % len(w.nodes)
		if w.nodes[at] == leader {
			continue
		}
		client := w.clients[at].Logical()
		for _, name := range []string{"shared", "dmo", "eu1"} {
			if _, err := client.ReadWithContext(ctx, servers.Mount+"/creds/"+name); err != nil {
				r.breaks("creds/%s at a standby: %s", name, err)
			}
		}
		lag, err := w.invalidated(ctx, client, fmt.Sprintf("%ds", i+1), float64(i+1))
		if err != nil {
			r.breaks("%s", err)
		}
		slowest = max(slowest, lag)
	}
	r.remarks = append(r.remarks, fmt.Sprintf("a config that was written at the leader shows at a standby within %s", slowest.Round(time.Millisecond)))

	own, err := w.answersAlone(ctx, c, leader)
	if err != nil {
		return nil, err
	}
	if own {
		r.remarks = append(r.remarks, "standbys run the plugin and answer reads of config/ by themselves; creds/ they forward")
	} else {
		r.remarks = append(r.remarks, "standbys forward every request")
	}
	if err := r.finish(ctx, w, l, t); err != nil {
		return nil, err
	}
	at, err := url.Parse(leader.Addr)
	if err != nil {
		return nil, err
	}
	for _, line := range w.journal.all() {
		if !strings.Contains(line, "from "+at.Hostname()+":") {
			r.breaks("a standby called the identity server: %s", line)
		}
	}
	return r, nil
}

// invalidated writes a config at the leader and waits until a standby shows it.
func (w *world) invalidated(ctx context.Context, at *api.Logical, linger string, seconds float64) (time.Duration, error) {
	if err := w.write(ctx, "config/shared", map[string]any{"linger": linger, "verify": false}); err != nil {
		return 0, err
	}
	begin := time.Now()
	err := eventually(ctx, 5*time.Second, "a standby shows what was written", func() error {
		s, err := at.ReadWithContext(ctx, servers.Mount+"/config/shared")
		if err != nil {
			return err
		}
		if s == nil || fmt.Sprint(s.Data["linger"]) != fmt.Sprint(seconds) {
			return errors.New("it shows what was there before")
		}
		return nil
	})
	return time.Since(begin), err
}

// answersAlone says whether a standby that is cut off from its leader answers
// reads of config/.
func (w *world) answersAlone(ctx context.Context, c *servers.Cluster, leader *servers.Vault) (bool, error) {
	for i, v := range w.nodes {
		if v == leader {
			continue
		}
		if err := c.Cut(ctx, v); err != nil {
			return false, err
		}
		s, err := w.clients[i].Logical().ReadWithContext(ctx, servers.Mount+"/config/shared")
		alone := err == nil && s != nil
		if _, err := w.clients[i].Logical().ReadWithContext(ctx, servers.Mount+"/creds/shared"); err == nil {
			return alone, errors.New("a standby that is cut off gave a token")
		}
		return alone, errors.Join(c.Mend(ctx, v), c.Healthy(ctx))
	}
	return false, errors.New("the cluster has no standby")
}
