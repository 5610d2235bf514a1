package configs_test

import (
	"context"
	"slices"
	"strings"
	"testing"

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
