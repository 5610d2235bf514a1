package oauth2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// # What an answer means
//
// A login that is wrongly held to have failed leaves a session behind; one that
// is wrongly held to be open takes a place in the budget. So the outcome is
// known only where the answer leaves no doubt:
//
//	what came back                          kind               outcome
//	no connection, DNS, TLS, proxy          unavailable        did not happen
//	sent, then silence, reset, time is up   unavailable        unknown
//	2xx, usable tokens                      –                  (success)
//	2xx, JSON object, error, no token       by FailureRule     did not happen
//	2xx, JSON object, tokens of no use      misconfigured      happened (*)
//	2xx, else: HTML, empty, too big, cut    protocol           unknown
//	2xx, cut by the time limit              unavailable        unknown
//	logout, end: 2xx that is not a page     –                  (success)
//	revocation: any 2xx, invalid_token      –                  (success)
//	end: 404                                –                  (success)
//	3xx                                     protocol           did not happen
//	429                                     throttled          did not happen
//	4xx                                     by FailureRule     did not happen
//	any, its words are of a session limit   session limit      did not happen
//	503                                     unavailable        did not happen
//	503, Envoy lost the server's connection unavailable        unknown
//	502, 504                                unavailable        unknown
//	500, other 5xx, anything else           protocol           unknown
//
// (*) What was granted so counts until it is closed, or of age. Where there is nothing
// that could be closed or listed, nothing counts, and it did not happen: see
// leftBehind.
//
// A 4xx needs no readable body: the status alone says that it was refused. 503
// is what Keycloak answers when its queue of requests is full, before it looks
// at one; a proxy says it when it has no server to ask. 502 and 504 are proxies
// that did ask one.

// tokens reads the answer to a login or a refresh. A failure of outcome Happened
// comes with the tokens that there are.
func (t *attempt) tokens(a answer) (providers.TokenResponse, *providers.Error) {
	if a.status/100 != 2 {
		return providers.TokenResponse{}, t.refused(a)
	}
	if a.cut != nil {
		return providers.TokenResponse{}, t.unreadable(a)
	}
	got, err := decodeTokens(a.body, t.connection.TokenTTL)
	switch {
	case errors.Is(err, errNotTokens):
		return providers.TokenResponse{}, t.unreadable(a)
	case err == nil:
		return got, nil
	case got.AccessToken.Empty() && got.RefreshToken.Empty() && readRefusal(a).code != "":
		return providers.TokenResponse{}, t.refused(a)
	}
	return got, t.failed(providers.Misconfigured, providers.Happened, err.Error(),
		"the answer is of no use; correct the client's settings at the identity server, or "+t.endpointField()+" if this is not one")
}

// loggedOut reads the answer to a logout, or to the end of a session by its id;
// nil: the session is ended.
func (t *attempt) loggedOut(a answer) error {
	revokes := t.op == Logout && t.connection.RevocationURL != ""
	switch {
	case t.op == End && a.status == http.StatusNotFound:
		return nil
	case revokes && a.status == http.StatusBadRequest && readRefusal(a).code == "invalid_token":
		return nil // RFC 7009 section 2.2 has 200 for a token that is not known
	case a.status/100 != 2:
		return t.refused(a)
	// A page is that of a wrong address, or Keycloak's for people, which asks whether
	// to log out. RFC 7009 section 2.2 ignores what a revocation's answer has.
	case isPage(a) && !revokes:
		return t.unreadable(a)
	}
	return nil
}

// unreadable is a success by its status that cannot be believed.
func (t *attempt) unreadable(a answer) *providers.Error {
	var tooBig *http.MaxBytesError
	what := "something that is not a JSON object"
	if t.op == List {
		what = "something that is not a list of sessions"
	}
	switch {
	case errors.Is(a.cut, context.Canceled), errors.Is(a.cut, context.DeadlineExceeded):
		failure := t.failed(providers.Unavailable, providers.Unknown, "the answer did not come to its end in time", t.unknownAdvice())
		failure.Err = a.cut
		return failure
	case errors.As(a.cut, &tooBig):
		what = fmt.Sprintf("more than the %d KiB that an answer may have", tooBig.Limit>>10)
	case a.cut != nil && !errors.Is(a.cut, errNotSessions):
		what = "an answer that breaks off"
	case isPage(a):
		what = "a web page"
	case len(a.body) == 0 && (t.op != List || a.status != http.StatusOK):
		what = "nothing"
	}
	return t.failed(providers.Protocol, providers.Unknown, fmt.Sprintf("the server answered %d with %s", a.status, what),
		"check that "+t.endpointField()+" leads to the identity server itself; "+t.unknownAdvice())
}

func isPage(a answer) bool {
	mediaType, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	return err == nil && (mediaType == "text/html" || mediaType == "application/xhtml+xml")
}

