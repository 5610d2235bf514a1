package iam

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// PATServices returns the seven services, as /api/ocp/{service}/ping names
// them, that take a personal access token.
func PATServices() []string {
	return []string{
		"metrics-api", "exports-api", "miniapps-spring-api", "testing-studio",
		"orchestrator", "nlu", "environments-manager",
	}
}

// pong is the answer of a protected resource.
type pong struct {
	OK      bool   `json:"ok"`
	Account string `json:"account"`
	Session string `json:"session,omitempty"`
}

// pantaPing wants a bearer token with a live session and the tenant.
func (s *Server) pantaPing(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, rl, _, reason := s.bearer(r, s.now())
	switch {
	case reason != "":
		refuseResource(w, reason)
	case rl.API != PantaAPI:
		refuseResource(w, "Token of another realm")
	case r.Header.Get("X-CLIENT-ID") != rl.Tenant:
		refuseResource(w, "X-CLIENT-ID is missing or is not the tenant")
	default:
		writeJSON(w, http.StatusOK, pong{true, token.Username, token.session()})
	}
}

// ocpPing wants a bearer token with a live session or, at seven services only,
// a personal access token.
func (s *Server) ocpPing(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pat := r.Header.Get("X-OCP-PERSONAL-ACCESS-TOKEN"); pat != "" {
		owner := s.patOwner(pat, s.now())
		switch {
		case !slices.Contains(PATServices(), r.PathValue("service")):
			refuseResource(w, "Service does not take personal access tokens")
		case owner == nil:
			refuseResource(w, "Personal access token is not valid")
		default:
			writeJSON(w, http.StatusOK, pong{OK: true, Account: owner.Username})
		}
		return
	}
	token, rl, _, reason := s.bearer(r, s.now())
	switch {
	case reason != "":
		refuseResource(w, reason)
	case rl.API != OCPAPI:
		refuseResource(w, "Token of another realm")
	default:
		writeJSON(w, http.StatusOK, pong{true, token.Username, token.session()})
	}
}

func (s *Server) patOwner(pat string, now time.Time) *user {
	for _, r := range s.realms {
		for _, u := range r.users {
			if r.API == OCPAPI && u.PersonalAccessToken == pat && !u.disabled(now) {
				return u
			}
		}
	}
	return nil
}

// partnerPing wants a bearer token of the partner API.
func (s *Server) partnerPing(w http.ResponseWriter, r *http.Request) {
	encoded, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	token, ok := s.read(encoded)
	if !ok || token.Issuer != partnerIssuer || !token.active(s.now()) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		writeJSON(w, http.StatusUnauthorized, map[string]string{"message": "Unauthenticated."})
		return
	}
	writeJSON(w, http.StatusOK, pong{OK: true, Account: token.Client})
}

func refuseResource(w http.ResponseWriter, reason string) {
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	writeJSON(w, http.StatusUnauthorized, errorBody{"invalid_token", reason})
}
