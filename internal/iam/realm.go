package iam

import (
	"strings"
	"time"
)

// realm is a Realm at work. The Server's mutex guards all of it but the
// embedded configuration, which does not change.
type realm struct {
	Realm
	users    map[string]*user // by lower-case name
	sessions map[string]*session
}

// user is a User at work.
type user struct {
	User
	account   string // what AccountStats call it
	id        string
	spent     map[string]time.Time // one-time codes and when they are forgotten
	failures  failures
	loggingIn bool
	tailUntil time.Time // the last login is still under way, Realm.LoginTail
	lastLogin time.Time
}

// inactiveAfter is how long OCP lets a user with a personal access token go
// without a login.
const inactiveAfter = 90 * 24 * time.Hour

func newRealm(cfg Realm, now time.Time) *realm {
	r := &realm{Realm: cfg.withDefaults(), users: map[string]*user{}, sessions: map[string]*session{}}
	for _, u := range cfg.Users {
		r.users[strings.ToLower(u.Username)] = &user{
			User: u, account: u.Username, id: newUUID(), spent: map[string]time.Time{}, lastLogin: now,
		}
	}
	return r
}

// serviceUser is the service account of a client, made when it is first used. It
// has the roles of any new user.
func (r *realm) serviceUser(c Client, now time.Time) *user {
	name := serviceAccount(c.ID)
	if r.users[name] == nil {
		r.users[name] = &user{User: User{Username: name, AccountRoles: true}, account: c.ID, id: newUUID(), lastLogin: now}
	}
	return r.users[name]
}

func serviceAccount(clientID string) string { return "service-account-" + strings.ToLower(clientID) }

func (r *realm) user(name string) *user { return r.users[strings.ToLower(name)] }

// disabled says that the user was disabled, or was deactivated for not logging in.
func (u *user) disabled(now time.Time) bool {
	return u.Disabled || u.PersonalAccessToken != "" && now.Sub(u.lastLogin) >= inactiveAfter
}

// UpdateUser changes a user as an administrator would: a new password, a
// required action, disabled. It says whether there is such a user.
func (s *Server) UpdateUser(realm, username string, change func(*User)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.lookup(realm, username)
	if u == nil {
		return false
	}
	change(&u.User)
	return true
}

func (s *Server) lookup(realm, username string) *user {
	r := s.realms[realm]
	if r == nil {
		return nil
	}
	return r.user(username)
}
