package sessions_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// Rules 6 and 7 where clocks are set right, people type codes, and servers refuse.

func withMadeCodes(w *world) {
	w.codePeriod = 30 * time.Second
	w.limits.Capabilities.OneTimeCode, w.limits.Capabilities.GeneratesCode, w.limits.Capabilities.CodePeriod = true, true, 30*time.Second
}

func withTypedCodes(w *world) {
	w.codePeriod = 30 * time.Second
	w.limits.Capabilities.OneTimeCode, w.limits.Capabilities.CodePeriod = true, 30*time.Second
}

func TestRule6AClockThatIsSetRightDelaysNoCode(t *testing.T) {
	for _, shown := range []bool{true, false} {
		t.Run(fmt.Sprintf("the server's clock is shown: %t", shown), func(t *testing.T) {
			setup := func(w *world) { withMadeCodes(w); w.ahead, w.hidesClock = time.Hour, !shown }
			inWorld(t, setup, func(t *testing.T, w *world, p *process) {
				_, err := p.Acquire(t.Context(), dedicated)
				require.Error(t, err, "no server takes a code of an hour from now")
				p.Stop()
				w.stepClock(0)
				q := w.start()
				defer q.Stop()
				ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
				defer cancel()
				_, err = q.Acquire(ctx, dedicated)
				require.NoError(t, err)
			})
		})
	}
}

func TestRule6AClockThatIsSetRightFreesPlacesInTime(t *testing.T) {
	for _, op := range []string{"login", "nothing"} { // what the answer of which is lost
		t.Run(op, func(t *testing.T) {
			setup := func(w *world) { w.ahead, w.limits.MaxSessions = 24*time.Hour, 1 }
			inWorld(t, setup, func(t *testing.T, w *world, p *process) {
				p.Stop()
				p = w.startWith(&faults{choose: func(crossed string) fault {
					if crossed == op {
						return dieAfter
					}
					return none
				}})
				_, err := p.Acquire(t.Context(), dedicated)
				require.Equal(t, op == "nothing", err == nil)
				p.Stop()
				w.stepClock(0)
				q := w.start()
				defer q.Stop()
				time.Sleep(w.idle + 3*time.Minute)
				_, err = q.Acquire(t.Context(), dedicated)
				require.NoError(t, err)
			})
		})
	}
}

func TestRule6ALongStepIsUsedOnce(t *testing.T) {
	setup := func(w *world) {
		withMadeCodes(w)
		w.codePeriod, w.limits.Capabilities.CodePeriod = 300*time.Second, 300*time.Second
	}
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = p.Acquire(ctx, dedicated)
		require.Equal(t, machine.CodeSpent, reason(t, err))
		p.Stop()
		q := w.start()
		defer q.Stop()
		_, err = q.Acquire(ctx, dedicated)
		require.Equal(t, machine.CodeSpent, reason(t, err), "after a restart too")
		require.Zero(t, w.count(&w.codeReuses))
	})
}

// steppedClock is an account whose host's clock is stepped while the plugin runs.
type steppedClock struct {
	ahead  atomic.Int64
	engine *sessions.Engine
}

func (c *steppedClock) now() time.Time { return time.Now().Round(0).Add(time.Duration(c.ahead.Load())) }

func withSteppedClock(t *testing.T, server *codeServer, test func(*steppedClock)) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		c := &steppedClock{}
		c.ahead.Store(int64(time.Hour))
		c.engine = sessions.New(sessions.Options{
			Storage: &logical.InmemStorage{}, Logger: hclog.NewNullLogger(), Directory: fixed{server}, Now: c.now,
		})
		c.engine.Start()
		defer c.engine.Stop()
		test(c)
	})
}

