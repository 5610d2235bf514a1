package sessions_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

func TestRule6ATypedCodeIsRefusedWhereTheConfigMakesThemWhateverIsAskedFor(t *testing.T) {
	inWorld(t, withTOTP, func(t *testing.T, w *world, p *process) {
		typed := shared
		typed.OTP = providers.NewSecret("123456")
		_, read := p.Acquire(t.Context(), typed)
		_, static := p.Static(t.Context(), typed)
		_, check := p.Check(t.Context(), sessions.CheckRequest{Account: accountID, OTP: typed.OTP})
		for name, err := range map[string]error{"read": read, "static": static, "check": check, "verify": p.Verify(t.Context(), p.settings(), typed)} {
			require.Error(t, err, name)
			require.Equal(t, machine.Invalid, reason(t, err), name)
		}
		require.Zero(t, w.count(&w.logins), "no login was sent")
		require.Zero(t, w.count(&w.refused))
	})
}
