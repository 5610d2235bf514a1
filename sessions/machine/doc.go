// Package machine decides everything about the sessions of one upstream
// account: when to log in, refresh and log out, who gets which token, what is
// stored before what. It does nothing itself: Step takes an event and the time
// and returns the effects, in order; their answers come back as events. So it
// blocks on nothing, reads no clock, and every rule can be searched by machine.
//
// Start with Account.Step and the lists of events and effects; TryGrant is the
// hot path beside them. Recover builds an Account from its ledger.
//
// # The life of a session
//
// Every session is in one phase. What the ledger holds is its stage; it may say
// more than is true (a session that is closed already), never less.
//
//	phase      ledger    at the server   waits for                then
//	intending  -         nothing         the write of the intent  loggingIn; removing if it failed
//	loggingIn  opening   perhaps         the login's answer       recording; codeHold or removing if refused;
//	                                                              lost if unknown; closing if useless
//	recording  opening   open            the write of the token   open; closing if it failed
//	open       open      open            leases, refreshes        closing
//	lost       opening   perhaps         its end by the list, or  codeHold, removing
//	                                     the time it must be dead
//	closing    open, or  open            its logout, or the time  codeHold, removing
//	           closing                   it must be dead
//	codeHold   open, or  nothing         the end of its one-time  removing
//	           spent                     code's time-step window
//	removing   any       nothing         the deletion             gone
//
// A login that leaves no session at the server (client credentials) goes the
// same way without the writes.
//
// # The rules
//
// Each rule is kept in one place, and named there:
//
//	rule 1   every session opened is closed       login.go, logout.go, record.go, connections.go
//	rule 2   never over budget                    limits.go
//	rule 3   dedicated and shared                 purpose.go, grants.go, login.go
//	rule 4   a lease never outlives its token     grants.go, readers.go
//	rule 5   revocation is idempotent             logout.go
//	rule 6   a one-time code is used once         codes.go
//	rule 7   no lock-outs by us                   guard.go
//	rule 8   refresh once                         refresh.go
//	rule 10  deleting a config                    logout.go
//	rule 11  the server's list wins               list.go, reconcile.go
//	rule 12  a refused token is replaced once     readers.go
//
// An account that must not be left alone for long is kept alive by keepalive.go; when
// something is due by time alone, schedule.go says. Rule 9 (forward before fetching) is
// kept by the handlers.
package machine
