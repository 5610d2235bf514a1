package oauth2

import (
	"context"
	"encoding/json"
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
//	2xx, JSON object, tokens of no use      protocol           happened
//	2xx, else: HTML, empty, too big, cut    protocol           unknown
//	2xx, cut by the time limit              unavailable        unknown
//	logout, end: 2xx that is not a page     –                  (success)
//	end: 404                                –                  (success)
//	3xx                                     protocol           did not happen
//	429                                     throttled          did not happen
//	4xx                                     by FailureRule     did not happen
//	503                                     unavailable        did not happen
//	503, Envoy lost the server's connection unavailable        unknown
//	502, 504                                unavailable        unknown
//	500, other 5xx, anything else           protocol           unknown
//
// A 4xx needs no readable body: the status alone says that it was refused. 503
// is what Keycloak answers when its queue of requests is full, before it looks
// at one; a proxy says it when it has no server to ask. 502 and 504 are proxies
// that did ask one.

// FailureRule tells what a refusal means: an answer of status 4xx, except 429.
// A rule matches where all that it names is so; the first that matches wins. The
// outcome is not its business: what was refused did not happen.
type FailureRule struct {
	Op     Op     // empty: any
	Status int    // 0: any
	Code   string // the OAuth error code (RFC 6749 section 5.2); empty: any
	// FreeText: `error` is there and is no OAuth error code. Keycloak puts the
	// message of its session limit there, which every realm words for itself.
	FreeText bool
	// NotOAuth: the answer is a page, or other text without `error`.
	NotOAuth bool
	// DescriptionHas is a part of error_description, in lower case; empty: any.
	DescriptionHas string

	Kind   providers.Kind
	Advice string // empty: one made for what the login sent
}

// commonRules hold for every OAuth 2.0 server.
func commonRules() []FailureRule {
	const client = "check client_id and client_secret, and that the client may use this auth_method"
	return []FailureRule{
		{Op: Login, Code: "invalid_grant", Kind: providers.BadCredentials},
		{Op: Refresh, Code: "invalid_grant", Kind: providers.SessionGone, Advice: "log the session out, in case that only its tokens are dead, and log in again"},
		{Op: Logout, Code: "invalid_grant", Kind: providers.Protocol, Advice: "the server cannot read this refresh token: check that its base_url (or token_url) is still the one that the session was opened with; else the session ends by its age"},
		{Code: "invalid_client", Kind: providers.BadCredentials, Advice: client},
		{Code: "unauthorized_client", Kind: providers.BadCredentials, Advice: client},
		{Code: "invalid_scope", Kind: providers.Protocol, Advice: "correct scopes: the server does not allow one of them to this client"},
		{Code: "unsupported_grant_type", Kind: providers.Protocol, Advice: "choose another auth_method, or have this one allowed at the server"},
		{Code: "unsupported_token_type", Kind: providers.Protocol, Advice: "the server cannot revoke refresh tokens: remove revocation_url"},
		{Code: "temporarily_unavailable", Kind: providers.Unavailable, Advice: "try again later"},
		{Status: http.StatusRequestTimeout, Kind: providers.Unavailable, Advice: "try again; if it stays, look at the network between here and the server"},
		{Status: http.StatusNotFound, Kind: providers.Protocol, Advice: "there is no such endpoint or realm: correct environment, base_url, realm or token_url"},
		{NotOAuth: true, Kind: providers.Protocol, Advice: "this is not the answer of an identity server: check environment, base_url or token_url, and what stands between here and the server"},
	}
}

// refusal is the body of a refused request, RFC 6749 section 5.2.
type refusal struct {
	code        string // empty: the body is not OAuth's
	description string
	freeText    bool
}

func readRefusal(a answer) refusal {
	var fields map[string]json.RawMessage
	if a.cut != nil || json.Unmarshal(a.body, &fields) != nil {
		return refusal{}
	}
	code := stringField(fields, "error")
	return refusal{
		code:        code,
		description: stringField(fields, "error_description"),
		freeText:    code != "" && !slices.Contains(oauthCodes(), code),
	}
}

// oauthCodes are the codes of RFC 6749 section 5.2, RFC 7009 section 2.2.1, RFC
// 6750 section 3.1, and those that Keycloak adds at its token endpoint.
func oauthCodes() []string {
	return []string{
		"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
		"unsupported_token_type", "invalid_token", "insufficient_scope",
		"access_denied", "not_allowed", "server_error", "temporarily_unavailable", "unknown_error",
	}
}

func (r FailureRule) matches(op Op, status int, said refusal) bool {
	return (r.Op == "" || r.Op == op) &&
		(r.Status == 0 || r.Status == status) &&
		(r.Code == "" || r.Code == said.code) &&
		(!r.FreeText || said.freeText) &&
		(!r.NotOAuth || said.code == "") &&
		strings.Contains(strings.ToLower(said.description), r.DescriptionHas)
}

// tokens reads the answer to a login or a refresh. The failure of outcome
// Happened comes with the refresh token, where there is one.
func (t attempt) tokens(a answer) (providers.TokenResponse, *providers.Error) {
	if a.status/100 != 2 {
		return providers.TokenResponse{}, t.refused(a)
	}
	if a.cut != nil {
		return providers.TokenResponse{}, t.unreadable(a)
	}
	got, err := decodeTokens(a.body)
	switch {
	case errors.Is(err, errNotTokens):
		return got, t.unreadable(a)
	case err != nil:
		return got, t.failed(providers.Protocol, providers.Happened, err.Error(),
			"the session that the server opened is of no use; correct the client's settings at the identity server, or "+t.endpointField()+" if this is not one")
	}
	return got, nil
}

// loggedOut reads the answer to a logout, or to the end of a session by its id;
// nil: the session is ended.
func (t attempt) loggedOut(a answer) *providers.Error {
	if t.op == End && a.status == http.StatusNotFound {
		return nil
	}
	if a.status/100 != 2 {
		return t.refused(a)
	}
	// An identity server's logout has nothing to show. A page is that of a wrong
	// address, or Keycloak's for people, which asks whether to log out.
	if isPage(a) {
		return t.unreadable(a)
	}
	return nil
}

// unreadable is a success by its status that cannot be believed.
func (t attempt) unreadable(a answer) *providers.Error {
	what := "something that is not a JSON object"
	if t.op == List {
		what = "something that is not a list of sessions"
	}
	switch {
	case errors.Is(a.cut, context.Canceled), errors.Is(a.cut, context.DeadlineExceeded):
		failure := t.failed(providers.Unavailable, providers.Unknown, "the answer did not come to its end in time", t.unknownAdvice())
		failure.Err = a.cut
		return failure
	case errors.Is(a.cut, errTooBig):
		what = "more than the " + strconv.Itoa(t.limit>>10) + " KiB that an answer may have"
	case a.cut != nil:
		what = "an answer that breaks off"
	case isPage(a):
		what = "a web page"
	case len(a.body) == 0:
		what = "nothing"
	}
	return t.failed(providers.Protocol, providers.Unknown, fmt.Sprintf("the server answered %d with %s", a.status, what),
		"check that "+t.endpointField()+" leads to the identity server itself; "+t.unknownAdvice())
}

func isPage(a answer) bool {
	mediaType, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	return err == nil && (mediaType == "text/html" || mediaType == "application/xhtml+xml")
}

// refused makes the error of an answer whose status is not a success.
func (t attempt) refused(a answer) *providers.Error {
	said := readRefusal(a)
	message := quote(a.status, said)
	switch {
	case a.status/100 == 3:
		return t.failed(providers.Protocol, providers.DidNotHappen, redirection(a),
			"redirects are not followed: set "+t.endpointField()+" to the address that answers itself")
	case a.status == http.StatusTooManyRequests:
		failure := t.failed(providers.Throttled, providers.DidNotHappen, "the server asks to slow down (429)", "wait before the next call, and share sessions where you can")
		failure.RetryAfter = retryAfter(a.header, time.Now())
		return failure
	case a.status == http.StatusServiceUnavailable:
		outcome, advice := providers.DidNotHappen, "try again later"
		// Envoy's words for a server that hung up, possibly after it had the request.
		if strings.Contains(string(a.body), "disconnect/reset before headers") {
			outcome, advice = providers.Unknown, t.unknownAdvice()
		}
		failure := t.failed(providers.Unavailable, outcome, message, advice)
		failure.RetryAfter = retryAfter(a.header, time.Now())
		return failure
	case a.status == http.StatusBadGateway, a.status == http.StatusGatewayTimeout:
		return t.failed(providers.Unavailable, providers.Unknown, message, t.unknownAdvice())
	case a.status/100 != 4:
		return t.failed(providers.Protocol, providers.Unknown, message, "look into the identity server's log; "+t.unknownAdvice())
	}
	for _, rule := range t.rules {
		if rule.matches(t.op, a.status, said) {
			advice := rule.Advice
			if advice == "" {
				advice = t.credentialAdvice()
			}
			return t.failed(rule.Kind, providers.DidNotHappen, message, advice)
		}
	}
	return t.failed(providers.Protocol, providers.DidNotHappen, message, "look into the identity server's log for the reason")
}

// quote says what a refusal said, in the server's words where they are OAuth's.
func quote(status int, said refusal) string {
	message := fmt.Sprintf("the server answered %d", status)
	if said.code == "" {
		return message + " without an OAuth error"
	}
	message += " " + said.code
	if said.description != "" {
		message += ": " + said.description
	}
	return message
}

// credentialAdvice is for a refused login: Keycloak says the same of a wrong
// password, of a missing, wrong or used code, and of a locked account.
func (t attempt) credentialAdvice() string {
	switch {
	case t.method.Name == providers.ClientCredentials:
		return "check client_id and client_secret"
	case t.code == generatedCode:
		return "check username, password and totp_secret (and this machine's clock); the server says the same of a code that was used already and of an account that is locked"
	case t.code == typedCode:
		return "check username and password, and give the newest code as otp; the server says the same of a code that was used already and of an account that is locked"
	case t.method.OneTimeCode:
		return "no one-time code was sent: if this account asks for one, set totp_secret or give otp; else check username and password; the server says the same of an account that is locked"
	default:
		return "check username and password; the server says the same of an account that is locked"
	}
}

// redirection says where an answer wanted to send us: the host only, since an
// address may hold anything.
func redirection(a answer) string {
	message := fmt.Sprintf("the server answered %d, a redirect", a.status)
	if u, err := url.Parse(a.header.Get("Location")); err == nil && u.Host != "" {
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
