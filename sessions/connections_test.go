package sessions_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// rule 1: a session is refreshed and ended over the connection that opened it. The
// world's server reports every call that comes over another one.

// connections are the entries of the account's connections.
func (w *world) connections() []string {
	keys, err := w.storage.List(context.Background(), "connection/"+string(accountID)+"/")
	require.NoError(w.t, err)
	return keys
}

func (w *world) setClient(client, secret, host string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.client, w.clientSecret, w.host = client, secret, host
}

// rotateSecret gives a client another secret at the server.
func (w *world) rotateSecret(client, secret string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire()
	w.secrets[client] = secret
	for _, s := range w.sessions {
		s.oldSecret = s.oldSecret || s.client == client
	}
}

func TestRule1ASessionKeepsTheConnectionThatOpenedIt(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *world, *process){
		"another client": func(t *testing.T, w *world, p *process) {
			w.setClient("next", "", "")
			require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		},
		"another host": func(t *testing.T, w *world, p *process) {
			w.setClient("", "", "other.example")
			require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		},
		"no config any more": func(t *testing.T, w *world, p *process) {
			w.mu.Lock()
			w.isConfig = false
			w.mu.Unlock()
			require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), false))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world, p *process) {
				one, err := p.Acquire(t.Context(), shared)
				require.NoError(t, err)
				two, err := p.Acquire(t.Context(), dedicated)
				require.NoError(t, err)
				change(t, w, p)
				p.restart()
				require.NoError(t, p.Release(t.Context(), two.Ref))
				time.Sleep(2 * time.Minute)
				if name != "no config any more" {
					_, err := p.Acquire(t.Context(), shared) // adopts it by a refresh
					require.NoError(t, err)
					require.Equal(t, 1, w.count(&w.refreshes))
				}
				require.NoError(t, p.Release(t.Context(), one.Ref))
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				require.Zero(t, w.openNow())
				require.Empty(t, w.records())
				require.Empty(t, w.connections(), "they go with their last session")
			})
		})
	}
}

func TestRule1ConnectionsAreStoredOnceEachAndBeforeTheirSessions(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		w.setClient("one", "s", "")
		w.rotateSecret("one", "s")
		w.rotateSecret("two", "s")
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		require.Empty(t, w.connections(), "none without a session")
		for range 3 {
			_, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
			require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		}
		require.Len(t, w.connections(), 1)
		w.setClient("two", "s", "")
		require.NoError(t, p.Verify(t.Context(), p.trial(), shared))
		require.Len(t, w.connections(), 2)
		p.faults.set(only("put", failBefore))
		_, err := p.Acquire(t.Context(), dedicated)
		require.False(t, isAfterLogin(t, err))
		require.Equal(t, 4, w.count(&w.logins), "no login whose connection could not be stored")
	})
}

func TestRule1NoLoginWhoseConnectionAloneCannotBeStored(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_ = p.status(t) // the mount's id is stored
		p.faults.set(nth("put", 1, failBefore))
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.Storage, reason(t, err))
		require.Zero(t, w.count(&w.logins))
		synctest.Wait()
		require.Empty(t, w.records())
	})
}

func TestAConnectionThatWasRemovedIsForgotten(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		var stored []string
		for _, client := range []string{"one", "two", "one"} {
			w.setClient(client, "", "")
			require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
			settleFor(2 * time.Minute)
			l, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
			stored = append(stored, w.connections()...)
			require.NoError(t, p.Release(t.Context(), l.Ref))
		}
		require.Len(t, stored, 3)
		require.NotEqual(t, stored[0], stored[2], "its client secret is not kept in memory until it is needed again")
	})
}

func TestAConnectionThatWasNeverStoredIsNotRemoved(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		deletes := 0
		p.faults.watch(func(op string) {
			if op == "delete" {
				deletes++
			}
		})
		for _, client := range []string{"one", "two"} { // no session uses them
			w.setClient(client, "", "")
			require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
			settleFor(2 * time.Minute)
		}
		require.Zero(t, deletes)
	})
}

func TestAConnectionThatIsStoredIsNotStoredAgainAfterARestart(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		p.Stop()
		again := w.start()
		defer again.Stop()
		_ = again.status(t)
		puts := 0
		again.faults.watch(func(op string) {
			if op == "put" {
				puts++
			}
		})
		_, err = again.Acquire(t.Context(), shared)
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, 1, puts, "of the session, which is refreshed")
	})
}

func TestRule1WhereOnlyTheClientSecretChangedTheNewestIsTriedToo(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		two, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		w.rotateSecret("", "rotated")
		w.setClient("", "rotated", "")
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), true))
		time.Sleep(w.tokenLife/2 + time.Second)
		require.Equal(t, 1, w.count(&w.refreshes))
		require.Len(t, w.connections(), 2)
		require.NoError(t, p.Release(t.Context(), two.Ref))
		time.Sleep(time.Minute)
		require.Len(t, w.connections(), 1, "the refreshed session has taken the newest over")
		require.NoError(t, p.Release(t.Context(), l.Ref))
		require.Zero(t, w.openNow())
	})
}

