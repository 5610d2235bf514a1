package configs_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

// What cannot be read is not taken for what is not there.
func TestAStorageThatFailsIsAnErrorWhereverItIsAsked(t *testing.T) {
	var id sessions.AccountID
	notFound := func(found bool, err error) error {
		require.False(t, found && err != nil, "both found and failed")
		return err
	}
	operations := map[string]func(context.Context, *world) error{
		"read": func(ctx context.Context, w *world) error {
			_, found, err := w.Read(ctx, "eu1")
			return notFound(found, err)
		},
		"exists": func(ctx context.Context, w *world) error { return notFound(w.Exists(ctx, "eu1")) },
		"list":   func(ctx context.Context, w *world) error { _, err := w.List(ctx); return err },
		"read a role": func(ctx context.Context, w *world) error {
			_, found, err := w.ReadRole(ctx, "r")
			return notFound(found, err)
		},
		"show a role": func(ctx context.Context, w *world) error {
			_, found, err := w.ShowRole(ctx, "r")
			return notFound(found, err)
		},
		"a role exists":  func(ctx context.Context, w *world) error { return notFound(w.RoleExists(ctx, "r")) },
		"list the roles": func(ctx context.Context, w *world) error { _, err := w.ListRoles(ctx); return err },
		"resolve":        func(ctx context.Context, w *world) error { _, err := w.Resolve(ctx, "eu1"); return err },
		"resolve a role": func(ctx context.Context, w *world) error { _, err := w.Resolve(ctx, "r"); return err },
		"the account of": func(ctx context.Context, w *world) error {
			_, found, err := w.Account(ctx, "eu1")
			return notFound(found, err)
		},
		"the settings of": func(ctx context.Context, w *world) error { _, err := w.Settings(ctx, id); return err },
		"the config of":   func(ctx context.Context, w *world) error { _, err := w.ConfigOf(ctx, id); return err },
		"are kept alive":  func(ctx context.Context, w *world) error { _, err := w.KeptAlive(ctx); return err },
		"write a role": func(ctx context.Context, w *world) error {
			return w.WriteRole(ctx, "another", configs.Change{"config": "eu1"})
		},
		"delete a role": func(ctx context.Context, w *world) error { return w.DeleteRole(ctx, "r") },
		"delete a config": func(ctx context.Context, w *world) error {
			_, err := w.Delete(ctx, "us1", false)
			return err
		},
		"write": func(ctx context.Context, w *world) error {
			_, err := w.Write(ctx, "eu1", configs.Change{"ttl": "1m"}, configs.WriteOptions{})
			return err
		},
	}
	for name, do := range operations {
		fails := func(t *testing.T, once bool) {
			for at := 0; ; at++ {
				before := newWorld(t)
				before.write(t, "eu1", ocp(configs.Change{"keepalive_interval": "30d"}))
				before.write(t, "us1", ocp(configs.Change{"environment": "us1"}))
				require.NoError(t, before.WriteRole(t.Context(), "r", configs.Change{"config": "eu1"}))
				id = sessions.AccountID(idOf(t, before, "eu1"))
				w := restarted(before.storage.Storage, 0)
				hit := failAt(w.storage, at, once)
				err := do(t.Context(), w)
				happened := slices.DeleteFunc(w.storage.notes.take(), func(note string) bool { return !strings.Contains(note, "/") })
				if !*hit {
					require.NoError(t, err)
					return
				}
				if slices.Contains(happened[:at], "put config/eu1") || slices.Contains(happened[:at], "delete config/us1") {
					return // it is done, and what fails now is a warning
				}
				if once && err == nil && slices.Contains(happened[at+1:], happened[at]) {
					continue // it was read again
				}
				require.ErrorIs(t, err, errDisk, "access %d: %v", at, happened)
			}
		}
		t.Run(name, func(t *testing.T) { fails(t, false) })
		t.Run(name+", and it fails once", func(t *testing.T) { fails(t, true) })
	}
}

// A config that an older plugin took and this one refuses.
func TestAConfigThatIsNotValidAnyMoreIsDeletedByForce(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, store.NewEntries(w.storage).Configs.Put(t.Context(), "eu1", store.Fields{"provider": "ocp"}))
	_, err := w.Delete(t.Context(), "eu1", false)
	require.ErrorContains(t, err, "the stored config is not valid any more: ")
	_, err = w.Delete(t.Context(), "eu1", true)
	require.NoError(t, err)
	require.Empty(t, w.keys(t))
}

