package sessions

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// storagePatience bounds one write.
const storagePatience = 30 * time.Second

// perform does one effect. Storage is waited for, so that the writes of an
// account land in the order of its decisions; calls to the server are begun
// and answer as events.
func (a *account) perform(ctx context.Context, effect machine.Effect) {
	defer recoverPanic(a.engine.logger, "an effect")
	switch e := effect.(type) {
	case machine.Put:
		err := a.write(ctx, func(ctx context.Context) error {
			if err := a.storeConnection(ctx, e.Record.Connection); err != nil {
				return err
			}
			return a.engine.ledger.put(ctx, a.id, e.Record)
		})
		a.step(machine.Stored{Session: e.Record.ID, Err: err})
	case machine.Remove:
		err := a.write(ctx, func(ctx context.Context) error { return a.engine.ledger.remove(ctx, a.id, e.Session) })
		a.step(machine.Stored{Session: e.Session, Err: err})
	case machine.PutGuard:
		err := a.write(ctx, func(ctx context.Context) error { return a.engine.ledger.putGuard(ctx, a.id, e.Guard) })
		a.step(machine.GuardStored{Err: err})
	case machine.DropConnection:
		a.dropConnection(ctx, e)
	case machine.Login:
		a.begin(func(ctx context.Context) { a.login(ctx, e) })
	case machine.Refresh:
		a.begin(func(ctx context.Context) { a.refresh(ctx, e) })
	case machine.Logout:
		a.queueLogout(e)
	case machine.List:
		a.begin(func(ctx context.Context) { a.list(ctx, e) })
	case machine.End:
		a.begin(func(ctx context.Context) { a.end(ctx, e) })
	case machine.Reply:
		a.deliver(e)
	case machine.Note:
		a.log(e)
		a.tell(e)
	}
}

// write bounds a write, and makes an error of a panic in the storage: the machine waits
// for an answer.
func (a *account) write(ctx context.Context, f func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, storagePatience)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			a.engine.logger.Error("panic in Vault's storage: please report this", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errors.New("the plugin failed while it wrote, see Vault's log")
		}
	}()
	return f(ctx)
}

// begin does something beside the other effects.
func (a *account) begin(f func(context.Context)) {
	a.engine.tasks.do("a call to an identity server", f)
}

func (a *account) login(ctx context.Context, e machine.Login) {
	if a.engine.options.Now().After(e.SendBefore) {
		a.step(machine.LoggedIn{Session: e.Session, TooLate: true})
		return
	}
	upstream := e.Via
	if upstream == nil {
		// The connection was that of the config in force when the intent was stored: the
		// login goes there, whatever is in force by now.
		upstream, _ = a.clientOf(e.Connection).(providers.Upstream)
	}
	request := providers.LoginRequest{
		Scopes:    e.Scopes,
		Params:    e.Params,
		UserAgent: a.engine.userAgent(e),
		OTP:       e.OTP,
		CodeAt:    e.CodeAt,
	}
	began := a.engine.options.Now()
	var got providers.TokenResponse
	err := a.call(ctx, "login", e.Timeout, upstream, func(ctx context.Context) (err error) {
		got, err = upstream.Login(ctx, request)
		return err
	})
	a.loginTook.Store(int64(a.engine.options.Now().Sub(began)))
	a.step(machine.LoggedIn{Session: e.Session, Got: got, Err: err})
}

func (a *account) refresh(ctx context.Context, e machine.Refresh) {
	client := a.clientOf(e.Connection)
	var got providers.TokenResponse
	err := a.call(ctx, "refresh", e.Timeout, client, func(ctx context.Context) (err error) {
		got, err = client.Refresh(ctx, e.Token)
		return err
	})
	a.step(machine.Refreshed{Session: e.Session, Connection: e.Connection, Got: got, Err: err})
}

// logoutsAtOnce bounds the logouts of an account side by side. A drain, or the
// end of many leases at one moment, asks for thousands of them.
const logoutsAtOnce = 32

// queueLogout begins a logout, or has it wait for another one's end.
func (a *account) queueLogout(e machine.Logout) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.logouts = append(a.logouts, e)
	if a.loggingOut < logoutsAtOnce {
		a.loggingOut++
		a.begin(a.workOffLogouts)
	}
}

// workOffLogouts does one logout after the other until none is left.
func (a *account) workOffLogouts(ctx context.Context) {
	for {
		e, more := a.nextLogout(ctx)
		if !more {
			return
		}
		func() {
			defer recoverPanic(a.engine.logger, "a logout")
			a.logout(ctx, e)
		}()
	}
}

