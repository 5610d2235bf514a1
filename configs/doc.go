// Package configs is what an operator has configured: upstream accounts, roles
// on them, and which account belongs to whom. It checks what is written, proves
// it by a login, stores it so that a crash at any step loses no session, and
// answers who is meant by a name.
//
// Start with Configs.Write and Configs.Resolve. It knows sessions, storage and
// providers, and nothing of Vault's request and response.
//
// Who may do what at once:
//   - all writes of one name wait for each other, a login included;
//   - an account is reserved by the write that is at work on it, so that no two
//     names can claim it;
//   - what several entries must agree on (claims, which roles use a config) is
//     decided and stored under one short mutex, never held across a login.
package configs
