package contract

import (
	"fmt"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// shape names a kind of realm. All are like OCP's environments.
type shape string

const (
	plain       shape = "plain"       // no limit, no protection, no rotation
	short       shape = "short"       // sessions live for seconds
	idling      shape = "idling"      // sessions may be idle for seconds only
	limited     shape = "limited"     // five sessions, further ones denied
	terminating shape = "terminating" // two sessions, the next one ends the oldest
	protected   shape = "protected"   // brute-force protection
	service     shape = "service"     // the same as plain, for sessions of service accounts
	strict      shape = "strict"      // one session, further ones denied, brute-force protection, rotation
)

// What the realms hold.
const (
	public       = "ocp" // the client of OCP's environments
	confidential = "app"
	web          = "web"     // may not log users in
	keeping      = "keeping" // its service account has refresh tokens
	clientSecret = "app-secret"
	disabled     = "disabled"   // a user
	unfinished   = "unfinished" // a user with something to do first
	password     = "pass word+&="
	rawSecret    = "12345678901234567890" // carol's, for her codes
	ownWords     = "Zu viele Anmeldungen" // of the limited realm's denial

	// period is short, so that a real server's scenarios need not wait long, and
	// long enough for some logins of a busy one within a step.
	period       = 6 * time.Second
	shortIdle    = 12 * time.Second
	shortMaximum = 15 * time.Second

	veryShortIdle = 3 * time.Second
)

// users are those of the scenario with that number, see world.
func users(scenario int) (alice, bob, carol string) {
	return fmt.Sprintf("alice-%02d", scenario), fmt.Sprintf("bob-%02d", scenario), fmt.Sprintf("carol-%02d", scenario)
}

// realm describes a realm of that shape, with a name for this run, and with the
// users of all scenarios that have this shape.
func (s shape) realm(release iam.Release, run string, all []scenario) iam.Realm {
	r := iam.Realm{
		Name: "contract-" + string(s) + "-" + run, PathPrefix: "/auth", Release: release,
		OTP: iam.OTPPolicy{Period: period},
		Clients: []iam.Client{
			{ID: public, DirectGrants: true},
			{ID: confidential, Secret: clientSecret, DirectGrants: true, ServiceAccount: true},
			{ID: web, Secret: clientSecret},
			{ID: keeping, Secret: clientSecret, ServiceAccount: true, UseRefreshToken: true},
		},
		Users: []iam.User{
			{Username: disabled, Password: password, Disabled: true},
			{Username: unfinished, Password: password, RequiredActions: []string{"UPDATE_PASSWORD"}},
		},
	}
	for n, other := range all {
		if other.realm != s {
			continue
		}
		alice, bob, carol := users(n)
		r.Users = append(r.Users,
			iam.User{Username: alice, Password: password, AccountRoles: true},
			iam.User{Username: bob, Password: password},
			iam.User{Username: carol, Password: password, AccountRoles: true, TOTPSecret: rawSecret})
	}
	const slow = 100 * time.Millisecond // so that the emulator's logins overlap, as real ones do
	switch s {
	case plain, service:
	case short:
		r.SessionMax, r.SessionIdle = shortMaximum, shortIdle
	case idling:
		r.SessionIdle = veryShortIdle
	case limited:
		r.SessionLimit = iam.SessionLimit{Max: 5, Message: ownWords}
		r.LoginTime = slow
	case terminating:
		r.SessionLimit = iam.SessionLimit{Max: 2, Behaviour: iam.TerminateOldest}
	case protected:
		r.BruteForce, r.LoginTime, r.LoginTail = true, slow, slow
	case strict:
		r.SessionLimit = iam.SessionLimit{Max: 1}
		r.BruteForce, r.RevokeRefreshToken, r.LoginTail = true, true, slow
	}
	return r
}
