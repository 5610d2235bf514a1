package iam

import (
	"net/http"
	"slices"
)

// accountSession is a session as Keycloak's Account REST API lists it.
type accountSession struct {
	ID         string          `json:"id"`
	IPAddress  string          `json:"ipAddress"`
	Started    int64           `json:"started"`
	LastAccess int64           `json:"lastAccess"`
	Expires    int64           `json:"expires"` // the end of its maximum age, however idle it is
	Clients    []accountClient `json:"clients"`
	Browser    string          `json:"browser"`
	Current    bool            `json:"current"`
}

type accountClient struct {
	ClientID string `json:"clientId"`
}

// listOwnSessions is GET account/sessions.
func (s *Server) listOwnSessions(w http.ResponseWriter, r *http.Request, rl *realm) {
	if !acceptsJSON(r) {
		writePage(w, http.StatusOK, "The account console needs a browser.")
		return
	}
	s.mu.Lock()
	now := s.now()
	current := s.accountUser(r, rl)
	if current == nil {
		s.mu.Unlock()
		refuseAccount(w)
		return
	}
	list := []accountSession{}
	for _, ss := range rl.sessionsOf(current.user, now) {
		list = append(list, accountSession{
			ID: ss.id, IPAddress: ss.ip, Browser: browser(ss.userAgent), Current: ss == current,
			Started: ss.started.Unix(), LastAccess: ss.lastAccess.Unix(), Expires: ss.started.Add(rl.SessionMax).Unix(),
			Clients: []accountClient{{ss.client}},
		})
	}
	s.stats(rl.Name, current.user.Username).Listings++
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, list)
}

// endOwnSession is DELETE account/sessions/{id}. It answers 204 for a session
// that is not there, and for another user's, which it leaves alone.
func (s *Server) endOwnSession(w http.ResponseWriter, r *http.Request, rl *realm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := s.accountUser(r, rl)
	if current == nil {
		refuseAccount(w)
		return
	}
	if ss := rl.session(r.PathValue("id"), s.now()); ss != nil && ss.user == current.user {
		delete(rl.sessions, ss.id)
		s.stats(rl.Name, ss.user.Username).Ended++
	}
	w.WriteHeader(http.StatusNoContent)
}

// accountUser returns the session of a request that may use the Account REST
// API, or nil.
func (s *Server) accountUser(r *http.Request, rl *realm) *session {
	token, _, ss, reason := s.bearer(r, s.now())
	if reason != "" || token.Issuer != rl.issuer(r) || !slices.Contains(token.Audience, accountAudience) {
		return nil
	}
	return ss
}

func refuseAccount(w http.ResponseWriter) {
	writeJSON(w, http.StatusUnauthorized, errorBody{Error: "HTTP 401 Unauthorized"})
}