func TestRule1ACloseWaitsForTheRefreshUnderWayAndEndsWhatItGave(t *testing.T) {
	inWorld(t, func(w *world) { w.rotate, w.latency = true, time.Second }, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		w.mu.Lock()
		w.forgetsOld = true
		w.mu.Unlock()
		time.Sleep(w.tokenLife/2 + 500*time.Millisecond) // the background refresh is under way
		require.NoError(t, p.Release(t.Context(), l.Ref))
		time.Sleep(5 * time.Second)
		require.Equal(t, 1, w.count(&w.refreshes))
		require.Zero(t, w.openNow())

		l, err = p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		time.Sleep(w.tokenLife/2 + 500*time.Millisecond)
		id, _, _ := splitRef(l.Ref.Session)
		_, _, _, err = p.CloseSession(t.Context(), accountID, machine.SessionID(id))
		require.NoError(t, err)
		require.Equal(t, 2, w.count(&w.refreshes))
		require.Zero(t, w.openNow())
	})
}

// withoutRefreshTokens is a server of RFC 6749 that gives none.
func withoutRefreshTokens(revokes bool) func(*world) {
	return func(w *world) {
		w.noRefreshTokens = true
		w.limits.Capabilities = providers.Capabilities{Sessions: true, Logout: revokes, RevokesAccess: revokes}
	}
}

func TestRule1WhatHasNoRefreshTokenIsEndedByItsAccessToken(t *testing.T) {
	inWorld(t, withoutRefreshTokens(true), func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		require.Equal(t, 1, w.count(&w.logouts))
		require.Zero(t, w.openNow())

		l, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		p.restart()
		require.NoError(t, p.Release(t.Context(), l.Ref), "also after a restart")
		require.Equal(t, 2, w.count(&w.logouts))
	})
}

func TestRule1WhatNothingCanEndCountsUntilItsTokenHasExpiredNoLonger(t *testing.T) {
	setup := func(w *world) {
		withoutRefreshTokens(false)(w)
		w.limit, w.limits.MaxSessions, w.tokenLife = 1, 1, 20*time.Second
	}
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		require.NoError(t, p.Release(t.Context(), l.Ref))
		_, err = p.Acquire(t.Context(), dedicated)
		require.Error(t, err)
		time.Sleep(w.tokenLife + time.Second)
		_, err = p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.Empty(t, w.records())
	})
}

func TestACheckCallsALogoutThatSendsNothingSkipped(t *testing.T) {
	for revokes, want := range map[bool]sessions.StepOutcome{true: sessions.StepOK, false: sessions.StepSkipped} {
		inWorld(t, withoutRefreshTokens(revokes), func(t *testing.T, _ *world, p *process) {
			report, err := p.Check(t.Context(), sessions.CheckRequest{Account: accountID})
			require.NoError(t, err)
			outcomes := map[string]sessions.StepOutcome{}
			for _, s := range report.Steps {
				outcomes[s.Name] = s.Outcome
			}
			require.Equal(t, sessions.StepSkipped, outcomes[sessions.RefreshStep])
			require.Equal(t, want, outcomes[sessions.LogoutStep])
			if !revokes {
				require.Equal(t, map[machine.State]int{machine.StateAgeing: 1}, p.status(t).States, "its session is given up")
			}
		})
	}
}

func TestRule10ADrainHasABoundOfItsOwn(t *testing.T) {
	setup := func(w *world) { w.limits.RequestTimeout = time.Minute }
	inWorld(t, setup, func(t *testing.T, w *world, p *process) {
		for range 300 {
			_, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
		}
		w.mu.Lock()
		w.latency = time.Hour
		w.mu.Unlock()
		began := time.Now()
		require.Error(t, p.Drain(t.Context(), accountID))
		require.Less(t, time.Since(began), 30*time.Second)
		w.mu.Lock()
		w.isConfig = false
		w.latency = 50 * time.Millisecond
		w.mu.Unlock()
		require.NoError(t, p.Configure(t.Context(), accountID, p.settings(), false))
		time.Sleep(15 * time.Minute)
		require.Zero(t, w.openNow())
	})
}

