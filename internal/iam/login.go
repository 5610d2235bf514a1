package iam

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"
)

const invalidCredentials = "Invalid user credentials"

// login is the password grant.
func (s *Server) login(w http.ResponseWriter, r *http.Request, rl *realm, client Client) {
	username, requested := r.PostForm.Get("username"), r.PostForm.Get("scope")
	scope, known := rl.grant(requested)
	var no refusal
	switch {
	case !client.DirectGrants:
		no = refuse(http.StatusBadRequest, "unauthorized_client", "Client not allowed for direct access grants")
	case !known:
		no = invalidScope(requested)
	case username == "":
		no = refuse(http.StatusUnauthorized, "invalid_request", "Missing parameter: username")
	}
	var u *user
	s.mu.Lock()
	if !no.refused() {
		u, no = s.check(rl, r.PostForm, s.now())
	}
	if no.refused() {
		if username != "" {
			s.stats(rl.Name, username).RefusedLogins++
		}
		s.mu.Unlock()
		no.write(w, r)
		return
	}

	u.loggingIn = true
	if rl.LoginTime > 0 {
		s.mu.Unlock()
		// A server does not notice that the client gave up: the session is
		// opened all the same, only sooner.
		pause(r.Context(), rl.LoginTime)
		s.mu.Lock()
	}
	u.loggingIn = false

	now := s.now()
	u.failures.clear()
	u.lastLogin, u.tailUntil = now, now.Add(rl.LoginTail)
	ss := &session{
		user: u, client: client.ID, scope: scope,
		userAgent: r.UserAgent(), ip: clientIP(r), started: now, lastAccess: now,
	}
	rl.open(ss)
	s.stats(rl.Name, u.Username).Logins++
	s.notePeak(rl, u, now)
	answer := s.issue(rl, ss, rl.issuer(r), now)
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, answer)
}

// check decides about a login, in the order of Keycloak's direct grant flow.
// A code is spent as soon as it is found right, whatever follows.
func (s *Server) check(rl *realm, form url.Values, now time.Time) (*user, refusal) {
	u := rl.user(form.Get("username"))
	switch {
	case u == nil, rl.BruteForce && (rl.busy(u, now) || u.failures.locked(now)):
		return nil, rl.refuseLogin(invalidCredentials)
	case u.disabled(now):
		return nil, invalidGrant("Account disabled") // 400 in every release
	case form.Get("password") != u.Password, u.TOTPSecret != "" && !s.checkOTP(rl, u, form, now):
		if rl.BruteForce {
			u.failures.add(now)
		}
		return nil, rl.refuseLogin(invalidCredentials)
	}
	if no := s.checkLimit(rl, u, now); no.refused() {
		return nil, no
	}
	if len(u.RequiredActions) > 0 {
		return nil, invalidGrant("Account is not fully set up") // 400 in every release
	}
	return u, refusal{}
}

// busy says that another login of the user is under way, where that matters.
func (r *realm) busy(u *user, now time.Time) bool {
	return r.Release.OneLoginAtATime && (u.loggingIn || now.Before(u.tailUntil))
}

func (s *Server) checkOTP(rl *realm, u *user, form url.Values, now time.Time) bool {
	code := form.Get("otp")
	if code == "" {
		code = form.Get("totp")
	}
	switch u.take(rl, code, now) {
	case otpRight:
		return true
	case otpReused:
		s.stats(rl.Name, u.Username).CodeReuses++
	case otpWrong:
	}
	return false
}

// checkLimit holds the user's sessions against the limit. It counts what is
// open now: logins that are still under way slip through, as at Keycloak.
func (s *Server) checkLimit(rl *realm, u *user, now time.Time) refusal {
	open := rl.sessionsOf(u, now)
	if rl.SessionLimit.Max == 0 || len(open) < rl.SessionLimit.Max {
		return refusal{}
	}
	if rl.SessionLimit.Behaviour == TerminateOldest {
		slices.SortStableFunc(open, func(a, b *session) int { return a.lastAccess.Compare(b.lastAccess) })
		for _, ss := range open[:len(open)-rl.SessionLimit.Max+1] {
			delete(rl.sessions, ss.id)
		}
		return refusal{}
	}
	account := s.stats(rl.Name, u.Username)
	account.LimitDenials++
	if len(rl.live(u, now)) < rl.SessionLimit.Max {
		account.StaleDenials++
	}
	if rl.BruteForce {
		u.failures.addDenial(now)
	}
	return rl.denial()
}

// denial is the session limit's refusal.
func (r *realm) denial() refusal {
	switch limit := r.SessionLimit; {
	case limit.Denial != Answer{}:
		return limit.Denial.refusal()
	case r.Release.SessionLimit == LimitAsFailure:
		return refuse(http.StatusUnauthorized, "generic_authentication_error", limit.Message)
	default:
		no := refuse(http.StatusForbidden, limit.Message, "")
		no.page = true
		return no
	}
}

// refuseLogin is invalid_grant with the status of the realm's release.
func (r *realm) refuseLogin(description string) refusal {
	no := invalidGrant(description)
	no.status = r.Release.RefusedGrant
	return no
}

// pause waits, and says whether the client stayed.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
