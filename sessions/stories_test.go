package sessions_test

import (
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
)

// story is something that happens to an account. What it does may fail under
// faults; the rules are checked around it.
type story struct {
	name   string
	budget int
	setup  func(*world)
	run    func(*vault, *process)
}

var stories = []story{
	{name: "open and release a dedicated session", budget: 1, run: func(v *vault, p *process) {
		if l, err := v.read(p, dedicated); err == nil {
			v.revoke(p, l)
		}
	}},
	{name: "share, refresh and release one by one", budget: 1, run: func(v *vault, p *process) {
		first, err1 := v.read(p, shared)
		second, err2 := v.read(p, shared)
		v.pass(p, 200*time.Second)
		if err1 == nil {
			v.revoke(p, first)
		}
		v.pass(p, 200*time.Second)
		if err2 == nil {
			v.revoke(p, second)
		}
	}},
	{name: "refresh tokens that rotate", budget: 2, setup: func(w *world) { w.rotate = true }, run: func(v *vault, p *process) {
		l, err := v.read(p, shared)
		v.pass(p, 500*time.Second)
		_, _ = v.read(p, shared)
		if err == nil {
			v.revoke(p, l)
		}
	}},
	{name: "a budget of one, used in turn", budget: 1, run: func(v *vault, p *process) {
		for range 3 {
			if l, err := v.read(p, dedicated); err == nil {
				v.revoke(p, l)
			}
		}
	}},
	{name: "one-time codes", budget: 2, setup: withTOTP, run: func(v *vault, p *process) {
		l, err := v.read(p, dedicated)
		_, _ = v.read(p, dedicated)
		if err == nil {
			v.revoke(p, l)
		}
		_, _ = v.read(p, dedicated)
	}},
	{name: "one-time codes typed by people", budget: 2, setup: func(w *world) {
		w.codePeriod = 30 * time.Second
		w.limits.Capabilities.OneTimeCode = true
	}, run: func(v *vault, p *process) {
		r := dedicated
		r.OTP = providers.NewSecret("123456")
		_, _ = v.read(p, r)
		_, _ = v.read(p, r)
		r.OTP = providers.NewSecret("654321")
		_, _ = v.read(p, r)
	}},
	{name: "a rejected token", budget: 1, run: func(v *vault, p *process) {
		l, err := v.read(p, shared)
		if err != nil {
			return
		}
		r := shared
		r.Rejected = l.Ref.Session
		_, _ = v.read(p, r)
	}},
	{name: "a rejected token of a session that is gone", budget: 1, run: func(v *vault, p *process) {
		l, err := v.read(p, shared)
		if err != nil {
			return
		}
		p.killAll()
		r := shared
		r.Rejected = l.Ref.Session
		_, _ = v.read(p, r)
	}},
	{name: "a rejected token of a dedicated session", budget: 1, run: func(v *vault, p *process) {
		l, err := v.read(p, dedicated)
		if err != nil {
			return
		}
		r := dedicated
		r.Rejected = l.Ref.Session
		_, _ = v.read(p, r)
	}},
	{name: "verify, then the first reader", budget: 1, setup: withTOTP, run: func(v *vault, p *process) {
		v.verify(p, shared)
		v.pass(p, 20*time.Second)
		_, _ = v.read(p, shared)
	}},
	{name: "verify, and nobody comes", budget: 1, run: func(v *vault, p *process) {
		v.verify(p, shared)
		v.pass(p, 2*time.Minute)
	}},
	{name: "a server that is down when the lease ends", budget: 1, run: func(v *vault, p *process) {
		l, err := v.read(p, dedicated)
		p.setDown(true)
		for range 5 {
			if err == nil {
				v.revoke(p, l)
			}
			v.pass(p, 15*time.Second)
		}
		p.setDown(false)
		v.pass(p, 10*time.Minute)
		_, _ = v.read(p, dedicated)
	}},
	{name: "a restart with a shared session", budget: 1, run: func(v *vault, p *process) {
		_, _ = v.read(p, shared)
		v.pass(p, 30*time.Second)
		p.restart()
		v.pass(p, 10*time.Second)
		_, _ = v.read(p, shared)
		v.pass(p, 10*time.Minute)
	}},
	{name: "a successor before the maximum age", budget: 2, setup: func(w *world) { w.maxAge = 20 * time.Minute }, run: func(v *vault, p *process) {
		for range 10 {
			if l, err := v.read(p, shared); err == nil {
				defer v.revoke(p, l)
			}
			v.pass(p, 4*time.Minute)
		}
	}},
	{name: "a maximum age without room for a successor", budget: 1, setup: func(w *world) { w.maxAge = 20 * time.Minute }, run: func(v *vault, p *process) {
		for range 10 {
			if l, err := v.read(p, shared); err == nil {
				defer v.revoke(p, l)
			}
			v.pass(p, 4*time.Minute)
		}
	}},
	{name: "a session that lingers", budget: 1, setup: func(w *world) { w.limits.Linger = time.Minute }, run: func(v *vault, p *process) {
		if l, err := v.read(p, shared); err == nil {
			v.revoke(p, l)
		}
		v.pass(p, 30*time.Second)
		if l, err := v.read(p, shared); err == nil {
			v.revoke(p, l)
		}
		other := shared
		other.Scopes = []string{"email"}
		_, _ = v.read(p, other)
	}},
	{name: "wrong password, then the right one", budget: 1, setup: func(w *world) { w.config = "wrong" }, run: func(v *vault, p *process) {
		_, _ = v.read(p, shared)
		p.setConfig("right")
		_ = p.Configure(v.t.Context(), accountID, p.settings(), true)
		_, _ = v.read(p, shared)
	}},
	{name: "a login whose answer is lost, found by its mark", budget: 3, setup: withList(3), run: func(v *vault, p *process) {
		l, err := v.read(p, shared)
		v.pass(p, 20*time.Second)
		v.world.loseNextLogin()
		_, _ = v.read(p, other("email"))
		v.pass(p, 20*time.Second)
		_, _ = v.read(p, other("email"))
		if err == nil {
			v.revoke(p, l)
		}
	}},
	{name: "a full budget that the list frees", budget: 2, setup: withList(2), run: func(v *vault, p *process) {
		v.world.loseNextLogin()
		_, _ = v.read(p, other("email"))
		v.pass(p, 20*time.Second)
		_, _ = v.read(p, shared)
		_, _ = v.read(p, dedicated)
	}},
	{name: "a drain with an orphan", budget: 3, setup: withList(3), run: func(v *vault, p *process) {
		_, _ = v.read(p, shared)
		v.pass(p, 20*time.Second)
		v.world.loseNextLogin()
		_, _ = v.read(p, other("email"))
		ctx, cancel := v.request()
		defer cancel()
		_ = p.Drain(ctx, accountID)
		_ = p.Configure(ctx, accountID, p.settings(), false)
	}},
	{name: "a check, on an account that people use too", budget: 4, setup: func(w *world) {
		withList(4)(w)
		withTOTP(w)
		w.logInSomebody("person", person)
	}, run: func(v *vault, p *process) {
		_, _ = v.read(p, shared)
		v.pass(p, 20*time.Second)
		v.check(p)
	}},
	{name: "an operator closes sessions", budget: 2, run: func(v *vault, p *process) {
		if l, err := v.read(p, dedicated); err == nil {
			v.closeSession(p, l)
		}
		_, _ = v.read(p, shared)
		l, err := v.read(p, shared)
		p.setDown(true)
		if err == nil {
			v.closeSession(p, l)
			v.pass(p, 10*time.Second)
		}
		p.setDown(false)
		v.pass(p, 5*time.Minute)
		_, _ = v.read(p, shared)
	}},
	{name: "an account that is kept alive", budget: 1, setup: withHourlyKeepAlive, run: func(v *vault, p *process) {
		v.pass(p, 90*time.Minute)
		if l, err := v.read(p, dedicated); err == nil {
			v.revoke(p, l)
		}
		p.restart()
		v.pass(p, 90*time.Minute)
	}},
	{name: "an account that is kept alive with one-time codes", budget: 2, setup: func(w *world) {
		withList(2)(w)
		withTOTP(w)
		withHourlyKeepAlive(w)
	}, run: func(v *vault, p *process) {
		v.verify(p, dedicated)
		v.pass(p, 90*time.Minute)
	}},
	{name: "delete the config with live sessions", budget: 3, run: func(v *vault, p *process) {
		_, _ = v.read(p, shared)
		_, _ = v.read(p, dedicated)
		ctx, cancel := v.request()
		defer cancel()
		if p.Drain(ctx, accountID) == nil {
			p.retire()
			_ = p.Configure(ctx, accountID, p.settings(), false)
		}
	}},
}

func withHourlyKeepAlive(w *world) {
	w.limits.KeepAlive, w.limits.DeactivatedAfter = time.Hour, 90*day
}

func withTOTP(w *world) {
	w.codePeriod = 30 * time.Second
	w.limits.Capabilities.OneTimeCode = true
	w.limits.Capabilities.GeneratesCode = true
	w.limits.Capabilities.CodePeriod = 30 * time.Second
}

func (w *world) setDown(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire()
	if w.down {
		w.trouble = time.Now()
	}
	w.down = down
}

func (w *world) setConfig(password string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.config = password
}

func (w *world) retire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isConfig = false
}

// killAll ends every session at the server, as its administrator may.
func (w *world) killAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, mount := range w.mounts() {
		for id := range mount.sessions {
			mount.broken[id] = true
		}
		clear(mount.sessions)
	}
}

// restart stops the engine in good order and starts another in its place.
func (p *process) restart() {
	p.Stop()
	p.Engine = p.newEngine()
	p.Start()
}

func splitRef(ref string) (session, generation string, ok bool) { return strings.Cut(ref, ".") }

var _ sessions.Directory = (*process)(nil)
