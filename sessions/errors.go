package sessions

import "github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"

// Error is a refusal of the engine: what happened, why, and what to do next.
type Error = machine.Refusal
