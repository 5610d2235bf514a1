package sessions

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// Request is what a reader asks for.
type Request struct {
	Account AccountID
	Mode    providers.Mode
	Scopes  []string // sorted
	// Params are further parameters of the login (token_params), the config's included.
	// Sessions are shared per scopes and parameters.
	Params map[string]string
	// MinTTL: the lease must be able to last this long; 0: no matter.
	MinTTL time.Duration
	// OTP is a one-time code, typed by Person: whoever asked, opaque to us.
	OTP    providers.Secret
	Person string
	// Rejected is the session_id of an answer whose token an API refused; empty: none.
	Rejected string
}

// LeaseRef names what a lease holds. It is safe to store: ids only.
type LeaseRef struct {
	Account AccountID
	Session string // "<session>.<generation>", as answers show it
	Grant   string
	Mode    providers.Mode
}

// Lease is a token handed out.
type Lease struct {
	Ref       LeaseRef
	Token     providers.TokenResponse
	ExpiresAt time.Time
	// Until is the latest end of the lease: a margin before ExpiresAt (rule 4).
	Until time.Time
	// Warnings are for the answer.
	Warnings []string
}

// replyMargin is kept before the end of a request, so that its answer still
// gets through.
const replyMargin = time.Second

// Acquire hands out a token. The error is an *Error.
func (e *Engine) Acquire(ctx context.Context, r Request) (Lease, error) {
	want, err := r.want()
	if err != nil {
		return Lease{}, err
	}
	var lease Lease
	err = e.with(ctx, r.Account, func(a *account) error {
		if err := a.checkOTP(want.OTP); err != nil {
			return err
		}
		if grant, ok := a.tryGrant(want); ok {
			a.hits.Add(1)
			lease = newLease(a.id, grant)
			return nil
		}
		a.misses.Add(1)
		grant, err := a.acquire(ctx, want)
		if err != nil {
			a.tellRefused(err)
			return err
		}
		lease = newLease(a.id, grant)
		lease.Warnings = append(lease.Warnings, a.warnings(grant.Token)...)
		return nil
	})
	return lease, err
}

// acquire asks the machine for a grant. An answer can lie behind slow writes of
// other sessions of the account until its token is too old: then it asks again,
// once.
func (a *account) acquire(ctx context.Context, want machine.Want) (machine.Grant, error) {
	for again := range 2 {
		reply, err := a.ask(ctx, acquiring(ctx, want))
		if err != nil {
			return machine.Grant{}, notFirst(again, err)
		}
		if reply.Grant.Until.Sub(a.engine.options.Now()) >= max(time.Second, want.MinTTL)-answerPatience {
			return reply.Grant, nil
		}
		a.giveBack(reply)
	}
	return machine.Grant{}, errSlowStorage
}

// acquiring makes the event of a request for a grant.
func acquiring(ctx context.Context, want machine.Want) func(machine.WaiterID) machine.Event {
	return func(w machine.WaiterID) machine.Event {
		return machine.Acquire{Waiter: w, Want: want, Deadline: deadlineOf(ctx)}
	}
}

// notFirst returns the error of a question that a request has asked again so often: the
// first one may have logged in, so a client must not repeat the request.
func notFirst(again int, err error) error {
	refusal, ok := errors.AsType[*Error](err)
	if !ok || again == 0 {
		return err
	}
	late := *refusal
	late.AfterLogin = true
	return &late
}

var errSlowStorage = &Error{
	Reason:     machine.Storage,
	Message:    "Vault's storage is so slow that tokens expire before they can be handed out",
	Advice:     "look at the health of Vault's storage and try again",
	AfterLogin: true,
}

