package machine

import (
	"fmt"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

const (
	guardFirst = 30 * time.Second
	guardMost  = 15 * time.Minute
	// limitPause follows a session limit that the server reported: two such
	// denials in a row lock a Keycloak user out.
	limitPause = time.Minute
	// lostPause follows a login of unknown outcome.
	lostPause = 10 * time.Second
	// throttlePause is used where the server does not say how long to wait;
	// throttleMost bounds what it may ask for.
	throttlePause = 5 * time.Second
	throttleMost  = 15 * time.Minute
	// A server that is down is asked again after a second, then ever more seldom.
	downMost = 30 * time.Second
)

// guardState is the guard and its write.
type guardState struct {
	Guard
	saveAt time.Time // a failed write is due again; zero: none is
}

// pause holds logins back for a moment after one that failed for no fault of
// its credentials. It does not survive a restart.
type pause struct {
	until time.Time
	cause *providers.Error
	tries int // failures in a row, for the back-off of a server that is down
	// only are the scopes whose logins rest, joined; nil: all. What the server does
	// not understand may be one role's scope, which must not shut the others out.
	only *string
}

// setGuard changes the guard and stores it: rule 7 holds across restarts.
func (a *Account) setGuard(g Guard) {
	a.guard.Guard = g
	a.guard.saveAt = time.Time{}
	a.emit(PutGuard{Guard: g})
}

func (a *Account) guardStored(err error) {
	if err != nil {
		a.guard.saveAt = a.now.Add(throttlePause)
	}
}

func (a *Account) flushGuard() {
	if !a.guard.saveAt.IsZero() && !a.now.Before(a.guard.saveAt) {
		a.setGuard(a.guard.Guard)
	}
}

// reopen forgets what held logins back for the sake of the config. What the
// server asked for stays: its session limit, and a pause.
func (a *Account) reopen() {
	if !a.pause.asked() {
		a.pause = pause{}
	}
	g := a.guard.Guard
	g.ClosedUntil, g.Reason, g.Strikes, g.AsksForCode = time.Time{}, "", 0, false
	if g != a.guard.Guard {
		a.setGuard(g)
	}
}

// asked says that the server itself asked for the pause.
func (p pause) asked() bool { return p.cause != nil && p.cause.Kind == providers.Throttled }

// refusedBy says whether guard or pause hold a login back now. A verification
// passes the guard, since a config write is what reopens it, but no pause.
func (a *Account) refusedBy(want Want, t *trial, c providers.Capabilities) *Refusal {
	g := a.guard
	switch {
	case a.now.Before(a.pause.until) && (a.pause.only == nil || *a.pause.only == scopesKey(want.Scopes)):
		return a.pauseRefusal()
	case a.now.Before(g.FullUntil):
		return &Refusal{
			Reason:  BudgetFull,
			Message: "the server reported its session limit: " + g.FullReason,
			Advice:  fmt.Sprintf("end sessions that other people or programs hold, or set max_sessions to what the server allows; the next login is tried after %s", stamp(g.FullUntil)),
			RetryAt: g.FullUntil,
		}
	case a.now.Before(g.ClosedUntil) && t == nil && !want.Force:
		return &Refusal{
			Reason:  Guarded,
			Message: fmt.Sprintf("the account is closed to logins until %s, after %s: %s", stamp(g.ClosedUntil), counted(g.Strikes, "refused login"), g.Reason),
			Advice:  guardAdvice(c),
			RetryAt: g.ClosedUntil,
		}
	case g.AsksForCode && t == nil && want.OTP.Empty() && !c.GeneratesCode:
		return &Refusal{
			Reason:  CodeNeeded,
			Message: "the account asks for a one-time code: a login without one was refused",
			Advice:  "give a current code as otp=…, or store totp_secret in the config; if the account has no second factor, the user name or the password is wrong",
		}
	}
	return nil
}

func guardAdvice(c providers.Capabilities) string {
	advice := "correct the config; writing it, even with nothing but its name, tries a login and reopens the account"
	if c.GeneratesCode {
		advice += ". Two Vault mounts with the totp_secret of one account use each other's codes up and look the same"
	}
	return advice
}

func (a *Account) pauseRefusal() *Refusal {
	cause := a.pause.cause
	return &Refusal{
		Reason:  Upstream,
		Message: "the last login failed: " + cause.What(),
		Advice:  join(cause.Advice, "the next login is tried after "+stamp(a.pause.until)),
		RetryAt: a.pause.until,
		Err:     cause,
	}
}

// loginRefused decides how long the account rests after a failed login.
func (a *Account) loginRefused(s *session, err *providers.Error) {
	switch {
	case err.Outcome != providers.DidNotHappen:
		a.rest(err, lostPause)
	case err.Kind == providers.BadCredentials:
		a.strike(s, err)
	case err.Kind == providers.SessionLimit:
		g := a.guard.Guard
		g.FullUntil, g.FullReason = a.now.Add(limitPause), err.Message
		a.setGuard(g)
		a.list.wanted = true
		a.note(AccountGuarded, s, err.Error())
	case err.Kind == providers.Throttled:
		wait := throttlePause
		if err.RetryAfter > 0 {
			wait = min(err.RetryAfter, throttleMost)
		}
		a.rest(err, wait)
	case err.Kind == providers.Unavailable:
		a.rest(err, backoff(s.rec.ID, a.pause.tries+1, downMost))
	default:
		a.rest(err, lostPause)
		a.pause.only = &s.key
	}
}

func (a *Account) rest(err *providers.Error, wait time.Duration) {
	a.pause = pause{until: a.now.Add(wait), cause: err, tries: a.pause.tries + 1}
}

// loggedInWell forgets the failures before a login that succeeded. That the
// account asks for codes is not forgotten: this login had one.
func (a *Account) loggedInWell(s *session) {
	if a.pause.cause != nil {
		a.bringLogoutsForward(1)
	}
	a.pause = pause{}
	a.keptAlive()
	g := a.guard.Guard
	next := Guard{AsksForCode: g.AsksForCode && s.rec.Code != nil, Idle: g.Idle, LastLogin: g.LastLogin}
	if s.trial != nil {
		// Settings that are on trial prove nothing for those in force.
		next = g
	}
	next.Idle = s.learntIdle(g.Idle)
	if next != g {
		a.setGuard(next)
	}
	if s.trial != nil {
		// At once: an account that is new is forgotten with its session, and
		// its config is put in force only later.
		a.rememberLogin(s.trial.verify.Limits)
	}
}

// strike closes the account for a growing time. The one refusal that is no
// strike: a login that sent no code where the server may have wanted one.
func (a *Account) strike(s *session, err *providers.Error) {
	g := a.guard.Guard
	capabilities := a.limitsOf(s.trial).Capabilities
	g.Reason = join(err.Message, a.clockRemark(s, err))
	if capabilities.OneTimeCode && s.rec.Code == nil && !g.AsksForCode {
		g.AsksForCode = true
	} else {
		g.Strikes++
		g.ClosedUntil = a.now.Add(min(guardMost, guardFirst<<min(g.Strikes-1, 10)))
	}
	a.setGuard(g)
	a.note(AccountGuarded, s, err.Error())
}

// counted prints a number of things: "1 login", "2 logins".
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// join puts one clause after another; either may be empty.
func join(first, second string) string {
	if first == "" {
		return second
	}
	if second == "" {
		return first
	}
	return first + "; " + second
}

// stamp prints a time as people read it, to the second.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
