package iam

import (
	"net/http"
	"slices"
	"strings"
)

// userinfo is OpenID Connect's; it wants the scope openid.
func (s *Server) userinfo(w http.ResponseWriter, r *http.Request, rl *realm) {
	s.mu.Lock()
	token, _, ss, reason := s.bearer(r, s.now())
	s.mu.Unlock()
	switch {
	case reason != "" || token.Issuer != rl.issuer(r) || ss == nil:
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+rl.Name+`", error="invalid_token"`)
		writeJSON(w, http.StatusUnauthorized, errorBody{"invalid_token", "Token verification failed"})
	case !slices.Contains(strings.Fields(token.Scope), "openid"):
		writeJSON(w, http.StatusForbidden, errorBody{"insufficient_scope", "Missing openid scope"})
	default:
		writeJSON(w, http.StatusOK, map[string]string{"sub": token.Subject, "preferred_username": token.Username})
	}
}
