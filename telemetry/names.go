package telemetry

import (
	"strings"

	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// nameOf is what metrics and events call an occurrence. People's alerts and
// subscriptions hold these names: never change one.
func nameOf(o machine.Occurrence) string {
	switch o {
	case machine.SessionOpened:
		return "session-opened"
	case machine.SessionClosed:
		return "session-closed"
	case machine.LogoutPending:
		return "logout-pending"
	case machine.SessionDropped:
		return "session-dropped"
	case machine.SessionAgedOut:
		return "session-aged-out"
	case machine.LoginLost:
		return "login-lost"
	case machine.LoginFailed:
		return "login-failed"
	case machine.RefreshFailed:
		return "refresh-failed"
	case machine.AccountGuarded:
		return "account-guarded"
	case machine.LedgerWriteLost:
		return "ledger-write-failed"
	case machine.BudgetIsFull:
		return "budget-full"
	case machine.OrphanClosed:
		return "orphan-closed"
	case machine.StrayFound:
		return "stray-found"
	case machine.SessionVanished:
		return "session-vanished"
	case machine.CompareFailed:
		return "list-failed"
	case machine.ListRefused:
		return "list-refused"
	case machine.KeepAliveFailed:
		return "keep-alive-failed"
	}
	return strings.ReplaceAll(string(o), " ", "-")
}
