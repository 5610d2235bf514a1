package configs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/store"
)

const elsewhere = "https://elsewhere.example.com/logout"

func TestAHostThatHasNotHadTheSecretsGetsThemOnlyWhenTheyAreGivenAnew(t *testing.T) {
	oauth2 := configs.Change{
		"provider": "oauth2", "token_url": "https://as.example.com/token", "client_id": "app", "client_secret": "s3cret-client",
		"username": "ann", "password": "s3cret-password",
	}
	signs := with(configs.Change{}, oauth2)
	signs["client_auth"], signs["private_key"] = "private_key_jwt", keyPEM(t)
	delete(signs, "client_secret")
	authority, another := certificate(t), certificate(t)
	for name, test := range map[string]struct {
		stored, change configs.Change
		want           string
	}{
		"logout_url":                 {ocp(nil), configs.Change{"logout_url": elsewhere}, `field "logout_url": leads to a host that has not had the stored secrets; give password with it`},
		"password given":             {ocp(nil), configs.Change{"logout_url": elsewhere, "password": "mine"}, ""},
		"with a secret":              {panta(nil), configs.Change{"logout_url": elsewhere, "password": "mine"}, `field "logout_url": leads to a host that has not had the stored secrets; give client_secret with it`},
		"with a code":                {ocp(configs.Change{"totp_secret": "GEZDGNBVGY3TQOJQ"}), configs.Change{"logout_url": elsewhere, "password": "mine"}, `field "logout_url": leads to a host that has not had the stored secrets; give totp_secret with it`},
		"revocation_url":             {oauth2, configs.Change{"revocation_url": elsewhere}, `field "revocation_url": leads to a host that has not had the stored secrets; give client_secret and password with it`},
		"with a key":                 {signs, configs.Change{"revocation_url": elsewhere}, `field "revocation_url": leads to a host that has not had the stored secrets; give private_key and password with it`},
		"tls_server_name":            {ocp(nil), configs.Change{"tls_server_name": "elsewhere.example.com"}, `field "tls_server_name": leads to a host that has not had the stored secrets; give password with it`},
		"tls_server_name removed":    {ocp(configs.Change{"tls_server_name": "iam.internal"}), configs.Change{"tls_server_name": ""}, `field "tls_server_name": leads to a host that has not had the stored secrets; give password with it`},
		"tls_server_name as before":  {ocp(configs.Change{"tls_server_name": "iam.internal"}), configs.Change{"tls_server_name": "IAM.internal"}, ""},
		"tls_server_name of the URL": {ocp(nil), configs.Change{"tls_server_name": "eu1-m.ocp.ai"}, ""},
		"ca_cert":                    {ocp(nil), configs.Change{"ca_cert": authority}, `field "ca_cert": decides which host gets the stored secrets; give password with it`},
		"ca_cert, another":           {ocp(configs.Change{"ca_cert": another}), configs.Change{"ca_cert": authority}, `field "ca_cert": decides which host gets the stored secrets; give password with it`},
		"ca_cert as before":          {ocp(configs.Change{"ca_cert": authority}), configs.Change{"ca_cert": authority}, ""},
		"ca_cert removed":            {ocp(configs.Change{"ca_cert": authority}), configs.Change{"ca_cert": nil}, ""}, // fewer are trusted
		"ca_cert with the password":  {ocp(nil), configs.Change{"ca_cert": authority, "password": "mine"}, ""},
		"the same host":              {ocp(nil), configs.Change{"logout_url": "https://EU1-m.ocp.ai:443/elsewhere"}, ""},
		"another port":               {ocp(nil), configs.Change{"logout_url": "https://eu1-m.ocp.ai:8443/"}, `field "logout_url": leads to a host that has not had the stored secrets; give password with it`},
		"the same host without TLS":  {ocp(nil), configs.Change{"logout_url": "http://eu1-m.ocp.ai/", "allow_http": true}, `field "logout_url": leads to a host that has not had the stored secrets; give password with it`},
		"one that had them":          {ocp(configs.Change{"logout_url": elsewhere}), configs.Change{"logout_url": elsewhere + "/again"}, ""},
		"taken back":                 {ocp(configs.Change{"logout_url": elsewhere}), configs.Change{"logout_url": nil}, ""},
		"a secret is taken back":     {panta(nil), configs.Change{"logout_url": elsewhere, "password": "mine", "client_secret": nil}, `field "client_secret": is required by panta with auth_method password`},
		"with what is public itself": {pat(nil), configs.Change{"environment": "us1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write(t, "x", test.stored)
			for _, verify := range []*bool{nil, new(false)} {
				w.storage.notes.take()
				_, err := w.Write(t.Context(), "x", test.change, configs.WriteOptions{Verify: verify})
				if test.want == "" {
					require.NoError(t, err)
					continue
				}
				require.EqualError(t, err, test.want+"; nothing was stored")
				require.NotContains(t, w.storage.notes.take(), "verify")
			}
		})
	}
}

// A config that an older plugin stored and this one refuses is no way around.
func TestAStoredConfigThatIsNotValidKeepsItsSecrets(t *testing.T) {
	secrets := configs.Change{"password": "mine", "client_secret": "mine"}
	evil := configs.Change{"environment": nil, "base_url": "https://evil.example", "realm": "x"}
	for name, test := range map[string]struct {
		more, change configs.Change
		want         string
	}{
		"another host":            {nil, evil, `field "base_url": leads to a host that has not had the stored secrets; give client_secret and password with it`},
		"with all secrets":        {nil, with(with(configs.Change{}, evil), secrets), ""},
		"the host that was given": {configs.Change{"base_url": "https://login.example.com"}, configs.Change{"environment": nil, "realm": "x"}, ""},
		"no address at all":       {configs.Change{"logout_url": "https://a b"}, with(configs.Change{"environment": "dmo", "logout_url": nil}, secrets), ""},
		"another environment":     {nil, configs.Change{"environment": "dmo"}, `field "base_url": leads to a host that has not had the stored secrets; give client_secret and password with it`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			stored := store.Fields(panta(test.more))
			stored["environment"] = "old"
			require.NoError(t, store.NewEntries(w.storage).Configs.Put(t.Context(), "x", stored))
			_, err := w.Write(t.Context(), "x", test.change, configs.WriteOptions{})
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, test.want+"; nothing was stored")
		})
	}
}

// The host of revocations never had the password.
func TestLoginsDoNotMoveToTheHostOfRevocations(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, store.NewEntries(w.storage).Configs.Put(t.Context(), "x", store.Fields{
		"provider": "oauth2", "token_url": "https://as.example.com/token", "revocation_url": elsewhere,
		"client_id": "app", "username": "ann", "password": "s3cret-password", "max_sessions": -1, // not valid any more
	}))
	_, err := w.Write(t.Context(), "x", configs.Change{"token_url": elsewhere, "max_sessions": nil}, configs.WriteOptions{})
	require.EqualError(t, err, `field "token_url": leads to a host that has not had the stored secrets; give password with it; nothing was stored`)
	_, err = w.Write(t.Context(), "x", configs.Change{"revocation_url": "https://as.example.com/revoke", "max_sessions": nil}, configs.WriteOptions{})
	require.NoError(t, err)
}

func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, key.Public(), key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// keyPEM is a private key of the curve P-256.
func keyPEM(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
