package sessions_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// TestACrashAtEveryStep plays each story once to count the boundaries that it
// crosses (storage and network), and then again for each of them and each sort
// of fault: an error before or after it took effect, the death of the plugin
// before or after. The rules must hold at every boundary and at the end.
func TestACrashAtEveryStep(t *testing.T) {
	points := 0
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			crossings := play(t, story, &faults{})
			require.Positive(t, crossings)
			for at := 1; at <= crossings; at++ {
				for _, kind := range []fault{failBefore, failAfter, dieBefore, dieAfter} {
					t.Run(fmt.Sprintf("%d %s", at, kind), func(t *testing.T) {
						play(t, story, &faults{at: at, kind: kind})
					})
					points++
				}
			}
		})
	}
	t.Logf("crash points tried: %d", points)
}

// play runs one story under faults, ends it as Vault would, checks the rules,
// and returns how many boundaries the story crossed.
func play(t *testing.T, s story, f *faults) (crossings int) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.limit, w.limits.MaxSessions = s.budget, s.budget
		if s.setup != nil {
			s.setup(w)
		}
		v := newVault(t, w)
		f.onStep = func(op string) { v.checkBoundary(op) }
		p := w.startWith(f)
		synctest.Wait()
		s.run(v, p)
		v.checkStatus(p)
		crossings = f.count
		p = v.afterStory(p)
		v.finish(p)
	})
	return crossings
}

// vault is Vault as the engine knows it: it keeps leases and revokes them.
type vault struct {
	t      judge
	world  *world
	mu     sync.Mutex
	leases []sessions.Lease
	// revoking holds the leases that Vault has begun to revoke.
	revoking map[sessions.LeaseRef]bool
}

func newVault(t judge, w *world) *vault {
	return &vault{t: t, world: w, revoking: map[sessions.LeaseRef]bool{}}
}

// request is the context of a request: Vault ends it after 90 s.
func (v *vault) request() (context.Context, context.CancelFunc) {
	return context.WithTimeout(v.t.Context(), 90*time.Second)
}

// pass lets time go by, unless the plugin is dead: Vault starts it again then,
// and does not leave it dead for long.
func (v *vault) pass(p *process, d time.Duration) {
	if !p.faults.isDead() {
		sleep(p, d)
	}
}

// sleep lets time go by as Vault does: it nudges each mount of the plugin once a minute,
// and sees then if it is dead.
func sleep(p *process, d time.Duration) {
	for ; d > 0 && !p.faults.isDead(); d -= time.Minute {
		time.Sleep(min(d, time.Minute))
		p.Nudge()
		if n := p.neighbour; n != nil {
			n.life.Nudge()
		}
	}
}

// verify is a config write that verifies by a login.
func (v *vault) verify(p *process, r sessions.Request) {
	ctx, cancel := v.request()
	defer cancel()
	_ = p.Verify(ctx, p.settings(), r)
}

// check is a read of check/.
func (v *vault) check(p *process) {
	ctx, cancel := v.request()
	defer cancel()
	_, _ = p.Check(ctx, sessions.CheckRequest{Account: accountID})
}

// read is a read of creds/; what it hands out becomes a lease.
func (v *vault) read(p *process, r sessions.Request) (sessions.Lease, error) {
	ctx, cancel := v.request()
	defer cancel()
	l, err := p.Acquire(ctx, r)
	return v.take(p, l, err)
}

// take registers a lease, unless the plugin died before its answer got out.
func (v *vault) take(p *process, l sessions.Lease, err error) (sessions.Lease, error) {
	if err == nil && p.faults.isDead() {
		err = errInjected
	}
	if err != nil {
		return l, err
	}
	if !v.world.live(l.Token.AccessToken) && !v.world.isBroken(l.Token.AccessToken) {
		v.t.Errorf("a dead token was handed out: %s", l.Ref.Session)
	}
	v.checkPromise(l)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.leases = append(v.leases, l)
	return l, nil
}

func (v *vault) forget(l sessions.Lease) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range v.leases {
		if v.leases[i].Ref == l.Ref {
			v.leases = append(v.leases[:i], v.leases[i+1:]...)
			return
		}
	}
}

// revoke tries to end a lease once.
func (v *vault) revoke(p *process, l sessions.Lease) {
	ctx, cancel := v.request()
	defer cancel()
	v.mu.Lock()
	v.revoking[l.Ref] = true
	v.mu.Unlock()
	if p.Release(ctx, l.Ref) == nil && !p.faults.isDead() {
		v.forget(l)
		v.world.judgeReleased(l)
	}
}

// closeSession is an operator's delete of a lease's session. One whose login
// was lost is left: whether it is open an operator knows, and this vault does not.
func (v *vault) closeSession(p *process, l sessions.Lease) {
	ctx, cancel := v.request()
	defer cancel()
	id, _, _ := splitRef(l.Ref.Session)
	st, found, err := p.Session(ctx, l.Ref.Account, machine.SessionID(id))
	if err == nil && found && st.State != machine.StateUnknown {
		_, _, _, _ = p.CloseSession(ctx, l.Ref.Account, machine.SessionID(id))
	}
}

