package sessions_test

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// What the random histories ask of the plugin beyond what holds at every moment: that
// it is not too eager, and that it serves again when all is well.

// read is a read of creds/ whose refusal has to have a reason.
func (m *model) read(p *process, r sessions.Request) (sessions.Lease, error) {
	l, err := m.vault.read(p, r)
	if !p.faults.isDead() {
		m.world.judgeRefusal(r, err)
	}
	return l, err
}

// readBroken reads, in turn, as two roles whose scopes the server does not know.
func (m *model) readBroken(p *process, pick int) {
	for i := range pick%4 + 1 {
		r := dedicated
		r.Scopes = []string{m.world.unknownScope, "role-" + string('a'+rune(i%2))}
		_, _ = m.read(p, r)
	}
}

// readOften: a reader whose min_ttl only the newest token meets can force one in 10 s
// (rule 12).
func (m *model) readOften(p *process, pick int) {
	m.judgeForced(func() {
		for range 6 {
			r := shared
			r.MinTTL = m.world.leaseOfNewTokens() - time.Duration(pick%2)*time.Second
			_, _ = m.read(p, r)
			m.pass(p, time.Second)
		}
	})
}

// rejectOften: so can one whose API refuses each token.
func (m *model) rejectOften(p *process, pick int) {
	l, ok := m.pick(pick)
	if !ok || l.Ref.Mode != shared.Mode {
		return
	}
	m.judgeForced(func() {
		for range 6 {
			m.excuseSession(l)
			r := shared
			r.Rejected = l.Ref.Session
			next, err := m.read(p, r)
			if err == nil {
				l = next
			}
			m.pass(p, time.Second)
		}
	})
}

// judgeForced counts what reads of one session make the plugin ask of the server. The
// session may have to be opened or found dead first, and be due for its refresh.
func (m *model) judgeForced(reads func()) {
	w := m.world
	began, asked := time.Now(), w.count(&w.logins)+w.count(&w.refreshes)
	reads()
	w.mu.Lock()
	defer w.mu.Unlock()
	most := int(time.Since(began)/(10*time.Second)) + 3
	if n := w.logins + w.refreshes - asked; n > most && w.trouble.Before(began) {
		w.t.Errorf("rule 12: readers of one session forced %d logins and refreshes in %s; the last calls: %v", n, time.Since(began), w.lastCalls())
	}
}

// twoAtOnce has a session end, in one way or the other, while its token is refreshed.
func (m *model) twoAtOnce(p *process, pick int) {
	l, ok := m.pick(pick)
	if !ok {
		return
	}
	m.excuseSession(l)
	m.together(2, func(i int) {
		if i == 0 {
			r := sessions.Request{Account: accountID, Mode: l.Ref.Mode, Rejected: l.Ref.Session}
			_, _ = m.read(p, r)
			return
		}
		time.Sleep(m.usual / 2)
		if pick%2 == 0 {
			m.revoke(p, l)
		} else {
			m.closeSession(p, l)
		}
	})
	m.excuseSession(l) // its newest token, too
}

// setAllRight ends whatever goes wrong outside of the plugin. From then on nothing may
// keep readers out for longer than the rules say: a quarter of an hour after refusals
// (rule 7), and as long as sessions hold the budget that nobody can end (rules 1 and 2).
// A clock that was ahead delays nothing at all, set right or not (rule 6).
func (m *model) setAllRight(pick int) {
	for _, mount := range m.mounts {
		mount.letGo(pick)
	}
	p := m.process
	sleep(p, longestRest+time.Minute)
	for _, mount := range m.mounts {
		mount.expireLeases(mount.process)
	}
	if !m.readsWell(p) {
		return
	}
	m.findsLost(p)
	if sleep(p, 3*time.Minute); m.farAhead && len(m.world.records()) == 0 {
		m.stepClock(p, farAhead) // for the next time
	}
}

