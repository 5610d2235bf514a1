package oauth2

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// ListSessions implements providers.Client.
func (c *client) ListSessions(ctx context.Context, accessToken providers.Secret) ([]providers.ServerSession, error) {
	try := c.attempt(List, c.connection.SessionsURL)
	a, failure := c.sendAs(ctx, try, http.MethodGet, accessToken)
	if failure != nil {
		return nil, failure
	}
	return try.sessions(a)
}

// EndSession implements providers.Client.
func (c *client) EndSession(ctx context.Context, accessToken providers.Secret, serverID string) error {
	try := c.attempt(End, c.connection.SessionsURL)
	if validServerID(serverID) == "" {
		return try.failed(providers.Protocol, providers.DidNotHappen, "the session's id cannot stand in an address",
			"end the session at the identity server, or let it end by its age")
	}
	try.endpoint += "/" + serverID
	a, failure := c.sendAs(ctx, try, http.MethodDelete, accessToken)
	if failure != nil {
		return failure
	}
	return try.loggedOut(a)
}

// sendAs sends a request without a body, with the token (RFC 6750 section 2.1).
func (c *client) sendAs(ctx context.Context, try *attempt, method string, accessToken providers.Secret) (answer, *providers.Error) {
	if !fitsHeader(accessToken.Reveal()) {
		return answer{}, try.failed(providers.Protocol, providers.DidNotHappen, "there is no access token that could be sent", "log in first")
	}
	return c.send(ctx, try, method, "", http.Header{
		"Authorization": {"Bearer " + accessToken.Reveal()},
		"User-Agent":    {defaultUserAgent},
	})
}

// listerRules hold for the calls that list and end sessions. Keycloak answers 401 to a
// token without the audience `account`, and to one whose session has ended; 403 to
// one without the roles; 404 where the API is switched off, as it is in releases
// before 12 unless somebody switched it on.
func listerRules() []FailureRule {
	const (
		roles = "give the user the roles manage-account and view-profile of the client `account` (Keycloak's default), and leave them in its tokens; until then sessions of others are not seen"
		api   = "have the Account REST API switched on at the identity server (Keycloak before 12: -Dkeycloak.profile.feature.account_api=enabled), or correct realm; until then sessions of others are not seen"
	)
	return []FailureRule{
		{Op: List, Status: http.StatusUnauthorized, Kind: providers.NotAllowed, Advice: roles},
		{Op: List, Status: http.StatusForbidden, Kind: providers.NotAllowed, Advice: roles},
		{Op: List, Status: http.StatusNotFound, Kind: providers.NotAllowed, Advice: api},
		{Op: End, Status: http.StatusUnauthorized, Kind: providers.NotAllowed, Advice: roles},
		{Op: End, Status: http.StatusForbidden, Kind: providers.NotAllowed, Advice: roles},
	}
}

// sessions reads the answer to a list of sessions.
func (t *attempt) sessions(a answer) ([]providers.ServerSession, error) {
	switch {
	case a.status/100 != 2:
		return nil, t.refused(a)
	case errors.Is(a.cut, errNoID), errors.Is(a.cut, errTooMany):
		return nil, t.failed(providers.Protocol, providers.Unknown, a.cut.Error(), "look whether the identity server's release is one that this plugin was tried with; "+t.unknownAdvice())
	case a.cut != nil, a.status != http.StatusOK:
		return nil, t.unreadable(a)
	}
	return a.list, nil
}

var (
	errNotSessions = errors.New("the answer is not a JSON array")
	errNoID        = errors.New("the server lists a session without an id that can be used")
	errTooMany     = fmt.Errorf("the server lists more than %d sessions", maxListed)
)

// Bounds of a list, so that none takes more memory than it is long.
const (
	maxListed        = 25_000   // sessions
	maxEntry         = 64 << 10 // bytes of one
	maxListedText    = 200      // characters of a text that is kept
	maxListedClients = 20
)

// listedSession is Keycloak's SessionRepresentation.
type listedSession struct {
	ID         string  `json:"id"`
	Browser    string  `json:"browser"`
	IPAddress  string  `json:"ipAddress"`
	Started    float64 `json:"started"`
	LastAccess float64 `json:"lastAccess"`
	Expires    float64 `json:"expires"`
	Current    bool    `json:"current"`
	Clients    []struct {
		ClientID string `json:"clientId"`
	} `json:"clients"`
}

// decodeSessions reads a list of sessions, one by one. An entry without an id that
// can be used spoils the list: a session that is left out would be taken for ended.
// Anything else that cannot be read is left empty.
func decodeSessions(from io.Reader) ([]providers.ServerSession, error) {
	text := bufio.NewReader(from)
	if start, _ := text.Peek(len(byteOrderMark)); string(start) == byteOrderMark {
		_, _ = text.Discard(len(byteOrderMark))
	}
	entry := &io.LimitedReader{R: text, N: maxEntry}
	d := json.NewDecoder(entry)
	if start, err := d.Token(); start != json.Delim('[') {
		return nil, unexpected(err)
	}
	list := []providers.ServerSession{}
	for d.More() {
		if len(list) == maxListed {
			return nil, errTooMany
		}
		entry.N = maxEntry
		var listed listedSession
		if err := exceptFieldTypes(d.Decode(&listed)); err != nil {
			return nil, unexpected(err)
		}
		if validServerID(listed.ID) == "" {
			return nil, errNoID
		}
		list = append(list, listed.domain())
	}
	if _, err := d.Token(); err != nil { // the closing bracket
		return nil, unexpected(err)
	}
	entry.N = maxEntry
	if _, err := d.Token(); !errors.Is(err, io.EOF) || entry.N == 0 {
		return nil, errNotSessions
	}
	return list, nil
}

// unexpected keeps what broke a read, and words what broke the JSON.
func unexpected(err error) error {
	var syntax *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	if err == nil || errors.As(err, &syntax) || errors.As(err, &mistyped) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errNotSessions
	}
	return err
}

func (l listedSession) domain() providers.ServerSession {
	s := providers.ServerSession{
		ID:         l.ID,
		UserAgent:  printable(l.Browser, maxListedText),
		IPAddress:  printable(l.IPAddress, maxListedText),
		StartedAt:  instant(l.Started),
		LastAccess: instant(l.LastAccess),
		ExpiresAt:  instant(l.Expires),
		Current:    l.Current,
	}
	for _, c := range l.Clients[:min(len(l.Clients), maxListedClients)] {
		if name := printable(c.ClientID, maxListedText); name != "" {
			s.Clients = append(s.Clients, name)
		}
	}
	return s
}
