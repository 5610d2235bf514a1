package machine

import (
	"fmt"
	"strconv"
	"strings"
)

// String is how answers and leases show the token: "<session>.<generation>".
// The zero TokenRef is "".
func (r TokenRef) String() string {
	if r.Session == "" {
		return ""
	}
	return string(r.Session) + "." + strconv.Itoa(r.Generation)
}

// ParseTokenRef reads what String wrote.
func ParseTokenRef(s string) (TokenRef, error) {
	id, number, found := strings.Cut(s, ".")
	generation, err := strconv.Atoi(number)
	if !found || id == "" || err != nil || generation < 1 {
		return TokenRef{}, fmt.Errorf("%q is no session_id: want <session>.<generation>", s)
	}
	return TokenRef{Session: SessionID(id), Generation: generation}, nil
}

// String is how a lease stores the grant: "<boot>-<n>".
func (g GrantID) String() string { return g.Boot + "-" + strconv.FormatUint(g.N, 10) }

// ParseGrantID reads what String wrote.
func ParseGrantID(s string) (GrantID, error) {
	boot, number, found := strings.Cut(s, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if !found || boot == "" || err != nil {
		return GrantID{}, fmt.Errorf("%q is no grant: want <boot>-<n>", s)
	}
	return GrantID{Boot: boot, N: n}, nil
}