// nextLogout takes the next one off the queue; false: this worker is done. An
// engine that stops goes on as long as its patience lasts: the ledger may not have
// what a logout needs, where a write failed.
func (a *account) nextLogout(ctx context.Context) (machine.Logout, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.logouts) == 0 || ctx.Err() != nil {
		a.loggingOut--
		return machine.Logout{}, false
	}
	e := a.logouts[0]
	a.logouts = a.logouts[1:]
	return e, true
}

func (a *account) logout(ctx context.Context, e machine.Logout) {
	client := a.clientOf(e.Connection)
	err := a.call(ctx, "logout", e.Timeout, client, func(ctx context.Context) error {
		return client.Logout(ctx, e.Tokens)
	})
	a.step(machine.LoggedOut{Session: e.Session, Connection: e.Connection, Err: err})
}

func (a *account) list(ctx context.Context, e machine.List) {
	client := a.clientOf(e.Connection)
	var listed []providers.ServerSession
	err := a.call(ctx, "list sessions", e.Timeout, client, func(ctx context.Context) (err error) {
		listed, err = client.ListSessions(ctx, e.Token)
		return err
	})
	a.step(machine.Listed{Sessions: a.listings(ctx, listed), Err: err})
}

// listings reads the marks of the listed sessions, and looks those up in the whole
// mount's ledger that this account's does not hold (rule 11).
func (a *account) listings(ctx context.Context, listed []providers.ServerSession) []machine.Listing {
	all := listings(a.engine.mountID(), listed)
	for i := range all {
		if l := &all[i]; l.Owner == machine.ThisMount && a.session(l.Attempt).State == machine.StateEnded {
			l.Elsewhere = a.engine.ledger.holds(ctx, a.id, l.Attempt)
		}
	}
	return all
}

func (a *account) end(ctx context.Context, e machine.End) {
	client := a.clientOf(e.Connection)
	err := a.call(ctx, "end session", e.Timeout, client, func(ctx context.Context) error {
		return client.EndSession(ctx, e.Token, e.ServerID)
	})
	a.step(machine.Ended{Session: e.Session, ServerID: e.ServerID, Err: err})
}

// call makes one call to the server within its time. Whatever goes wrong, a panic
// too, comes back as a *providers.Error.
func (a *account) call(ctx context.Context, op string, timeout time.Duration, c providers.Client, f func(context.Context) error) (failure *providers.Error) {
	if c == nil { // to this plugin the session is lost; it ends by age
		return &providers.Error{
			Kind: providers.SessionGone, Outcome: providers.DidNotHappen, Op: op,
			Message: "nothing is known of how the server is reached",
		}
	}
	began := a.engine.options.Now()
	defer func() { a.tellCalled(op, began, failure) }()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			a.engine.logger.Error("panic in a call to an identity server: please report this", "op", op, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			failure = &providers.Error{Kind: providers.Protocol, Outcome: providers.Unknown, Op: op, Message: "the plugin failed while it handled the answer", Advice: "see Vault's log"}
		}
	}()
	err := f(ctx)
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*providers.Error](err); ok {
		return known
	}
	// A *providers.FieldError: the request was not sent.
	return &providers.Error{
		Kind: providers.Protocol, Outcome: providers.DidNotHappen, Op: op,
		Message: err.Error(), Advice: "correct the config", Err: err,
	}
}

// deliver answers a request; a grant that nobody waits for any more is given back.
func (a *account) deliver(r machine.Reply) {
	if r.Waiter == 0 {
		return
	}
	a.mu.Lock()
	answer, waits := a.waiting[r.Waiter]
	delete(a.waiting, r.Waiter)
	a.mu.Unlock()
	if !waits {
		a.giveBack(r)
		return
	}
	answer <- r
}

func (a *account) log(n machine.Note) {
	fields := []any{"config", a.configName(), "account", string(a.id)}
	if n.Session != "" {
		fields = append(fields, "session", string(n.Session))
	}
	if n.Detail != "" {
		fields = append(fields, "detail", n.Detail)
	}
	a.engine.logger.Log(levelOf(n.What), strings.ReplaceAll(string(n.What), "-", " "), fields...)
}

func levelOf(what machine.Occurrence) hclog.Level {
	level, ordinary := map[machine.Occurrence]hclog.Level{
		machine.SessionOpened: hclog.Debug, machine.SessionClosed: hclog.Debug,
		machine.OrphanClosed: hclog.Info, machine.ListRefused: hclog.Info,
	}[what]
	if !ordinary {
		return hclog.Warn
	}
	return level
}
