package sessions

import (
	"context"
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
	// MinTTL: the lease must be able to last this long; 0: no matter.
	MinTTL time.Duration
	// OTP is a one-time code typed by a person.
	OTP providers.Secret
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
	return e.acquire(ctx, r.Account, want)
}

func (e *Engine) acquire(ctx context.Context, id AccountID, want machine.Want) (Lease, error) {
	var lease Lease
	err := e.with(ctx, id, func(a *account) error {
		if err := a.checkOTP(want.OTP); err != nil {
			return err
		}
		if grant, ok := a.tryGrant(want); ok {
			a.hits.Add(1)
			lease = newLease(id, grant)
			return nil
		}
		a.misses.Add(1)
		grant, err := a.acquire(ctx, want)
		if err != nil {
			a.tellRefused(err)
			return err
		}
		lease = newLease(id, grant)
		lease.Warnings = append(lease.Warnings, a.warnings(grant)...)
		return nil
	})
	return lease, err
}

// acquire asks the machine for a grant. An answer can lie behind slow writes of
// other sessions of the account until its token is too old: then it asks again,
// once.
func (a *account) acquire(ctx context.Context, want machine.Want) (machine.Grant, error) {
	for range 2 {
		reply, err := a.ask(ctx, func(w machine.WaiterID) machine.Event {
			return machine.Acquire{Waiter: w, Want: want, Deadline: deadlineOf(ctx)}
		})
		if err != nil {
			return machine.Grant{}, err
		}
		if reply.Grant.Until.Sub(a.engine.options.Now()) >= max(time.Second, want.MinTTL)-answerPatience {
			return reply.Grant, nil
		}
		a.giveBack(reply)
	}
	return machine.Grant{}, &Error{
		Reason:  machine.Storage,
		Message: "Vault's storage is so slow that tokens expire before they can be handed out",
		Advice:  "look at the health of Vault's storage and try again",
	}
}

// warnings are what a reader should know whose read opened a session: that it took
// one of the last places, or that one-time codes are about to fail.
func (a *account) warnings(g machine.Grant) (all []string) {
	if g.Token.Ref.Generation > 1 {
		return nil // it opened none
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if use := a.machine.Usage(a.engine.options.Now()); use.NearlyFull() {
		all = append(all, fmt.Sprintf("the session budget is nearly full: %d of %d in use (%s); use session_mode=shared, revoke leases that are not needed, or raise max_sessions if the server allows more",
			use.Taken(), use.Limit, use))
	}
	if clock := a.machine.Clock(); clock.Far() && a.machine.Capabilities().GeneratesCode {
		all = append(all, clock.String()+", which can make one-time codes fail; have the clock that is wrong set (NTP)")
	}
	return all
}

// answerPatience is what an answer may take from the machine to its reader; the
// margin at the end of each lease makes up for it.
const answerPatience = time.Second

// Renew gives a lease a newer token. For a shared session that is a reader's
// request which will not do with the lease's own token, after which the old
// grant is released; a dedicated session is refreshed. The error is an *Error;
// after one the lease holds what it held.
func (e *Engine) Renew(ctx context.Context, ref LeaseRef, r Request) (Lease, error) {
	want, err := r.want()
	if err != nil {
		return Lease{}, err
	}
	token, err := machine.ParseTokenRef(ref.Session)
	if err != nil {
		return Lease{}, &Error{Reason: machine.Invalid, Message: err.Error(), Advice: "read the credentials again", Err: err}
	}
	want.Mode = ref.Mode
	if ref.Mode == providers.Dedicated {
		want.Renews = token
		return e.acquire(ctx, ref.Account, want)
	}
	want.Rejected = token
	lease, err := e.acquire(ctx, ref.Account, want)
	if err != nil {
		return Lease{}, err
	}
	e.dropGrant(ctx, ref.Account, token.Session, ref.Grant)
	return lease, nil
}

// dropGrant releases a grant that another has replaced. Nobody waits for it: if
// it was the last of its session, the logout is the queue's.
func (e *Engine) dropGrant(ctx context.Context, id AccountID, s machine.SessionID, grant string) {
	g, err := machine.ParseGrantID(grant)
	if err != nil {
		return // a lease of another version: its grant ends with its horizon
	}
	_ = e.with(ctx, id, func(a *account) error {
		if !a.step(machine.Release{Session: s, Grant: g}) {
			return errDropped
		}
		return nil
	})
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
		if err := a.reload(ctx); err != nil {
			return err
		}
		a.nameFor(trial.Config)
		_, err := a.ask(ctx, func(w machine.WaiterID) machine.Event {
			return machine.Verify{Waiter: w, Want: want, Deadline: deadlineOf(ctx), Limits: trial.Limits, Via: trial.Upstream}
		})
		return err
	})
}

// reload asks the directory again how a retired account is closed: a config
// that is just being created has left that there before its first login.
func (a *account) reload(ctx context.Context) error {
	a.mu.Lock()
	retired := a.machine.Retired()
	a.mu.Unlock()
	if !retired {
		return nil
	}
	settings, err := a.engine.options.Directory.Settings(ctx, a.id)
	if err != nil {
		return &Error{Reason: machine.Storage, Message: "the account's settings cannot be read: " + err.Error(), Err: err}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.machine.Retired() {
		return nil // configured meanwhile
	}
	return a.configureLocked(settings, false)
}

// Configure puts settings in force; reopen clears the guard.
func (e *Engine) Configure(ctx context.Context, id AccountID, s Settings, reopen bool) error {
	return e.with(ctx, id, func(a *account) error { return a.configure(s, reopen) })
}

func (a *account) configure(s Settings, reopen bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.configureLocked(s, reopen)
}

func (a *account) configureLocked(s Settings, reopen bool) error {
	a.upstream, a.config = s.Upstream, s.Config
	if !a.stepLocked(machine.Configured{Limits: s.Limits, Reopen: reopen}) {
		return errDropped
	}
	return nil
}

// InUse counts the sessions of an account that are, or may be, open upstream.
func (e *Engine) InUse(ctx context.Context, id AccountID) (int, error) {
	n := 0
	err := e.with(ctx, id, func(a *account) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		n = a.machine.InUse()
		return nil
	})
	return n, err
}

func (r Request) want() (machine.Want, error) {
	want := machine.Want{Mode: r.Mode, Scopes: r.Scopes, MinTTL: r.MinTTL, OTP: r.OTP}
	if r.Rejected != "" {
		ref, err := machine.ParseTokenRef(r.Rejected)
		if err != nil {
			return machine.Want{}, &Error{Reason: machine.Invalid, Message: "rejected: " + err.Error(), Advice: "give the session_id of the answer whose token was refused", Err: err}
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
	a.mu.Lock()
	capabilities := a.machine.Capabilities()
	a.mu.Unlock()
	return checkOTP(otp, capabilities)
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
		return &Error{Reason: machine.Invalid, Message: "otp is not a one-time code", Advice: "give the 6 or 8 digits that the authenticator shows"}
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
		l.Warnings = append(l.Warnings, fmt.Sprintf("the token could not be refreshed and is served until it expires: %s", g.Stale))
	}
	return l
}
