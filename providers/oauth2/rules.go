package oauth2

import (
	"cmp"
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
	// Says: the answer is a JSON object with an error or a message.
	Says bool
	// Sessions: only where a login leaves a session, and so may find too many of them.
	Sessions bool
	// Marked: only where the login calls itself a bot (session_mark).
	Marked bool
	// Has are parts, in lower case, of which the code or the description has one;
	// empty: any.
	Has []string

	Kind    providers.Kind
	Meaning string // completes the message; empty: the server's words say it
	Advice  string // empty: one made for what the login sent. It may hold endpointFields
}

// endpointFields stands for the fields that decide where the call went.
const endpointFields = "{endpoint}"

func (r FailureRule) matches(t *attempt, status int, said refusal) bool {
	return (r.Op == "" || r.Op == t.op) &&
		(r.Status == 0 || r.Status == status) &&
		(r.Code == "" || r.Code == said.code) &&
		(!r.FreeText || said.freeText()) &&
		(!r.NotOAuth || said.code == "") &&
		(!r.Says || said.code != "" || said.description != "") &&
		(!r.Sessions || t.method.Sessions) &&
		(!r.Marked || t.marked) &&
		(len(r.Has) == 0 || slices.ContainsFunc(r.Has, said.has))
}

// SessionLimitAdvice is for a login that the server's session limit refused.
const SessionLimitAdvice = "the server allows this account no further session: log out sessions that nobody needs, and set max_sessions to what the server allows, less those of people"

// rules are those of a preset, among those that hold for every OAuth 2.0 server.
func (p Preset) rules() []FailureRule {
	return slices.Concat(listerRules(), certainRules(), p.Failures, commonRules())
}

// certainRules are codes by which every server means the same, whatever words follow.
func certainRules() []FailureRule {
	return []FailureRule{
		{Code: "invalid_scope", Kind: providers.Misconfigured, Advice: "correct scopes: the server does not allow one of them to this client"},
		{Code: "invalid_target", Kind: providers.Misconfigured, Advice: "correct resource or audience in token_params"}, // RFC 8707
		{Code: "unsupported_grant_type", Kind: providers.Misconfigured, Advice: "choose another auth_method, or have this one allowed at the server"},
		{Code: "unsupported_token_type", Kind: providers.Misconfigured, Advice: "the server cannot revoke tokens of this kind: remove revocation_url"},
	}
}

// speaksOfSessionLimit says whether a refused login's words, in lower case, are of a
// limit of sessions. The words of a server's releases and languages differ; what a
// login may be refused for besides, and what else there is to say of a session, differs
// as well. So it takes a noun and a word of a limit, and none that tells of another
// matter.
func speaksOfSessionLimit(words string) bool {
	words = strings.NewReplacer("_", " ", "-", " ").Replace(words)
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(words, part) })
	}
	crowd := has("too many", "max", "máx", "concurrent", "parallel", "simult", "zu viele", "gleichzeitig", "demasiad", "trop", "muitas")
	switch {
	case has("attempt", "tries", "versuch", "intento", "tentativ", "idle", "lifetime", "lifespan", "session time", "session age"):
		return false
	case has("already logged in", "already signed in", "bereits angemeldet", "déjà connecté"):
		return true
	case has("sess", "sesi", "sitzung"):
		return crowd || has("limit", "exceed", "quota", "number of", "no more", "no further", "only one", "another session", "active sessions",
			"already open", "already active", "already exist")
	case has("login", "logon", "sign in", "anmeld", "connexion"):
		return crowd && !has("fail", "fehl", "invalid", "incorrect", "wrong", "password")
	}
	return false
}

