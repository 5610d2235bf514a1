package oauthservers

import (
	"slices"
	"time"
)

// Config is what a server is started with. All of them read it as JSON.
type Config struct {
	Issuer            string            `json:"issuer"` // the address that clients call; set by Start
	Port              int               `json:"port"`   // on loopback, behind that address; set by Start
	TokenPath         string            `json:"token_path"`
	RevocationPath    string            `json:"revocation_path"`
	IntrospectionPath string            `json:"introspection_path"`
	TokenLife         Seconds           `json:"token_life"`
	RefreshLife       Seconds           `json:"refresh_life"`
	RefreshScope      string            `json:"refresh_scope,omitempty"` // fosite: without it a login gets no refresh token
	Users             map[string]string `json:"users"`                   // passwords by name
	Clients           []Client          `json:"clients"`
}

// Client is the metadata of a registered client, RFC 7591 section 2.
type Client struct {
	ID         string   `json:"client_id"`
	Secret     string   `json:"client_secret,omitempty"`
	AuthMethod string   `json:"token_endpoint_auth_method"`
	SigningAlg string   `json:"token_endpoint_auth_signing_alg,omitempty"`
	GrantTypes []string `json:"grant_types"`
	Scope      string   `json:"scope"`
	Audience   []string `json:"audience,omitempty"` // fosite: what it may ask for
	JWKS       *JWKS    `json:"jwks,omitempty"`
}

// Seconds is a duration as the programs read it.
type Seconds int

// In is a duration in whole seconds.
func In(d time.Duration) Seconds { return Seconds(d / time.Second) }

// observer is the client that asks servers about tokens.
const observer, observerSecret = "observer", "secret-of-the-observer"

// withDefaults fills in what a server cannot do without.
func (c Config) withDefaults() Config {
	for _, path := range []struct {
		at   *string
		path string
	}{{&c.TokenPath, "/oauth/token"}, {&c.RevocationPath, "/oauth/revoke"}, {&c.IntrospectionPath, "/oauth/introspect"}} {
		if *path.at == "" {
			*path.at = path.path
		}
	}
	if c.RefreshLife == 0 {
		c.RefreshLife = In(10 * time.Minute)
	}
	c.Clients = append(slices.Clip(c.Clients), Client{
		ID: observer, Secret: observerSecret, AuthMethod: "client_secret_basic",
		GrantTypes: []string{"client_credentials"}, Scope: c.Clients[0].Scope,
	})
	return c
}
