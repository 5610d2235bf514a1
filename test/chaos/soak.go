package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

const (
	soakRate    = 20 // reads a second
	soakReaders = 16
	soakConfigs = 12                     // at once
	soakChange  = 700 * time.Millisecond // one config goes and another comes
)

// soaked reads at a fixed rate from a changing set of configs, and sees that the
// plugin's process is afterwards what it was before: memory, goroutines, file
// descriptors, ledger.
func soaked(ctx context.Context, random *rand.Rand, log func(string, ...any), lasts time.Duration) (*result, error) {
	w, err := newWorld(random, log, lives{token: 12 * time.Second, idle: 25 * time.Second}, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := w.startVault(ctx, servers.Options{Storage: "raft", Debug: true}); err != nil {
		return nil, err
	}
	s := &soak{world: w, random: random}
	if s.ledger, err = openLedger(ctx, w.client); err != nil {
		return nil, err
	}
	// A first round fills what stays filled: connections, caches, pools.
	before, err := s.round(ctx, min(lasts/4, 15*time.Second))
	if err != nil {
		return nil, err
	}
	w.log("soak: before %s", before)
	s.reads.Store(0)
	after, err := s.round(ctx, lasts)
	if err != nil {
		return nil, err
	}
	w.log("soak: after %d reads in %s: %s", s.reads.Load(), lasts, after)

	r := &result{fault: "soak " + lasts.String(), repetitions: int(s.reads.Load())}
	r.remarks = append(r.remarks, fmt.Sprintf("%d reads at %d/s of %d configs at once, %d written and deleted", s.reads.Load(), soakRate, soakConfigs, s.changes),
		"before: "+before.String(), "after: "+after.String())
	r.count(w, s.watched())
	if n := s.failed.Load(); n > 0 {
		r.breaks("%d reads failed, as %v", n, *s.failure.Load())
	}
	if after.resident > before.resident+before.resident/4+8<<20 {
		r.breaks("memory grew from %d to %d MB", before.resident>>20, after.resident>>20)
	}
	if after.goroutines > before.goroutines+2 {
		r.breaks("goroutines grew from %d to %d", before.goroutines, after.goroutines)
	}
	if after.files > before.files+2 {
		r.breaks("file descriptors grew from %d to %d", before.files, after.files)
	}
	return r, nil
}

type soak struct {
	world   *world
	random  *rand.Rand
	ledger  *ledger
	reads   atomic.Int64
	failed  atomic.Int64
	failure atomic.Pointer[error]
	changes int
	// The configs are those of the members from oldest on.
	oldest atomic.Int64
}

func (s *soak) watched() []account {
	var all []account
	for i := range crowd {
		all = append(all, account{config: member(i), realm: iam.DemoPantaRealm, user: member(i)})
	}
	return all
}

// round soaks for a while and then takes everything away. It returns what the
// plugin, which has nothing to do then, needs of the machine.
func (s *soak) round(ctx context.Context, lasts time.Duration) (usage, error) {
	// The round before ended the plugin's process, to hear its last words. While it
	// dies Vault may answer "internal error".
	if err := eventually(ctx, 30*time.Second, "the plugin serves", func() error {
		_, err := s.world.client().Logical().ReadWithContext(ctx, servers.Mount+"/info")
		return err
	}); err != nil {
		return usage{}, err
	}
	for i := range soakConfigs {
		if err := s.add(ctx, s.oldest.Load()+int64(i)); err != nil {
			return usage{}, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		members = make(chan int64)
		readers sync.WaitGroup
	)
	for range soakReaders {
		readers.Go(func() {
			for i := range members {
				s.read(ctx, i)
			}
		})
	}
	err := s.drive(ctx, lasts, members)
	close(members)
	readers.Wait()
	if err != nil {
		return usage{}, err
	}
	for i := range soakConfigs {
		if err := s.remove(ctx, s.oldest.Load()+int64(i)); err != nil {
			return usage{}, err
		}
	}
	if err := eventually(ctx, 3*time.Minute, "the ledger is empty", func() error {
		left, err := s.ledger.sessions(ctx)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d entries are left", len(left))
		}
		return err
	}); err != nil {
		return usage{}, err
	}
	u, err := lastWords(ctx, s.world.vault())
	return u, errors.Join(err, noneIrrevocable(ctx, s.world))
}

// drive hands out reads at a fixed rate, and changes the configs.
func (s *soak) drive(ctx context.Context, lasts time.Duration, members chan<- int64) error {
	end := time.After(lasts)
	next, change := time.NewTicker(time.Second/soakRate), time.NewTicker(soakChange)
	defer next.Stop()
	defer change.Stop()
	for {
		select {
		case <-end:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-change.C:
			if err := s.add(ctx, s.oldest.Load()+soakConfigs); err != nil {
				return err
			}
			s.changes++
			if err := s.remove(ctx, s.oldest.Add(1)-1); err != nil {
				return err
			}
		case <-next.C:
			select {
			case members <- s.oldest.Load() + s.random.Int64N(soakConfigs):
			default: // all readers are busy
			}
		}
	}
}

func (s *soak) add(ctx context.Context, i int64) error {
	mode := []string{"shared", "dedicated"}[i%2]
	return s.world.configureMember(ctx, int(i%crowd), mode)
}

func (s *soak) remove(ctx context.Context, i int64) error {
	_, err := s.world.client().Logical().DeleteWithContext(ctx, servers.Mount+"/config/"+member(int(i%crowd)))
	return err
}

func (s *soak) read(ctx context.Context, i int64) {
	client := s.world.client()
	secret, err := client.Logical().ReadWithContext(ctx, servers.Mount+"/creds/"+member(int(i%crowd)))
	switch {
	case err != nil && i < s.oldest.Load(): // its config is deleted, or being deleted
		return
	case err != nil:
		s.failed.Add(1)
		s.failure.Store(&err)
		return
	}
	s.reads.Add(1)
	if s.reads.Load()%2 == 0 {
		_ = client.Sys().RevokeWithOptionsWithContext(ctx, &api.RevokeOptions{LeaseID: secret.LeaseID})
	}
}
