package iam

import (
	"net/http"
	"time"
)

// refresh is the refresh_token grant.
func (s *Server) refresh(w http.ResponseWriter, r *http.Request, rl *realm, client Client) {
	token, no := s.refreshToken(r, rl, client, false)
	if no.refused() {
		no.write(w, r)
		return
	}
	s.mu.Lock()
	now := s.now()
	ss, no := s.refreshable(rl, token, now)
	if no.refused() {
		if u := rl.userByID(token.Subject); u != nil {
			s.stats(rl.Name, u.account).RefusedRefreshes++
		}
		s.mu.Unlock()
		no.write(w, r)
		return
	}
	ss.lastAccess = now
	answer := s.issue(rl, ss, rl.issuer(r), now)
	s.stats(rl.Name, ss.user.account).Refreshes++
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, answer)
}

// refreshToken reads the request's refresh token, expired or not: signed here,
// for this realm, under this host name unless it may be from anywhere, and for
// this client.
func (s *Server) refreshToken(r *http.Request, rl *realm, client Client, anywhere bool) (*claims, refusal) {
	encoded := r.PostForm.Get("refresh_token")
	if encoded == "" {
		return nil, refuse(http.StatusBadRequest, "invalid_request", "No refresh token")
	}
	token, ok := s.read(encoded)
	switch {
	case !ok || token.Type != typeRefresh:
		return nil, invalidGrant("Invalid refresh token")
	case token.Issuer != rl.issuer(r) && !anywhere:
		return nil, invalidGrant("Invalid token issuer. Expected '" + rl.issuer(r) + "'")
	case token.Client != client.ID:
		return nil, invalidGrant("Invalid refresh token. Token client and authorized client don't match")
	}
	return token, refusal{}
}

// refreshable returns the session that the token may refresh.
func (s *Server) refreshable(rl *realm, token *claims, now time.Time) (*session, refusal) {
	ss := rl.session(token.session(), now)
	switch {
	case !token.active(now):
		return nil, invalidGrant("Token is not active")
	case ss == nil:
		return nil, invalidGrant("Session not active")
	case ss.user.disabled(now):
		return nil, invalidGrant("User disabled")
	case !ss.attached:
		return nil, invalidGrant("Session doesn't have required client")
	case rl.RevokeRefreshToken && token.ID != ss.refreshID:
		ss.attached = rl.Release.Reuse == ReuseIsRefused // else the newest token dies with it
		s.stats(rl.Name, ss.user.account).TokenReuses++
		return nil, invalidGrant("Maximum allowed refresh token reuse exceeded")
	}
	return ss, refusal{}
}

func (r *realm) userByID(id string) *user {
	for _, u := range r.users {
		if u.id == id {
			return u
		}
	}
	return nil
}
