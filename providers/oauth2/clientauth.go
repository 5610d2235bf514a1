package oauth2

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// assertionLife is how long an assertion is good; it is used at once, and once.
const assertionLife = time.Minute

// authenticate adds what proves the client to a request. The method is the one that
// was configured: to find it out by trying would cost logins.
func (c *client) authenticate(params map[string]string, header http.Header) error {
	id, secret := c.connection.ClientID, c.connection.ClientSecret
	switch {
	case c.connection.ClientAuth == providers.PrivateKeyJWT:
		assertion, err := c.assertion(time.Now())
		if err != nil {
			return err
		}
		params["client_id"] = id
		params["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
		params["client_assertion"] = assertion
	case c.connection.ClientAuth == providers.ClientSecretBasic && !secret.Empty():
		pair := formEncode(id) + ":" + formEncode(secret.Reveal())
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	default: // in the body; a public client has no secret
		params["client_id"] = id
		if !secret.Empty() {
			params["client_secret"] = secret.Reveal()
		}
	}
	return nil
}

// formEncode encodes for RFC 6749 section 2.3.1, with blanks as %20: some servers
// (Authlib) decode no plus.
func formEncode(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}

// assertion makes the client's JWT, RFC 7523 section 3. Its audience is the token
// endpoint also where it goes to another one, as OpenID Connect Core section 9 has it.
func (c *client) assertion(now time.Time) (string, error) {
	token := jwt.NewWithClaims(c.key.method, jwt.MapClaims{
		"iss": c.connection.ClientID,
		"sub": c.connection.ClientID,
		"aud": c.connection.TokenURL,
		"jti": rand.Text(),
		"iat": now.Unix(),
		"exp": now.Add(assertionLife).Unix(),
	})
	if c.connection.KeyID != "" {
		token.Header["kid"] = c.connection.KeyID
	}
	return token.SignedString(c.key.signer)
}

// signingKey is a client's private key and the algorithm that it signs with.
type signingKey struct {
	method jwt.SigningMethod
	signer crypto.Signer
}

const minRSABits = 2048 // RFC 7518 section 3.3

// parseSigningKey reads a private key in PEM: PKCS #8, PKCS #1 or SEC 1. The key
// decides the algorithm (RFC 7518 section 3.1): an RSA key signs RS256; one that is
// marked for PSS (RFC 4055, `openssl genpkey -algorithm RSA-PSS`) PS256; one on the
// curve P-256 ES256.
func parseSigningKey(text string) (signingKey, error) {
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return signingKey{}, errors.New("must be a private key in PEM (-----BEGIN PRIVATE KEY-----); a file is given as private_key=@file.pem")
	case strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "":
		return signingKey{}, errors.New("is encrypted; give it without a passphrase")
	case len(strings.TrimSpace(string(rest))) > 0:
		return signingKey{}, errors.New("must be one private key in PEM and nothing else")
	}
	key, pss := parsePrivateKey(block.Bytes)
	switch key := key.(type) {
	case *rsa.PrivateKey:
		switch {
		case key.N.BitLen() < minRSABits:
			return signingKey{}, errors.New("is an RSA key of less than 2048 bits, which RFC 7518 does not allow")
		case pss:
			return signingKey{jwt.SigningMethodPS256, key}, nil
		}
		return signingKey{jwt.SigningMethodRS256, key}, nil
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P256() {
			return signingKey{jwt.SigningMethodES256, key}, nil
		}
	}
	return signingKey{}, errors.New("must be the private key of RSA (for RS256 or PS256) or of the curve P-256 (for ES256)")
}

// parsePrivateKey returns nil for what is no private key.
func parsePrivateKey(der []byte) (key any, pss bool) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return key, false
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, false
	}
	if ec, err := x509.ParseECPrivateKey(der); err == nil {
		return ec, false
	}
	// crypto/x509 does not know the algorithm id-RSASSA-PSS; the key inside is PKCS #1.
	var pkcs8 struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		PrivateKey []byte
	}
	if _, err := asn1.Unmarshal(der, &pkcs8); err != nil || !pkcs8.Algorithm.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}) {
		return nil, false
	}
	if key, err := x509.ParsePKCS1PrivateKey(pkcs8.PrivateKey); err == nil {
		return key, true
	}
	return nil, false
}

// clientAdvice is for a refused client. It names the method in use, since a server
// says of a method that it does not allow what it says of a wrong secret.
func (c *client) clientAdvice() string {
	const may = ", and that the client may use this auth_method"
	switch {
	case c.connection.ClientAuth == providers.PrivateKeyJWT:
		return "check client_id and key_id, and that the server has the public key of private_key and lets the client use client_auth=private_key_jwt and this auth_method; an assertion is good for a minute, so the clocks must agree, and for token_url alone, which must be the address that the server has for itself"
	case c.connection.ClientAuth == providers.ClientSecretBasic:
		return "check client_id and client_secret, which were sent in the header Authorization; the server may want another client_auth than basic" + may
	case !uses(c.method, "client_auth"):
		return "check client_id and client_secret" + may
	case c.connection.ClientSecret.Empty():
		return "check client_id; no client_secret was sent, as for a public client" + may
	default:
		return "check client_id and client_secret, which were sent in the body; the server may want another client_auth than post" + may
	}
}