func TestRule6AClockThatIsSetRightWithinOneLife(t *testing.T) {
	withSteppedClock(t, &codeServer{generates: true}, func(c *steppedClock) {
		l, err := c.engine.Acquire(context.Background(), dedicated)
		require.NoError(t, err)
		require.NoError(t, c.engine.Release(context.Background(), l.Ref))
		synctest.Wait()
		c.ahead.Store(0)
		ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
		defer cancel()
		_, err = c.engine.Acquire(ctx, dedicated)
		require.NoError(t, err)
	})
}

func TestRule7AClockThatIsSetRightReopensTheAccount(t *testing.T) {
	for _, kind := range []providers.Kind{providers.BadCredentials, providers.SessionLimit, providers.Throttled, providers.Protocol} {
		for _, status := range []bool{false, true} { // one that is asked for while nothing else happens
			t.Run(fmt.Sprintf("%s, status %t", kind, status), func(t *testing.T) {
				server := &codeServer{refusal: &providers.Error{Kind: kind, Outcome: providers.DidNotHappen, Op: "login", Message: "no"}}
				withSteppedClock(t, server, func(c *steppedClock) {
					_, err := c.engine.Acquire(context.Background(), dedicated)
					require.Error(t, err)
					time.Sleep(2 * time.Minute) // nothing is due any more
					c.ahead.Store(0)
					server.refusal = nil
					if status {
						_, err = c.engine.Status(context.Background(), accountID)
						require.NoError(t, err)
					}
					time.Sleep(91 * time.Second)
					_, err = c.engine.Acquire(context.Background(), dedicated)
					require.NoError(t, err)
				})
			})
		}
	}
}

func TestRule7StoredTimesThatAreImpossiblyFarAheadCountForNothing(t *testing.T) {
	inWorld(t, func(w *world) { w.ahead = 24 * time.Hour; w.config = "wrong" }, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), dedicated)
		require.Error(t, err)
		_, err = p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.Guarded, reason(t, err))
		p.Stop()
		w.stepClock(0)
		w.setPassword("wrong") // which is right now
		q := w.start()
		defer q.Stop()
		_, err = q.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
	})
}

// The older Keycloaks refuse the code of the next step.
func TestRule6CodesAreMadeForTheServersClock(t *testing.T) {
	for _, ahead := range []time.Duration{40 * time.Second, -40 * time.Second} {
		t.Run(ahead.String(), func(t *testing.T) {
			setup := func(w *world) { withMadeCodes(w); w.ahead, w.strictCodes = ahead, true }
			inWorld(t, setup, func(t *testing.T, w *world, p *process) {
				_, _ = p.Acquire(t.Context(), dedicated)
				for range 20 {
					time.Sleep(time.Minute)
					ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
					l, err := p.Acquire(ctx, dedicated)
					cancel()
					require.NoError(t, err)
					require.NoError(t, p.Release(t.Context(), l.Ref))
				}
				require.LessOrEqual(t, w.count(&w.refused), 1, "the first may be refused: nothing had shown the clock")
				require.Zero(t, w.count(&w.codeReuses))
			})
		})
	}
}

func TestRule7AWrongTypedCodeCostsTheOneWhoTypedIt(t *testing.T) {
	inWorld(t, withTypedCodes, func(t *testing.T, w *world, p *process) {
		for i := range 500 { // the reader tries a made-up code each minute
			bad := dedicated
			bad.OTP, bad.Person = providers.NewSecret(fmt.Sprintf("0%05d", i)), "mallory"
			_, err := p.Acquire(t.Context(), bad)
			require.Error(t, err)
			good := dedicated
			good.OTP, good.Person = providers.NewSecret(fmt.Sprintf("9%05d", i)), "paula"
			l, err := p.Acquire(t.Context(), good)
			require.NoError(t, err)
			require.NoError(t, p.Release(t.Context(), l.Ref))
			time.Sleep(time.Minute)
		}
		require.Less(t, w.count(&w.refused), 60, "and who goes on typing wrong ones is let through ever more seldom")
	})
}

