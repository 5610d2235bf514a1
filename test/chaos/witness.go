package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

const (
	// look is how often the witness looks at the server.
	look = 100 * time.Millisecond
	// reaperTime is what a session may be open past its horizon while there is
	// service: to log out takes the reaper that long at most.
	reaperTime = 3 * time.Second
)

// witness watches the sessions at the identity server: that each is in the
// ledger, and that none stays past its horizon. There are two exceptions. A
// session whose login had no answer: nobody has its refresh token, the ledger
// says "opening", and it counts in the budget until it is found (rule 11) or the
// server has dropped it. And one whose logout failed, which is in the queue: the
// ledger says "closing".
type witness struct {
	world    *world
	accounts []account
	ledger   *ledger
	up       atomic.Bool // there is service

	watching sync.WaitGroup
	done     chan struct{}

	mu      sync.Mutex
	overdue map[string]time.Duration // by session at the server: past its horizon, while there was service
	judged  map[string]bool
	broken  []string
	lost    int
}

func startWitness(ctx context.Context, w *world, watched []account) (*witness, error) {
	l, err := openLedger(ctx, w.client)
	if err != nil {
		return nil, err
	}
	t := &witness{
		world: w, accounts: watched, ledger: l, done: make(chan struct{}),
		overdue: map[string]time.Duration{}, judged: map[string]bool{},
	}
	t.up.Store(true)
	t.watching.Go(func() { t.watch(ctx) })
	return t, nil
}

func (t *witness) stop() {
	close(t.done)
	t.watching.Wait()
}

func (t *witness) watch(ctx context.Context) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	last := time.Now()
	for n := 0; ; n++ {
		select {
		case <-t.done:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		elapsed := time.Since(last)
		last = time.Now()
		if !t.up.Load() {
			continue
		}
		open := t.open()
		t.judgeOverdue(ctx, open, elapsed)
		if n%10 == 0 {
			t.compare(ctx, open)
		}
	}
}

// open returns the sessions at the server.
func (t *witness) open() map[string]iam.Session {
	open := map[string]iam.Session{}
	for _, a := range t.accounts {
		for _, s := range t.world.emulator.Sessions(a.realm, a.user) {
			open[s.ID] = s
		}
	}
	return open
}

// attempt is our id of the session that a login with this User-Agent opened.
func attempt(userAgent string) string {
	mark, _, _ := strings.Cut(userAgent, "-bot/")
	return mark[strings.LastIndex(mark, "-")+1:]
}

// judgeOverdue calls a session lost that is open for too long past its horizon
// and could have been logged out.
func (t *witness) judgeOverdue(ctx context.Context, open map[string]iam.Session, elapsed time.Duration) {
	for id, s := range open {
		// The server's tokens are dated in whole seconds; ours from their receipt.
		horizon := s.LastAccess.Add(t.world.lives.token)
		if time.Now().Before(horizon) {
			continue
		}
		t.overdue[id] += elapsed
		if t.overdue[id] < reaperTime || t.judged[id] {
			continue
		}
		stage, err := t.stageOf(ctx, attempt(s.UserAgent))
		if err != nil {
			continue // looked at again in a moment
		}
		t.judged[id] = true
		if stage != "opening" && stage != "closing" {
			t.lose("session %s of %s is open %s past its horizon; the ledger says %q", attempt(s.UserAgent), s.Username, t.overdue[id].Round(time.Millisecond), stage)
		}
	}
	for id := range t.overdue {
		if _, still := open[id]; !still {
			delete(t.overdue, id)
		}
	}
}

func (t *witness) stageOf(ctx context.Context, id string) (string, error) {
	stored, err := t.ledger.sessions(ctx)
	if err != nil {
		return "", err
	}
	path, found := stored[id]
	if !found {
		return "", nil
	}
	return t.ledger.stage(ctx, path)
}

// compare looks for sessions at the server that the ledger does not know. One
// that was open before the ledger was read, and is after, must be in it.
func (t *witness) compare(ctx context.Context, before map[string]iam.Session) {
	stored, err := t.ledger.sessions(ctx)
	if err != nil {
		return // there is no service for a moment
	}
	for id := range t.open() {
		s, was := before[id]
		if !was || t.judged[id] {
			continue
		}
		if _, found := stored[attempt(s.UserAgent)]; !found {
			t.judged[id] = true
			t.lose("session %s of %s is open at the server and not in the ledger", attempt(s.UserAgent), s.Username)
		}
	}
}

func (t *witness) lose(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost++
	t.broken = append(t.broken, fmt.Sprintf(format, args...))
}

// settled waits, after the load, until nothing is open at the server.
func (t *witness) settled(ctx context.Context) error {
	return eventually(ctx, t.world.lives.token+t.world.lives.idle+10*time.Second, "all sessions end", func() error {
		if n := len(t.open()); n > 0 {
			return fmt.Errorf("%d are open", n)
		}
		return nil
	})
}
