package iam

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The types of token, as Keycloak writes them into the claim "typ".
const (
	typeAccess  = "Bearer"
	typeRefresh = "Refresh"
)

// accountAudience is the audience of tokens that may use the Account REST API.
const accountAudience = "account"

// claims are those of access and refresh tokens.
type claims struct {
	jwt.RegisteredClaims
	Type     string `json:"typ"`
	Client   string `json:"azp"`
	SID      string `json:"sid,omitempty"`           // neither has one that belongs
	State    string `json:"session_state,omitempty"` // to no session
	Scope    string `json:"scope,omitempty"`
	Username string `json:"preferred_username,omitempty"`
}

// session is the id of the token's session; "": it has none.
func (c *claims) session() string { return cmp.Or(c.SID, c.State) }

func (c *claims) active(now time.Time) bool { return now.Before(c.ExpiresAt.Time) }

func (s *Server) sign(c jwt.Claims) string {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(s.key)
	if err != nil {
		panic("iam: signing a token: " + err.Error()) // claims and key are ours; a failure is a mistake here
	}
	return token
}

// read returns the claims of a token that this server signed, expired or not.
func (s *Server) read(token string) (*claims, bool) {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithoutClaimsValidation())
	c := &claims{}
	_, err := parser.ParseWithClaims(token, c, func(*jwt.Token) (any, error) { return s.key, nil })
	return c, err == nil && c.ExpiresAt != nil
}

// tokenAnswer is the answer of Keycloak's token endpoint.
type tokenAnswer struct {
	AccessToken      string `json:"access_token"`
	ExpiresIn        int64  `json:"expires_in"`
	RefreshExpiresIn int64  `json:"refresh_expires_in"`
	RefreshToken     string `json:"refresh_token,omitempty"`
	TokenType        string `json:"token_type"`
	NotBeforePolicy  int    `json:"not-before-policy"`
	SessionState     string `json:"session_state,omitempty"`
	Scope            string `json:"scope"`
}

// issue makes the tokens of a session and makes its refresh token the newest.
// No token outlives the session's maximum age. A session without an id was not
// opened, and the tokens name none.
func (s *Server) issue(r *realm, ss *session, issuer string, now time.Time) tokenAnswer {
	now = now.Truncate(time.Second) // as Keycloak's clock
	oldest := ss.started.Truncate(time.Second).Add(r.SessionMax)
	access := &claims{
		RegisteredClaims: registered(issuer, ss.user.id, now, earlier(now.Add(r.TokenLife), oldest)),
		Type:             typeAccess, Client: ss.client, Scope: ss.scope, Username: ss.user.Username,
	}
	if ss.user.AccountRoles {
		access.Audience = jwt.ClaimStrings{accountAudience}
	}
	refresh := &claims{
		RegisteredClaims: registered(issuer, ss.user.id, now, earlier(now.Add(r.SessionIdle), oldest)),
		Type:             typeRefresh, Client: ss.client, Scope: ss.scope,
	}
	for _, c := range []*claims{access, refresh} {
		if r.Release.SIDClaim {
			c.SID = ss.id
		}
		if r.Release.SessionStateClaim {
			c.State = ss.id
		}
	}
	refresh.Audience = jwt.ClaimStrings{issuer}
	ss.refreshID = refresh.ID
	return tokenAnswer{
		AccessToken: s.sign(access), ExpiresIn: access.life(), TokenType: r.Release.TokenType,
		RefreshToken: s.sign(refresh), RefreshExpiresIn: refresh.life(),
		SessionState: ss.id, Scope: ss.scope,
	}
}

func registered(issuer, subject string, now, expires time.Time) jwt.RegisteredClaims {
	return jwt.RegisteredClaims{
		ID: newUUID(), Issuer: issuer, Subject: subject,
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires),
	}
}

// life is the claims' life in seconds.
func (c *claims) life() int64 { return int64(c.ExpiresAt.Sub(c.IssuedAt.Time) / time.Second) }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// bearer checks the access token of a request: signature, life, revocation and
// its live session. Without a session (client credentials) there is no user.
// The reason completes a 401.
func (s *Server) bearer(r *http.Request, now time.Time) (c *claims, rl *realm, ss *session, reason string) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, nil, nil, "Bearer token required"
	}
	c, ok = s.read(token)
	if !ok || c.Type != typeAccess || s.revoked[c.ID] {
		return nil, nil, nil, "Token verification failed"
	}
	if rl = s.realmNamed(c.Issuer); rl == nil {
		return nil, nil, nil, "Token verification failed"
	}
	if !c.active(now) {
		return nil, nil, nil, "Token is not active"
	}
	if c.session() == "" {
		return c, rl, nil, ""
	}
	ss = rl.session(c.session(), now)
	if ss == nil || ss.user.disabled(now) || !ss.attached && rl.Release.Reuse == ReuseEndsTokens {
		return nil, nil, nil, "User session not found or doesn't have client attached on it"
	}
	return c, rl, ss, ""
}
