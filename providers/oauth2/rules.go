package oauth2

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// FailureRule tells what a refusal means: an answer of status 4xx, except 429, or one
// of 2xx that has an error in the place of tokens. A rule matches where all that it
// names is so; the first that matches wins. The outcome is not its business: what was
// refused did not happen.
type FailureRule struct {
	Op     Op     // empty: any
	Status int    // 0: any
	Code   string // the OAuth error code (RFC 6749 section 5.2); empty: any
	// FreeText: `error` is there and is no OAuth error code. Keycloak puts the
	// message of its session limit there, which every realm words for itself.
	FreeText bool
	// NotOAuth: the answer is a page, or other text without `error`.
	NotOAuth bool
	// Has are parts, in lower case, of which the code or the description has one;
	// empty: any.
	Has []string

	Kind    providers.Kind
	Meaning string // completes the message; empty: the server's words say it
	Advice  string // empty: one made for what the login sent
}

func (r FailureRule) matches(op Op, status int, said refusal) bool {
	return (r.Op == "" || r.Op == op) &&
		(r.Status == 0 || r.Status == status) &&
		(r.Code == "" || r.Code == said.code) &&
		(!r.FreeText || said.freeText()) &&
		(!r.NotOAuth || said.code == "") &&
		(len(r.Has) == 0 || slices.ContainsFunc(r.Has, said.has))
}

// SessionLimitAdvice is for a login that the server's session limit refused.
const SessionLimitAdvice = "the server allows this account no further session: log out sessions that nobody needs, and set max_sessions to what the server allows, less those of people"

// certainRules are codes by which every server means the same, whatever words follow.
func certainRules() []FailureRule {
	return []FailureRule{
		{Code: "invalid_scope", Kind: providers.Misconfigured, Advice: "correct scopes: the server does not allow one of them to this client"},
		{Code: "invalid_target", Kind: providers.Misconfigured, Advice: "correct resource or audience in token_params"}, // RFC 8707
		{Code: "unsupported_grant_type", Kind: providers.Misconfigured, Advice: "choose another auth_method, or have this one allowed at the server"},
		{Code: "unsupported_token_type", Kind: providers.Misconfigured, Advice: "the server cannot revoke tokens of this kind: remove revocation_url"},
	}
}

// sessionRules hold where a login leaves a session, and so may find too many of them.
func sessionRules() []FailureRule {
	return []FailureRule{
		{
			Op: Login, Kind: providers.SessionLimit, Advice: SessionLimitAdvice,
			Has: []string{"session limit", "limit of sessions", "too many sessions", "too many active sessions", "maximum number of sessions", "maximum sessions", "concurrent sessions"},
		},
		// A Keycloak that does not see our Accept header shows its denial as a page, and
		// so does a firewall that turns away whatever calls itself a bot.
		{
			Op: Login, Status: http.StatusForbidden, NotOAuth: true, Kind: providers.SessionLimit,
			Meaning: ", which is its session limit as a page, or a firewall that turns away bots (session_mark)",
			Advice:  SessionLimitAdvice + "; or set session_mark=false, with which the login does not call itself a bot",
		},
	}
}

