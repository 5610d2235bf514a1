package iam

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Release is a Keycloak release with its manners: what a client sees one release
// do otherwise than another. providers/contract tries each on a real server.
type Release struct {
	// Name is the version. "9.0.3-api" is 9.0.3 with the Account REST API, which
	// that release has switched off.
	Name string

	// WildFly is what the releases before 17 run on. It sends a header Date.
	WildFly bool

	TokenType string // of answers
	// A token says which session it belongs to by one claim, the other or both.
	SIDClaim, SessionStateClaim bool
	ShortSessionIDs             bool // 24 URL-safe characters; else a UUID

	RefusedGrant    int // the status of "Invalid user credentials"
	UnknownClient   Answer
	WrongSecret     string // the description of unauthorized_client
	MissingSecret   string // the same, for a confidential client that sends none
	IgnoresScopes   bool   // unknown ones are left out without a word
	CodesWorkTwice  bool   // one-time codes, whatever OTPPolicy says
	NextStepCodes   bool   // one-time codes of the step after the present one are taken
	OneLoginAtATime bool   // with brute-force protection, while a login of the user is under way

	// CountsIdle says that a session which has been idle for too long, or is too old,
	// goes on to be listed and to count until the server clears up.
	CountsIdle bool
	// SessionLimit is the denial; its zero value: the release has no limiter.
	SessionLimit SessionLimitManner
	// ServiceSessions says when client credentials open a session.
	ServiceSessions ServiceSessions
	Reuse           Reuse
	Revocation      Revocation
	// LogoutAnywhere says that a logout takes tokens issued under another host name.
	LogoutAnywhere bool

	AccountAPI AccountAPI
}

// Version is the name without what was switched on.
func (r Release) Version() string {
	version, _, _ := strings.Cut(r.Name, "-")
	return version
}

// Major is the version's first number.
func (r Release) Major() int {
	major, _, _ := strings.Cut(r.Name, ".")
	n, _ := strconv.Atoi(major) // every name begins with a number
	return n
}

// Answer is an OAuth 2.0 error (RFC 6749 section 5.2) with its status.
type Answer struct {
	Status             int
	Error, Description string
}

// SessionLimitManner is how a denial of the session limit is worded.
type SessionLimitManner int

// The manners of session limits.
const (
	NoLimiter      SessionLimitManner = iota // what denies is an extension, see SessionLimit.Denial
	LimitAsFailure                           // 401 generic_authentication_error, the realm's words as description
	LimitForbidden                           // 403, the realm's words as error, or a page
)

// ServiceSessions says when client credentials open a session.
type ServiceSessions int

// The manners of client credentials.
const (
	ServiceSessionsAlways    ServiceSessions = iota
	ServiceSessionsIfRefresh                 // of clients with Client.UseRefreshToken
)

// Reuse is what the reuse of a superseded refresh token does under rotation.
type Reuse int

// What a reuse leaves of the session.
const (
	ReuseIsRefused     Reuse = iota // everything else still works
	ReuseEndsRefreshes              // the newest refresh token is dead, access tokens still list
	ReuseEndsTokens                 // access tokens are dead as well
)

// Revocation is what RFC 7009 revocation of a refresh token ends.
type Revocation int

// The reaches of revocation.
const (
	NoRevocation   Revocation = iota // there is no such endpoint
	RevokesClient                    // all sessions of the user with that client
	RevokesSession                   // the session of the token
)

// AccountAPI is how the Account REST API answers.
type AccountAPI struct {
	On     bool
	Denied Answer // to a token without the account roles
	// Page says that without Accept: application/json there is the console's page;
	// else there is a 404.
	Page bool
}

// Releases returns those that were tried, the oldest first.
func Releases() []Release { return slices.Clone(releases) }

// LookupRelease finds a release by its name.
func LookupRelease(name string) (Release, bool) {
	i := slices.IndexFunc(releases, func(r Release) bool { return r.Name == name })
	if i < 0 {
		return Release{}, false
	}
	return releases[i], true
}