func TestAStoredEntryThatIsNotValidSaysWhy(t *testing.T) {
	for name, test := range map[string]struct {
		field string
		value any
		want  string
	}{
		"no field":   {"colour", "blue", `field "colour": is not a field of this version`},
		"no value":   {"ttl", "soon", `field "ttl": must be a duration in whole seconds that is not negative, such as 300, "90s", "5m" or "30d"`},
		"wrong type": {"session_mode", 5, `field "session_mode": must be a string: put it in quotes`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			entries := store.NewEntries(w.storage)
			require.NoError(t, entries.Configs.Put(t.Context(), "eu1", store.Fields(ocp(configs.Change{test.field: test.value}))))
			_, found, err := w.Read(t.Context(), "eu1")
			require.False(t, found)
			require.EqualError(t, err, `the stored config "eu1" is not valid any more: `+test.want+"; write that field again")
			require.NoError(t, entries.Roles.Put(t.Context(), "r", store.Fields{"config": "eu1", test.field: test.value}))
			_, found, err = w.ShowRole(t.Context(), "r")
			require.False(t, found)
			require.EqualError(t, err, test.want)
		})
	}
}

func TestAConfigThatIsNotValidAnyMoreKeepsItsAccount(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	require.NoError(t, store.NewEntries(w.storage).Configs.Put(t.Context(), "eu1", store.Fields(ocp(configs.Change{"colour": "blue"}))))
	next := restarted(w.storage.Storage, 0)
	_, err := next.Write(t.Context(), "eu2", ocp(nil), configs.WriteOptions{})
	require.ErrorContains(t, err, `config "eu1" holds this account already`)
}

// An account's config is not valid, and is read once more.
func TestTheSettingsOfAConfigThatChangesWhileItIsReadAreThoseOfTheLastRead(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		then func(*world) error // what happens between the two
	}{
		"it cannot be read": {errDisk, func(*world) error { return errDisk }},
		"it is deleted":     {nil, func(w *world) error { return w.storage.Storage.Delete(context.Background(), "config/eu1") }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write(t, "eu1", ocp(nil))
			id := sessions.AccountID(idOf(t, w, "eu1"))
			require.NoError(t, store.NewEntries(w.storage).Configs.Put(t.Context(), "eu1", store.Fields(ocp(configs.Change{"colour": "blue"}))))
			next := restarted(w.storage.Storage, 0)
			reads := 0
			next.storage.fail = func(_, key string) error {
				if key != "config/eu1" {
					return nil
				}
				if reads++; reads == 2 {
					return test.then(next)
				}
				return nil
			}
			s, err := next.Settings(t.Context(), id)
			require.ErrorIs(t, err, test.err)
			require.Nil(t, s.Upstream)
			require.Equal(t, 2, reads)
		})
	}
}

// unreachable is a registry of providers that cannot connect.
type unreachable struct{ registry }

func (r unreachable) Lookup(name string) (providers.Provider, bool) {
	p, ok := r.registry.Lookup(name)
	return disconnected{p}, ok
}

type disconnected struct{ providers.Provider }

func (disconnected) Connect(providers.Account) (providers.Upstream, error) {
	return nil, &providers.FieldError{Field: "ca_cert", Problem: "cannot be used"}
}

func TestAConfigThatItsProviderCannotConnectIsRefused(t *testing.T) {
	w := newWorld(t)
	c := configs.New(store.NewEntries(w.storage), unreachable{}, hclog.NewNullLogger())
	c.Serve(w.engine)
	_, err := c.Write(t.Context(), "eu1", ocp(nil), configs.WriteOptions{})
	require.EqualError(t, err, `field "ca_cert": cannot be used; nothing was stored`)
}

