// Package configs is what an operator has configured: upstream accounts, roles
// on them, and which account belongs to whom. It checks what is written, verifies
// it by a login, stores it so that a crash at any step leaves one config in force, and
// answers who is meant by a name.
//
// Start with Configs.Write and Configs.Resolve; fields.go has the table of all fields.
// It knows sessions, storage and providers, and nothing of Vault's request and
// response.
//
// Who may do what at once:
//   - all writes of one name wait for each other, a login included;
//   - an account is reserved by the write that is at work on it, so that no two
//     names get it;
//   - what several entries must agree on (owners, which roles use a config) is
//     decided and stored under one short mutex, never held across a login.
package configs