func TestRule7AWrongCodeOfADedicatedLoginIsNotTheAnswerToASharedReader(t *testing.T) {
	inWorld(t, withTypedCodes, func(t *testing.T, _ *world, p *process) {
		bad, good := dedicated, shared
		bad.OTP, bad.Person = providers.NewSecret("000001"), "mallory"
		good.OTP, good.Person = providers.NewSecret("900001"), "paula"
		var refused error
		var all sync.WaitGroup
		all.Go(func() { _, refused = p.Acquire(t.Context(), bad) })
		synctest.Wait() // its login is under way
		_, err := p.Acquire(t.Context(), good)
		require.NoError(t, err)
		all.Wait()
		require.Equal(t, machine.Upstream, reason(t, refused))
	})
}

func TestRule7APersonsWrongCodesCostEachTwiceAsLong(t *testing.T) {
	inWorld(t, withTypedCodes, func(t *testing.T, w *world, p *process) {
		typed := 0
		types := func(person, first string) error {
			typed++
			r := dedicated
			r.OTP, r.Person = providers.NewSecret(fmt.Sprintf("%s%05d", first, typed)), person
			l, err := p.Acquire(t.Context(), r)
			if err == nil {
				require.NoError(t, p.Release(t.Context(), l.Ref))
			}
			return err
		}
		for _, wait := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute} {
			require.Equal(t, machine.Upstream, reason(t, types("mallory", "0")))
			require.NoError(t, types("paula", "9"))
			time.Sleep(wait - w.latency - time.Second)
			require.Equal(t, machine.Guarded, reason(t, types("mallory", "9")))
			time.Sleep(2 * time.Second)
		}
		require.NoError(t, types("mallory", "9"))
	})
}

func TestRule7FiveRefusedCodesInARowCloseTheAccount(t *testing.T) {
	inWorld(t, withTypedCodes, func(t *testing.T, _ *world, p *process) {
		refused := 0
		for i := range 10 {
			bad := dedicated
			bad.OTP, bad.Person = providers.NewSecret(fmt.Sprintf("0%05d", i)), fmt.Sprint("person ", i)
			_, err := p.Acquire(t.Context(), bad)
			require.Error(t, err)
			if reason(t, err) == machine.Upstream {
				refused++
			}
		}
		require.Equal(t, 5, refused)
		good := dedicated
		good.OTP, good.Person = providers.NewSecret("900000"), "paula"
		_, err := p.Acquire(t.Context(), good)
		require.Equal(t, machine.Guarded, reason(t, err))
		time.Sleep(time.Minute)
		_, err = p.Acquire(t.Context(), good)
		require.NoError(t, err)
	})
}

func TestRule6AnAccountThatHasLoggedInWithoutACodeHasNoSecondFactor(t *testing.T) {
	for name, logIn := range map[string]func(t *testing.T, p *process){
		"for a reader": func(t *testing.T, p *process) {
			l, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
			require.NoError(t, p.Release(t.Context(), l.Ref))
		},
		"for a verification": func(t *testing.T, p *process) {
			require.NoError(t, p.Verify(t.Context(), p.settings(), dedicated))
		},
	} {
		t.Run(name, func(t *testing.T) {
			setup := func(w *world) { withTypedCodes(w); w.codePeriod = 0 }
			inWorld(t, setup, func(t *testing.T, w *world, p *process) {
				logIn(t, p)
				p.restart() // it is remembered
				w.setPassword("locked for a minute")
				_, err := p.Acquire(t.Context(), dedicated)
				require.Error(t, err)
				_, err = p.Acquire(t.Context(), dedicated)
				require.Equal(t, machine.Guarded, reason(t, err))
				w.setPassword("right")
				time.Sleep(31 * time.Second)
				_, err = p.Acquire(t.Context(), dedicated)
				require.NoError(t, err)
			})
		})
	}
}

