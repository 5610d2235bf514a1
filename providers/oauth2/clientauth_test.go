package oauth2_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"maps"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/oauth2"
)

// clientOf reaches sessions as a client of the generic provider does.
func clientOf(t *testing.T, c providers.Connection, rt *roundTrip) providers.Client {
	t.Helper()
	c.Provider, c.AuthMethod, c.RequestTimeout = "oauth2", providers.Password, time.Second
	c.TokenURL, c.RevocationURL = "https://login.example.com/token?p=policy", "https://login.example.com/revoke"
	client, err := oauth2.New(preset(t, "oauth2"), rt).Client(c)
	require.NoError(t, err)
	return client
}

// each makes one call of each kind that a client authenticates, and hands out what
// was sent.
func each(t *testing.T, c providers.Connection, check func(op string, params map[string]string, authorization string)) {
	t.Helper()
	rt := &roundTrip{status: 200, body: granted}
	client := clientOf(t, c, rt)
	_, err := client.Refresh(t.Context(), providers.NewSecret(testRefreshToken))
	require.NoError(t, err)
	check("refresh", form(t, rt), rt.last.Header.Get("Authorization"))
	require.NoError(t, client.Logout(t.Context(), providers.SessionTokens{Refresh: providers.NewSecret(testRefreshToken)}))
	check("logout", form(t, rt), rt.last.Header.Get("Authorization"))
	assert.Equal(t, 2, rt.calls)
}

var tokenParams = map[string]map[string]string{
	"refresh": {"grant_type": "refresh_token", "refresh_token": testRefreshToken},
	"logout":  {"token": testRefreshToken, "token_type_hint": "refresh_token"},
}

func TestAClientAuthenticatesInTheBody(t *testing.T) {
	each(t, providers.Connection{ClientID: "app", ClientSecret: providers.NewSecret("s")}, func(op string, params map[string]string, authorization string) {
		want := maps.Clone(tokenParams[op])
		want["client_id"], want["client_secret"] = "app", "s"
		assert.Equal(t, want, params)
		assert.Empty(t, authorization)
	})
}

func TestAClientAuthenticatesInTheHeader(t *testing.T) {
	c := providers.Connection{ClientAuth: providers.ClientSecretBasic, ClientID: "a:p p+ü", ClientSecret: providers.NewSecret("s%&/ :é")}
	each(t, c, func(op string, params map[string]string, authorization string) {
		assert.Equal(t, tokenParams[op], params, "the client is not named twice")
		// RFC 6749 section 2.3.1: both are form-encoded first, blanks as %20.
		assert.Equal(t, "Basic YSUzQXAlMjBwJTJCJUMzJUJDOnMlMjUlMjYlMkYlMjAlM0ElQzMlQTk=", authorization)
	})
}

func TestAPublicClientOnlyNamesItself(t *testing.T) {
	each(t, providers.Connection{ClientAuth: providers.ClientSecretBasic, ClientID: "app"}, func(op string, params map[string]string, authorization string) {
		want := maps.Clone(tokenParams[op])
		want["client_id"] = "app"
		assert.Equal(t, want, params)
		assert.Empty(t, authorization)
	})
}

func pemBlock(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func rsaKey(tb testing.TB, bits int) *rsa.PrivateKey {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(tb, err)
	return key
}

func ecKey(tb testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(tb, err)
	return key
}

func pkcs8(tb testing.TB, key any) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(tb, err)
	return der
}

// pss marks an RSA key for PSS as `openssl genpkey -algorithm RSA-PSS` does.
func pss(tb testing.TB, key *rsa.PrivateKey) []byte {
	tb.Helper()
	return marked(tb, key, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10})
}

// marked says in PKCS #8 that an RSA key is for an algorithm.
func marked(tb testing.TB, key *rsa.PrivateKey, algorithm asn1.ObjectIdentifier) []byte {
	tb.Helper()
	der, err := asn1.Marshal(struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		PrivateKey []byte
	}{0, pkix.AlgorithmIdentifier{Algorithm: algorithm}, x509.MarshalPKCS1PrivateKey(key)})
	require.NoError(tb, err)
	return der
}

