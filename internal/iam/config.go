package iam

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/otp"
)

// Config is everything that a Server starts from and returns to on Reset.
type Config struct {
	// Now is the server's clock; nil: time.Now.
	Now func() time.Time
	// ClockShift is how far that clock is ahead: a server whose clock is wrong.
	// Server.ShiftClock changes it.
	ClockShift time.Duration
	// DateHeader sends the clock in the header Date, as a proxy in front of
	// Keycloak does. Alone only releases of WildFly send it.
	DateHeader bool
	Realms     []Realm
	Partners   []Partner
}

// Realm is a Keycloak realm. Names are unique within a Server.
type Realm struct {
	Name string
	// PathPrefix is "" or "/auth", the legacy prefix of OCP's environments.
	PathPrefix string
	// Release is the one whose manners the realm has; zero: the newest.
	Release Release

	TokenLife   time.Duration // of an access token, whole seconds; 0: 300 s
	SessionIdle time.Duration // a session not refreshed for so long ends; 0: 1800 s
	SessionMax  time.Duration // no session gets older; 0: 36000 s

	OTP          OTPPolicy
	SessionLimit SessionLimit
	// RevokeRefreshToken rotates refresh tokens: each works once.
	RevokeRefreshToken bool
	// BruteForce turns brute-force protection on, see bruteforce.go.
	BruteForce bool
	// LoginTime is how long a login takes between the checks and the session
	// that it opens. Logins overlap only where it is set.
	LoginTime time.Duration
	// LoginTail is how long after its answer a login is still under way to
	// brute-force protection, which refuses the next one meanwhile.
	LoginTail time.Duration

	// Scopes may be asked for besides openid, email and profile.
	Scopes  []string
	Clients []Client
	Users   []User

	// API is the protected resource that takes this realm's tokens.
	API API
	// Tenant is what a request to Panta's API must carry as X-CLIENT-ID.
	Tenant string
}

// API names the protected resource that takes a realm's tokens.
type API string

// The protected resources of Keycloak realms.
const (
	PantaAPI API = "panta" // GET /api/panta/ping
	OCPAPI   API = "ocp"   // GET /api/ocp/{service}/ping
)

// OTPPolicy says which one-time codes (RFC 6238) a realm takes.
type OTPPolicy struct {
	Digits     otp.Digits    // 0: 6
	Period     time.Duration // whole seconds; 0: 30 s
	Algorithm  otp.Algorithm // zero: SHA1
	LookAround int           // steps before and after the present one; 0: 1
	Reusable   bool          // false, Keycloak's default: a code works once
}

// SessionLimit bounds the sessions of one user in the realm.
type SessionLimit struct {
	Max       int // 0: no limit
	Behaviour Behaviour
	Message   string // of a denial; "": "session limit exceeded"
	// Denial is that of an extension; zero: the release's own, and where it has
	// none (NoLimiter), 401 invalid_grant with the message.
	Denial Answer
}

// Behaviour is what happens to the login that is one too many.
type Behaviour int

// The behaviours of Keycloak's session limit.
const (
	Deny            Behaviour = iota
	TerminateOldest           // the one not used for the longest time
)

// Client is an OAuth 2.0 client of a realm.
type Client struct {
	ID             string
	Secret         string // "": a public client
	DirectGrants   bool   // may use the password grant
	ServiceAccount bool   // may use the client credentials grant
	// UseRefreshToken is the attribute client_credentials.use_refresh_token: see
	// ServiceSessionsIfRefresh.
	UseRefreshToken bool
}

// User is an account of a realm. User names do not differ by case.
type User struct {
	Username string
	Password string
	// TOTPSecret holds the raw bytes, as Keycloak stores them; "": no second
	// factor. An authenticator app takes their base32.
	TOTPSecret string
	// AccountRoles are Keycloak's default roles: the user's tokens have the
	// audience "account" and may use the Account REST API.
	AccountRoles    bool
	Disabled        bool
	RequiredActions []string // pending ones refuse every login
	// PersonalAccessToken is OCP's. A user who has one and does not log in for
	// 90 days is deactivated, and the token dies with it.
	PersonalAccessToken string
}

// Partner is a client of the partner API.
type Partner struct {
	ClientID     string
	ClientSecret string
	TokenLife    time.Duration // 0: 3600 s
	Scopes       []string      // claimed by its tokens, as Laravel Passport does it
}

func (r Realm) withDefaults() Realm {
	setDefault(&r.Release, releases[len(releases)-1])
	setDefault(&r.TokenLife, 300*time.Second)
	setDefault(&r.SessionIdle, 1800*time.Second)
	setDefault(&r.SessionMax, 36000*time.Second)
	setDefault(&r.OTP.Digits, otp.DigitsSix)
	setDefault(&r.OTP.Period, 30*time.Second)
	setDefault(&r.OTP.LookAround, 1)
	setDefault(&r.SessionLimit.Message, "session limit exceeded")
	if r.Release.SessionLimit == NoLimiter {
		setDefault(&r.SessionLimit.Denial, Answer{http.StatusUnauthorized, "invalid_grant", r.SessionLimit.Message})
	}
	r.OTP.Reusable = r.OTP.Reusable || r.Release.CodesWorkTwice
	return r
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// grant returns the scope of a token for the requested one; ok is false where
// the realm does not know a part of it.
func (r Realm) grant(requested string) (scope string, ok bool) {
	granted := []string{"email", "profile"}
	for name := range strings.FieldsSeq(requested) {
		switch {
		case slices.Contains(granted, name):
		case name == "openid":
			granted = append([]string{name}, granted...)
		case slices.Contains(r.Scopes, name):
			granted = append(granted, name)
		case r.Release.IgnoresScopes:
		default:
			return "", false
		}
	}
	return strings.Join(granted, " "), true
}

func (r Realm) client(id string) (Client, bool) {
	i := slices.IndexFunc(r.Clients, func(c Client) bool { return c.ID == id })
	if i < 0 {
		return Client{}, false
	}
	return r.Clients[i], true
}
