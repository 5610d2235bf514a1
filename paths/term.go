package paths

import (
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
)

// term is how long a lease lasts, in whole seconds (rule 4). Vault counts ttl
// from now and max from the lease's issue. On renewal the caller's increment
// beats ttl, so max alone keeps the lease within its token's life.
type term struct {
	ttl, max time.Duration
	warning  string // empty: it lasts as long as it was to
}

// span is what bounds a lease in time.
type span struct {
	issued, now time.Time
	until       time.Time     // the token's; zero: it has no end
	atLeast     time.Duration // what the token was asked to last
}

// shortestLease is the least that is answered: to Vault 0 is the mount's default.
const shortestLease = time.Second

func termOf(target *configs.Target, mount mountTTLs, s span) term {
	most, bound := maximum(target, mount), "max_ttl"
	if !s.until.IsZero() {
		if life := s.until.Sub(s.issued); life < most {
			most, bound = life, "the remaining life of the token"
		}
	}
	left := most - s.now.Sub(s.issued)

	asked := target.TTL
	if asked == 0 {
		asked = mount.DefaultLeaseTTL()
	}
	ttl := min(max(asked, s.atLeast), left).Truncate(time.Second)
	// The token lasts at least this long: less is the time that passed in here.
	ttl = max(ttl, s.atLeast, shortestLease)
	t := term{ttl: ttl, max: max(most.Truncate(time.Second), ttl)}
	if target.TTL > left {
		t.warning = fmt.Sprintf("config %q: the lease lasts %s, less than the ttl of %s: the bound is %s", target.Config, ttl, target.TTL, bound)
	}
	return t
}

// maximum is the most that a lease of a target may last.
func maximum(target *configs.Target, mount mountTTLs) time.Duration {
	most := mount.MaxLeaseTTL()
	if target.MaxTTL > 0 && target.MaxTTL < most {
		most = target.MaxTTL
	}
	return most
}

// response is an answer with a lease of this term; its data is to be filled in.
func response(internal internalData, t term, renewable bool) *logical.Response {
	resp := &logical.Response{Secret: &logical.Secret{
		LeaseOptions: logical.LeaseOptions{TTL: t.ttl, MaxTTL: t.max, Renewable: renewable},
		InternalData: internal.encode(),
	}}
	if t.warning != "" {
		resp.AddWarning(t.warning)
	}
	return resp
}
