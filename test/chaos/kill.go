package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// killed tries kill -9 at random moments under load: of the plugin, of Vault and
// its plugin (a machine that crashes), and of Vault alone (the kernel's
// out-of-memory killer), whose plugin is then an orphan.
func killed(ctx context.Context, random *rand.Rand, log func(string, ...any), times int) (*result, error) {
	w, err := newWorld(random, log, short, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := w.startVault(ctx, servers.Options{Storage: "raft"}); err != nil {
		return nil, err
	}
	if err := w.configure(ctx); err != nil {
		return nil, err
	}
	t, err := startWitness(ctx, w, accounts)
	if err != nil {
		return nil, err
	}
	l := startLoad(ctx, w, allReaders())
	r := &result{fault: "kill -9 of plugin or Vault", repetitions: times}
	for i := range times {
		what, err := w.killOne(ctx, l, t)
		if err != nil {
			err = fmt.Errorf("kill %d of %d, of %s: %w", i+1, times, what, err)
			l.stop()
			t.stop()
			return nil, errors.Join(err, broken(l, t))
		}
	}
	return r, r.finish(ctx, w, l, t)
}

// killOne kills something at a random moment and waits until there is service
// again.
func (w *world) killOne(ctx context.Context, l *load, t *witness) (what string, err error) {
	l.rest(ctx, between(w.random, 0, 1500*time.Millisecond))
	v := w.vault()
	kind := w.random.IntN(4)
	t.up.Store(false)
	begin := time.Now()
	switch kind {
	case 0, 1:
		what = "the plugin"
		err = w.killPlugin(v)
	case 2:
		what = "Vault with its plugin"
		v.Kill()
		err = v.Restart(ctx)
	case 3:
		what = "Vault alone"
		v.KillAlone()
		err = v.Restart(ctx)
	}
	if err != nil {
		return what, err
	}
	if err := l.tokenGiven(ctx, 30*time.Second); err != nil {
		return what, err
	}
	w.log("killed %s; a token again after %s", what, time.Since(begin).Round(time.Millisecond))
	t.up.Store(true)
	return what, nil
}

func (w *world) killPlugin(v *servers.Vault) error {
	pids, err := v.Plugins()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// finish ends the load, waits for the end of everything, and judges.
func (r *result) finish(ctx context.Context, w *world, l *load, t *witness) error {
	l.stop()
	err := t.settled(ctx)
	t.stop()
	if err != nil {
		r.breaks("%s", err)
	}
	if err := leasesEnd(ctx, w); err != nil {
		r.breaks("%s", err)
	}
	r.count(w, t.accounts)
	r.takeFrom(l, t)
	for _, requests := range w.journal.leftAlone() {
		w.log("a session was left to the server: %s", requests)
	}
	return ctx.Err()
}

// broken is what load and witness have seen so far, as an error.
func broken(l *load, t *witness) error {
	var errs []error
	for _, b := range append(l.broken, t.broken...) {
		errs = append(errs, errors.New(b))
	}
	return errors.Join(errs...)
}