// commonRules hold for every OAuth 2.0 server.
func commonRules() []FailureRule {
	const (
		endpoint = "there is no such endpoint or realm: correct environment, base_url, realm or token_url"
		factor   = "the server wants more than user name and password, which nobody can give it here: have that switched off for this user or client, or use another account"
	)
	return []FailureRule{
		{Op: Login, Code: "invalid_grant", Kind: providers.BadCredentials},
		{Op: Refresh, Code: "invalid_grant", Kind: providers.SessionGone, Advice: refreshRefused},
		{Op: Logout, Code: "invalid_grant", Kind: providers.Protocol, Advice: "the server cannot read this refresh token: check that its base_url (or token_url) is still the one that the session was opened with; else the session ends by its age"},
		{Code: "invalid_client", Kind: providers.BadCredentials},
		{Code: "unauthorized_client", Kind: providers.BadCredentials},
		{Code: "mfa_required", Kind: providers.Misconfigured, Advice: factor},
		{Code: "interaction_required", Kind: providers.Misconfigured, Advice: factor},
		{Code: "temporarily_unavailable", Kind: providers.Unavailable, Advice: "try again later"},
		{Status: http.StatusRequestTimeout, Kind: providers.Unavailable, Advice: "try again; if it stays, look at the network between here and the server"},
		{Status: http.StatusUnauthorized, Op: Refresh, Code: "invalid_token", Kind: providers.SessionGone, Advice: refreshRefused},
		{Status: http.StatusUnauthorized, Kind: providers.BadCredentials},
		{Status: http.StatusNotFound, Kind: providers.Misconfigured, Advice: endpoint},
		{Status: http.StatusMethodNotAllowed, Kind: providers.Misconfigured, Advice: endpoint},
		{Status: http.StatusForbidden, NotOAuth: true, Kind: providers.Misconfigured, Advice: "look at what stands between here and the server: a firewall may turn away this machine, or what calls itself a bot"},
		{NotOAuth: true, Kind: providers.Protocol, Advice: "this is not the answer of an identity server: check environment, base_url or token_url, and what stands between here and the server"},
		// Servers that do not keep to the codes of RFC 6749.
		{Op: Login, Has: []string{"password", "credential", "client_secret", "client_id", "unauthori", "unauthenticated", "invalid_auth", "invalid_user"}, Kind: providers.BadCredentials},
		{Op: Refresh, Has: []string{"token", "expired"}, Kind: providers.SessionGone, Advice: refreshRefused},
		{Kind: providers.Misconfigured, Advice: "the server does not take the request as it is: correct the config by the server's words, or have the client's settings at the server corrected; its log may say more"},
	}
}

const refreshRefused = "log the session out, in case that only its tokens are dead, and log in again"

// refusal is what the body of a refused request says: RFC 6749 section 5.2, or the
// fields that other servers have in its place.
type refusal struct {
	code        string // empty: the body has no error
	description string
	page        string // the beginning of the body, where it is no JSON object
}

func readRefusal(a answer) refusal {
	var fields struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
		Code        string          `json:"errorCode"`
		Summary     string          `json:"errorSummary"`
		Message     string          `json:"message"`
		Detail      string          `json:"detail"`
		OK          *bool           `json:"ok"`
	}
	if a.cut != nil || !readObject(a.body, &fields) {
		return refusal{page: cut(string(a.body[:min(len(a.body), 4*maxMessage)]))}
	}
	var inner struct{ Status, Message string } // of an error that is an object
	var said refusal
	if json.Unmarshal(fields.Error, &said.code) != nil {
		readObject(fields.Error, &inner)
	}
	for _, code := range []string{fields.Code, inner.Status, inner.Message} {
		if said.code == "" {
			said.code = code
		}
	}
	if said.code == "" && fields.OK != nil && !*fields.OK {
		said.code = "ok=false"
	}
	for _, description := range []string{fields.Description, fields.Summary, fields.Message, fields.Detail, inner.Message} {
		if said.description == "" && description != said.code {
			said.description = description
		}
	}
	said.code, said.description = cut(said.code), cut(said.description)
	return said
}

// cut keeps as much of a server's words as can matter.
func cut(words string) string { return strings.ToValidUTF8(words[:min(len(words), 4*maxMessage)], "") }

// freeText: there is an error, and it is no OAuth error code.
func (r refusal) freeText() bool { return r.code != "" && !slices.Contains(oauthCodes(), r.code) }

// has looks for a part, in lower case, in the code and the description.
func (r refusal) has(part string) bool {
	return strings.Contains(strings.ToLower(r.code), part) || strings.Contains(strings.ToLower(r.description), part)
}

// words are all that the answer says, of a page too.
func (r refusal) words() string {
	return strings.Join([]string{r.code, r.description, r.page}, " ")
}

// oauthCodes are the codes of RFC 6749 section 5.2, RFC 7009 section 2.2.1, RFC 6750
// section 3.1, RFC 8707 section 2, and those that Keycloak adds at its token endpoint.
func oauthCodes() []string {
	return []string{
		"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
		"unsupported_token_type", "invalid_token", "insufficient_scope", "invalid_target",
		"access_denied", "not_allowed", "server_error", "temporarily_unavailable", "unknown_error", "generic_authentication_error",
	}
}