// refused makes the error of an answer that is not a success.
func (t *attempt) refused(a answer) *providers.Error {
	said := readRefusal(a)
	message := t.quote(a.status, said)
	switch {
	case a.status/100 == 3:
		return t.failed(providers.Protocol, providers.DidNotHappen, t.redirection(a),
			"redirects are not followed: set "+t.endpointField()+" to the address that answers itself")
	case a.status == http.StatusTooManyRequests:
		failure := t.failed(providers.Throttled, providers.DidNotHappen, "the server asks to slow down (429)", "wait before the next call, and share sessions where you can")
		failure.RetryAfter = retryAfter(a.header, time.Now())
		return failure
	case t.saysLimit(said):
		return t.failed(providers.SessionLimit, providers.DidNotHappen, message, SessionLimitAdvice)
	case a.status == http.StatusServiceUnavailable:
		outcome, advice := providers.DidNotHappen, "try again later"
		// Envoy's words for a server that hung up, possibly after it had the request.
		if bytes.Contains(a.body, []byte("disconnect/reset before headers")) {
			outcome, advice = providers.Unknown, t.unknownAdvice()
		}
		failure := t.failed(providers.Unavailable, outcome, message, advice)
		failure.RetryAfter = retryAfter(a.header, time.Now())
		return failure
	case a.status == http.StatusBadGateway, a.status == http.StatusGatewayTimeout:
		return t.failed(providers.Unavailable, providers.Unknown, message, t.unknownAdvice())
	case a.status/100 != 4 && a.status/100 != 2:
		return t.failed(providers.Protocol, providers.Unknown, message, "look into the identity server's log; "+t.unknownAdvice())
	}
	i := slices.IndexFunc(t.rules, func(r FailureRule) bool { return r.matches(t, a.status, said) })
	rule := t.rules[i] // the last one matches everything
	advice := rule.Advice
	if advice == "" {
		advice = t.credentialAdvice(said)
	}
	advice = strings.ReplaceAll(advice, endpointFields, t.endpointFields())
	return t.failed(rule.Kind, providers.DidNotHappen, message+rule.Meaning, advice)
}

// saysLimit: a login was refused for a limit of sessions, by the server's words or by
// those that the config has for it. The config's are not looked for in words that repeat
// what we sent: the kind of the error would tell of them. A scope or a resource may
// have any name.
func (t *attempt) saysLimit(said refusal) bool {
	named := said.code == "invalid_scope" || said.code == "invalid_target"
	if t.op != Login || !t.method.Sessions || named {
		return false
	}
	return speaksOfSessionLimit(strings.ToLower(said.ownWords())) ||
		t.limitMessage != "" && strings.Contains(strings.ToLower(said.words()), strings.ToLower(t.limitMessage)) && !t.echo.repeatedIn(said.words())
}

// quote says what a refusal said, in the server's words unless they repeat ours.
func (t *attempt) quote(status int, said refusal) string {
	message := fmt.Sprintf("the server answered %d", status)
	words := said.description
	switch {
	case said.code == "":
		message += " without an OAuth error"
	case said.freeText():
		words = strings.TrimSuffix(said.code+": "+said.description, ": ")
	default:
		message += " " + said.code
	}
	words = strings.TrimRight(words, ". ") // an advice follows
	switch {
	case words == "":
		return message
	case t.echo.repeatedIn(words):
		return message + "; its words are left out, since they repeat something that was sent"
	case said.freeText():
		return message + " " + words
	}
	return message + ": " + words
}

// credentialAdvice is for a refused client, and for a refused user: Keycloak says the
// same of a wrong password, of a missing, wrong or used code, and of a locked account.
func (t *attempt) credentialAdvice(said refusal) string {
	client := said.code == "invalid_client" || said.code == "unauthorized_client"
	switch {
	case client, t.op != Login, t.method.Name == providers.ClientCredentials:
		return t.clientAdvice()
	case t.code == generatedCode:
		return "check username, password and totp_secret (and this machine's clock); the server says the same of a code that was used already and of an account that is locked"
	case t.code == typedCode:
		return "check username and password, and give the newest code as otp; the server says the same of a code that was used already and of an account that is locked"
	case uses(t.method, "totp_secret"):
		return "no one-time code was sent: if this account asks for one, set totp_secret or give otp; else check username and password; the server says the same of an account that is locked"
	case said.code != "invalid_grant":
		return "check username and password; or " + t.clientAdvice()
	default:
		return "check username and password; the server says the same of an account that is locked"
	}
}

// redirection says where an answer wanted to send us: the host only, since an
// address may hold anything.
func (t *attempt) redirection(a answer) string {
	message := fmt.Sprintf("the server answered %d, a redirect", a.status)
	if u, err := url.Parse(a.header.Get("Location")); err == nil && u.Host != "" && !t.echo.repeatedIn(u.Host) {
		message += " to " + u.Host
	}
	return message
}

// maxRetryAfter is the longest wait that we believe a server wants.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads the header of RFC 9110 section 10.2.3: seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	var wait time.Duration
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
