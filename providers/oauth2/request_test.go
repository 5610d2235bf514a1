package oauth2

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

func TestAValueIsFoundInBase64ThatIsCutAnywhere(t *testing.T) {
	const value = "s3cret-password"
	sent := echo{sent: []string{value}}
	written := base64.StdEncoding.EncodeToString([]byte("user:" + value + "!"))
	for cut := range 5 {
		require.True(t, sent.repeatedIn("no "+written[:len(written)-cut]), "%d characters are cut off", cut)
	}
}

func TestAValueIsFoundHoweverItIsWritten(t *testing.T) {
	const value = `s3cret password/é"ß`
	sent := echo{sent: []string{value}}
	for name, written := range map[string]string{
		"as it is":                   value,
		"in another case":            `S3CRET PASSWORD/É"ß`,
		"for a URL":                  `s3cret+password%2F%C3%A9%22%C3%9F`,
		"for HTML":                   `s3cret password/&eacute;&quot;&szlig;`,
		"for JSON":                   `s3cret password\/\u00e9\"\u00df`,
		"with escapes that are none": `s3cret\ pass\word/é\"ß`,
		"with characters unseen":     "s3c\u200bret pass\u00adword/é\"ß",
		"with another blank":         "s3cret\tpassword/é\"ß",
	} {
		require.True(t, sent.repeatedIn("no "+written+" here"), name)
	}
	require.False(t, sent.repeatedIn("no s3cret here"))
}

func TestAValueIsFoundBesideWhatIsEncodedTooOftenToBeRead(t *testing.T) {
	sent := echo{sent: []string{"s3cret-password"}}
	require.True(t, sent.repeatedIn("no s3cret-password %"+strings.Repeat("25", 30)+"41"))
}

func TestAShortValueHasToOccurAsAWord(t *testing.T) {
	for _, c := range []struct {
		value, text string
		repeated    bool
	}{
		{"abc", "no abc here", true},
		{"abc", "no xabcx here", false},
		{"abc", "no YWJj here", false}, // any word of four letters is three characters in base64
		{"a-b", "no xa-bx here", true},
		{"abcd", "no xabcdx here", true},
		{"abcd", "no YWJjZA here", true},
		{"abcdefghi", "no xbcdefghix here", true}, // eight of them
		{"abcdefghi", "no xcdefghix here", false},
		{" ", "no words here", false},
	} {
		sent := echo{sent: []string{c.value}}
		require.Equal(t, c.repeated, sent.repeatedIn(c.text), "%q in %q", c.value, c.text)
	}
}

func TestAFreeValueIsFoundWholeAndByItsWords(t *testing.T) {
	var sent echo
	sent.addWords("ab1 cd2")
	for text, repeated := range map[string]bool{"no xab1 cd2x here": true, "no ab1 here": true, "no cd2 here": true, "no xab1x here": false} {
		require.Equal(t, repeated, sent.repeatedIn(text), text)
	}
}

func TestABodyThatCountsAsNotSentIsHandedOutNoMore(t *testing.T) {
	b := &body{left: strings.NewReader("client_secret=secret")}
	require.False(t, b.taken())
	got, err := io.ReadAll(b)
	require.ErrorIs(t, err, http.ErrBodyReadAfterClose)
	require.Empty(t, got)
}

func TestACallWhoseAssertionCannotBeSignedIsNotSent(t *testing.T) {
	connection := providers.Connection{TokenURL: "https://login.example.com/token", ClientAuth: providers.PrivateKeyJWT, RequestTimeout: time.Second}
	noKey := &client{connection: connection, key: signingKey{method: jwt.SigningMethodRS256}, transport: stream{"{}"}}
	_, err := noKey.Refresh(t.Context(), providers.NewSecret("rt"))
	require.EqualError(t, err, "refresh at login.example.com: the request could not be made; check the fields of this config")
}

func TestALoginWhoseCodeCannotBeMadeIsNotSent(t *testing.T) {
	up := &upstream{client: &client{transport: stream{"{}"}}, account: providers.Account{TOTPSecret: providers.NewSecret("x")}}
	_, err := up.Login(t.Context(), providers.LoginRequest{})
	require.EqualError(t, err, `field "totp_secret": `+notBase32+"; whole, since a part of one makes no codes")
}

func TestABodyThatIsClosedIsHandedOutNoMore(t *testing.T) {
	b := &body{left: strings.NewReader("client_secret=secret")}
	require.NoError(t, b.Close())
	_, err := b.Read(make([]byte, 1))
	require.ErrorIs(t, err, http.ErrBodyReadAfterClose)
}

func TestWhatAConfigPutsIntoAnEndpointIsNotRepeated(t *testing.T) {
	for _, echoed := range []string{"tenant-4711", "subscription", "s3cr3tk3y"} {
		c := &client{
			connection: providers.Connection{TokenURL: "https://login.example.com/tenant-4711/token?subscription=s3cr3tk3y", RequestTimeout: time.Second},
			rules:      []FailureRule{{Kind: providers.Misconfigured}},
			transport:  stream{`{"error":"invalid_request","error_description":"nothing is known of ` + echoed + `"}`},
		}
		_, err := c.Refresh(t.Context(), providers.NewSecret("rt"))
		require.ErrorContains(t, err, "invalid_request")
		require.NotContains(t, err.Error(), echoed)
	}
}
