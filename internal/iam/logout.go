package iam

import "net/http"

// logout ends the session of a refresh token: an expired or superseded one will
// do, and a session that is gone already is a success.
func (s *Server) logout(w http.ResponseWriter, r *http.Request, rl *realm) {
	client, no := rl.authenticate(r)
	var token *claims
	if !no.refused() {
		token, no = s.refreshToken(r, rl, client)
	}
	if no.refused() {
		no.write(w, r)
		return
	}
	s.endSession(rl, token.Session)
	w.WriteHeader(http.StatusNoContent)
}

// revoke is the revocation endpoint, RFC 7009. A refresh token takes its
// session along, since the session has no other client; an access token is
// refused from now on by itself.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request, rl *realm) {
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
	case token.Type == typeRefresh:
		s.endSession(rl, token.Session)
	default:
		s.mu.Lock()
		s.revoked[token.ID] = true
		s.mu.Unlock()
	}
	w.WriteHeader(http.StatusOK)
}

// endSession ends a session by logout or revocation, if it is still there.
func (s *Server) endSession(rl *realm, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ss := rl.session(id, s.now()); ss != nil {
		delete(rl.sessions, id)
		s.stats(rl.Name, ss.user.Username).Logouts++
	}
}
