package paths

import (
	"fmt"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// useAnswer describes how a session budget stands.
func useAnswer() described {
	return described{
		"budget":             required(text("How many sessions are in use, of how many, and by whom.")),
		"max_sessions":       required(number("The most sessions that may be open at once; 0: no limit.")),
		"in_use":             required(number("How many sessions count towards it.")),
		"open":               required(number("Of these, sessions of this mount that are open or being opened.")),
		"unknown":            required(number("Of these, logins of this mount whose answer was lost.")),
		"waiting_for_logout": required(number("Of these, sessions of this mount whose logout is pending.")),
		"other_mounts":       required(number("Of these, sessions of other Vault mounts, as the server listed them last.")),
		"people":             required(number("Of these, sessions of people and other programs, as the server listed them last.")),
		"strays":             required(number("Of these, sessions with this mount's mark that its ledger never held.")),
		"listed_at":          text("When the server listed the account's sessions last, RFC 3339 in UTC. Left out: never since the plugin was started."),
		"account_api":        required(text("Whether the account may use the server's Account REST API, which lists its sessions: allowed, not available, or not known yet.")),
		"clock":              required(text("How far the server's clock is off.")),
		"clock_drift":        number("How far the server's clock is ahead of this machine's, in seconds. Left out where no answer has shown it."),
	}
}

// describeUse is what useAnswer describes.
func describeUse(answer map[string]any, u machine.Usage, listing machine.Access, clock machine.Clock) {
	answer["budget"] = budgetSentence(u)
	answer["max_sessions"] = u.Limit
	answer["in_use"] = u.Taken()
	answer["open"] = u.Open + u.Opening
	answer["unknown"] = u.Unknown
	answer["waiting_for_logout"] = u.Closing
	answer["other_mounts"] = u.OtherMounts
	answer["people"] = u.People
	answer["strays"] = u.Strays
	setTime(answer, "listed_at", u.ListedAt)
	answer["account_api"] = string(listing)
	answer["clock"] = clock.String()
	if clock.Known {
		answer["clock_drift"] = int(clock.Drift / time.Second)
	}
}

func budgetSentence(u machine.Usage) string {
	sentence := fmt.Sprintf("%d of %d in use", u.Taken(), u.Limit)
	if u.Limit == 0 {
		sentence = fmt.Sprintf("%d in use, no limit", u.Taken())
	}
	if u.Taken() > 0 {
		sentence += " (" + u.String() + ")"
	}
	return sentence
}
