package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// unmounted enables and disables another mount of the plugin, which lives in the
// same process, while this one is read from.
func unmounted(ctx context.Context, random *rand.Rand, log func(string, ...any), server string, times int) (*result, error) {
	w, err := newWorld(random, log, short, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := w.startVault(ctx, servers.Options{Server: server, Storage: "raft"}); err != nil {
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
	r := &result{fault: "another mount disabled", repetitions: times}
	pid, err := pluginOf(w.vault())
	if err != nil {
		return nil, err
	}
	ended := 0
	for range times {
		if err := w.enableAndDisable(ctx, l); err != nil {
			return nil, errors.Join(err, broken(l, t))
		}
		if err := l.tokenGiven(ctx, 20*time.Second); err != nil {
			return nil, errors.Join(err, broken(l, t))
		}
		now, err := pluginOf(w.vault())
		if err != nil {
			return nil, err
		}
		if now != pid {
			ended++
			pid = now
		}
	}
	w.log("another mount disabled %d times; the process they share was ended %d times", times, ended)
	r.remarks = append(r.remarks, fmt.Sprintf("the process of both mounts was ended %d times", ended))
	return r, r.finish(ctx, w, l, t)
}

func (w *world) enableAndDisable(ctx context.Context, l *load) error {
	if err := w.vault().Enable(ctx, "other"); err != nil {
		return err
	}
	l.rest(ctx, between(w.random, 0, time.Second))
	return w.client().Sys().UnmountWithContext(ctx, "other")
}
