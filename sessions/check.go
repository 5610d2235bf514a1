package sessions

import (
	"context"
	"errors"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// CheckRequest asks for a live check of an account.
type CheckRequest struct {
	Account AccountID
	Scopes  []string // sorted
	Params  map[string]string
	// OTP is a one-time code, typed by Person.
	OTP    providers.Secret
	Person string
	// Force logs in although the account is closed to logins after refused ones.
	Force bool
	// EndStrays ends listed sessions with this mount's mark that its ledger never
	// held (rule 11).
	EndStrays bool
}

// CheckReport is what a check found.
type CheckReport struct {
	Steps []CheckStep // login, list sessions, refresh, logout
	Clock machine.Clock
	// Listing says whether the account may list its sessions; Listed are those.
	Listing machine.Access
	Listed  []machine.Listing
	Usage   machine.Usage
}

// OK says that nothing failed.
func (r CheckReport) OK() bool {
	for _, s := range r.Steps {
		if s.Outcome == StepFailed {
			return false
		}
	}
	return true
}

// StepOutcome is how a step of a check ended.
type StepOutcome string

// The outcomes of a step.
const (
	StepOK      StepOutcome = "ok"
	StepFailed  StepOutcome = "failed"
	StepSkipped StepOutcome = "skipped"
)

// CheckStep is one step of a check.
type CheckStep struct {
	Name    string
	Outcome StepOutcome
	Took    time.Duration // of the call; 0 where there was none
	// Message says why it failed or was skipped, Advice what to do next.
	Message, Advice string
}

// The steps of a check.
const (
	LoginStep   = "login"
	ListStep    = "account_sessions"
	RefreshStep = "refresh"
	LogoutStep  = "logout"
)

// Check logs in, lists the account's sessions, refreshes and logs out, and says
// how each went. It obeys the budget and the one-time codes, and a login that
// succeeds reopens the guard. The error is an *Error of reason Guarded where the
// account is closed to logins and nothing was tried, or says that the account could
// not be asked at all.
func (e *Engine) Check(ctx context.Context, r CheckRequest) (CheckReport, error) {
	var report CheckReport
	err := e.with(ctx, r.Account, func(a *account) error {
		if err := a.checkOTP(r.OTP); err != nil {
			return err
		}
		c := check{account: a, request: r}
		if err := c.run(ctx); err != nil {
			return err
		}
		report = c.report
		return nil
	})
	return report, err
}

// check is one check under way.
type check struct {
	*account

	request CheckRequest
	report  CheckReport
}

func (c *check) run(ctx context.Context) error {
	reply, err := c.logIn(ctx)
	refusal, _ := errors.AsType[*Error](err)
	switch {
	case errors.Is(err, errDropped), refusal != nil && refusal.Reason == machine.Guarded:
		return err
	case err != nil:
		for _, step := range []string{ListStep, RefreshStep, LogoutStep} {
			c.skip(step, "there was no login")
		}
	case !c.capabilities().Sessions:
		for _, step := range []string{ListStep, RefreshStep, LogoutStep} {
			c.skip(step, "a login of this kind leaves no session at the server")
		}
		c.giveBack(reply)
	default:
		c.examine(ctx, reply)
	}
	st := c.reading().Status
	c.report.Usage, c.report.Clock, c.report.Listing = st.Usage, st.Clock, st.Listing
	return nil
}

// logIn opens a session for the check. The call's own time counts: a reader may
// have waited for a one-time code before.
func (c *check) logIn(ctx context.Context) (machine.Reply, error) {
	r := c.request
	want := machine.Want{Mode: providers.Dedicated, Scopes: r.Scopes, Params: r.Params, OTP: r.OTP, Person: r.Person, Force: r.Force}
	c.loginTook.Store(0)
	reply, err := c.ask(ctx, acquiring(ctx, want))
	c.record(LoginStep, time.Duration(c.loginTook.Load()), err)
	return reply, err
}

// examine does everything that takes a session, and ends it.
func (c *check) examine(ctx context.Context, opened machine.Reply) {
	defer func() { // changes nothing where the logout went well
		c.step(machine.Release{Session: opened.Session, Grant: opened.Grant.ID})
	}()
	c.list(ctx, opened)
	c.refresh(ctx, opened)
	c.logOut(ctx, opened)
}

func (c *check) list(ctx context.Context, opened machine.Reply) {
	if !c.capabilities().ListsSessions {
		c.skip(ListStep, "this server has no list of an account's sessions; the ledger alone counts")
		return
	}
	reply, took, err := c.timed(ctx, func(w machine.WaiterID) machine.Event {
		return machine.Compare{Waiter: w, With: opened.Grant.Token, EndStrays: c.request.EndStrays}
	})
	c.report.Listed = reply.Compared.Sessions
	if upstream, ok := errors.AsType[*providers.Error](err); ok && upstream.Kind == providers.NotAllowed {
		c.report.Steps = append(c.report.Steps, CheckStep{
			Name: ListStep, Outcome: StepSkipped, Message: upstream.What() + "; the ledger alone counts, as an upper bound", Advice: upstream.Advice,
		})
		return
	}
	c.record(ListStep, took, err)
}

// timed asks the machine, and says how long the answer took.
func (c *check) timed(ctx context.Context, event func(machine.WaiterID) machine.Event) (machine.Reply, time.Duration, error) {
	began := c.engine.options.Now()
	reply, err := c.ask(ctx, event)
	return reply, c.engine.options.Now().Sub(began), err
}

func (c *check) refresh(ctx context.Context, opened machine.Reply) {
	if c.session(opened.Session).Unrefreshable {
		c.skip(RefreshStep, "the server gave no refresh token")
		return
	}
	_, took, err := c.timed(ctx, func(w machine.WaiterID) machine.Event {
		return machine.RefreshNow{Waiter: w, Session: opened.Session}
	})
	c.record(RefreshStep, took, err)
}

func (c *check) logOut(ctx context.Context, opened machine.Reply) {
	if c.session(opened.Session).Unclosable {
		c.skip(LogoutStep, "nothing was sent: this server offers no logout for such a session, which ends by age")
		return
	}
	_, took, err := c.timed(ctx, func(w machine.WaiterID) machine.Event {
		return machine.Release{Waiter: w, Session: opened.Session, Grant: opened.Grant.ID}
	})
	c.record(LogoutStep, took, err)
}

func (c *check) record(step string, took time.Duration, err error) {
	s := CheckStep{Name: step, Outcome: StepOK, Took: took}
	if err != nil {
		s.Outcome, s.Message = StepFailed, err.Error()
		if refusal, ok := errors.AsType[*Error](err); ok {
			s.Message, s.Advice = refusal.Message, refusal.Advice
		}
	}
	c.report.Steps = append(c.report.Steps, s)
}

func (c *check) skip(step, why string) {
	c.report.Steps = append(c.report.Steps, CheckStep{Name: step, Outcome: StepSkipped, Message: why})
}
