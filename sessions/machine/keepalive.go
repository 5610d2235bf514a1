package machine

import (
	"errors"
	"fmt"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// An account that nobody logs in to for long is deactivated by some servers. Where
// Limits.KeepAlive is set and that long nobody has logged in, the machine does: for
// no reader, and the session is closed at once. Any login of the account will do
// instead.

const (
	// A login that keeps the account alive is tried again after keepAliveFirst,
	// doubling to keepAliveMost.
	keepAliveFirst = 5 * time.Minute
	keepAliveMost  = time.Hour
	// refusedRest is how long it waits after the server refused any login. No
	// reader is waiting, and by default Keycloak forgets failures after 12 hours:
	// tries that are a day apart do not add up to a lock-out (rule 7).
	refusedRest = 24 * time.Hour
	// clockTrust is how far in the future a stored login may be before it
	// proves nothing but that the clock was set back.
	clockTrust = time.Hour
)

// keepAlive is what is known of the account's logins for this purpose.
type keepAlive struct {
	lastLogin time.Time // of anybody; zero: none is known
	attempt   SessionID // the last login for no other purpose
	tries     int       // that failed in a row
	problem   string    // why the last one failed; empty: it did not
	retryAt   time.Time
	wakeAt    time.Time // when time alone changes something; zero: never
}

// keepsAlive says that somebody has to log in now and then.
func (a *Account) keepsAlive() bool { return a.limits.KeepAlive > 0 && !a.retired() }

// attendKeepAlive logs in when that is due. It comes after the readers: where
// one of them needs a login, that will do.
func (a *Account) attendKeepAlive() {
	a.keep.wakeAt = time.Time{}
	if !a.keepsAlive() {
		return
	}
	a.rememberLogin(a.limits)
	due := a.keepAliveDue()
	switch {
	case a.draining || a.stopping:
	case a.now.Before(due):
		a.keep.wakeAt = due
	case a.opening != nil: // whatever it is for, it will do
	case a.now.Before(a.keep.retryAt):
		a.keep.wakeAt = a.keep.retryAt
	default:
		a.keepAliveNow()
	}
}

// keepAliveNow begins the login, within guard, budget and codes like any other.
func (a *Account) keepAliveNow() {
	if rest, cause := a.refusedUntil(); a.now.Before(rest) {
		a.keepAliveFailed(&Refusal{Reason: Guarded, Message: "the server has refused a login: " + cause})
		return
	}
	want := Want{Mode: providers.Dedicated}
	p := a.purposeOf(nil, nil)
	c, wait, refusal := a.mayLogin(&want, p, nil)
	switch {
	case refusal != nil:
		a.keepAliveFailed(refusal)
	case wait != nil:
		a.keep.wakeAt = wait.at // zero: for an answer, which is an event
	default:
		a.beginLogin(&want, p, nil, 0, c)
		a.keep.attempt = a.opening.id
	}
}

// keepAliveDue is when the next login is due; zero: at once.
func (a *Account) keepAliveDue() time.Time {
	last := a.keep.lastLogin
	if last.IsZero() || last.After(a.now.Add(clockTrust)) {
		return time.Time{}
	}
	return last.Add(a.limits.KeepAlive)
}

// refusedUntil is until when no login is tried for this alone, after the server
// has refused one, and what it said.
func (a *Account) refusedUntil() (time.Time, string) {
	g := a.guard.Guard
	switch {
	case g.Strikes > 0:
		return g.ClosedUntil.Add(refusedRest), g.Reason
	case !g.FullUntil.IsZero():
		return g.FullUntil.Add(refusedRest), g.FullReason
	}
	return time.Time{}, ""
}

// keepAliveRefused hears why a login failed that was for this alone.
func (a *Account) keepAliveRefused(s *session, r *Refusal) {
	if s.id == a.keep.attempt && !a.now.Before(a.keepAliveDue()) {
		a.keepAliveFailed(r)
	}
}

// keepAliveFailed puts the next try off.
func (a *Account) keepAliveFailed(r *Refusal) {
	k := &a.keep
	k.tries++
	wait := doubling(keepAliveFirst, keepAliveMost, k.tries)
	if r.Reason == CodeNeeded { // time does not mend that
		wait = refusedRest
	}
	if cause, ok := errors.AsType[*providers.Error](r.Err); ok && cause.Outcome != providers.DidNotHappen {
		// The session may be open, and hold a place in the budget for half an
		// hour. Another lost one would take one more from the readers.
		wait = keepAliveMost
	}
	k.retryAt = a.now.Add(wait)
	if rest, _ := a.refusedUntil(); rest.After(k.retryAt) {
		k.retryAt = earliest(rest, a.now.Add(guardMost+refusedRest)) // a clock that was set back
	}
	k.wakeAt = k.retryAt
	k.problem = join(r.Message, "it is tried again after "+stamp(k.retryAt))
	a.note(KeepAliveFailed, nil, k.problem)
}

// rememberLogin stores when somebody logged in last, a tenth of the interval
// late at most: an account that is busy would else cost a write for each login.
func (a *Account) rememberLogin(l Limits) {
	last, stored := a.keep.lastLogin, a.guard.LastLogin
	if l.KeepAlive <= 0 || last.IsZero() || last.Sub(stored).Abs() <= l.KeepAlive/10 {
		return
	}
	g := a.guard.Guard
	g.LastLogin = last
	a.setGuard(g)
}

// forgetLogin takes back from the guard what it holds for an account that need
// not be kept alive any more.
func (a *Account) forgetLogin() {
	if a.keepsAlive() || a.guard.LastLogin.IsZero() {
		return
	}
	g := a.guard.Guard
	g.LastLogin = time.Time{}
	a.setGuard(g)
}

// KeepAlive tells how an account is kept from being deactivated; zero: nobody
// logs in for that.
type KeepAlive struct {
	// Interval is the longest time between two logins.
	Interval time.Duration
	// DeactivatedAfter is what the server takes; 0: it deactivates no account.
	DeactivatedAfter time.Duration
	// LastLogin of anybody: at most a tenth of Interval too early after a
	// restart; zero: none is known.
	LastLogin time.Time
	// DueAt is when the next login is due, or is tried again.
	DueAt time.Time
	// Problem says why the last login for this alone failed, or why none can
	// succeed; empty: all is well.
	Problem string
}

// KeepAlive tells how the account is kept alive, as of now.
func (a *Account) KeepAlive(now time.Time) KeepAlive {
	if !a.keepsAlive() {
		return KeepAlive{}
	}
	k := KeepAlive{
		Interval:         a.limits.KeepAlive,
		DeactivatedAfter: a.limits.DeactivatedAfter,
		LastLogin:        a.keep.lastLogin,
		Problem:          a.keep.problem,
	}
	due := a.keepAliveDue()
	if due.IsZero() {
		k.LastLogin = time.Time{} // none that can be trusted
	}
	if k.Problem == "" && a.guard.AsksForCode && !a.limits.Capabilities.GeneratesCode {
		k.Problem = "the account asks for one-time codes, which only a person can type; store totp_secret in the config"
	}
	for _, at := range []time.Time{now, a.keep.retryAt} {
		if !due.After(at) {
			due = at
		}
	}
	k.DueAt = due
	return k
}

// Warning says what people should know; empty: nothing.
func (k KeepAlive) Warning(now time.Time) string {
	near := !k.LastLogin.IsZero() && k.DeactivatedAfter > 0 && now.Sub(k.LastLogin) >= k.DeactivatedAfter/6*5
	switch {
	case k.Interval <= 0:
		return ""
	case k.Problem != "":
		return "the login that keeps the account alive does not succeed: " + k.Problem + "; " + k.remaining(now)
	case near:
		return k.remaining(now)
	}
	return ""
}

// remaining says how much time there is.
func (k KeepAlive) remaining(now time.Time) string {
	const day = 24 * time.Hour
	last := "no login of the account is known"
	if !k.LastLogin.IsZero() {
		last = fmt.Sprintf("the last login was at %s, %s ago", stamp(k.LastLogin), counted(int(now.Sub(k.LastLogin)/day), "day"))
	}
	if k.DeactivatedAfter <= 0 {
		return last
	}
	return fmt.Sprintf("%s, and the server deactivates an account after %s without one", last, counted(int(k.DeactivatedAfter/day), "day"))
}