func TestAClientSignsAnAssertionAsItsKeyDoes(t *testing.T) {
	r, e := rsaKey(t, 2048), ecKey(t, elliptic.P256())
	sec1, err := x509.MarshalECPrivateKey(e)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		key       string
		algorithm string
		public    crypto.PublicKey
	}{
		"PKCS #8, RSA":     {pemBlock("PRIVATE KEY", pkcs8(t, r)), "RS256", r.Public()},
		"PKCS #1":          {pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r)), "RS256", r.Public()},
		"PKCS #8, RSA-PSS": {pemBlock("PRIVATE KEY", pss(t, r)), "PS256", r.Public()},
		"PKCS #8, EC":      {pemBlock("PRIVATE KEY", pkcs8(t, e)), "ES256", e.Public()},
		"SEC 1":            {pemBlock("EC PRIVATE KEY", sec1), "ES256", e.Public()},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{}
			connection := providers.Connection{ClientAuth: providers.PrivateKeyJWT, ClientID: "app", PrivateKey: providers.NewSecret(c.key), KeyID: "key-1"}
			for range 2 {
				each(t, connection, func(op string, params map[string]string, authorization string) {
					assert.Empty(t, authorization)
					assertion := params["client_assertion"]
					delete(params, "client_assertion")
					want := maps.Clone(tokenParams[op])
					want["client_id"] = "app"
					want["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
					assert.Equal(t, want, params)

					claims := jwt.MapClaims{}
					parsed, err := jwt.NewParser(jwt.WithValidMethods([]string{c.algorithm}), jwt.WithIssuedAt(), jwt.WithExpirationRequired()).
						ParseWithClaims(assertion, claims, func(*jwt.Token) (any, error) { return c.public, nil })
					require.NoError(t, err)
					assert.Equal(t, map[string]any{"alg": c.algorithm, "typ": "JWT", "kid": "key-1"}, parsed.Header)
					id := claims["jti"].(string)
					assert.GreaterOrEqual(t, len(id), 20)
					assert.False(t, seen[id], "an assertion is used once")
					seen[id] = true
					assert.Equal(t, "app", claims["iss"])
					assert.Equal(t, "app", claims["sub"])
					assert.Equal(t, "https://login.example.com/token?p=policy", claims["aud"], "also of a revocation")
					assert.InDelta(t, claims["iat"].(float64)+60, claims["exp"], 0)
				})
			}
			assert.Len(t, seen, 4)
		})
	}
}

func TestAKeyThatCannotSignIsRefusedByField(t *testing.T) {
	r := rsaKey(t, 2048)
	good := pemBlock("PRIVATE KEY", pkcs8(t, r))
	const (
		noPEM     = "must be a private key in PEM"
		noKey     = "must be the private key of RSA"
		encrypted = "is encrypted"
	)
	oldForm := &pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte{1}}
	for name, c := range map[string]struct{ key, problem string }{
		"nothing":             {"", noPEM},
		"no PEM":              {"hunter2", noPEM},
		"a certificate":       {pemBlock("CERTIFICATE", []byte{1}), noKey},
		"a public key":        {pemBlock("PUBLIC KEY", x509.MarshalPKCS1PublicKey(&r.PublicKey)), noKey},
		"encrypted":           {pemBlock("ENCRYPTED PRIVATE KEY", []byte{1}), encrypted},
		"encrypted of before": {string(pem.EncodeToMemory(oldForm)), encrypted},
		"two keys":            {good + good, "must be one private key in PEM and nothing else"},
		"a key and more":      {good + "x", "must be one private key in PEM and nothing else"},
		"of another curve":    {pemBlock("PRIVATE KEY", pkcs8(t, ecKey(t, elliptic.P384()))), noKey},
		"of too few bits":     {pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey(t, 2047))), "less than 2048 bits"},
		"PSS and no key":      {pemBlock("PRIVATE KEY", pss(t, &rsa.PrivateKey{PublicKey: r.PublicKey, D: r.D, Primes: r.Primes})[:40]), noKey},
		"for encryption":      {pemBlock("PRIVATE KEY", marked(t, r, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 7})), noKey}, // id-RSAES-OAEP
		"text before a key":   {"key: " + pemBlock("PRIVATE KEY", []byte("x")), noPEM},
	} {
		_, err := oauth2.New(preset(t, "oauth2"), nil).Client(providers.Connection{
			AuthMethod: providers.Password, ClientAuth: providers.PrivateKeyJWT, PrivateKey: providers.NewSecret(c.key),
		})
		var field *providers.FieldError
		require.ErrorAs(t, err, &field, name)
		assert.Equal(t, "private_key", field.Field)
		assert.Contains(t, field.Problem, c.problem, name)
		assert.NotContains(t, err.Error(), "hunter2")
	}
}

// Sessions outlive their config, and a newer plugin may not know its auth_method.
func TestSessionsOfAnotherAuthMethodAreNotReached(t *testing.T) {
	_, err := oauth2.New(preset(t, "ocp"), nil).Client(providers.Connection{Provider: "ocp", AuthMethod: "magic"})
	require.EqualError(t, err, `field "auth_method": is not one of ocp`)
}

func TestACallToWhatIsNoAddressIsNotSent(t *testing.T) {
	for _, address := range []string{"https://a b", "https://", ""} {
		rt := &roundTrip{status: 200, body: granted}
		client, err := oauth2.New(preset(t, "oauth2"), rt).Client(providers.Connection{AuthMethod: providers.Password, TokenURL: address, RequestTimeout: time.Second})
		require.NoError(t, err)
		_, err = client.Refresh(t.Context(), providers.NewSecret(testRefreshToken))
		require.EqualError(t, err, "refresh at : the request could not be made; check the fields of this config", address)
		assert.Zero(t, rt.calls)
	}
}

