package iam

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"
)

// session is a user session, with the one client that logged in to it.
type session struct {
	id                  string
	user                *user
	client              string
	scope               string
	userAgent, ip       string
	started, lastAccess time.Time
	// attached says that the client still belongs to the session. The reuse of
	// a refresh token detaches it: nothing refreshes any more, and yet the
	// session counts until it is logged out.
	attached  bool
	refreshID string // jti of the newest refresh token
}

// Session is what the server knows of a session.
type Session struct {
	ID         string
	Realm      string
	Username   string
	ClientID   string
	UserAgent  string // as the login sent it
	Browser    string // as the Account API shows it
	IPAddress  string
	Started    time.Time
	LastAccess time.Time
	Expires    time.Time // if it is not refreshed
	// Refreshable is false after the reuse of a superseded refresh token.
	Refreshable bool
}

func (r *realm) expires(ss *session) time.Time {
	idle, oldest := ss.lastAccess.Add(r.SessionIdle), ss.started.Add(r.SessionMax)
	if idle.Before(oldest) {
		return idle
	}
	return oldest
}

// session returns the session with the id, or nil.
func (r *realm) session(id string, now time.Time) *session {
	r.prune(now)
	return r.sessions[id]
}

// sessionsOf returns the user's sessions that count, the oldest first.
func (r *realm) sessionsOf(u *user, now time.Time) []*session {
	r.prune(now)
	var own []*session
	for _, ss := range r.sessions {
		if ss.user == u {
			own = append(own, ss)
		}
	}
	slices.SortFunc(own, func(a, b *session) int {
		return cmp.Or(a.started.Compare(b.started), cmp.Compare(a.id, b.id))
	})
	return own
}

// clearUp is when a server with Release.CountsIdle drops what has expired: 2 to 17
// minutes later.
const clearUp = 10 * time.Minute

func (r *realm) prune(now time.Time) {
	if r.Release.CountsIdle {
		now = now.Add(-clearUp)
	}
	maps.DeleteFunc(r.sessions, func(_ string, ss *session) bool { return !now.Before(r.expires(ss)) })
}

// live returns those of a user's sessions that have not expired.
func (r *realm) live(u *user, now time.Time) []*session {
	return slices.DeleteFunc(r.sessionsOf(u, now), func(ss *session) bool { return !now.Before(r.expires(ss)) })
}

func (r *realm) open(ss *session) {
	ss.id = newUUID()
	if r.Release.ShortSessionIDs {
		ss.id = newID()
	}
	ss.attached = true
	r.sessions[ss.id] = ss
}

func (r *realm) describe(ss *session) Session {
	return Session{
		ID: ss.id, Realm: r.Name, Username: ss.user.Username, ClientID: ss.client,
		UserAgent: ss.userAgent, Browser: browser(ss.userAgent), IPAddress: ss.ip,
		Started: ss.started, LastAccess: ss.lastAccess, Expires: r.expires(ss), Refreshable: ss.attached,
	}
}

// Sessions returns the user's live sessions, the oldest first.
func (s *Server) Sessions(realm, username string) []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.lookup(realm, username)
	if u == nil {
		return nil
	}
	var list []Session
	for _, ss := range s.realms[realm].live(u, s.now()) {
		list = append(list, s.realms[realm].describe(ss))
	}
	return list
}

// Counted is how many sessions of the user count for the server: those that it has
// not dropped yet are among them.
func (s *Server) Counted(realm, username string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.lookup(realm, username)
	if u == nil {
		return 0
	}
	return len(s.realms[realm].sessionsOf(u, s.now()))
}

// OpenSession opens a session as a person does in a browser, past one-time
// codes and limits. It says whether there is such a user.
func (s *Server) OpenSession(realm, username, userAgent string) (Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.lookup(realm, username)
	if u == nil {
		return Session{}, false
	}
	r, now := s.realms[realm], s.now()
	ss := &session{
		user: u, client: "account-console", scope: "openid email profile",
		userAgent: userAgent, ip: "127.0.0.1", started: now, lastAccess: now,
	}
	r.open(ss)
	u.lastLogin = now
	s.notePeak(r, u, now)
	return r.describe(ss), true
}

// EndSession ends a session as an administrator does. It says whether the
// session was there.
func (s *Server) EndSession(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.realms {
		if r.session(id, s.now()) != nil {
			delete(r.sessions, id)
			return true
		}
	}
	return false
}

// EndAllSessions ends every session, as a restart without a database does, and
// returns how many there were.
func (s *Server) EndAllSessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := 0
	for _, r := range s.realms {
		r.prune(s.now())
		ended += len(r.sessions)
		clear(r.sessions)
	}
	return ended
}

func clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// newID returns 24 URL-safe characters.
func newID() string {
	var b [18]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
