package paths

import (
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
)

// leaseTTL is how long a lease lasts, in whole seconds (rule 4).
type leaseTTL struct {
	ttl     time.Duration
	warning string // empty: it lasts as long as it was to
}

// shortestLease is the least that is answered: to Vault 0 is the mount's default.
const shortestLease = time.Second

// leaseTTLOf returns the TTL of a lease. Its token lives for life (0: it has no end),
// and was asked to last atLeast.
func leaseTTLOf(target *configs.Target, mount mountTTLs, life, atLeast time.Duration) leaseTTL {
	most, bound := maximum(target, mount), "max_ttl"
	if life > 0 && life < most {
		most, bound = life, "the remaining life of the token"
	}
	asked := target.TTL
	if asked == 0 {
		asked = mount.DefaultLeaseTTL()
		if !target.Token.Empty() { // a new one is to reach who reads again at the end of a lease
			asked = min(asked, time.Hour)
		}
	}
	ttl := min(max(asked, atLeast), most).Truncate(time.Second)
	// The token lasts at least this long: less is the time that passed in here.
	l := leaseTTL{ttl: max(ttl, atLeast, shortestLease)}
	if target.TTL > most {
		l.warning = fmt.Sprintf("config %q: the lease lasts %s, less than the ttl of %s: the bound is %s", target.Config, l.ttl, target.TTL, bound)
	}
	return l
}

// maximum is the most that a lease of a target may last.
func maximum(target *configs.Target, mount mountTTLs) time.Duration {
	most := mount.MaxLeaseTTL()
	if target.MaxTTL > 0 && target.MaxTTL < most {
		most = target.MaxTTL
	}
	return most
}

// response is an answer with a lease; its data is to be filled in.
func response(internal internalData, l leaseTTL) *logical.Response {
	resp := &logical.Response{Secret: &logical.Secret{
		LeaseOptions: logical.LeaseOptions{TTL: l.ttl},
		InternalData: internal.encode(),
	}}
	if l.warning != "" {
		resp.AddWarning(l.warning)
	}
	return resp
}
