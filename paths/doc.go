// Package paths is the API: one file for each Vault path, with its fields, its help,
// its handler and its answers. It turns requests into calls of the packages below,
// and what these return into responses. It holds no rule and no state.
//
// Start with All, and with Handler, through which every request comes.
package paths
