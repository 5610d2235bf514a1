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
	if !acceptsJSON(r) && rl.Release.AccountAPI.Page {
		writePage(w, http.StatusOK, "The account console needs a browser.")
		return
	}
	s.mu.Lock()
	now := s.now()
	current, no := s.accountUser(r, rl)
	if no.refused() {
		s.mu.Unlock()
		no.write(w, r)
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
	s.stats(rl.Name, current.user.account).Listings++
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, list)
}

// endOwnSession is DELETE account/sessions/{id}. It answers 204 for a session
// that is not there, and for another user's, which it leaves alone.
func (s *Server) endOwnSession(w http.ResponseWriter, r *http.Request, rl *realm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	current, no := s.accountUser(r, rl)
	if no.refused() {
		no.write(w, r)
		return
	}
	if ss := rl.session(r.PathValue("id"), s.now()); ss != nil && ss.user == current.user {
		delete(rl.sessions, ss.id)
		s.stats(rl.Name, ss.user.account).Ended++
	}
	w.WriteHeader(http.StatusNoContent)
}

// accountUser returns the session of a request that may use the Account REST API.
func (s *Server) accountUser(r *http.Request, rl *realm) (*session, refusal) {
	api := rl.Release.AccountAPI
	if !api.On || !acceptsJSON(r) {
		return nil, refuse(http.StatusNotFound, "HTTP 404 Not Found", "")
	}
	token, _, ss, reason := s.bearer(r, s.now())
	switch {
	case reason != "" || token.Issuer != rl.issuer(r) || ss == nil:
		return nil, unauthorized.refusal()
	case !slices.Contains(token.Audience, accountAudience):
		return nil, api.Denied.refusal()
	}
	return ss, refusal{}
}