func TestRule7AnyRefusalThatComesAgainGrows(t *testing.T) {
	for _, refusal := range []*providers.Error{
		{Kind: providers.BadCredentials, Outcome: providers.DidNotHappen},
		{Kind: providers.SessionLimit, Outcome: providers.DidNotHappen},
		{Kind: providers.Throttled, Outcome: providers.DidNotHappen},
		{Kind: providers.Throttled, Outcome: providers.DidNotHappen, RetryAfter: time.Second},
		{Kind: providers.Protocol, Outcome: providers.DidNotHappen},
		{Kind: providers.NotAllowed, Outcome: providers.DidNotHappen},
		{Kind: providers.Protocol, Outcome: providers.Unknown},
		{Kind: providers.Protocol, Outcome: providers.Happened},
	} {
		t.Run(fmt.Sprintf("%s, %s", refusal.Kind, refusal.Outcome), func(t *testing.T) {
			refusal.Op = "login"
			synctest.Test(t, func(t *testing.T) {
				server := &codeServer{refusal: refusal}
				e := sessions.New(sessions.Options{Storage: &logical.InmemStorage{}, Logger: hclog.NewNullLogger(), Directory: fixed{server}})
				defer e.Stop()
				for range 24 * 60 * 6 { // a reader each ten seconds, for a day
					_, err := e.Acquire(t.Context(), dedicated)
					require.Error(t, err)
					time.Sleep(10 * time.Second)
				}
				require.Less(t, server.logins, 130, "logins of a day: at most one in a quarter of an hour in the end")
			})
		})
	}
}

func TestRule7RolesWithBrokenScopesRestEachOnItsOwn(t *testing.T) {
	inWorld(t, func(w *world) { w.unknownScope = "no such" }, func(t *testing.T, w *world, p *process) {
		broken := func(extra string) sessions.Request {
			r := dedicated
			r.Scopes = []string{"no such", extra}
			return r
		}
		for range 20 {
			for _, r := range []sessions.Request{broken("one"), broken("two")} {
				_, err := p.Acquire(t.Context(), r)
				require.Error(t, err)
			}
			_, err := p.Acquire(t.Context(), shared)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, w.count(&w.refused), 4)
	})
}

func TestRule7PausesSurviveConfigWritesAndForgettingTheAccount(t *testing.T) {
	setup := func(w *world) {
		w.limits.Capabilities.LoginPause = 250 * time.Millisecond
		w.isConfig = false
		w.latency = 5 * time.Millisecond
	}
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		require.NoError(t, p.Verify(t.Context(), p.trial(), dedicated))
		first := w.loggedInAt
		time.Sleep(20 * time.Millisecond) // the write of the config, in a storage with fsync
		w.reinstate()
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		_, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.GreaterOrEqual(t, w.loggedInAt.Sub(first), 250*time.Millisecond)
	})
}

func TestRule7NothingIsLeftOfAccountsThatNeverWere(t *testing.T) {
	for _, name := range []string{"in one life", "over a restart"} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) { w.isConfig, w.config = false, "wrong" }, func(t *testing.T, w *world, p *process) {
				for range 3 {
					require.Error(t, p.Verify(t.Context(), p.trial(), dedicated))
				}
				_, err := p.Status(t.Context(), accountID)
				require.NoError(t, err)
				require.NotEmpty(t, w.guards(t), "the refusals count in the guard for as long as it holds")
				if name == "over a restart" {
					p.restart()
				}
				time.Sleep(3 * time.Hour)
				synctest.Wait()
				keys, err := logical.CollectKeys(t.Context(), w.storage)
				require.NoError(t, err)
				require.Equal(t, []string{"mount/id"}, keys)
				require.Zero(t, p.Loaded(), "nor in memory")
			})
		})
	}
}

// fixed is the directory of one account.
type fixed struct{ server *codeServer }

func (d fixed) Settings(context.Context, sessions.AccountID) (sessions.Settings, error) {
	return sessions.Settings{Config: "x", Upstream: d.server, Limits: sessions.Limits{RequestTimeout: 10 * time.Second, Capabilities: d.server.Capabilities()}}, nil
}
func (d fixed) KeptAlive(context.Context) ([]sessions.AccountID, error) { return nil, nil }