// checkStatus: what people are told agrees with itself.
func (v *vault) checkStatus(p *process) {
	_, err := p.InUse(v.t.Context(), accountID)
	synctest.Wait() // what is loaded may log in at once
	st, err1 := p.Status(v.t.Context(), accountID)
	all, err2 := p.Sessions(v.t.Context(), accountID)
	if err != nil || err1 != nil || err2 != nil {
		return // the storage cannot be read
	}
	counted := map[machine.State]int{}
	var oldest time.Time
	for _, s := range all {
		counted[s.State]++
		if s.State == machine.StateWaiting && (oldest.IsZero() || s.ClosingAt.Before(oldest)) {
			oldest = s.ClosingAt
		}
	}
	if !maps.Equal(counted, st.States) || !oldest.Equal(st.OldestLogout) {
		v.t.Errorf("the status says %v, oldest logout %s; the sessions are %v, %s", st.States, st.OldestLogout, counted, oldest)
	}
}

// checkPromise: no answer promises more than the ledger's horizon (rule 8:
// stored before it is handed out).
func (v *vault) checkPromise(l sessions.Lease) {
	attempt, _, _ := splitRef(l.Ref.Session)
	entry, err := v.world.storage.Get(context.Background(), "session/"+string(accountID)+"/"+attempt)
	require.NoError(v.t, err)
	require.NotNil(v.t, entry, "a token was handed out whose session is not in the ledger")
	var stored struct {
		Entry struct {
			Horizon time.Time `json:"horizon"`
		} `json:"entry"`
	}
	require.NoError(v.t, json.Unmarshal(entry.Value, &stored))
	require.False(v.t, l.Until.After(stored.Entry.Horizon), "lease until %s, stored horizon %s", l.Until, stored.Entry.Horizon)
}

// checkBoundary holds at every moment: the ledger knows each session that is
// open at the server (rule 1), the budget is kept (rule 2), no code is used
// twice (rule 6).
func (v *vault) checkBoundary(op string) {
	if missing := v.world.unlisted(); len(missing) > 0 {
		v.world.mu.Lock()
		defer v.world.mu.Unlock()
		v.t.Errorf("before %s: open at the server, unknown to the ledger: %v; the last calls: %v", op, missing, v.world.lastCalls())
		return
	}
	v.checkCounts()
}

func (v *vault) checkCounts() {
	w := v.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limit > 0 && w.peak > w.limit {
		v.t.Errorf("rule 2: %d sessions at once, %d are allowed", w.peak, w.limit)
	}
	if w.foreignEnded > 0 {
		v.t.Errorf("rule 11: %d sessions of others were ended", w.foreignEnded)
	}
	if w.denials > 0 && !w.sharedWithPeople {
		v.t.Errorf("rule 2: the server had to deny %d sessions", w.denials)
	}
	if w.codeReuses > 0 && !w.wallClock { // which may hide from the plugin what the server's clock says
		v.t.Errorf("rule 6: %d one-time codes were used twice", w.codeReuses)
	}
	if w.agedOut > 0 {
		v.t.Errorf("rule 1: %d sessions were left to die of age", w.agedOut)
	}
}

// afterStory gives the plugin its next life, if this one is over.
func (v *vault) afterStory(p *process) *process {
	if !p.faults.isDead() {
		return p
	}
	v.world.mu.Lock()
	v.world.deaths++
	v.world.mu.Unlock()
	p.Stop()
	return v.world.startWith(&faults{onStep: func(op string) { v.checkBoundary(op) }})
}

// finish revokes what is still leased, as Vault does with its retries, and lets
// time pass: in the end nothing is open and nothing is left in the ledger.
func (v *vault) finish(p *process) {
	defer func() { p.Stop() }()
	v.world.mu.Lock()
	v.world.down, v.world.losing, v.world.storageDelay = false, false, 0
	v.world.mu.Unlock()
	for try := 0; len(v.leases) > 0; try++ {
		require.Less(v.t, try, 6, "rule 5: Vault would give the lease up as irrevocable")
		for _, l := range append([]sessions.Lease(nil), v.leases...) {
			v.revoke(p, l)
		}
		p = v.afterStory(p) // a background step may have died only now
		time.Sleep(10 * time.Second)
	}
	sleep(p, v.world.idle+5*time.Minute)
	p = v.afterStory(p)
	sleep(p, v.world.idle+5*time.Minute)
	synctest.Wait()
	for range 5 { // a login that keeps the account alive may be under way, its code held, or its connection kept
		if len(v.world.records()) > 0 || len(v.world.connections()) > 0 {
			sleep(p, time.Minute)
		}
	}
	require.Zero(v.t, v.world.openNow())
	require.Empty(v.t, v.world.records())
	require.Empty(v.t, v.world.connections())
	v.checkCounts()
	v.checkKeptAlive()
}

// checkKeptAlive: an account that is to be kept alive was logged in to in time,
// or one try later.
func (v *vault) checkKeptAlive() {
	w := v.world
	w.mu.Lock()
	defer w.mu.Unlock()
	const mostBetweenTries = time.Hour
	if interval := w.limits.KeepAlive; interval > 0 && time.Since(w.loggedInAt) > interval+mostBetweenTries {
		v.t.Errorf("nobody has logged in since %s, now %s", w.loggedInAt, time.Now())
	}
}
