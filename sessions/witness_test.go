package sessions_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// heard is what the plugin has heard from the server, and so what it may not
// do for a while (rules 1, 6, 7 and 8). All its times are the server's.
type heard struct {
	// What a new life of the plugin need not know.
	loginsRest  time.Time            // the server asked for a pause, or needs one after a login
	refreshRest map[string]time.Time // the same of a session's refreshes
	lost        time.Time            // the outcome of a login was unknown
	scopes      map[string]refusals  // of logins with scopes that the server does not know
	others      map[string]listing   // the sessions of people and other mounts in the newest list

	// What outlives the plugin.
	credentials refusals // logins refused for their credentials, without a typed code
	typed       refusals // typed codes that were refused

	verifying bool // a config: that passes the guard

	// Why an account may be closed, since a login succeeded or the config was written.
	typedRefused, codelessRefused int

	deaths   int       // of the plugin, before this life
	issued   []issue   // the tokens of the last while, oldest first
	slowAt   time.Time // when a write was slow, or failed, last
	noListAt time.Time // when a token that is surely good was refused a list
}

// refusals are those in a row.
type refusals struct {
	n  int
	at time.Time // of the last one; zero: it is not held against the plugin
}

func (r refusals) again() refusals { return refusals{n: r.n + 1, at: time.Now()} }

// until is when the next one may be risked.
func (r refusals) until(first time.Duration, n int) time.Time {
	if r.at.IsZero() || n < 1 {
		return time.Time{}
	}
	return r.at.Add(min(longestRest, first<<min(n-1, 10)))
}

// listing is what lists said of another's session.
type listing struct {
	since time.Time // it is in each
	used  time.Time
}

// issue is a token that was handed to the plugin.
type issue struct {
	at   time.Time
	life time.Duration
}

const (
	// longestRest is the longest time for which rule 7 closes an account.
	longestRest = 15 * time.Minute
	// scopesRest follows the first login with scopes that the server does not know (rule 7).
	scopesRest = 10 * time.Second
	// lifeBelieved is how long a learnt life of tokens is believed.
	lifeBelieved = 15 * time.Minute
	// deathMargin is added before a session is taken for dropped by the server (rule 1).
	deathMargin = time.Minute
)

// beginLife forgets what the plugin forgets when it is started. What it stores it still
// knows, unless a write may have failed or its death came first.
func (w *world) beginLife() {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := &w.heard
	h.loginsRest, h.lost, h.others = time.Time{}, time.Time{}, nil
	h.refreshRest, h.scopes = map[string]time.Time{}, map[string]refusals{}
	for _, r := range []*refusals{&h.credentials, &h.typed} {
		if w.deaths != h.deaths || w.storageDelay > 0 || !w.trouble.Before(r.at) {
			*r = refusals{}
		}
	}
	h.deaths = w.deaths
	if w.forgetsOld {
		for id, s := range w.sessions {
			newest := fmt.Sprintf("rt-%s.%d", id, s.generation)
			s.adrift = s.adrift || w.recorded[s.attempt] != newest // it died with the plugin
		}
	}
}

// reopen forgets what a write of the config takes back. What the server asked for stays.
func (w *world) reopen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := &w.heard
	h.lost, h.credentials, h.typed = time.Time{}, refusals{}, refusals{}
	h.typedRefused, h.codelessRefused = 0, 0
	clear(h.scopes)
}

// forgetOldRefusals forgets what the plugin does of an account that has lost its config:
// its guard, an hour after the last refusal.
func (w *world) forgetOldRefusals() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range []*refusals{&w.heard.credentials, &w.heard.typed} {
		if time.Since(r.at) >= time.Hour {
			*r = refusals{}
		}
	}
	if time.Since(w.deniedAt) >= time.Hour {
		w.deniedInARow = 0
	}
	// What it holds of scopes, and of others, is in its memory alone.
	maps.DeleteFunc(w.heard.scopes, func(_ string, r refusals) bool { return !time.Now().Before(r.until(scopesRest, r.n)) })
	w.heard.others = nil
}

// passGuard says whether a login may come in spite of refusals: a config is verified.
func (w *world) passGuard(verifying bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard.verifying = verifying
	w.heard.credentials, w.heard.typed = refusals{}, refusals{}
}

