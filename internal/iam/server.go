package iam

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Op names what a request asks for. Faults are matched and calls are counted by it.
type Op string

// The operations.
const (
	OpLogin             Op = "login"              // token endpoint, grant password
	OpRefresh           Op = "refresh"            // token endpoint, grant refresh_token
	OpClientCredentials Op = "client_credentials" // token endpoint, grant client_credentials
	OpLogout            Op = "logout"
	OpRevoke            Op = "revoke"
	OpUserinfo          Op = "userinfo"
	OpAccountList       Op = "account_list" // GET account/sessions
	OpAccountEnd        Op = "account_end"  // DELETE account/sessions/{id}
	OpPartnerToken      Op = "partner_token"
	OpResource          Op = "resource" // GET /api/…/ping

	OpUnknownGrant     Op = "unknown_grant"     // token endpoint, any other grant
	OpFollowedRedirect Op = "followed_redirect" // the place that Redirect points at

	// OpAccount stands in a Fault for both operations of the Account REST API.
	OpAccount Op = "account"
)

// maxBody bounds a request's body; a login takes less than one kilobyte.
const maxBody = 1 << 20

// Server emulates the identity servers of one Config. It is an http.Handler
// and safe for concurrent use.
type Server struct {
	cfg   Config
	shift atomic.Int64 // nanoseconds by which the clock is ahead
	key   []byte       // signs the tokens
	mux   *http.ServeMux

	mu       sync.Mutex
	realms   map[string]*realm
	revoked  map[string]bool // access tokens that were revoked, by jti
	calls    map[Op]int
	accounts map[accountKey]*AccountStats
	faulted  map[Op]int
	faults   []*Fault
	unhang   chan struct{} // closed to let go what hangs
}

// New returns a server with the realms and partners of cfg and no sessions.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, mux: http.NewServeMux(), unhang: make(chan struct{})}
	if s.cfg.Now == nil {
		s.cfg.Now = time.Now
	}
	s.key = make([]byte, 32)
	_, _ = rand.Read(s.key) // never fails
	s.Reset()
	s.routes()
	return s
}

// Reset returns to the Config: no sessions, no faults, no counts, no spent
// codes, no lock-outs.
func (s *Server) Reset() {
	s.ClearFaults()
	s.ShiftClock(s.cfg.ClockShift)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.realms = map[string]*realm{}
	for _, r := range s.cfg.Realms {
		s.realms[r.Name] = newRealm(r, s.now())
	}
	s.revoked = map[string]bool{}
	s.calls, s.faulted = map[Op]int{}, map[Op]int{}
	s.accounts = map[accountKey]*AccountStats{}
}

// ShiftClock sets how far the server's clock is ahead (behind, if negative) of
// Config.Now. It moves at once what lives by it: tokens, sessions, codes, lock-outs.
func (s *Server) ShiftClock(ahead time.Duration) { s.shift.Store(int64(ahead)) }

func (s *Server) now() time.Time { return s.cfg.Now().Add(time.Duration(s.shift.Load())) }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Most releases send no Date header, so a client must not lean on one.
	w.Header()["Date"] = nil // keeps net/http from adding one
	if s.cfg.DateHeader {
		s.setDate(w)
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Server) setDate(w http.ResponseWriter) {
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
}

func (s *Server) routes() {
	var prefixes []string
	for _, r := range s.cfg.Realms {
		if !slices.Contains(prefixes, r.PathPrefix) {
			prefixes = append(prefixes, r.PathPrefix)
		}
	}
	for _, prefix := range prefixes {
		realmed := func(method, path string, op func(*http.Request) Op, h realmHandler) {
			s.mux.Handle(method+" "+prefix+"/realms/{realm}/"+path, s.faulty(op, s.inRealm(prefix, h)))
		}
		realmed("POST", "protocol/openid-connect/token", grantOp, s.token)
		realmed("POST", "protocol/openid-connect/logout", always(OpLogout), s.logout)
		realmed("POST", "protocol/openid-connect/revoke", always(OpRevoke), s.revoke)
		realmed("GET", "protocol/openid-connect/userinfo", always(OpUserinfo), s.userinfo)
		realmed("GET", "account/sessions", always(OpAccountList), s.listOwnSessions)
		realmed("DELETE", "account/sessions/{id}", always(OpAccountEnd), s.endOwnSession)
	}
	s.mux.Handle("POST /api/oauth/token", s.faulty(always(OpPartnerToken), s.partnerToken))
	s.mux.Handle("GET /api/panta/ping", s.faulty(always(OpResource), s.pantaPing))
	s.mux.Handle("GET /api/ocp/{service}/ping", s.faulty(always(OpResource), s.ocpPing))
	s.mux.Handle("GET /api/partner/ping", s.faulty(always(OpResource), s.partnerPing))

	s.mux.HandleFunc(redirectTarget, s.countRedirected)

	s.mux.HandleFunc("GET /admin/realms/{realm}/users/{username}/sessions", s.adminSessions)
	s.mux.HandleFunc("POST /_iam/faults", s.controlInject)
	s.mux.HandleFunc("DELETE /_iam/faults", s.controlClearFaults)
	s.mux.HandleFunc("GET /_iam/stats", s.controlStats)
	s.mux.HandleFunc("POST /_iam/reset", s.controlReset)

	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusNotFound, errorBody{Error: "HTTP 404 Not Found"})
	})
}

type realmHandler func(http.ResponseWriter, *http.Request, *realm)

// inRealm finds the realm of the request's path.
func (s *Server) inRealm(prefix string, h realmHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		rl := s.realms[r.PathValue("realm")]
		s.mu.Unlock()
		if rl == nil || rl.PathPrefix != prefix {
			writeJSON(w, http.StatusNotFound, errorBody{Error: "Realm does not exist"})
			return
		}
		if rl.Release.WildFly {
			s.setDate(w)
		}
		h(w, r, rl)
	}
}

func always(op Op) func(*http.Request) Op {
	return func(*http.Request) Op { return op }
}

// readBody takes in the whole body before anything waits, so that the HTTP
// server can notice a client that goes away.
func readBody(r *http.Request) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return err
	}
	if len(body) > maxBody {
		return errors.New("request body too large")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r.ParseForm() // leaves a body that is not a form alone
}

// issuer is the realm's own URL as the client sees it; tokens are bound to it.
func (r *realm) issuer(req *http.Request) string {
	scheme := "http"
	if req.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + req.Host + r.PathPrefix + "/realms/" + r.Name
}

// realmNamed finds the realm that a token names as its issuer.
func (s *Server) realmNamed(issuer string) *realm {
	_, name, _ := strings.Cut(issuer, "/realms/")
	return s.realms[name]
}