// FuzzPrivateKey parses any PEM; what is taken signs.
func FuzzPrivateKey(f *testing.F) {
	r := rsaKey(f, 2048)
	f.Add([]byte(pemBlock("PRIVATE KEY", pkcs8(f, r))))
	f.Add([]byte(pemBlock("PRIVATE KEY", pss(f, r))))
	f.Add([]byte(pemBlock("PRIVATE KEY", pkcs8(f, ecKey(f, elliptic.P256())))))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"))
	f.Fuzz(func(t *testing.T, text []byte) {
		rt := &roundTrip{status: 200, body: granted}
		client, err := oauth2.New(preset(t, "oauth2"), rt).Client(providers.Connection{
			AuthMethod: providers.Password, ClientAuth: providers.PrivateKeyJWT, PrivateKey: providers.NewSecret(string(text)),
			TokenURL: "https://login.example.com/token", RequestTimeout: time.Second,
		})
		if err != nil {
			var field *providers.FieldError
			require.ErrorAs(t, err, &field)
			return
		}
		_, err = client.Refresh(t.Context(), providers.NewSecret("rt"))
		if err == nil {
			assert.Equal(t, 1, rt.calls)
		}
	})
}

// A server says of a method that it does not allow what it says of a wrong secret.
func TestTheAdviceToARefusedClientNamesTheMethodInUse(t *testing.T) {
	p := preset(t, "oauth2")
	for i := range p.Methods {
		p.Methods[i].Fields = append(p.Methods[i].Fields, providers.Field{Name: "client_auth"})
	}
	key := providers.NewSecret(pemBlock("PRIVATE KEY", pkcs8(t, ecKey(t, elliptic.P256()))))
	secret := providers.NewSecret(testClientSecret)
	for advice, c := range map[string]providers.Connection{
		"another client_auth than post":  {ClientAuth: providers.ClientSecretPost, ClientSecret: secret},
		"another client_auth than basic": {ClientAuth: providers.ClientSecretBasic, ClientSecret: secret},
		"client_auth=private_key_jwt":    {ClientAuth: providers.PrivateKeyJWT, PrivateKey: key},
		"no client_secret was sent":      {},
	} {
		c.ClientID, c.AuthMethod, c.RequestTimeout, c.TokenURL = "app", providers.Password, time.Second, "https://login.example.com/token"
		rt := &roundTrip{status: 401, body: `{"error":"invalid_client"}`}
		client, err := oauth2.New(p, rt).Client(c)
		require.NoError(t, err)
		_, err = client.Refresh(t.Context(), providers.NewSecret(testRefreshToken))
		assert.Contains(t, asError(t, err).Advice, advice)
	}
}

func TestALoginSendsItsFurtherParameters(t *testing.T) {
	a := account("oauth2")
	a.TokenParams = map[string]string{"audience": "https://api.example.com"}
	rt := &roundTrip{status: 200, body: granted}
	up := connect(t, a, "oauth2", rt)
	own := map[string]string{"grant_type": "password", "client_id": "app", "client_secret": testClientSecret, "username": "alice", "password": testPassword}
	for _, c := range []struct{ params, want map[string]string }{
		{nil, map[string]string{"audience": "https://api.example.com"}},
		{map[string]string{"resource": "r"}, map[string]string{"resource": "r"}},
		{map[string]string{"resource": "r", "password": "evil", "grant_type": "evil"}, map[string]string{"resource": "r"}},
	} {
		_, err := up.Login(t.Context(), providers.LoginRequest{Params: c.params})
		require.NoError(t, err)
		want := maps.Clone(own)
		maps.Copy(want, c.want)
		assert.Equal(t, want, form(t, rt), "what the engine sends itself wins")
	}
	_, err := up.Refresh(t.Context(), providers.NewSecret(testRefreshToken))
	require.NoError(t, err)
	assert.NotContains(t, form(t, rt), "audience")
}

func TestATokenWithoutRefreshTokenIsRevokedItself(t *testing.T) {
	rt := &roundTrip{status: 200}
	client := clientOf(t, providers.Connection{ClientID: "app", ClientSecret: providers.NewSecret("s")}, rt)
	require.NoError(t, client.Logout(t.Context(), providers.SessionTokens{Access: providers.NewSecret("at")}))
	assert.Equal(t, map[string]string{"client_id": "app", "client_secret": "s", "token": "at", "token_type_hint": "access_token"}, form(t, rt))

	err := client.Logout(t.Context(), providers.SessionTokens{})
	assertFailed(t, err, providers.Protocol, providers.DidNotHappen)
	keycloak := connect(t, account("keycloak"), "keycloak", rt)
	err = keycloak.Logout(t.Context(), providers.SessionTokens{Access: providers.NewSecret("at")})
	assertFailed(t, err, providers.Protocol, providers.DidNotHappen)
	assert.Equal(t, 1, rt.calls)
}
