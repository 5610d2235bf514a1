package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

const (
	memoryGiven = 64 << 20
	// goMemory is what the Go runtime may use of it. The program itself is in
	// memory too, as far as it is used.
	goMemory    = "GOMEMLIMIT=40MiB"
	hotAccounts = 16 // logins of one account wait for each other
)

// starved gives the plugin 64 MB and opens many sessions, each with its lease.
func starved(ctx context.Context, random *rand.Rand, log func(string, ...any), sessions int) (*result, error) {
	w, err := newWorld(random, log, lives{token: time.Hour, idle: 2 * time.Hour}, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := w.startVault(ctx, servers.Options{Storage: "inmem", PluginEnv: []string{goMemory}}); err != nil {
		return nil, err
	}
	pid, err := pluginOf(w.vault())
	if err != nil {
		return nil, err
	}
	r := &result{fault: fmt.Sprintf("%d MB for %d sessions", memoryGiven>>20, sessions), repetitions: 1}
	release, err := confine(pid)
	if err == nil {
		defer release()
		r.remarks = append(r.remarks, "the process is in a cgroup of 64 MB")
	} else {
		r.remarks = append(r.remarks, "no cgroup to be had: "+err.Error())
	}
	var watched []account
	for i := range hotAccounts {
		watched = append(watched, account{config: member(i), realm: accounts[0].realm, user: member(i)})
		if err := w.configureMember(ctx, i, "dedicated"); err != nil {
			return nil, err
		}
	}
	begin := time.Now()
	if err := w.open(ctx, sessions); err != nil {
		return nil, err
	}
	log("%d sessions in %s", sessions, time.Since(begin).Round(time.Second))
	live := 0
	for _, a := range watched {
		live += w.stats(a).Sessions
	}
	if live != sessions {
		r.breaks("%d sessions are open, not %d", live, sessions)
	}
	u, err := usageOf(pid)
	if err != nil {
		return nil, fmt.Errorf("the plugin did not live: %w", err)
	}
	r.remarks = append(r.remarks, fmt.Sprintf("with them: %s, at most %d MB", u, u.most>>20))
	if u.most > memoryGiven {
		r.breaks("the plugin took %d MB", u.most>>20)
	}
	slowest, err := w.slowestRead(ctx, watched)
	if err != nil {
		r.breaks("with %d sessions: %s", sessions, err)
	}
	r.remarks = append(r.remarks, fmt.Sprintf("100 reads with their logins, the slowest took %s", slowest.Round(time.Millisecond)))
	begin = time.Now()
	all := &api.RevokeOptions{LeaseID: servers.Mount + "/creds", Prefix: true, Sync: false}
	w.client().SetClientTimeout(5 * time.Minute)
	if err := w.client().Sys().RevokeWithOptionsWithContext(ctx, all); err != nil {
		return nil, err
	}
	if err := eventually(ctx, 5*time.Minute, "all sessions are logged out", func() error {
		left := 0
		for _, a := range watched {
			left += w.stats(a).Sessions
		}
		if left > 0 {
			return fmt.Errorf("%d are open", left)
		}
		return nil
	}); err != nil {
		r.breaks("%s", err)
	}
	log("all revoked in %s", time.Since(begin).Round(time.Second))
	if now, err := pluginOf(w.vault()); err != nil || now != pid {
		r.breaks("the plugin was started anew: it had died")
	} else if u, err = usageOf(pid); err == nil && u.most > memoryGiven {
		r.breaks("the plugin took %d MB while it logged out", u.most>>20)
	}
	r.count(w, watched)
	if err := noneIrrevocable(ctx, w); err != nil {
		r.breaks("%s", err)
	}
	return r, nil
}

// open opens that many sessions, over all hot accounts.
func (w *world) open(ctx context.Context, sessions int) error {
	var (
		opened atomic.Int64
		errs   [hotAccounts]error
		all    sync.WaitGroup
	)
	for i := range hotAccounts {
		all.Go(func() {
			for errs[i] == nil && opened.Add(1) <= int64(sessions) {
				_, errs[i] = w.client().Logical().ReadWithContext(ctx, servers.Mount+"/creds/"+member(i))
			}
		})
	}
	all.Wait()
	return errors.Join(errs[:]...)
}

func (w *world) slowestRead(ctx context.Context, watched []account) (slowest time.Duration, err error) {
	for i := range 100 {
		asked := time.Now()
		_, err := w.client().Logical().ReadWithContext(ctx, servers.Mount+"/creds/"+watched[i%len(watched)].config)
		if err != nil {
			return slowest, err
		}
		slowest = max(slowest, time.Since(asked))
	}
	return slowest, nil
}

// confine puts a process into a memory cgroup of its own, of version 2 or 1. No
// swap is allowed for where the kernel can forbid it.
func confine(pid int) (release func(), err error) {
	roots := []struct{ dir, limit string }{
		{"/sys/fs/cgroup", "memory.max"},
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
	}
	var errs []error
	for _, root := range roots {
		dir, err := os.MkdirTemp(root.dir, "panta-")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		// A cgroup's directory goes when no process is left in it.
		remove := func() {
			for range 50 {
				if os.Remove(dir) == nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		err = os.WriteFile(filepath.Join(dir, root.limit), []byte(strconv.Itoa(memoryGiven)), 0o600)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600)
		}
		if err == nil {
			return remove, nil
		}
		remove()
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
