package iam

import "net/http"

// logout ends the session of a refresh token: an expired or superseded one will
// do, and a session that is gone already is a success.
func (s *Server) logout(w http.ResponseWriter, r *http.Request, rl *realm) {
	client, no := rl.authenticate(r)
	var token *claims
	if !no.refused() {
		token, no = s.refreshToken(r, rl, client, rl.Release.LogoutAnywhere)
	}
	if no.refused() {
		no.write(w, r)
		return
	}
	s.mu.Lock()
	s.endSession(rl, token.session())
	s.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// revoke is the revocation endpoint, RFC 7009. A refresh token takes its
// session along, since the session has no other client, and in some releases all
// that the user has with the client; an access token is refused from now on by
// itself.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request, rl *realm) {
	if rl.Release.Revocation == NoRevocation {
		writeJSON(w, http.StatusNotFound, errorBody{Error: "RESTEASY003210: Could not find resource for full path: " + r.URL.Path})
		return
	}
	client, no := rl.authenticate(r)
	if no.refused() {
		no.write(w, r)
		return
	}
	if !r.PostForm.Has("token") {
		refuse(http.StatusBadRequest, "invalid_request", "Token not provided").write(w, r)
		return
	}
	token, known := s.read(r.PostForm.Get("token"))
	switch {
	case !known: // RFC 7009 section 2.2: not an error
	case token.Client != client.ID:
		refuse(http.StatusBadRequest, "invalid_client", "Unmatching clients").write(w, r)
		return
	default:
		s.mu.Lock()
		s.revokeToken(rl, token)
		s.mu.Unlock()
	}
	w.WriteHeader(http.StatusOK)
}

func (s *Server) revokeToken(rl *realm, token *claims) {
	now := s.now()
	ss := rl.session(token.session(), now)
	switch {
	case token.Type != typeRefresh:
		s.revoked[token.ID] = true
	case ss != nil && rl.Release.Revocation == RevokesClient:
		for _, other := range rl.sessionsOf(ss.user, now) {
			if other.client == ss.client {
				s.endSession(rl, other.id)
			}
		}
	default:
		s.endSession(rl, token.session())
	}
}

// endSession ends a session by logout or revocation, if it is still there.
func (s *Server) endSession(rl *realm, id string) {
	if ss := rl.session(id, s.now()); ss != nil {
		delete(rl.sessions, id)
		s.stats(rl.Name, ss.user.account).Logouts++
	}
}