// letGo ends a mount's troubles and its leases.
func (m *model) letGo(pick int) {
	m.weather.Store(false)
	m.world.setRight(m.usual)
	if m.process.faults.isDead() {
		m.process = m.reborn()
	}
	if pick%2 == 0 {
		m.stepClock(m.process, 0)
	}
	m.vault.mu.Lock()
	held := slices.Clone(m.leases)
	m.vault.mu.Unlock()
	for _, l := range held {
		m.revoke(m.process, l)
	}
}

// readsWell reads until it is served.
func (m *model) readsWell(p *process) bool {
	w := m.world
	patience := []time.Duration{longestRest + time.Minute, w.idle + 10*time.Minute}
	if w.wallClock {
		patience[1] += farAhead // what a session may live is by that clock
	}
	for {
		r := dedicated
		if w.asksPeople() {
			r = m.withCode(r, "person-"+time.Now().String(), true)
		}
		l, err := m.read(p, r)
		if err == nil {
			m.revoke(p, l)
			return true
		}
		refusal, _ := errors.AsType[*sessions.Error](err)
		full := refusal.Reason == machine.BudgetFull && !strings.Contains(refusal.Message, "session limit") // of the ledger
		early := refusal.Reason == machine.Upstream && w.ahead > 0 && w.codePeriod > 0                      // nothing had shown the clock
		denied := refusal.Reason == machine.Upstream && w.sharedWithPeople
		if len(patience) == 0 || !full && !early && !denied {
			w.t.Errorf("rules 6 and 7: all is well, and yet: %v; the last calls: %v", err, w.lastCalls())
			return false
		}
		sleep(p, patience[0])
		m.expireLeases(p)
		patience = patience[1:]
	}
}

// findsLost: with a token that may ask for the list, every session is found whose login
// had no answer (rule 11).
func (m *model) findsLost(p *process) {
	w := m.world
	if !w.limits.Capabilities.ListsSessions || len(w.lostSessions()) == 0 {
		return
	}
	for range 12 {
		if _, err := m.read(p, shared); err != nil {
			return // there is no such token
		}
		sleep(p, time.Minute)
		m.expireLeases(p)
	}
	w.mu.Lock()
	denied := time.Since(w.heard.noListAt) < 75*time.Minute // which is believed for an hour
	w.mu.Unlock()
	if lost := w.lostSessions(); len(lost) > 0 && !denied {
		w.t.Errorf("rule 11: nothing has found and ended in 12 minutes: %v; the last calls: %v", lost, w.lastCalls())
	}
}

// lostSessions are those whose login had no answer, a good while ago.
func (w *world) lostSessions() (lost []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire()
	for id, s := range w.sessions {
		if s.lost && time.Since(s.started) > 12*time.Minute {
			lost = append(lost, id)
		}
	}
	return lost
}

// stepClock sets the host's clock.
func (m *model) stepClock(p *process, ahead time.Duration) {
	if m.world.ahead-ahead > clockSteps {
		m.excuseAll() // by that clock they last for far too long
	}
	if m.world.wallClock {
		m.world.stepClock(ahead)
		return
	}
	p.Stop() // within one life of the plugin clocks are monotonic
	m.world.stepClock(ahead)
	p.restart()
}

// setRight ends what goes wrong at the server and in the storage.
func (w *world) setRight(latency time.Duration) {
	w.setDown(false)
	w.setStorageDelay(0)
	w.setPassword("right")
	w.setLatency(latency)
	w.setBusy(0)
	w.refuseLists(false)
	w.takeLoss()
}

func (w *world) setLatency(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latency = d
}

func (w *world) setBusy(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busyUntil = time.Now().Add(d)
}

func (w *world) refuseLists(refuse bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noRoles = refuse
}

// setTokenLife has an administrator change how long tokens live from now on.
func (w *world) setTokenLife(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokenLife = d
}

// leaseOfNewTokens is the longest lease that a reader can ask for, but for a second.
func (w *world) leaseOfNewTokens() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tokenLife - 6*time.Second
}

// asksPeople says that each login takes a code that somebody types.
func (w *world) asksPeople() bool {
	c := w.limits.Capabilities
	return c.OneTimeCode && !c.GeneratesCode
}
