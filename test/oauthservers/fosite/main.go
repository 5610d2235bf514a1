// Command fosite is an authorization server made of Ory's fosite, the library
// inside Ory Hydra, with its tokens in memory.
//
// Usage: fosite FILE. The file is the JSON of oauthservers.Config. It is a module
// of its own, so that the plugin does not depend on fosite.
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v3"
	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/storage"
	"golang.org/x/crypto/bcrypt"
)

type config struct {
	Issuer            string            `json:"issuer"`
	Port              int               `json:"port"`
	TokenPath         string            `json:"token_path"`
	RevocationPath    string            `json:"revocation_path"`
	IntrospectionPath string            `json:"introspection_path"`
	TokenLife         int               `json:"token_life"`   // seconds
	RefreshLife       int               `json:"refresh_life"` // seconds
	RefreshScope      string            `json:"refresh_scope"`
	Users             map[string]string `json:"users"`
	Clients           []client          `json:"clients"`
}

// client is the metadata of RFC 7591 section 2.
type client struct {
	ID         string              `json:"client_id"`
	Secret     string              `json:"client_secret"`
	AuthMethod string              `json:"token_endpoint_auth_method"`
	SigningAlg string              `json:"token_endpoint_auth_signing_alg"`
	GrantTypes []string            `json:"grant_types"`
	Scope      string              `json:"scope"`
	Audience   []string            `json:"audience"`
	JWKS       *jose.JSONWebKeySet `json:"jwks"`
}

func main() {
	if err := run(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var cfg config
	if err := json.Unmarshal(text, &cfg); err != nil {
		return err
	}
	s, err := newServer(cfg)
	if err != nil {
		return err
	}
	http.HandleFunc("POST "+cfg.TokenPath, s.token)
	http.HandleFunc("POST "+cfg.RevocationPath, s.revoke)
	http.HandleFunc("POST "+cfg.IntrospectionPath, s.introspect)
	return http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", cfg.Port), nil)
}

type server struct{ provider fosite.OAuth2Provider }

func newServer(cfg config) (*server, error) {
	store := storage.NewMemoryStore()
	for name, password := range cfg.Users {
		store.Users[name] = storage.MemoryUserRelation{Username: name, Password: password}
	}
	for _, c := range cfg.Clients {
		secret, err := bcrypt.GenerateFromPassword([]byte(c.Secret), bcrypt.MinCost)
		if err != nil {
			return nil, err
		}
		store.Clients[c.ID] = &fosite.DefaultOpenIDConnectClient{
			DefaultClient: &fosite.DefaultClient{
				ID: c.ID, Secret: secret, Public: c.AuthMethod == "none",
				GrantTypes: c.GrantTypes, Scopes: strings.Fields(c.Scope), Audience: c.Audience,
			},
			TokenEndpointAuthMethod:           c.AuthMethod,
			TokenEndpointAuthSigningAlgorithm: c.SigningAlg,
			JSONWebKeys:                       c.JWKS,
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	// The default is offline or offline_access; without any, every login gets a
	// refresh token.
	refreshScopes := strings.Fields(cfg.RefreshScope)
	return &server{compose.ComposeAllEnabled(&fosite.Config{
		AccessTokenLifespan:        time.Duration(cfg.TokenLife) * time.Second,
		RefreshTokenLifespan:       time.Duration(cfg.RefreshLife) * time.Second,
		RefreshTokenScopes:         refreshScopes,
		TokenURL:                   cfg.Issuer + cfg.TokenPath,
		GlobalSecret:               []byte("thirty-two bytes that sign tokens"[:32]),
		SendDebugMessagesToClients: true,
	}, store, key)}, nil
}

func (s *server) token(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	request, err := s.provider.NewAccessRequest(ctx, r, &fosite.DefaultSession{})
	if err != nil {
		s.refuse(ctx, w, request, err)
		return
	}
	for _, scope := range request.GetRequestedScopes() {
		request.GrantScope(scope)
	}
	for _, audience := range request.GetRequestedAudience() {
		request.GrantAudience(audience)
	}
	answer, err := s.provider.NewAccessResponse(ctx, request)
	if err != nil {
		s.refuse(ctx, w, request, err)
		return
	}
	s.provider.WriteAccessResponse(ctx, w, request, answer)
}

func (s *server) refuse(ctx context.Context, w http.ResponseWriter, request fosite.AccessRequester, err error) {
	log.Println("token:", fosite.ErrorToRFC6749Error(err).WithExposeDebug(true).GetDescription())
	s.provider.WriteAccessError(ctx, w, request, err)
}

func (s *server) revoke(w http.ResponseWriter, r *http.Request) {
	err := s.provider.NewRevocationRequest(r.Context(), r)
	if err != nil {
		log.Println("revocation:", err)
	}
	s.provider.WriteRevocationResponse(r.Context(), w, err)
}

func (s *server) introspect(w http.ResponseWriter, r *http.Request) {
	answer, err := s.provider.NewIntrospectionRequest(r.Context(), r, &fosite.DefaultSession{})
	if err != nil {
		log.Println("introspection:", err)
		s.provider.WriteIntrospectionError(r.Context(), w, err)
		return
	}
	s.provider.WriteIntrospectionResponse(r.Context(), w, answer)
}
