package machine

import (
	"fmt"
	"maps"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

const (
	guardFirst = 30 * time.Second
	guardMost  = 15 * time.Minute
	// limitPause follows a session limit that the server reported: two such
	// denials in a row lock a Keycloak user out.
	limitPause = time.Minute
	// lostPause follows a login of unknown outcome, or an answer that we do not
	// understand.
	lostPause = 10 * time.Second
	// throttlePause is used where the server does not say how long to wait;
	// throttleMost bounds what it may ask for.
	throttlePause = 5 * time.Second
	throttleMost  = 15 * time.Minute
	// A server that is down is asked again after a second, then ever more seldom.
	downMost = 30 * time.Second
	// typedMost is how many typed codes may be refused in a row before the account is
	// closed: one after the other, people could lock its user out.
	typedMost = 5
	// guardMemory is how long the guard of an account without a config is kept: its
	// config may just be being written.
	guardMemory = time.Hour
	// storageRetry is when a failed write is tried again.
	storageRetry = 5 * time.Second
)

// growing doubles a time with each failure in a row, up to guardMost.
func growing(first time.Duration, tries int) time.Duration {
	return doubling(first, guardMost, tries)
}

// guardState is the guard and its writes.
type guardState struct {
	Guard
	setAt   time.Time // when it was changed or read
	saveAt  time.Time // a failed write is due again; zero: none is
	storing int       // writes under way
}

// pause holds logins back for a moment after one that failed for no fault of
// its credentials. It does not survive a restart.
type pause struct {
	until time.Time
	cause *providers.Error
	tries int // failures in a row
}

// personGuard holds back the codes of a person who typed wrong ones.
type personGuard struct {
	until   time.Time
	strikes int
}

// setGuard changes the guard and stores it: rule 7 holds across restarts.
func (a *Account) setGuard(g Guard) {
	a.guard.Guard = g
	a.guard.setAt, a.guard.saveAt = a.now, time.Time{}
	a.guard.storing++
	a.emit(PutGuard{Guard: g})
}

func (e GuardStored) apply(a *Account) {
	a.guard.storing--
	if e.Err != nil {
		a.guard.saveAt = a.now.Add(storageRetry)
	}
}

// attendGuard writes the guard again where that failed, and removes one that is over.
func (a *Account) attendGuard() {
	if end := a.guardEnds(); !end.IsZero() && !a.now.Before(end) {
		a.setGuard(Guard{})
	}
	if !a.guard.saveAt.IsZero() && !a.now.Before(a.guard.saveAt) {
		a.setGuard(a.guard.Guard)
	}
}

// guardEnds is when the guard of an account without a config is removed; zero: not
// by time.
func (a *Account) guardEnds() time.Time {
	if !a.retired() || a.guard.Guard == (Guard{}) {
		return time.Time{}
	}
	g := &a.guard
	return later(g.setAt, later(g.ClosedUntil, g.FullUntil)).Add(guardMemory)
}

// credible takes back what began so far in the future that the clock must have been
// set back since (rule 6).
func (g Guard) credible(now time.Time) Guard {
	soon := now.Add(codeWindow)
	if g.ClosedAt.After(soon) {
		g.ClosedAt, g.ClosedUntil = time.Time{}, time.Time{}
	}
	if g.FullAt.After(soon) {
		g.FullAt, g.FullUntil = time.Time{}, time.Time{}
	}
	return g
}

// attendClock notices that the clock was set back: what was to end at a time of
// before would last for as long as the clock was ahead.
func (a *Account) attendClock(now time.Time) {
	setBack := now.Before(a.now) && a.now.Sub(now) > codeWindow
	a.now = now
	if !setBack {
		return
	}
	a.clock = Clock{}
	if g := a.guard.credible(now); g != a.guard.Guard {
		a.setGuard(g)
	}
	a.nextLogin, a.pause.until = time.Time{}, time.Time{}
	a.endPauses()
	clear(a.persons)
	for digest := range a.codes.typed {
		a.codes.typed[digest] = now.Add(codeWindow)
	}
	a.list.notBefore, a.keep.retryAt = time.Time{}, time.Time{}
}

// reopen forgets what held logins back for the sake of the config. What the
// server asked for stays: its session limit, and a pause.
func (a *Account) reopen() {
	if !a.pause.asked() {
		a.pause = pause{}
	}
	a.endPauses()
	clear(a.persons)
	g := a.guard.Guard
	g = Guard{FullAt: g.FullAt, FullUntil: g.FullUntil, FullReason: g.FullReason, FullStrikes: g.FullStrikes, Codeless: g.Codeless, Idle: g.Idle, LastLogin: g.LastLogin}
	if g != a.guard.Guard {
		a.setGuard(g)
	}
}

// endPauses ends the pauses of logins with some scopes and parameters alone.
func (a *Account) endPauses() {
	for _, p := range a.purposes {
		p.pause = pause{}
	}
}

// asked says that the server itself asked for the pause.
func (p pause) asked() bool {
	return p.cause != nil && (p.cause.Kind == providers.Throttled || p.cause.RetryAfter > 0)
}

// restsUntil is when the last pause ends that memory alone holds; zero: none does.
func (a *Account) restsUntil() time.Time {
	last := later(a.nextLogin, a.pause.until)
	for _, p := range a.purposes {
		last = later(last, p.pause.until)
	}
	if !a.now.Before(last) {
		return time.Time{}
	}
	return last
}

// refusedBy says whether guard or pause hold a login back now. A verification
// passes the guard, since a config write is what reopens it, but no pause.
func (a *Account) refusedBy(want *Want, p *purpose, verifies bool, c providers.Capabilities) *Refusal {
	g := &a.guard
	person := a.persons[want.Person]
	switch {
	case a.now.Before(a.pause.until):
		return pauseRefusal(a.pause, "the next login")
	case a.now.Before(p.pause.until):
		return pauseRefusal(p.pause, "the next login with these scopes and token_params")
	case a.now.Before(g.FullUntil):
		return &Refusal{
			Reason:  BudgetFull,
			Message: "the server reported its session limit: " + g.FullReason,
			Advice:  fmt.Sprintf("end sessions that other people or programs hold, or set max_sessions to what the server allows; the next login is tried after %s", stamp(g.FullUntil)),
			RetryAt: g.FullUntil,
		}
	case verifies || want.Force:
		return nil
	case a.now.Before(g.ClosedUntil):
		return &Refusal{
			Reason:  Guarded,
			Message: fmt.Sprintf("the account is closed to logins until %s, after %s: %s", stamp(g.ClosedUntil), counted(max(g.Strikes, g.TypedStrikes), "refused login"), g.Reason),
			Advice:  guardAdvice(c),
			RetryAt: g.ClosedUntil,
		}
	case !want.OTP.Empty() && a.now.Before(person.until):
		return &Refusal{
			Reason:  Guarded,
			Message: fmt.Sprintf("%s typed by you in a row; no further one is sent for you until %s", counted(person.strikes, "refused one-time code"), stamp(person.until)),
			Advice:  "wait, and type the code that the authenticator shows then; if it is refused again, its clock or the config's password is wrong",
			RetryAt: person.until,
		}
	case g.AsksForCode && want.OTP.Empty() && !c.GeneratesCode:
		return &Refusal{
			Reason:  CodeNeeded,
			Message: "the account asks for a one-time code: a login without one was refused",
			Advice:  "give a current code as otp=…, or store totp_secret in the config; if the account has no second factor, the user name or the password is wrong",
		}
	}
	return nil
}

func guardAdvice(c providers.Capabilities) string {
	advice := "write the config, corrected where it is wrong, else with nothing but its name: a login that succeeds reopens the account"
	if c.GeneratesCode {
		advice += ". Two Vault mounts with the totp_secret of one account use each other's codes up and look the same"
	}
	return advice
}

func pauseRefusal(p pause, next string) *Refusal {
	return &Refusal{
		Reason:  Upstream,
		Message: "the last login failed: " + p.cause.What(),
		Advice:  join(p.cause.Advice, next+" is tried after "+stamp(p.until)),
		RetryAt: p.until,
		Err:     p.cause,
	}
}

// loginRefused decides how long the account rests after a failed login. Whatever
// the server's words are, what comes again makes it rest longer.
func (a *Account) loginRefused(s *session, err *providers.Error) {
	tries := a.pause.tries + 1
	switch {
	case err.Outcome != providers.DidNotHappen:
		a.rest(err, growing(lostPause, tries))
	case err.Kind == providers.BadCredentials:
		a.strike(s, err)
	case err.Kind == providers.SessionLimit:
		a.limitReported(s, err)
	case err.Kind == providers.Throttled:
		a.rest(err, growing(throttlePause, tries))
	case err.Kind == providers.Unavailable:
		a.rest(err, backoff(s.id, tries, downMost))
	default:
		// What the server does not understand may be one role's, which must not shut the
		// others out.
		s.purpose.pause.add(err, a.now.Add(growing(lostPause, s.purpose.pause.tries+1)))
	}
}

// rest has all logins wait.
func (a *Account) rest(err *providers.Error, wait time.Duration) {
	a.pause.add(err, a.now.Add(asLongAsAsked(err, wait)))
}

// asLongAsAsked is how long to wait after a call that failed: as long as the server asked
// for, and no shorter than we would have waited.
func asLongAsAsked(err *providers.Error, wait time.Duration) time.Duration {
	return max(min(err.RetryAfter, throttleMost), wait)
}

// add takes in one more failure.
func (p *pause) add(err *providers.Error, until time.Time) {
	*p = pause{until: until, cause: err, tries: p.tries + 1}
}

// limitReported takes the server's session limit for a full budget.
func (a *Account) limitReported(s *session, err *providers.Error) {
	g := a.guard.Guard
	g.FullStrikes++
	g.FullAt, g.FullUntil = a.now, a.now.Add(growing(limitPause, g.FullStrikes))
	g.FullReason = err.Message
	a.setGuard(g)
	a.list.wanted = true
	a.note(AccountGuarded, s, err.Error())
}

// loggedInWell forgets the failures before a login that succeeded.
func (a *Account) loggedInWell(s *session, got providers.TokenResponse) {
	if a.pause.cause != nil {
		a.bringLogoutsForward(1)
	}
	a.pause = pause{}
	s.purpose.pause = pause{}
	delete(a.persons, s.rec.Code.typist())
	a.keep = keepAlive{lastLogin: a.now}
	g := a.guard.Guard
	coded := s.rec.Code != nil
	next := Guard{
		AsksForCode: g.AsksForCode && coded, // this login had one
		Codeless:    !coded && a.limitsOf(s.trial()).Capabilities.OneTimeCode,
		LastLogin:   g.LastLogin,
	}
	if s.trial() != nil {
		// Settings that are on trial prove nothing for those in force, but that the
		// account has no second factor.
		codeless := g.Codeless || next.Codeless
		next = g
		next.Codeless = codeless
	}
	next.Idle = learntIdle(got.RefreshExpiresIn, g.Idle)
	if next != g {
		a.setGuard(next)
	}
	if s.trial() != nil {
		// At once: an account that is new is forgotten with its session, and
		// its config is put in force only later.
		a.rememberLogin(s.trial().Limits)
	}
}

// strike closes the account for a growing time. A refused code that a person typed
// costs that person alone, as long as it is not one of many. And where the server may
// ask for codes, the account that has never logged in without one is not closed by
// the refusal of a login without one: to whoever types a code it stays open.
func (a *Account) strike(s *session, err *providers.Error) {
	g := a.guard.Guard
	g.Reason = join(err.Message, a.clockRemark(s, err))
	code := s.rec.Code
	mayAsk := a.limitsOf(s.trial()).Capabilities.OneTimeCode && code == nil && !g.AsksForCode && !g.Codeless
	switch {
	case mayAsk:
		g.AsksForCode = true
	case code != nil && code.Digest != "" && g.TypedStrikes+1 < typedMost:
		g.TypedStrikes++
		a.strikePerson(code.person)
	default:
		if code != nil && code.Digest != "" {
			g.TypedStrikes++
		}
		g.Strikes++
		g.ClosedAt, g.ClosedUntil = a.now, a.now.Add(growing(guardFirst, g.Strikes))
	}
	a.setGuard(g)
	a.note(AccountGuarded, s, err.Error())
}

func (a *Account) strikePerson(person string) {
	if a.persons == nil {
		a.persons = map[string]personGuard{}
	}
	maps.DeleteFunc(a.persons, func(_ string, p personGuard) bool { return a.now.After(p.until.Add(guardMost)) })
	strikes := a.persons[person].strikes + 1
	a.persons[person] = personGuard{until: a.now.Add(growing(guardFirst, strikes)), strikes: strikes}
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
