// Package paths is the doors of the engine: one file for each Vault path, with
// its fields, its help and its answers. It turns requests into calls of the
// rooms behind it, and what these return into responses. It holds no rule and
// no state.
//
// Start with All, and with Doors, through which every request comes.
package paths