// codeServer takes codes that begin with a 9, or answers each login with a refusal.
type codeServer struct {
	noList

	generates     bool
	refusal       *providers.Error
	logins, wrong int
}

func (r *codeServer) Capabilities() providers.Capabilities {
	return providers.Capabilities{Sessions: true, Logout: true, OneTimeCode: r.generates, GeneratesCode: r.generates, CodePeriod: 30 * time.Second}
}

func (r *codeServer) Login(_ context.Context, l providers.LoginRequest) (providers.TokenResponse, error) {
	r.logins++
	if r.refusal != nil {
		return providers.TokenResponse{}, r.refusal
	}
	if !r.generates && !l.OTP.Empty() && !strings.HasPrefix(l.OTP.Reveal(), "9") {
		r.wrong++
		return providers.TokenResponse{}, &providers.Error{Kind: providers.BadCredentials, Outcome: providers.DidNotHappen, Op: "login", Message: "Invalid user credentials"}
	}
	return providers.TokenResponse{
		AccessToken: providers.NewSecret(fmt.Sprintf("at-%d", r.logins)), TokenType: "Bearer", ExpiresIn: 300 * time.Second, RefreshToken: providers.NewSecret("rt"),
	}, nil
}

func (r *codeServer) Refresh(context.Context, providers.Secret) (providers.TokenResponse, error) {
	return providers.TokenResponse{}, errInjected
}
func (r *codeServer) Logout(context.Context, providers.SessionTokens) error { return nil }

// rule 11: one refusal is not taken for more than it is.

func TestRule11A401CondemnsTheTokenThatAskedNotTheAccount(t *testing.T) {
	inWorld(t, withList(5), func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		w.mu.Lock()
		id := sessionOf(l.Token.AccessToken)
		w.broken[id] = true
		delete(w.sessions, id) // an administrator's "sign out"
		w.mu.Unlock()
		w.loseNextLogin()
		_, err = p.Acquire(t.Context(), dedicated) // its answer is lost: an orphan
		require.Error(t, err)
		time.Sleep(20 * time.Second)
		_, err = p.Acquire(t.Context(), dedicated) // a new session, whose token can list
		require.NoError(t, err)
		time.Sleep(4 * time.Minute)
		require.Equal(t, 1, w.count(&w.ended), "the orphan is found and ended, since the account may list")
	})
}

func TestRule11PeopleAreNotForgottenBecauseOneTokenWasRefused(t *testing.T) {
	inWorld(t, withList(5), func(t *testing.T, w *world, p *process) {
		for i := range 4 {
			w.logInSomebody(fmt.Sprintf("person-%d", i), person)
		}
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		time.Sleep(30 * time.Second)
		require.Equal(t, 4, p.status(t).Usage.People)
		w.mu.Lock()
		id := sessionOf(l.Token.AccessToken)
		w.broken[id] = true
		delete(w.sessions, id)
		w.mu.Unlock()
		for range 10 {
			_, _ = p.Acquire(t.Context(), dedicated)
			time.Sleep(20 * time.Second)
		}
		require.Zero(t, w.count(&w.denials), "the server's session limit was hit although 4 people had been listed")
	})
}

func TestRule11AMarkIsLookedUpInTheWholeMountsLedger(t *testing.T) {
	inWorld(t, withList(5), func(t *testing.T, w *world, p *process) {
		alias := shared
		alias.Account = "account-2" // one server, by another address
		_, err := p.Acquire(t.Context(), alias)
		require.NoError(t, err)
		settleFor(20 * time.Second)
		_, err = p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		report, err := p.Check(t.Context(), sessions.CheckRequest{Account: accountID, EndStrays: true})
		require.NoError(t, err)
		require.Zero(t, report.Usage.Strays)
		require.Equal(t, 1, report.Usage.OtherMounts, "it takes a place all the same")
		require.Zero(t, w.count(&w.ended))
	})
}