func TestRule1ALoginIsNotSentLongAfterItsIntent(t *testing.T) {
	inWorld(t, withTOTP, func(t *testing.T, w *world, p *process) {
		w.setStorageDelay(25 * time.Second)
		go func() { _, _ = p.Acquire(t.Context(), dedicated) }()
		time.Sleep(4 * time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		require.Zero(t, w.staleCodes, "codes that the server would not take any more")
	})
}

// anotherRelease is a plugin that has lost a provider.
type anotherRelease struct{ sessions.Providers }

func (anotherRelease) Lookup(string) (providers.Provider, bool) { return nil, false }

// stricter is a plugin whose provider takes stored connections no more.
type stricter struct{ reacher }

func (s stricter) Lookup(string) (providers.Provider, bool) { return s, true }

func (stricter) Client(providers.Connection) (providers.Client, error) {
	return (*upstream)(nil), errInjected
}

func TestRule1WhatThisPluginCannotReachEndsByAge(t *testing.T) {
	for name, next := range map[string]sessions.Providers{"no provider": anotherRelease{}, "no client": stricter{}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world, p *process) {
				l, err := p.Acquire(t.Context(), dedicated)
				require.NoError(t, err)
				p.Stop()
				w.retire()
				e := p.beside(p, next)
				defer e.Stop()
				require.NoError(t, e.Release(t.Context(), l.Ref), "there is nothing to wait for")
				all, err := e.Sessions(t.Context(), accountID)
				require.NoError(t, err)
				require.Len(t, all, 1)
				require.Equal(t, machine.StateAgeing, all[0].State)
				w.killAll()
				time.Sleep(w.idle + 2*time.Minute)
				require.Empty(t, w.records())
				require.Empty(t, w.connections())
			})
		})
	}
}

func TestRule1ASharedSessionThatThisPluginCannotReachIsReplaced(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_, err := p.Acquire(t.Context(), shared)
		require.NoError(t, err)
		p.Stop()
		w.setClient("next", "", "")
		e := p.beside(p, anotherRelease{})
		defer e.Stop()
		l, err := e.Acquire(t.Context(), shared)
		require.NoError(t, err)
		require.Equal(t, 2, w.count(&w.logins))
		require.NoError(t, e.Release(t.Context(), l.Ref))
		w.killAll() // the first one cannot be closed
	})
}

func TestRule1ALoginWhoseIntentTookTooLongIsNotSent(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		_ = p.status(t)
		w.setStorageDelay(25 * time.Second) // of the connection, and of the intent
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, machine.Storage, reason(t, err))
		require.Zero(t, w.count(&w.logins))
		time.Sleep(time.Minute)
		require.Empty(t, w.records())
	})
}

func TestRule1ALoginIsNotSentThatWaitedTooLongBehindAnotherWrite(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		l, err := p.Acquire(t.Context(), dedicated)
		require.NoError(t, err)
		w.setStorageDelay(20 * time.Second)
		w.setLatency(5 * time.Second)
		p.faults.set(only("logout", failAfter))
		go func() { _ = p.Release(t.Context(), l.Ref) }()
		synctest.Wait()
		_, err = p.Acquire(t.Context(), dedicated) // the logout fails while its intent is written, and that is written next
		require.ErrorContains(t, err, "Vault's storage took too long to record the login, which was therefore not begun")
		require.Equal(t, 1, w.count(&w.logins))
		w.setStorageDelay(0)
		p.faults.set(nil)
		time.Sleep(10 * time.Minute)
		require.Empty(t, w.records())
	})
}

// refusesConfig is a client that does not send what it cannot make.
type refusesConfig struct{ failing }

func (*refusesConfig) Login(context.Context, providers.LoginRequest) (providers.TokenResponse, error) {
	return providers.TokenResponse{}, &providers.FieldError{Field: "otp", Problem: "is not used"}
}

func TestALoginThatTheClientDoesNotSendDidNotHappen(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world, p *process) {
		settings := p.settings()
		settings.Upstream = &refusesConfig{}
		require.NoError(t, p.Configure(t.Context(), accountID, settings, false))
		_, err := p.Acquire(t.Context(), dedicated)
		require.Equal(t, providers.DidNotHappen, upstreamError(t, err).Outcome)
		require.ErrorContains(t, err, "correct the config")
		synctest.Wait()
		require.Empty(t, w.records())
	})
}

func TestAMarkHasTheNumberOfThePluginsVersion(t *testing.T) {
	for version, want := range map[string]string{"": "0", "dev": "0", "v1.2.3-rc.4+x": "1.2.3", "2": "2", "1.2.3.4": "1.2.3"} {
		inWorld(t, nil, func(t *testing.T, w *world, p *process) {
			e := sessions.New(sessions.Options{Storage: w.storage, Directory: p, Providers: p, Logger: hclog.NewNullLogger(), Version: version})
			defer e.Stop()
			_, err := e.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
			w.mu.Lock()
			defer w.mu.Unlock()
			require.Regexp(t, `-bot/`+want+`$`, w.sessions["s1"].userAgent, version)
		})
	}
}

func TestALoginCarriesAMarkUnlessTheConfigHasNone(t *testing.T) {
	for noMark, want := range map[bool]string{false: `^vault-plugin-secrets-panta-[a-z2-7]{8}-[a-z2-7]{13}-bot/1\.2\.3$`, true: `^vault-plugin-secrets-panta/1\.2\.3$`} {
		inWorld(t, func(w *world) { w.limits.NoMark = noMark }, func(t *testing.T, w *world, p *process) {
			_, err := p.Acquire(t.Context(), dedicated)
			require.NoError(t, err)
			w.mu.Lock()
			defer w.mu.Unlock()
			require.Regexp(t, want, w.sessions["s1"].userAgent)
		})
	}
}
