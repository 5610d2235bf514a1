package machine

import (
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// leaseMargin is kept between the end of a lease and the expiry of its token,
// so that a request under way with it is not cut off (rule 4).
const leaseMargin = 5 * time.Second

// minLease is the shortest TTL that is ever answered: Vault takes 0 for the
// mount's default.
const minLease = time.Second

// GrantID names one hand-out of a session to one lease. Boot tells grants of
// this run of the engine from those of an earlier one.
type GrantID struct {
	Boot string
	N    uint64
}

// TokenRef names one token: a session and its generation.
type TokenRef struct {
	Session    SessionID
	Generation int
}

// Token is one access token of a session. It is immutable and shared by all
// grants on it.
type Token struct {
	Ref       TokenRef
	Response  providers.TokenResponse
	ExpiresAt time.Time
}

// left is the longest lease that it can carry now.
func (t *Token) left(now time.Time) time.Duration { return t.ExpiresAt.Sub(now) - leaseMargin }

// Grant is a hand-out: an entry in a set, not a count, so that releasing it
// twice changes nothing.
type Grant struct {
	ID    GrantID
	Mode  providers.Mode
	Token *Token
	// Until is the latest end of a lease on it.
	Until time.Time
	// Stale says why the token could not be refreshed in time; empty: it is well.
	Stale string
}

// Want is what a reader asks for.
type Want struct {
	Mode   providers.Mode
	Scopes []string // sorted
	// MinTTL: the lease must be able to last this long; 0: no matter.
	MinTTL time.Duration
	// OTP is a one-time code typed by a person.
	OTP providers.Secret
	// Force passes the guard, for a check that an operator insists on.
	Force bool
	// Rejected is a token that an API refused (rule 12).
	Rejected TokenRef
	// Renews is the token of a dedicated session's lease that is to be renewed.
	Renews TokenRef
}

// leaseNeeded is the shortest lease that will do.
func (w Want) leaseNeeded() time.Duration { return max(minLease, w.MinTTL) }
