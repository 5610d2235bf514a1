// Package iam emulates the identity servers that the plugin talks to: Keycloak
// realms, as Panta and OCP run them, and the partner API's token endpoint,
// each with one protected resource. It is test code and never part of the
// plugin.
//
// It exists for speed and for faults. What real Keycloak does is the law: where
// the two disagree, the emulator is wrong.
//
// Start with New and Demo:
//
//	server := iam.New(iam.Demo())
//	client := &http.Client{Transport: server.Transport()} // in memory, or
//	socket := httptest.NewServer(server)                  // over a socket
//
// A Server starts no goroutine and reads time only from its clock and from
// timers of package time, so that it runs inside testing/synctest bubbles. Make
// it inside the bubble: what hangs waits on a channel of the Server.
package iam
