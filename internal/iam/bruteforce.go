package iam

import "time"

// Brute-force protection with Keycloak's defaults. What is kept from it: two
// failures within a second, or thirty, lock the user out for a minute, and
// while a login of the user is under way, and for a moment after its answer,
// others are refused. A lock-out looks like a wrong password.
const (
	quickFailure = time.Second
	failureLimit = 30
	lockOut      = time.Minute
)

// failures are the failed logins of one user.
type failures struct {
	count       int
	last        time.Time
	lastDenial  time.Time
	lockedUntil time.Time
}

func (f *failures) locked(now time.Time) bool { return now.Before(f.lockedUntil) }

// add counts a failed login.
func (f *failures) add(now time.Time) {
	quick := !f.last.IsZero() && now.Sub(f.last) < quickFailure
	f.count++
	f.last = now
	if quick || f.count >= failureLimit {
		f.lockedUntil = now.Add(lockOut)
	}
}

// addDenial counts a denial of the session limit, which is a failure as well.
// Keycloak wants the second one within a second; a minute here, so that a slow
// test and virtual time see the lock-out that a busy service would.
func (f *failures) addDenial(now time.Time) {
	f.add(now)
	if !f.lastDenial.IsZero() && now.Sub(f.lastDenial) < lockOut {
		f.lockedUntil = now.Add(lockOut)
	}
	f.lastDenial = now
}

// clear forgets them all: a login succeeded.
func (f *failures) clear() { *f = failures{} }
