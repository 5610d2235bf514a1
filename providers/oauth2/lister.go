package oauth2

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// ListSessions implements providers.Client.
func (c *client) ListSessions(ctx context.Context, accessToken providers.Secret) ([]providers.ServerSession, error) {
	if c.connection.SessionsURL == "" {
		return nil, c.cannot(List, "this server has no list of an account's sessions", "")
	}
	try := c.attempt(List, c.connection.SessionsURL, accessToken)
	try.limit = maxList
	a, failure := c.sendAs(ctx, try, http.MethodGet, accessToken)
	if failure != nil {
		return nil, failure
	}
	list, failure := try.sessions(a)
	return list, asError(a, failure)
}

// EndSession implements providers.Client.
func (c *client) EndSession(ctx context.Context, accessToken providers.Secret, serverID string) error {
	if c.connection.SessionsURL == "" {
		return c.cannot(End, "this server has no list of an account's sessions", "")
	}
	try := c.attempt(End, c.connection.SessionsURL, accessToken)
	if validServerID(serverID) == "" {
		return try.failed(providers.Protocol, providers.DidNotHappen, "the session's id cannot stand in an address",
			"end the session at the identity server, or let it end by its age")
	}
	try.endpoint += "/" + serverID
	a, failure := c.sendAs(ctx, try, http.MethodDelete, accessToken)
	if failure != nil {
		return failure
	}
	return asError(a, try.loggedOut(a))
}

// sendAs sends a request without a body, with the token (RFC 6750 section 2.1).
func (c *client) sendAs(ctx context.Context, try attempt, method string, accessToken providers.Secret) (answer, *providers.Error) {
	if !fitsHeader(accessToken.Reveal()) {
		return answer{}, try.failed(providers.Protocol, providers.DidNotHappen, "there is no access token that could be sent", "log in first")
	}
	return c.send(ctx, try, method, "", http.Header{
		"Authorization": {"Bearer " + accessToken.Reveal()},
		"User-Agent":    {defaultUserAgent},
	})
}

// listerRules hold for the calls that list and end sessions. Keycloak answers 401 to a
// token without the audience `account`, and to one whose session has ended; 403
// to one that has the audience and not the role; 404 where the API is switched off.
func listerRules() []FailureRule {
	const advice = "give the user the roles manage-account and view-profile of the client `account` (Keycloak's default), and leave them in its tokens; until then sessions of others are not seen"
	return []FailureRule{
		{Op: List, Status: http.StatusUnauthorized, Kind: providers.NotAllowed, Advice: advice},
		{Op: List, Status: http.StatusForbidden, Kind: providers.NotAllowed, Advice: advice},
		{Op: List, Status: http.StatusNotFound, Kind: providers.NotAllowed, Advice: "have the Account REST API switched on at the identity server, or correct realm; until then sessions of others are not seen"},
		{Op: End, Status: http.StatusUnauthorized, Kind: providers.NotAllowed, Advice: advice},
		{Op: End, Status: http.StatusForbidden, Kind: providers.NotAllowed, Advice: advice},
	}
}

// sessions reads the answer to a list of sessions.
func (t attempt) sessions(a answer) ([]providers.ServerSession, *providers.Error) {
	if a.status/100 != 2 {
		return nil, t.refused(a)
	}
	if a.cut != nil {
		return nil, t.unreadable(a)
	}
	list, err := decodeSessions(a.body)
	switch {
	case errors.Is(err, errNotSessions):
		return nil, t.unreadable(a)
	case err != nil:
		return nil, t.failed(providers.Protocol, providers.Unknown, err.Error(), "look whether the identity server's release is one that this plugin was tried with; "+t.unknownAdvice())
	}
	return list, nil
}

// errNotSessions: the answer is no list at all.
var errNotSessions = errors.New("the answer is not a JSON array")

// Bounds of what is kept of a listed session's text, in characters.
const (
	maxListedText    = 200
	maxListedClients = 20
)

// decodeSessions reads a list of Keycloak's SessionRepresentation. An entry
// without an id that can be used spoils the list: a session that is left out
// would be taken for ended. Anything else that cannot be read is left empty.
func decodeSessions(text []byte) ([]providers.ServerSession, error) {
	var entries []map[string]json.RawMessage
	if err := json.Unmarshal(text, &entries); err != nil || entries == nil {
		return nil, errNotSessions
	}
	list := make([]providers.ServerSession, len(entries))
	for i, fields := range entries {
		id := validServerID(stringField(fields, "id"))
		if id == "" {
			return nil, errors.New("the server lists a session without an id that can be used")
		}
		var current bool
		_ = json.Unmarshal(fields["current"], &current)
		list[i] = providers.ServerSession{
			ID:         id,
			UserAgent:  printable(stringField(fields, "browser"), maxListedText),
			Clients:    listedClients(fields["clients"]),
			IPAddress:  printable(stringField(fields, "ipAddress"), maxListedText),
			StartedAt:  instant(numberField(fields, "started")),
			LastAccess: instant(numberField(fields, "lastAccess")),
			ExpiresAt:  instant(numberField(fields, "expires")),
			Current:    current,
		}
	}
	return list, nil
}

func listedClients(text json.RawMessage) []string {
	var entries []map[string]json.RawMessage
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil
	}
	var names []string
	for _, fields := range entries[:min(len(entries), maxListedClients)] {
		if name := printable(stringField(fields, "clientId"), maxListedText); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// numberField returns a field's number; 0 where it is missing or no number.
func numberField(fields map[string]json.RawMessage, name string) float64 {
	var n float64
	if err := json.Unmarshal(fields[name], &n); err != nil {
		return 0
	}
	return n
}
