// Package sessions is the heart of the engine: it opens upstream sessions,
// hands their tokens out, refreshes them, and closes every one of them again.
//
// Every decision is made in package machine, one pure state machine per
// upstream account; its documentation has the states and the rules. This
// package is the thin shell around it: one mutex per account that is held for
// a decision and never across I/O, the requests that wait, the effects that
// the machine asks for (storage, calls to the server, answers), and its clock.
//
// Start with Engine: New and Start, then Acquire and Release, or Static.
package sessions
