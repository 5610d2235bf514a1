package oauth2

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
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
		got, err := decodeTokens(text, time.Minute)
		if errors.Is(err, errNotTokens) {
			assert.Equal(t, providers.TokenResponse{}, got)
			return
		}
		assert.True(t, got.AccessToken.Empty() || fitsHeader(got.AccessToken.Reveal()))
		for scope := range strings.FieldsSeq(got.Scope) {
			assert.True(t, providers.ValidScope(scope))
		}
		assert.Equal(t, url.PathEscape(got.ServerID), got.ServerID)
		assertSane(t, got.ServerTime)
		if err != nil {
			return
		}
		assert.False(t, got.AccessToken.Empty())
		assert.True(t, got.RefreshToken.Empty() || fitsHeader(got.RefreshToken.Reveal()))
		assert.Equal(t, "Bearer", got.TokenType)
		assert.Greater(t, got.ExpiresIn, time.Duration(0))
		assert.LessOrEqual(t, got.ExpiresIn, maxLife)
		assert.GreaterOrEqual(t, got.RefreshExpiresIn, time.Duration(0))
	})
}

// FuzzEcho repeats a value in each encoding that servers use: none gets by, in whatever
// text it stands and whatever else was sent.
func FuzzEcho(f *testing.F) {
	for _, value := range []string{"hunter2", "p@ss wörd/1", "a", "100%", "a+b&c=d", "<b>&amp;", "\\u0041bcdefgh", "%41%42", "K\u212a", "ſecret-ſ", "\x00\xff", "00\b00"} {
		f.Add(value, "no ", " here")
	}
	f.Fuzz(func(t *testing.T, value, before, after string) {
		if len(value) > 200 || len(plain(unescape(value))) <= short {
			return
		}
		sent := echo{sent: []string{"other", value}}
		quoted, err := json.Marshal(value)
		require.NoError(t, err)
		for _, written := range []string{
			value, url.QueryEscape(value), url.PathEscape(value), html.EscapeString(value), string(quoted[1 : len(quoted)-1]),
			strings.ToUpper(value), strings.ToLower(value),
			base64.StdEncoding.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(value)),
		} {
			_ = sent.repeatedIn(before + written + after) // never a panic, whatever stands beside
			if !sent.repeatedIn("no "+written+" here") && utf8.ValidString(value) && strings.EqualFold(value, strings.ToUpper(value)) {
				t.Errorf("%q is not found as %q", value, written)
			}
		}
	})
}

func FuzzDecodeSessions(f *testing.F) {
	for _, seed := range []string{
		`[{"id":"6d4e82a1-2d6d-402a-9d52-f3f99d7a477c","ipAddress":"127.0.0.1","started":1764084000,"lastAccess":1764084000,"expires":1764120000,"clients":[{"clientId":"ocp","clientName":""}],"browser":"a-bot/1.0.0","current":true}]`,
		`[]`, `[null]`, `[{}]`, `[{"id":""}]`, `[{"id":".."}]`, `[{"id":"a/b"}]`, `[{"id":7}]`, `null`, `{}`, ``, `[`,
		`[{"id":"a","started":-1,"expires":1e400,"lastAccess":"soon","clients":[null,{"clientId":5}],"browser":"a\u0000\u202e","current":"yes"}]`,
		`[{"id":"a","clients":{}},{"id":"a"}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := decodeSessions(bytes.NewReader(text))
		if err != nil {
			assert.Nil(t, list, "a list of which a part is missing is no list")
			return
		}
		var entries []json.RawMessage
		require.NoError(t, json.Unmarshal(bytes.TrimPrefix(text, []byte(byteOrderMark)), &entries))
		assert.Len(t, list, len(entries), "no session is left out")
		for _, s := range list {
			assert.NotEmpty(t, s.ID)
			assert.Equal(t, url.PathEscape(s.ID), s.ID)
			assert.NotContains(t, []string{".", ".."}, s.ID)
			for _, shown := range append(s.Clients, s.UserAgent, s.IPAddress) {
				assert.Equal(t, printable(shown, maxListedText+1), shown)
			}
			assert.LessOrEqual(t, len(s.Clients), maxListedClients)
			for _, at := range []time.Time{s.StartedAt, s.LastAccess, s.ExpiresAt} {
				assertSane(t, at)
			}
		}
	})
}

// assertSane wants an instant that can be stored, to the second, or none.
func assertSane(t *testing.T, at time.Time) {
	t.Helper()
	_, err := at.MarshalJSON()
	require.NoError(t, err)
	assert.True(t, at.IsZero() || at.Unix() > 0 && at.Nanosecond() == 0)
}

func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{
		"https://login.example.com", "HTTPS://Login.Example.COM:443/Auth/", "http://127.0.0.1:8080", "http://[::1]:80/a%2fb", "https://u:p@h/", "https://h?q#f",
		"https://h:0", "https://h:99999", "//h", "https://", "ftp://h", "https://ä.example", "https://h/../x", "%zz", "https://h.", "https://..",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checked, err := checkURL("base_url", text, providers.Account{})
		if err != nil {
			var field *providers.FieldError
			require.ErrorAs(t, err, &field)
			return
		}
		again, err := checkURL("base_url", checked, providers.Account{})
		require.NoError(t, err, "what was accepted is accepted again")
		assert.Equal(t, checked, again, "one spelling")
		u, err := url.Parse(checked)
		require.NoError(t, err)
		assert.True(t, u.Scheme == "https" || isLoopback(u.Hostname()))
		assert.Nil(t, u.User)
		assert.Empty(t, u.RawQuery+u.Fragment)
	})
}

func FuzzParseTOTP(f *testing.F) {
	for _, seed := range []string{
		"otpauth://totp/OCP:alice?secret=GEZDGNBVGY3TQOJQ&issuer=OCP&digits=8&period=60&algorithm=SHA256",
		"otpauth://totp/a?secret=gezd%20gnbv", "otpauth://hotp/a?secret=GEZDGNBV&counter=1", "otpauth://totp?digits=7&secret=A",
		"otpauth:", "otpauth://totp/%zz", "otpauth://totp/a?secret=GEZDGNBV&period=18446744073709551616",
		"GEZD-GNBV-GY3T-QOJQ", "steam://GEZDGNBV", "A", "\u212a",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := parseTOTP(text)
		if err != nil {
			var field *providers.FieldError
			require.ErrorAs(t, err, &field)
			return
		}
		code, err := totp.GenerateCodeCustom(key.secret, time.Unix(1, 0), totp.ValidateOpts{
			Period: uint(key.period / time.Second), Digits: otp.Digits(key.digits), Algorithm: key.algorithm,
		})
		require.NoError(t, err, "what was taken makes codes")
		assert.Len(t, code, key.digits)
	})
}
