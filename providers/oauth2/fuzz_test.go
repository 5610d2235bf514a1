package oauth2

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

func FuzzDecodeTokens(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"at","expires_in":300,"refresh_token":"rt","token_type":"bearer","scope":"a b"}`,
		`{"access_token":"at","expires_in":"3600.5"}`, `{"access_token":1}`, `{"expires_in":1e400}`, `null`, `[]`, ``, `{"a`,
		`{"access_token":"eyJhbGciOiJIUzI1NiJ9.eyJzY29wZXMiOlsiYSIsNV19.x","expires_in":1e-9}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := decodeTokens(text)
		if errors.Is(err, errNotTokens) {
			assert.Equal(t, providers.TokenResponse{}, got)
			return
		}
		if err != nil {
			assert.True(t, got.AccessToken.Empty(), "a response of no use hands out no token")
			return
		}
		assert.True(t, fitsHeader(got.AccessToken.Reveal()))
		assert.True(t, got.RefreshToken.Empty() || fitsHeader(got.RefreshToken.Reveal()))
		assert.Equal(t, "Bearer", got.TokenType)
		assert.Greater(t, got.ExpiresIn, time.Duration(0))
		assert.LessOrEqual(t, got.ExpiresIn, maxLife)
		assert.GreaterOrEqual(t, got.RefreshExpiresIn, time.Duration(0))
		for _, scope := range append(strings.Fields(got.Scope), strings.Fields(claimedScope(got.AccessToken))...) {
			assert.True(t, providers.ValidScope(scope))
		}
	})
}

func FuzzParseOTPAuth(f *testing.F) {
	for _, seed := range []string{
		"otpauth://totp/OCP:alice?secret=GEZDGNBVGY3TQOJQ&issuer=OCP&digits=8&period=60&algorithm=SHA256",
		"otpauth://totp/a?secret=gezd%20gnbv", "otpauth://hotp/a?secret=GEZDGNBV&counter=1", "otpauth://totp?digits=7&secret=A",
		"otpauth:", "otpauth://totp/%zz", "otpauth://totp/a?secret=GEZDGNBV&period=18446744073709551616",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := parseOTPAuth(text)
		if err != nil {
			var field *providers.FieldError
			require.ErrorAs(t, err, &field)
			return
		}
		require.NoError(t, key.check())
		// Where we accept a URL, the library that authenticator apps are tested
		// with must read the same from it.
		same, err := otp.NewKeyFromURL(text)
		require.NoError(t, err)
		assert.Equal(t, same.Secret(), key.secret)
		assert.EqualValues(t, same.Digits(), key.digits)
		assert.EqualValues(t, same.Period(), key.period/time.Second)
		assert.Equal(t, same.Algorithm().String(), key.algorithm)
	})
}
