package paths

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// The HTTP statuses that are answered.
const (
	ok              = 200
	noContent       = 204
	badRequest      = 400
	tooManyRequests = 429
	internalError   = 500
	badGateway      = 502
	unavailable     = 503
)

// failure is the only place that turns an error into a status and a sentence.
// Subject is what the request was about, such as `config "eu1"`.
//
// Clients of Vault repeat 412, 429 and 5xx by themselves. A login that may have
// happened is therefore always a 400. A coded error must cross the plugin's
// boundary unwrapped, or it loses its code.
func failure(subject string, err error) (*logical.Response, error) {
	sentence := subject + ": " + err.Error() + storageAdvice(err)
	if status := statusOf(err); status != badRequest {
		return nil, logical.CodedError(status, sentence)
	}
	return logical.ErrorResponse("%s", sentence), nil
}

// storageAdvice is what heals Vault's storage; empty: it is something else. Errors of
// the storage cross the plugin's boundary as text only.
func storageAdvice(err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, logical.ErrSetupReadOnly.Error()):
		return "; this Vault serves the mount with a plugin that was replaced while it ran: seal and unseal it, restart it, or have it step down"
	case strings.Contains(text, logical.ErrReadOnly.Error()):
		return "; this node may not write: ask the active node of the primary cluster"
	}
	return ""
}

func configSubject(name string) string { return fmt.Sprintf("config %q", name) }

func roleSubject(name string) string { return fmt.Sprintf("role %q", name) }

// statusOf goes by the outermost error that it knows: what one is caused by is
// often another of these.
func statusOf(err error) int {
	for ; err != nil; err = errors.Unwrap(err) {
		switch e := err.(type) { //nolint:errorlint // the loop unwraps
		case *configs.Refusal, *providers.FieldError:
			return badRequest
		case *sessions.Error:
			return statusOfSession(e)
		case *providers.Error:
			return statusOfUpstream(e)
		}
	}
	return internalError // Vault's storage
}

func statusOfSession(err *sessions.Error) int {
	if err.AfterLogin {
		return badRequest
	}
	switch err.Reason {
	case machine.Upstream:
		if upstream, ok := errors.AsType[*providers.Error](err.Err); ok {
			return statusOfUpstream(upstream)
		}
		return badRequest
	case machine.BudgetFull, machine.CodeSpent, machine.TooSoon:
		return tooManyRequests
	case machine.Storage:
		return internalError
	case machine.Guarded, machine.CodeNeeded, machine.TooShort, machine.Closed,
		machine.Invalid, machine.Canceled:
		return badRequest
	}
	return badRequest
}

func statusOfUpstream(err *providers.Error) int {
	if err.Outcome != providers.DidNotHappen {
		return badRequest
	}
	switch err.Kind {
	case providers.SessionLimit, providers.Throttled:
		return tooManyRequests
	case providers.Unavailable:
		return unavailable
	case providers.Protocol:
		return badGateway
	case providers.BadCredentials, providers.SessionGone, providers.Misconfigured, providers.NotAllowed:
		return badRequest
	}
	return badRequest
}