// warnings are what a reader should know whose read opened a session: that it took
// one of the last places, or that one-time codes are about to fail.
func (a *account) warnings(t *machine.Token) (all []string) {
	if t.Ref.Generation > 1 {
		return nil // it opened none
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if use := a.machine.Usage(a.engine.options.Now()); use.NearlyFull() {
		all = append(all, fmt.Sprintf("the session budget is nearly full: %d of %d in use (%s); use session_mode=shared, revoke leases that are not needed, or raise max_sessions if the server allows more",
			use.Taken(), use.Limit, use))
	}
	if clock := a.machine.Clock(); clock.Far() && a.machine.Capabilities().GeneratesCode {
		all = append(all, clock.String()+"; one-time codes are made for the server's clock, as far as it is to be believed; have the clock that is wrong set (NTP)")
	}
	return all
}

// answerPatience is what an answer may take from the machine to its reader; the
// margin at the end of each lease makes up for it.
const answerPatience = time.Second

// StaticToken is the token of a shared session, without a lease.
type StaticToken struct {
	Token     providers.TokenResponse
	ExpiresAt time.Time
	Session   string // "<session>.<generation>"
	// TTL is how long to wait before reading again: until the next token is there, and
	// a little longer, so that not all come at once. At least a second.
	TTL            time.Duration
	RotationPeriod time.Duration
	LastRotation   time.Time
	Warnings       []string
}

// Static returns the token of the shared session without a lease. The session is held
// until that token's horizon, and its token is replaced at half its life as long as
// somebody reads it. The error is an *Error.
func (e *Engine) Static(ctx context.Context, r Request) (StaticToken, error) {
	want, err := r.want()
	if err != nil {
		return StaticToken{}, err
	}
	want.Mode, want.Static = providers.Shared, true
	var token StaticToken
	err = e.with(ctx, r.Account, func(a *account) error {
		if err := a.checkOTP(want.OTP); err != nil {
			return err
		}
		st, hot := a.tryStatic(want)
		if hot {
			a.staticHits.Add(1)
			token = newStaticToken(st, e.options.Now())
			return nil
		}
		a.staticMisses.Add(1)
		st, err := a.acquireStatic(ctx, want)
		if err != nil {
			a.tellRefused(err)
			return err
		}
		token = newStaticToken(st, e.options.Now())
		token.Warnings = append(token.Warnings, a.warnings(st.Token)...)
		return nil
	})
	return token, err
}

// acquireStatic asks the machine to have the token read, once more if it got too old
// meanwhile.
func (a *account) acquireStatic(ctx context.Context, want machine.Want) (machine.Static, error) {
	for again := range 2 {
		_, err := a.ask(ctx, acquiring(ctx, want))
		if err != nil {
			return machine.Static{}, notFirst(again, err)
		}
		if st, ok := a.tryStatic(want); ok {
			return st, nil
		}
	}
	return machine.Static{}, errSlowStorage
}

func newStaticToken(st machine.Static, now time.Time) StaticToken {
	// Up to whole seconds, which is what readers get to see: rounded down, it would end
	// before the next token is there.
	next := (st.RotatesAt.Sub(now) + st.Spread + time.Second - 1).Truncate(time.Second)
	t := StaticToken{
		Token:          st.Token.Response,
		ExpiresAt:      st.Token.ExpiresAt,
		Session:        st.Token.Ref.String(),
		TTL:            max(time.Second, min(next, st.Token.ExpiresAt.Sub(now))),
		RotationPeriod: st.Period,
		LastRotation:   st.Token.ExpiresAt.Add(-st.Token.Response.ExpiresIn),
	}
	if st.Stale != "" {
		t.Warnings = []string{staleWarning(st.Stale)}
	}
	return t
}

func staleWarning(why string) string {
	return "the token could not be refreshed and is served until it expires: " + why
}

// Release ends a lease (rule 5). Releasing twice, or what is gone, is a
// success. An error means that the session could not be logged out now; it is
// tried again in the background, and Release succeeds at the latest at the
// fourth call.
func (e *Engine) Release(ctx context.Context, ref LeaseRef) error {
	token, err := machine.ParseTokenRef(ref.Session)
	if err != nil {
		return err
	}
	grant, err := machine.ParseGrantID(ref.Grant)
	if err != nil {
		return err
	}
	return e.with(ctx, ref.Account, func(a *account) error {
		if a.tryRelease(token.Session, grant) {
			return nil
		}
		_, err := a.ask(ctx, func(w machine.WaiterID) machine.Event {
			return machine.Release{Waiter: w, Session: token.Session, Grant: grant}
		})
		return err
	})
}

// Verify logs in with settings that are not in force yet. A shared session is
// kept a minute for its first reader. It counts in the account's budget and
// guard.
func (e *Engine) Verify(ctx context.Context, trial Settings, r Request) error {
	want, err := r.want()
	if err != nil {
		return err
	}
	if err := checkOTP(want.OTP, trial.Limits.Capabilities); err != nil {
		return err
	}
	return e.with(ctx, r.Account, func(a *account) error {
		a.nameFor(trial.Config)
		_, err := a.ask(ctx, func(w machine.WaiterID) machine.Event {
			id := a.connectionTo(trial.Upstream)
			return machine.Acquire{
				Waiter: w, Want: want, Deadline: deadlineOf(ctx),
				Trial: &machine.Trial{Limits: trial.Limits, Connection: a.knownConnection(id), Via: trial.Upstream},
			}
		})
		return err
	})
}

// Configure puts settings in force; reopen clears the guard.
func (e *Engine) Configure(ctx context.Context, id AccountID, s Settings, reopen bool) error {
	return e.with(ctx, id, func(a *account) error { return a.configure(s, reopen) })
}

func (a *account) configure(s Settings, reopen bool) error {
	return a.locked(func() {
		a.putInForce(s)
		a.stepLocked(machine.Configured{Limits: s.Limits, Connection: a.inForce, Known: a.knownConnections(a.inForce), Reopen: reopen})
	})
}

func (r Request) want() (machine.Want, error) {
	want := machine.Want{Mode: r.Mode, Scopes: r.Scopes, Params: r.Params, MinTTL: r.MinTTL, OTP: r.OTP, Person: r.Person}
	if r.Rejected != "" {
		ref, err := machine.ParseTokenRef(r.Rejected)
		if err != nil {
			return machine.Want{}, &Error{Reason: machine.Invalid, Message: "rejected: " + err.Error(), Advice: "give that of the answer whose token was refused, not the token", Err: err}
		}
		want.Rejected = ref
	}
	return want, nil
}

var otpFormat = regexp.MustCompile(`^\d{6}(\d{2})?$`)

func (a *account) checkOTP(otp providers.Secret) error {
	if otp.Empty() {
		return nil
	}
	return checkOTP(otp, a.capabilities())
}

func (a *account) capabilities() providers.Capabilities {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.machine.Capabilities()
}

// checkOTP refuses a typed one-time code that cannot be meant (rule 6).
func checkOTP(otp providers.Secret, c providers.Capabilities) error {
	switch {
	case otp.Empty():
		return nil
	case c.GeneratesCode:
		return &Error{Reason: machine.Invalid, Message: "otp is refused: the config has a totp_secret, from which the codes are made", Advice: "leave otp out"}
	case !c.OneTimeCode:
		return &Error{Reason: machine.Invalid, Message: "otp is refused: this provider takes no one-time codes", Advice: "leave otp out"}
	case !otpFormat.MatchString(otp.Reveal()):
		return &Error{Reason: machine.Invalid, Message: "otp is not a one-time code, and was not sent", Advice: "give the 6 or 8 digits that the authenticator shows"}
	}
	return nil
}

func deadlineOf(ctx context.Context) time.Time {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Time{}
	}
	return deadline.Add(-replyMargin)
}

func newLease(id AccountID, g machine.Grant) Lease {
	l := Lease{
		Ref:       LeaseRef{Account: id, Session: g.Token.Ref.String(), Grant: g.ID.String(), Mode: g.Mode},
		Token:     g.Token.Response,
		ExpiresAt: g.Token.ExpiresAt,
		Until:     g.Until,
	}
	if g.Stale != "" {
		l.Warnings = append(l.Warnings, staleWarning(g.Stale))
	}
	return l
}
