package machine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// purpose is what logins are for, their scopes and parameters, and what is known of
// those with the same. Their readers share one session (rule 3).
type purpose struct {
	scopes  []string
	params  map[string]string
	current *session // the shared session in use

	life     tokenLife
	pause    pause     // of these logins alone
	forcedAt time.Time // when a rejected token last asked for another one
}

// purposesMost is how many are remembered before those that are over are forgotten.
const purposesMost = 100

// purposeOf returns what logins with these scopes and parameters are for.
func (a *Account) purposeOf(scopes []string, params map[string]string) *purpose {
	key := shareKey(scopes, params)
	p := a.purposes[key]
	if p == nil {
		a.forgetPurposes()
		p = &purpose{scopes: scopes, params: params}
		a.purposes[key] = p
	}
	return p
}

// forgetPurposes forgets, where there are many, those that nobody needs.
func (a *Account) forgetPurposes() {
	if len(a.purposes) < purposesMost {
		return
	}
	needed := map[*purpose]bool{}
	for _, s := range a.sessions {
		needed[s.purpose] = true
	}
	for _, w := range a.waiters {
		needed[w.purpose] = true
	}
	maps.DeleteFunc(a.purposes, func(_ string, p *purpose) bool {
		_, known := p.knownLife(a.now)
		return !needed[p] && !known && !a.now.Before(p.pause.until) && !a.now.Before(p.forcedAt.Add(forcedEvery))
	})
}

// shareKey names the shared session of these scopes and parameters.
func shareKey(scopes []string, params map[string]string) string {
	key := strings.Join(scopes, " ")
	if len(params) == 0 {
		return key
	}
	var b strings.Builder
	b.WriteString(key)
	for _, name := range slices.Sorted(maps.Keys(params)) {
		fmt.Fprintf(&b, "\n%q=%q", name, params[name])
	}
	return b.String()
}

// tokenLife is the longest lease that a new token carried when it was new.
type tokenLife struct {
	lease  time.Duration
	seenAt time.Time
}

// relearnLife is how long that is believed before it is tried again: the server's
// administrator may have changed it.
const relearnLife = 15 * time.Minute

func (p *purpose) knownLife(now time.Time) (time.Duration, bool) {
	return p.life.lease, now.Before(p.life.seenAt.Add(relearnLife))
}
