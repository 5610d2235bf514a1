package iam

import (
	"mime"
	"net/http"
)

// grantOp names the operation that a token request asks for.
func grantOp(r *http.Request) Op {
	switch r.PostForm.Get("grant_type") {
	case "password":
		return OpLogin
	case "refresh_token":
		return OpRefresh
	case "client_credentials":
		return OpClientCredentials
	}
	return OpUnknownGrant
}

// token is Keycloak's token endpoint.
func (s *Server) token(w http.ResponseWriter, r *http.Request, rl *realm) {
	client, no := rl.authenticate(r)
	if no.refused() {
		no.write(w, r)
		return
	}
	grants := map[Op]func(http.ResponseWriter, *http.Request, *realm, Client){
		OpLogin: s.login, OpRefresh: s.refresh, OpClientCredentials: s.clientCredentials,
	}
	grant, known := grants[grantOp(r)]
	switch {
	case known:
		grant(w, r, rl, client)
	case r.PostForm.Has("grant_type"):
		refuse(http.StatusBadRequest, "unsupported_grant_type", "Unsupported grant_type").write(w, r)
	default:
		refuse(http.StatusBadRequest, "invalid_request", "Missing form parameter: grant_type").write(w, r)
	}
}

// authenticate finds the client of a form request and checks its secret, which
// may come in the form or as HTTP Basic authentication.
func (r *realm) authenticate(req *http.Request) (Client, refusal) {
	if mediaType(req) != "application/x-www-form-urlencoded" {
		return Client{}, refuse(http.StatusUnsupportedMediaType, "HTTP 415 Unsupported Media Type", "")
	}
	for _, values := range req.PostForm {
		if len(values) > 1 {
			return Client{}, refuse(http.StatusBadRequest, "invalid_request", "duplicated parameter")
		}
	}
	id, secret, _ := req.BasicAuth()
	if req.PostForm.Has("client_id") {
		id = req.PostForm.Get("client_id")
	}
	if req.PostForm.Has("client_secret") {
		secret = req.PostForm.Get("client_secret")
	}
	client, known := r.client(id)
	switch {
	case id == "":
		return Client{}, refuse(http.StatusBadRequest, "invalid_client", "Missing client_id parameter")
	case !known:
		return Client{}, r.Release.UnknownClient.refusal()
	case client.Secret != "" && secret == "":
		return Client{}, refuse(http.StatusUnauthorized, "unauthorized_client", r.Release.MissingSecret)
	case client.Secret != "" && secret != client.Secret:
		return Client{}, refuse(http.StatusUnauthorized, "unauthorized_client", r.Release.WrongSecret)
	}
	return client, refusal{}
}

func mediaType(r *http.Request) string {
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return t
}

func invalidScope(requested string) refusal {
	return refuse(http.StatusBadRequest, "invalid_scope", "Invalid scopes: "+requested)
}

// clientCredentials is the client credentials grant. Where that opens a session,
// it is one of the client's service account, with a refresh token.
func (s *Server) clientCredentials(w http.ResponseWriter, r *http.Request, rl *realm, client Client) {
	requested := r.PostForm.Get("scope")
	scope, known := rl.grant(requested)
	var no refusal
	switch {
	case client.Secret == "":
		no = refuse(http.StatusUnauthorized, "unauthorized_client", "Public client not allowed to retrieve service account")
	case !client.ServiceAccount:
		no = refuse(http.StatusUnauthorized, "unauthorized_client", "Client not enabled to retrieve service account")
	case !known:
		no = invalidScope(requested)
	}
	s.mu.Lock()
	if no.refused() {
		s.stats(rl.Name, client.ID).RefusedLogins++
		s.mu.Unlock()
		no.write(w, r)
		return
	}
	now := s.now()
	ss := &session{
		user: rl.serviceUser(client, now), client: client.ID, scope: scope,
		userAgent: r.UserAgent(), ip: clientIP(r), started: now, lastAccess: now,
	}
	keeps := rl.Release.ServiceSessions == ServiceSessionsAlways || client.UseRefreshToken
	if keeps {
		rl.open(ss)
		s.notePeak(rl, ss.user, now)
	}
	answer := s.issue(rl, ss, rl.issuer(r), now)
	if !keeps {
		answer.RefreshToken, answer.RefreshExpiresIn = "", 0
	}
	s.stats(rl.Name, client.ID).Logins++
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, answer)
}
