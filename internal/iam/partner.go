package iam

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// partnerIssuer tells the partner API's tokens from those of the realms.
const partnerIssuer = "partner"

// passportError is an error of Laravel Passport, which the partner API's answers look like.
type passportError struct {
	errorBody
	Hint    string `json:"hint,omitempty"`
	Message string `json:"message"`
}

func writePassportError(w http.ResponseWriter, status int, code, description, hint string) {
	writeJSON(w, status, passportError{errorBody{code, description}, hint, description})
}

// partnerToken is POST /api/oauth/token. It takes JSON and nothing else: a form
// is not read, so its grant_type is missing; without Accept the answer is a page.
func (s *Server) partnerToken(w http.ResponseWriter, r *http.Request) {
	if !acceptsJSON(r) {
		writePage(w, http.StatusNotAcceptable, "Not Acceptable")
		return
	}
	var body struct {
		GrantType    string `json:"grant_type"`
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
	}
	if mediaType(r) == "application/json" {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			writePassportError(w, http.StatusBadRequest, "invalid_request", "The request is malformed.", "The body is not JSON")
			return
		}
	}
	switch {
	case body.GrantType != "client_credentials":
		writePassportError(w, http.StatusBadRequest, "unsupported_grant_type",
			"The authorization grant type is not supported by the authorization server.",
			"Check that all required parameters have been provided")
		return
	case body.ClientID == "":
		writePassportError(w, http.StatusBadRequest, "invalid_request",
			"The request is missing a required parameter, includes an invalid parameter value, "+
				"includes a parameter more than once, or is otherwise malformed.",
			"Check the `client_id` parameter")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.cfg.Partners {
		if body.ClientID == p.ClientID && body.ClientSecret == p.ClientSecret {
			s.stats("", p.ClientID).Logins++
			writeJSON(w, http.StatusOK, s.issuePartner(p))
			return
		}
	}
	s.stats("", body.ClientID).RefusedLogins++
	writePassportError(w, http.StatusUnauthorized, "invalid_client", "Client authentication failed", "")
}

type partnerAnswer struct {
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	AccessToken string `json:"access_token"`
}

func (s *Server) issuePartner(p Partner) partnerAnswer {
	life, now := p.TokenLife, s.now()
	setDefault(&life, time.Hour)
	token := &partnerClaims{
		claims: claims{
			RegisteredClaims: registered(partnerIssuer, "", now, now.Add(life)),
			Type:             typeAccess, Client: p.ClientID,
		},
		Scopes: append([]string{}, p.Scopes...),
	}
	token.Audience = jwt.ClaimStrings{p.ClientID}
	return partnerAnswer{TokenType: "Bearer", ExpiresIn: token.life(), AccessToken: s.sign(token)}
}

// partnerClaims has the scopes as Passport's tokens have them; the answer has none.
type partnerClaims struct {
	claims
	Scopes []string `json:"scopes"`
}
