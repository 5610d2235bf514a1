package oauthservers

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
	"fmt"
	"math/big"
)

// JWKS is a set of public keys, RFC 7517 section 5.
type JWKS struct {
	Keys []map[string]string `json:"keys"`
}

// NewKey makes a key that signs with an algorithm of RFC 7518 (RS256, PS256 or
// ES256). It returns the private key in PEM, PKCS #8, and the set with its public
// key, whose kid is id.
func NewKey(algorithm, id string) (private string, public *JWKS, err error) {
	var key crypto.Signer
	if algorithm == "ES256" {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		return "", nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if k, isRSA := key.(*rsa.PrivateKey); isRSA && algorithm == "PS256" {
		der, err = markedForPSS(k)
	}
	if err != nil {
		return "", nil, err
	}
	jwk := map[string]string{"use": "sig", "alg": algorithm, "kid": id}
	switch k := key.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, x, y
		if err != nil {
			return "", nil, err
		}
		jwk["kty"], jwk["crv"] = "EC", "P-256"
		jwk["x"], jwk["y"] = encode(point[1:33]), encode(point[33:])
	case *rsa.PublicKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", encode(k.N.Bytes()), encode(big.NewInt(int64(k.E)).Bytes())
	default:
		return "", nil, fmt.Errorf("unexpected key of type %T", k)
	}
	private = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return private, &JWKS{Keys: []map[string]string{jwk}}, nil
}

// markedForPSS is PKCS #8 as openssl genpkey -algorithm RSA-PSS writes it.
func markedForPSS(key *rsa.PrivateKey) ([]byte, error) {
	return asn1.Marshal(struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		PrivateKey []byte
	}{
		Algorithm:  pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}}, // id-RSASSA-PSS, RFC 4055
		PrivateKey: x509.MarshalPKCS1PrivateKey(key),
	})
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
