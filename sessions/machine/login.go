package machine

import (
	"slices"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

const (
	// defaultIdle is how long a server keeps a session that is left alone, as
	// long as it has not said so (Keycloak's default).
	defaultIdle = 30 * time.Minute
	// deathMargin is added before a session is taken for dropped.
	deathMargin = time.Minute
	// intentPatience is how long the write of an intent may take; after that its
	// DiesAt would not hold and the login is not begun.
	intentPatience = 30 * time.Second
	// maxTimeout is the longest request_timeout that a config may have.
	maxTimeout = time.Minute
	// rounding is what two answers about the same lifetime may differ by.
	rounding = 2 * time.Second
)

// beginLogin records the intent of a login, spent code included, in one write
// (rules 1 and 6). Only when that is stored the login goes out.
func (a *Account) beginLogin(want *Want, p *purpose, t *Trial, opener WaiterID, c code) {
	limits := a.limitsOf(t)
	s := &session{
		id:      a.newID(),
		mode:    want.Mode,
		purpose: p,
		durable: limits.Capabilities.Sessions,
		attempt: &attempt{trial: t, opener: opener},
		rec: Condition{
			OpenedAt: a.now,
			Idle:     a.idleTime(),
			DiesAt:   a.now.Add(intentPatience + limits.RequestTimeout + a.idleTime() + deathMargin),
			Code:     c.spent,
		},
		dueIndex: notDue,
	}
	request := Login{
		Session: s.id, Scopes: want.Scopes, Params: want.Params, NoMark: limits.NoMark, OTP: c.typed, CodeAt: c.at,
		Timeout: limits.RequestTimeout, Connection: a.connection, SendBefore: earliest(a.now.Add(intentPatience), c.until),
	}
	if t != nil {
		request.Via, request.Connection = t.Via, t.Connection.ID
	}
	s.attempt.request = request
	a.refer(s, request.Connection)
	a.spend(&s.rec)
	a.sessions[s.id] = s
	a.enter(s, intending)
	a.opening = s
	a.save(s)
}

func (a *Account) idleTime() time.Duration {
	if a.guard.Idle > 0 {
		return a.guard.Idle
	}
	return defaultIdle
}

// learntIdle is what the account remembers of the server's idle time: what a login was
// told, unless it was told nothing or Keycloak's default.
func learntIdle(told, before time.Duration) time.Duration {
	switch {
	case told <= 0, (told - before).Abs() <= rounding:
		return before
	case (told - defaultIdle).Abs() <= rounding:
		return 0
	default:
		return told
	}
}

// startLogin sends the login whose intent is stored, if it is still wanted.
func (a *Account) startLogin(s *session) {
	unwanted := s.doomed || s.trial() != nil && a.waiter(s.attempt.opener) == nil
	if unwanted || a.stopping {
		a.opening = nil
		a.remove(s)
		return
	}
	a.enter(s, loggingIn)
	a.emit(s.attempt.request)
	s.attempt.request = nil // it may hold a typed code
}

// loginTooLate ends a login whose time was over before it could be sent: its DiesAt
// would not hold, or its code is too old.
func (a *Account) loginTooLate(s *session) {
	a.opening = nil
	a.answerOpeners(s, &Refusal{
		Reason:  Storage,
		Message: "Vault's storage took too long to record the login, which was therefore not begun",
		Advice:  "look at the health of Vault's storage and try again",
	})
	a.rememberOrRemove(s)
}

// apply takes the answer to a login.
func (e LoggedIn) apply(a *Account) {
	s := a.sessions[e.Session]
	if s == nil || s.phase != loggingIn {
		return
	}
	if e.TooLate {
		a.loginTooLate(s)
		return
	}
	a.readClock(e.Got, e.Err)
	if pause := a.limitsOf(s.trial()).Capabilities.LoginPause; pause > 0 {
		a.nextLogin = a.now.Add(pause)
	}
	s.changedIn = a.steps
	if e.Err != nil {
		a.loginFailed(s, e)
		return
	}
	s.rec.Generation = 1
	s.rec.ServerID = e.Got.ServerID
	token := a.takeToken(s, e.Got)
	a.loggedInWell(s, e.Got)
	a.addGeneration(s, token)
	a.enter(s, recording)
	a.save(s)
}

// takeToken enters a token response into the session's record.
func (a *Account) takeToken(s *session, got providers.TokenResponse) *Token {
	expires := a.now.Add(got.ExpiresIn)
	if !got.RefreshToken.Empty() {
		s.rec.Refresh = got.RefreshToken
	}
	if expires.After(s.rec.Horizon) {
		s.rec.Horizon = expires
	}
	left, told, fadesAt := got.RefreshExpiresIn, got.RefreshExpiresIn > 0, s.fadesAt()
	if !told {
		left = got.ExpiresIn + a.idleTime() // it is not dead while its token is alive
	}
	switch {
	// As long as refresh_expires_in stays the same, a refresh prolongs the session;
	// once it shrinks, it says what is left of the session's maximum age.
	case s.rec.Generation == 1:
		s.rec.Idle = left
	case told && left < s.rec.Idle-rounding:
		fadesAt = a.now.Add(left)
	}
	s.rec.DiesAt = a.now.Add(left + deathMargin)
	if s.rec.Refresh.Empty() {
		// Nothing is left of it after its token (rule 1).
		s.rec.DiesAt = expires
		if s.via().Capabilities.RevokesAccess {
			s.rec.Access = got.AccessToken
		}
	}
	token := &Token{
		Ref:       TokenRef{Session: s.id, Generation: s.rec.Generation},
		Response:  got,
		ExpiresAt: expires,
		fadesAt:   fadesAt,
	}
	token.Response.RefreshToken = providers.Secret{}
	s.callAt = a.now.Add(min(got.ExpiresIn, left) / 2)
	return token
}

// opened goes on with a session that is recorded: its token may be handed out.
func (a *Account) opened(s *session) {
	a.opening = nil
	a.enter(s, open)
	s.keepUntil = a.now
	life := s.token.left(a.now)
	s.purpose.life = tokenLife{lease: life, seenAt: a.now}
	a.note(SessionOpened, s, "")
	s.changedIn = a.steps
	a.list.wanted = a.list.wanted || a.limits.MaxSessions > 0
	switch {
	case s.doomed:
		a.close(s)
	case life < minLease:
		a.answerOpeners(s, tooShort(minLease, life))
		a.rest(&providers.Error{
			Kind: providers.Protocol, Outcome: providers.Happened, Op: "login",
			Message: "the server's tokens expire within seconds",
			Advice:  "have its administrator set a longer access token lifespan",
		}, growing(lostPause, a.pause.tries+1))
		a.close(s)
	case s.trial() != nil:
		a.openedForTrial(s)
	case s.mode == providers.Dedicated:
		a.openedForOne(s)
	default:
		a.supersede(s)
	}
	s.attempt = nil
	a.schedule(s)
}

// openedForTrial answers the verification and keeps a shared session for its
// first reader, if readers have no other.
func (a *Account) openedForTrial(s *session) {
	w := a.waiter(s.attempt.opener)
	if w != nil {
		w.answered = true
		a.reply(Reply{Waiter: w.id, Session: s.id})
	}
	if w == nil || s.mode == providers.Dedicated || s.purpose.current != nil {
		a.close(s)
		return
	}
	s.purpose.current = s
	s.keepUntil = a.now.Add(verifiedKept)
}

// openedForOne hands a dedicated session to the oldest reader that can use it:
// the one that caused the login may be gone.
func (a *Account) openedForOne(s *session) {
	for _, w := range a.waiters {
		if w.answered || w.trial != nil || w.want.Mode != providers.Dedicated || w.purpose != s.purpose {
			continue
		}
		if life := s.token.left(a.now); life < w.want.leaseNeeded() {
			a.refuse(w, tooShort(w.want.MinTTL, life))
			continue
		}
		a.give(w, s)
		a.dropUnsharedToken(s)
		return
	}
	a.close(s)
}

// supersede makes a shared session the one that readers get. The one before
// keeps its leases until they end; as long, its successor waits for the readers
// that will come back from there.
func (a *Account) supersede(s *session) {
	old := s.purpose.current
	s.purpose.current = s
	if old == nil {
		return
	}
	if old.held() > 0 {
		s.keepUntil = old.rec.Horizon
	}
	old.keepUntil = a.now
	a.schedule(old)
}

// loginFailed sorts a failed login by what is at the server now.
func (a *Account) loginFailed(s *session, e LoggedIn) {
	a.opening = nil
	err := e.Err
	a.loginRefused(s, err)
	if served := s.purpose.current; served != nil && s.mode == providers.Shared && s.trial() == nil {
		if served.trouble == nil {
			served.trouble = &retry{}
		}
		served.trouble.cause = &Refusal{Reason: Upstream, Message: err.What(), Advice: err.Advice, Err: err}
	}
	a.answerOpeners(s, &Refusal{
		Reason: Upstream, Message: err.What(), Advice: join(a.clockRemark(s, err), err.Advice), RetryAt: a.pause.until, Err: err,
	})
	s.attempt = nil
	defer a.schedule(s)
	switch {
	case !s.durable || err.Outcome == providers.DidNotHappen:
		a.note(LoginFailed, s, err.Error())
		a.rememberOrRemove(s)
	case err.Outcome == providers.Happened && (!e.Got.RefreshToken.Empty() || !e.Got.AccessToken.Empty()):
		a.note(LoginFailed, s, err.Error())
		s.rec.Refresh, s.rec.Access = e.Got.RefreshToken, e.Got.AccessToken
		s.rec.DiesAt = a.now.Add(s.rec.Idle + deathMargin)
		a.enter(s, closing)
		a.save(s)
		a.beginClosing(s)
	default:
		// The login counts as open until the server must have dropped it (rule 1),
		// dated from now: the end of its deadline, or of its answer.
		a.enter(s, lost)
		s.rec.DiesAt = a.now.Add(s.rec.Idle + deathMargin)
		a.list.lose(a.now)
		a.note(LoginLost, s, err.Error())
	}
}

// rememberOrRemove ends the record of a login that did not happen. Where it
// spent a code, the record stays while the server may still accept that code.
func (a *Account) rememberOrRemove(s *session) {
	if !s.durable || !s.rec.Code.remembered(a.now) {
		a.remove(s)
		return
	}
	a.enter(s, codeHold)
	a.save(s)
}

// answerOpeners refuses those who waited for this login: all readers of the
// same shared session get the same answer.
func (a *Account) answerOpeners(s *session, r *Refusal) {
	a.keepAliveRefused(s, r)
	current := s.purpose.current
	for _, w := range a.waiters {
		sharer := s.mode == providers.Shared && s.trial() == nil && w.readsShared(s.purpose)
		// A code that somebody typed for a login of their own was not sent yet.
		sharer = sharer && (w.want.OTP.Empty() || s.rec.Code != nil)
		served := sharer && current != nil && current.serves(w, a.now)
		if !w.answered && !served && (sharer || s.attempt != nil && w.id == s.attempt.opener) {
			a.refuse(w, r)
		}
	}
}

// waiter returns the waiter of that id, nil if it is gone.
func (a *Account) waiter(id WaiterID) *waiter {
	i := slices.IndexFunc(a.waiters, func(w *waiter) bool { return w.id == id && !w.answered })
	if i < 0 {
		return nil
	}
	return a.waiters[i]
}
