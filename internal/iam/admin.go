package iam

import "net/http"

// adminSession is a session for the eyes of a test or a script.
type adminSession struct {
	ID         string            `json:"id"`
	Username   string            `json:"username"`
	IPAddress  string            `json:"ipAddress"`
	Start      int64             `json:"start"`
	LastAccess int64             `json:"lastAccess"`
	Clients    map[string]string `json:"clients"`
	Browser    string            `json:"browser"`
	UserAgent  string            `json:"userAgent"`
}

// adminSessions is Keycloak's GET users/{id}/sessions, but for the user's name
// and without authentication, so that a script can count with curl alone.
func (s *Server) adminSessions(w http.ResponseWriter, r *http.Request) {
	realm, username := r.PathValue("realm"), r.PathValue("username")
	s.mu.Lock()
	known := s.lookup(realm, username) != nil
	s.mu.Unlock()
	if !known {
		writeJSON(w, http.StatusNotFound, errorBody{Error: "User not found"})
		return
	}
	list := []adminSession{}
	for _, ss := range s.Sessions(realm, username) {
		list = append(list, adminSession{
			ID: ss.ID, Username: ss.Username, IPAddress: ss.IPAddress,
			Start: ss.Started.UnixMilli(), LastAccess: ss.LastAccess.UnixMilli(),
			Clients: map[string]string{ss.ClientID: ss.ClientID},
			Browser: ss.Browser, UserAgent: ss.UserAgent,
		})
	}
	writeJSON(w, http.StatusOK, list)
}