// judgeLogin is called with each login that arrives.
func (w *world) judgeLogin(r providers.LoginRequest) {
	if !w.strict {
		return
	}
	h, now := &w.heard, time.Now()
	early := func(until time.Time, why string) {
		if now.Before(until) {
			w.t.Errorf("rule 7: a login %s too early, after %s; the last calls: %v", until.Sub(now), why, w.lastCalls())
		}
	}
	early(h.loginsRest, "the server asked for a pause")
	if !h.lost.IsZero() {
		early(h.lost.Add(10*time.Second), "one of unknown outcome")
	}
	refused := h.scopes[strings.Join(r.Scopes, " ")]
	early(refused.until(scopesRest, refused.n), "the same scopes were refused")
	if h.verifying {
		return
	}
	if r.OTP.Empty() && (!w.limits.Capabilities.OneTimeCode || w.limits.Capabilities.GeneratesCode) {
		early(h.credentials.until(30*time.Second, h.credentials.n), "the credentials were refused")
	}
	early(h.typed.until(30*time.Second, h.typed.n-4), "five typed codes in a row were refused")
}

// judgeIntent has the ledger hold a login that arrives for as long as the server would
// keep its session, if its answer were lost: an idle time from the end of the login's
// deadline, and a margin (rule 1). One sent too late after its intent breaks that.
func (w *world) judgeIntent(ctx context.Context, attempt string) {
	if w.wallClock { // DiesAt may be by a clock that has been set since
		return
	}
	entry, err := w.storage.Get(ctx, "session/"+string(accountID)+"/"+attempt)
	if err != nil || entry == nil { // another account's; see unlisted
		return
	}
	var stored struct {
		Entry struct {
			DiesAt time.Time `json:"dies_at"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(entry.Value, &stored); err != nil {
		w.t.Errorf("%s: %v", attempt, err)
	}
	deadline, _ := ctx.Deadline()
	kept := deadline.Add(w.ahead).Add(min(w.idle, w.maxAge)).Add(deathMargin)
	if dies := stored.Entry.DiesAt; w.idle <= 30*time.Minute && dies.Before(kept) {
		w.t.Errorf("rule 1: a login is sent whose session counts until %s, and may be kept until %s; the last calls: %v", dies, kept, w.lastCalls())
	}
}

// heardLogin takes in what the plugin got to know of a login.
func (w *world) heardLogin(r providers.LoginRequest, got providers.TokenResponse, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h, now, key := &w.heard, time.Now(), strings.Join(r.Scopes, " ")
	pause := w.limits.Capabilities.LoginPause
	if err == nil {
		h.lost, h.credentials, h.typed = time.Time{}, refusals{}, refusals{}
		h.typedRefused, h.codelessRefused = 0, 0
		delete(h.scopes, key)
		w.issuedTo(got)
	}
	h.loginsRest = now.Add(pause)
	failure, _ := errors.AsType[*providers.Error](err)
	switch {
	case failure == nil:
	case failure.Outcome != providers.DidNotHappen:
		h.lost = now
	case failure.Kind == providers.Throttled, failure.Kind == providers.Unavailable:
		h.loginsRest = now.Add(max(pause, failure.RetryAfter))
	case slices.Contains(r.Scopes, w.unknownScope):
		h.scopes[key] = h.scopes[key].again()
	case failure.Kind != providers.BadCredentials:
	case !r.OTP.Empty():
		h.typed = h.typed.again()
		h.typedRefused++
	default:
		h.credentials = h.credentials.again()
		h.codelessRefused++
	}
}

// heardList takes in what a list told of the sessions of others.
func (w *world) heardList(list []providers.ServerSession) {
	w.mu.Lock()
	defer w.mu.Unlock()
	others := map[string]listing{}
	for _, l := range list {
		if strings.HasPrefix(l.UserAgent, person) || w.neighbour != nil && w.neighbour.sessions[l.ID] != nil {
			others[l.ID] = listing{since: cmp.Or(w.heard.others[l.ID].since, time.Now()), used: l.LastAccess}
		}
	}
	w.heard.others = others
}

// judgeDenial: who knows of every session that takes a place sends no login (rules 2 and 11).
// What a list of the last minute told may have come after its intent.
func (w *world) judgeDenial() {
	known := len(w.sessions)
	for id, l := range w.heard.others {
		f := w.foreign[id]
		open := f != nil && f.used.Equal(l.used) || w.neighbour != nil && w.neighbour.sessions[id] != nil
		if open && time.Since(l.since) > time.Minute && time.Since(l.used) < w.idle {
			known++
		}
	}
	if known >= w.limits.MaxSessions && w.strict {
		w.t.Errorf("rules 2 and 11: the server had to deny a session, but all that it had were known: %v; the last calls: %v", w.heard.others, w.lastCalls())
	}
}

// judgeRefresh is called with each refresh that arrives.
func (w *world) judgeRefresh(id string) {
	if until := w.heard.refreshRest[id]; time.Now().Before(until) {
		w.t.Errorf("rule 7: a refresh of %s although the server asked for a pause until %s; the last calls: %v", id, until, w.lastCalls())
	}
}

// heardRefresh takes in what the plugin got to know of a refresh.
func (w *world) heardRefresh(id string, got providers.TokenResponse, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.issuedTo(got)
	}
	if failure, ok := errors.AsType[*providers.Error](err); ok && failure.Kind == providers.Throttled {
		w.heard.refreshRest[id] = time.Now().Add(failure.RetryAfter)
	}
}

func (w *world) issuedTo(got providers.TokenResponse) {
	h := &w.heard
	h.issued = slices.DeleteFunc(h.issued, func(i issue) bool { return time.Since(i.at) > lifeBelieved+time.Minute })
	h.issued = append(h.issued, issue{at: time.Now(), life: got.ExpiresIn})
}

// judgeReleased: the end of a dedicated lease ends its session at the server, if nothing
// has failed since it was opened (rules 3 and 5).
func (w *world) judgeReleased(l sessions.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire()
	s := w.sessions[sessionOf(l.Token.AccessToken)]
	switch {
	case s == nil, l.Ref.Mode != providers.Dedicated, !w.limits.Capabilities.Logout:
	case s.oldSecret, s.adrift, w.down, !w.trouble.Before(s.started):
	case w.noRefreshTokens && time.Until(s.expires) < clockSteps+time.Second: // by its host's clock it is gone
	default:
		w.t.Errorf("rule 3: a lease has ended and its session is open: %+v; the last calls: %v", *s, w.lastCalls())
	}
}

// lastIssue is when the newest token was handed over.
func (h *heard) lastIssue() time.Time {
	if len(h.issued) == 0 {
		return time.Time{}
	}
	return h.issued[len(h.issued)-1].at
}

// lastCalls are the last that the server answered.
func (w *world) lastCalls() []string { return w.trail[max(0, len(w.trail)-15):] }

// judgeRefusal: nobody is refused for what another one did, or for what is not so any
// more (rules 7 and 12).
func (w *world) judgeRefusal(r sessions.Request, err error) {
	refusal, ok := errors.AsType[*sessions.Error](err)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	h := &w.heard
	typing := w.limits.Capabilities.OneTimeCode && !w.limits.Capabilities.GeneratesCode
	closed := refusal.Reason == machine.Guarded && strings.HasPrefix(refusal.Message, "the account is closed")
	switch {
	case strings.Contains(refusal.Message, unknownScope) && !slices.Contains(r.Scopes, w.unknownScope):
		w.t.Errorf("rule 7: scopes that were not asked for keep a reader out: %v", err)
	case closed && typing && h.typedRefused < 5 && h.codelessRefused == 0:
		w.t.Errorf("rule 7: the account is closed after %d refused codes that were typed: %v", h.typedRefused, err)
	case refusal.Reason == machine.TooShort && time.Since(h.slowAt) > lifeBelieved+5*time.Minute:
		enough := func(i issue) bool { return i.life-6*time.Second >= max(r.MinTTL, time.Second) }
		if !slices.ContainsFunc(h.issued, func(i issue) bool { return time.Since(i.at) <= lifeBelieved+time.Minute && !enough(i) }) {
			w.t.Errorf("rule 4: no token of the last while was so short: %v; tokens live %s", err, w.tokenLife)
		}
	}
}
