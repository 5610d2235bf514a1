package machine

import (
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// drain closes every session and tries every pending logout once more; the
// answer comes when each has succeeded or failed (rules 1 and 10).
func (a *Account) drain(w WaiterID) {
	a.draining = true
	a.drains = append(a.drains, w)
	for _, s := range a.sessions {
		if s.phase == closing && !s.loggingOut && a.canLogOut(s) {
			a.logOut(s)
		}
		a.close(s)
		a.schedule(s)
	}
}

// finishDrains answers the drains once nothing is under way any more.
func (a *Account) finishDrains() {
	if len(a.drains) == 0 || a.tally.underWay() {
		return
	}
	pending := 0
	var last *session
	for s := range a.tally.closing {
		if a.canLogOut(s) {
			pending++
			last = s
		}
	}
	var refusal *Refusal
	if pending > 0 {
		failure := last.rec.pendingLogout().LastError
		refusal = &Refusal{
			Reason:  Upstream,
			Message: counted(pending, "session") + " could not be logged out: " + failure,
			Advice:  "that is tried again in the background",
			Err:     &providers.Error{Kind: providers.Unavailable, Outcome: providers.DidNotHappen, Op: "logout", Message: failure},
		}
	}
	for _, w := range a.drains {
		a.reply(Reply{Waiter: w, Err: refusal})
	}
	a.drains = nil
}