// commonRules come after those of a preset.
func commonRules() []FailureRule {
	const (
		endpoint = "there is no such endpoint: correct " + endpointFields
		factor   = "the server wants more than user name and password, which nobody can give it here: have that switched off for this user or client, or use another account"
	)
	// A Keycloak that does not see our Accept header shows its denial as a page, and so
	// does a firewall that turns away whatever calls itself a bot.
	page := FailureRule{
		Op: Login, Status: http.StatusForbidden, NotOAuth: true, Sessions: true, Kind: providers.SessionLimit,
		Meaning: ", which is its session limit as a page, or a firewall that turns away this machine",
		Advice:  SessionLimitAdvice + "; or have the firewall let this machine through",
	}
	pageForBots := page
	pageForBots.Marked = true
	pageForBots.Meaning = ", which is its session limit as a page, or a firewall that turns away bots (session_mark)"
	pageForBots.Advice = SessionLimitAdvice + "; or set session_mark=false, with which the login does not call itself a bot"
	return []FailureRule{
		pageForBots, page,
		{Op: Login, Code: "invalid_grant", Kind: providers.BadCredentials},
		{Op: Refresh, Code: "invalid_grant", Kind: providers.SessionGone, Advice: refreshRefused},
		{Op: Logout, Code: "invalid_grant", Kind: providers.Protocol, Advice: "the server cannot read this refresh token: check that its base_url (or token_url) is still the one that the session was opened with; else the session ends by its age"},
		{Code: "invalid_client", Kind: providers.BadCredentials},
		{Code: "unauthorized_client", Kind: providers.BadCredentials},
		{Code: "mfa_required", Kind: providers.Misconfigured, Advice: factor},
		{Code: "interaction_required", Kind: providers.Misconfigured, Advice: factor},
		{Code: "temporarily_unavailable", Kind: providers.Unavailable, Advice: "try again later"},
		{Status: http.StatusRequestTimeout, Kind: providers.Unavailable, Advice: "try again; if it stays, look at the network between here and the server"},
		{Status: http.StatusNotFound, Kind: providers.Misconfigured, Advice: endpoint},
		{Status: http.StatusMethodNotAllowed, Kind: providers.Misconfigured, Advice: endpoint},
		// Servers that do not keep to the codes of RFC 6749, or send none. Whatever words
		// they refuse a refresh with, that refresh token is of no use any more.
		{Op: Refresh, Status: http.StatusUnauthorized, Kind: providers.SessionGone, Advice: refreshRefused},
		{Op: Refresh, Says: true, Kind: providers.SessionGone, Advice: refreshRefused},
		{Status: http.StatusUnauthorized, Kind: providers.BadCredentials},
		{Status: http.StatusForbidden, NotOAuth: true, Kind: providers.Misconfigured, Advice: "look at what stands between here and the server: a firewall may turn away this machine, or what calls itself a bot"},
		{Op: Login, Has: []string{"password", "credential", "client_secret", "client_id", "unauthori", "unauthenticated", "invalid_auth", "invalid_user"}, Kind: providers.BadCredentials},
		{NotOAuth: true, Kind: providers.Protocol, Advice: "this is not the answer of an identity server: check " + endpointFields + ", and what stands between here and the server"},
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
		return refusal{page: cut(string(a.body[:min(len(a.body), maxWords)]))}
	}
	var code string
	var inner struct{ Status, Message string } // of an error that is an object
	if json.Unmarshal(fields.Error, &code) != nil {
		readObject(fields.Error, &inner)
	}
	code = cmp.Or(code, fields.Code, inner.Status, inner.Message)
	if code == "" && fields.OK != nil && !*fields.OK {
		code = "ok=false"
	}
	description := cmp.Or(fields.Description, fields.Summary, fields.Message, fields.Detail, inner.Message)
	if description == code { // it is not said twice
		description = ""
	}
	return refusal{code: cut(code), description: cut(description)}
}

// maxWords is how much of a server's words can matter, in bytes.
const maxWords = 4 * maxMessage

func cut(words string) string { return strings.ToValidUTF8(words[:min(len(words), maxWords)], "") }

// freeText: there is an error, and it is no OAuth error code.
func (r refusal) freeText() bool { return r.code != "" && !slices.Contains(oauthCodes(), r.code) }

// has looks for a part, in lower case, in the code and the description.
func (r refusal) has(part string) bool {
	return strings.Contains(strings.ToLower(r.code+" "+r.description), part)
}

// words are all that the answer says, of a page too.
func (r refusal) words() string {
	return strings.Join([]string{r.code, r.description, r.page}, " ")
}

// ownWords are what the server itself says: no code of a standard, and no markup, whose
// words may be about anything.
func (r refusal) ownWords() string {
	switch {
	case strings.Contains(r.page, "<"):
		return ""
	case r.freeText():
		return r.words()
	}
	return r.description + r.page
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