// What nobody is told otherwise is in the log.
func TestWhatIsDoneButForARestIsLogged(t *testing.T) {
	deleted := false
	ownerStays := func(op, _ string) error {
		if op == "delete" && deleted {
			return errDisk
		}
		deleted = deleted || op == "delete"
		return nil
	}
	for name, test := range map[string]struct {
		fail func(op, key string) error // nil: the storage does not
		set  func(*engine)
		want string // empty: nothing
	}{
		"a delete": {nil, func(*engine) {}, ""},
		"a delete, and the owner stays": {
			ownerStays, func(*engine) {}, "that an account belonged to a deleted config could not be removed",
		},
		"a delete, and the engine is not told": {
			nil, func(e *engine) { e.configureErr = errDisk }, "a config is deleted, but its account still has its settings until the plugin is started anew",
		},
		"no delete": {nil, func(e *engine) { e.drainErr = errDisk }, ""},
		"no delete, and the engine is not told": {
			nil, func(e *engine) { e.drainErr, e.configureErr = errDisk, errDisk }, "an account is not in force as it is stored; write its config without any field",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write(t, "eu1", ocp(nil))
			w.storage.fail = test.fail
			test.set(w.engine)
			_, _ = w.Delete(t.Context(), "eu1", false)
			if test.want == "" {
				require.Empty(t, w.log.String())
				return
			}
			require.Contains(t, w.log.String(), test.want+": config=eu1 error=")
			require.Contains(t, w.log.String(), "disk on fire")
			require.Equal(t, 1, strings.Count(w.log.String(), "\n"))
		})
	}
}

func TestARoleWhoseConfigIsGoneSaysSo(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	require.NoError(t, w.WriteRole(t.Context(), "r", configs.Change{"config": "eu1"}))
	require.NoError(t, w.storage.Storage.Delete(t.Context(), "config/eu1"))
	_, err := restarted(w.storage.Storage, 0).Resolve(t.Context(), "r")
	require.ErrorContains(t, err, `the role's config "eu1" does not exist`)
}

func TestAWriteThatTheEngineCouldNotBeToldOfIsAWarning(t *testing.T) {
	w := newWorld(t)
	w.engine.configureErr = errDisk
	warnings, err := w.Write(t.Context(), "eu1", ocp(nil), configs.WriteOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{`config "eu1" is stored, but it is not in force yet: disk on fire; write it again without any field`}, warnings)
	require.Contains(t, w.keys(t), "config/eu1")
}

func TestADeleteSaysWhatTheEngineSaysWithoutItsAdvice(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	w.storage.notes.take()
	w.engine.drainErr = &sessions.Error{Message: "1 session is left", Advice: "do something else"}
	_, err := w.Delete(t.Context(), "eu1", false)
	require.ErrorContains(t, err, "it is not deleted: 1 session is left; try again when")
	require.NotContains(t, w.storage.notes.take(), "configure reopen", "a delete tells nothing new of the account's credentials")
}

func TestAConfigIsNotStoredWhereItsRolesCannotBeReadAnyMore(t *testing.T) {
	w := newWorld(t)
	lists := 0
	w.storage.fail = func(op, key string) error {
		if op == "list" && strings.HasPrefix(key, "role") {
			lists++
		}
		if lists == 2 { // the first was before the login
			return errDisk
		}
		return nil
	}
	_, err := w.Write(t.Context(), "eu1", ocp(nil), configs.WriteOptions{})
	require.ErrorIs(t, err, errDisk)
	require.Equal(t, 2, lists)
	w.storage.fail = nil
	require.Empty(t, w.keys(t))
}

func TestAConfigThatCannotBeDeletedIsInForceAgainAlsoWhereItCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.write(t, "eu1", ocp(nil))
	broken := false
	w.storage.fail = func(op, _ string) error {
		if broken = broken || op == "delete"; broken {
			return errDisk
		}
		return nil
	}
	w.storage.notes.take()
	_, err := w.Delete(t.Context(), "eu1", false)
	require.ErrorIs(t, err, errDisk)
	configured := slices.DeleteFunc(w.storage.notes.take(), func(note string) bool { return !strings.HasPrefix(note, "configure") })
	require.Equal(t, []string{"configure"}, configured)
	require.Equal(t, "eu1", w.engine.settings.Config)
}

func TestWhatNoLoginUsesIsRefused(t *testing.T) {
	w := newWorld(t)
	_, err := w.Write(t.Context(), "token", pat(nil), configs.WriteOptions{OTP: providers.NewSecret("123456")})
	require.ErrorContains(t, err, `field "otp": is not used with auth_method=pat; nothing logs in`)
	_, err = w.Write(t.Context(), "none", configs.Change{"username": "olga"}, configs.WriteOptions{})
	require.ErrorContains(t, err, `field "provider": is required for a new config, and there is none of this name yet; use one of keycloak, oauth2, ocp, panta, partner`)
}