// release is LookupRelease for a name that is known.
func release(name string) Release {
	r, ok := LookupRelease(name)
	if !ok {
		panic("iam: no release " + name)
	}
	return r
}

const invalidClient = "Invalid client or Invalid client credentials"

var (
	unauthorized = Answer{Status: http.StatusUnauthorized, Error: "HTTP 401 Unauthorized"}

	keycloak9 = Release{
		Name: "9.0.3", WildFly: true, TokenType: "bearer", SessionStateClaim: true,
		RefusedGrant:  http.StatusUnauthorized,
		UnknownClient: Answer{http.StatusBadRequest, "unauthorized_client", "INVALID_CREDENTIALS: Invalid client credentials"},
		WrongSecret:   "Invalid client secret", MissingSecret: "Client secret not provided in request",
		IgnoresScopes: true, CodesWorkTwice: true, CountsIdle: true, LogoutAnywhere: true,
		AccountAPI: AccountAPI{Page: true},
	}
	keycloak16 = Release{
		Name: "16.1.1", WildFly: true, TokenType: "Bearer", SIDClaim: true, SessionStateClaim: true,
		RefusedGrant:  http.StatusUnauthorized,
		UnknownClient: Answer{http.StatusBadRequest, "invalid_client", "Invalid client credentials"},
		WrongSecret:   "Invalid client secret", MissingSecret: "Client secret not provided in request",
		CodesWorkTwice: true, NextStepCodes: true, CountsIdle: true, LogoutAnywhere: true,
		ServiceSessions: ServiceSessionsIfRefresh, Reuse: ReuseEndsRefreshes, Revocation: RevokesClient,
		AccountAPI: AccountAPI{On: true, Denied: unauthorized},
	}
	keycloak26 = Release{
		Name: "26.7.0", TokenType: "Bearer", SIDClaim: true, ShortSessionIDs: true,
		RefusedGrant:  http.StatusBadRequest,
		UnknownClient: Answer{http.StatusUnauthorized, "invalid_client", invalidClient},
		WrongSecret:   invalidClient, MissingSecret: invalidClient,
		NextStepCodes: true, OneLoginAtATime: true, SessionLimit: LimitForbidden,
		ServiceSessions: ServiceSessionsIfRefresh, Reuse: ReuseEndsTokens, Revocation: RevokesSession,
		AccountAPI: AccountAPI{On: true, Denied: unauthorized, Page: true},
	}
)

// releases are told as changes from a neighbour.
var releases = func() []Release {
	with := func(r Release, name string, change func(r *Release)) Release {
		r.Name = name
		change(&r)
		return r
	}
	keycloak9API := with(keycloak9, "9.0.3-api", func(r *Release) {
		r.AccountAPI.On, r.AccountAPI.Denied = true, Answer{Status: http.StatusForbidden, Error: "unknown_error"}
	})
	keycloak18 := with(keycloak16, "18.0.2", func(r *Release) {
		r.WildFly, r.SessionLimit, r.Reuse = false, LimitAsFailure, ReuseEndsTokens
	})
	keycloak22 := with(keycloak18, "22.0.5", func(r *Release) {
		r.UnknownClient, r.WrongSecret, r.MissingSecret = keycloak26.UnknownClient, invalidClient, invalidClient
		r.CodesWorkTwice, r.CountsIdle = false, false
	})
	keycloak24 := with(keycloak22, "24.0.5", func(r *Release) {
		r.SessionLimit, r.LogoutAnywhere = LimitForbidden, false
	})
	keycloak260 := with(keycloak24, "26.0.8", func(r *Release) {
		r.SessionStateClaim, r.OneLoginAtATime, r.AccountAPI.Page = false, true, true
	})
	keycloak264 := with(keycloak26, "26.4.7", func(r *Release) {
		r.RefusedGrant, r.ShortSessionIDs = http.StatusUnauthorized, false
	})
	return []Release{keycloak9, keycloak9API, keycloak16, keycloak18, keycloak22, keycloak24, keycloak260, keycloak264, keycloak26}
}()
