package iam

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// AccountStats counts what happened to one account since New or Reset.
type AccountStats struct {
	Realm   string `json:"realm,omitempty"` // "": the partner API
	Account string `json:"account"`         // user name, or client id for client credentials

	Logins           int `json:"logins"`
	RefusedLogins    int `json:"refused_logins"`
	Refreshes        int `json:"refreshes"`
	RefusedRefreshes int `json:"refused_refreshes"`
	Logouts          int `json:"logouts"`       // sessions ended by logout or revocation
	Ended            int `json:"ended"`         // sessions ended through the Account API
	Listings         int `json:"listings"`      // lists of sessions given by the Account API
	CodeReuses       int `json:"code_reuses"`   // right one-time codes that were spent before
	TokenReuses      int `json:"token_reuses"`  // superseded refresh tokens used under rotation
	LimitDenials     int `json:"limit_denials"` // logins denied by the session limit
	StaleDenials     int `json:"stale_denials"` // of these, those that only sessions caused which had expired
	Sessions         int `json:"sessions"`      // now
	PeakSessions     int `json:"peak_sessions"`
}

// Stats is everything that a Server counts.
type Stats struct {
	// Calls are requests by operation as they arrived, whatever became of them.
	Calls map[Op]int `json:"calls"`
	// Faulted are those of them that a Fault acted on.
	Faulted  map[Op]int     `json:"faulted"`
	Accounts []AccountStats `json:"accounts"` // by realm and account
}

type accountKey struct{ realm, account string }

// stats returns the counters of an account, known or not.
func (s *Server) stats(realm, account string) *AccountStats {
	key := accountKey{realm, strings.ToLower(account)}
	if s.accounts[key] == nil {
		s.accounts[key] = &AccountStats{Realm: realm, Account: account}
	}
	return s.accounts[key]
}

// notePeak is called after a session was opened.
func (s *Server) notePeak(r *realm, u *user, now time.Time) {
	account := s.stats(r.Name, u.account)
	account.PeakSessions = max(account.PeakSessions, len(r.live(u, now)))
}

// Stats returns all counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := Stats{Calls: maps.Clone(s.calls), Faulted: maps.Clone(s.faulted), Accounts: []AccountStats{}}
	for key := range s.accounts {
		all.Accounts = append(all.Accounts, s.snapshot(key))
	}
	slices.SortFunc(all.Accounts, func(a, b AccountStats) int {
		return cmp.Or(cmp.Compare(a.Realm, b.Realm), cmp.Compare(a.Account, b.Account))
	})
	return all
}

// AccountStats returns the counters of one account; all zero where nothing
// happened to it yet. The realm of the partner API is "".
func (s *Server) AccountStats(realm, account string) AccountStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats(realm, account)
	return s.snapshot(accountKey{realm, strings.ToLower(account)})
}

func (s *Server) snapshot(key accountKey) AccountStats {
	account := *s.accounts[key]
	u := s.lookup(key.realm, key.account)
	if u == nil {
		u = s.lookup(key.realm, serviceAccount(key.account))
	}
	if u != nil {
		account.Sessions = len(s.realms[key.realm].live(u, s.now()))
	}
	return account
}
