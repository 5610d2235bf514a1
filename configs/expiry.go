package configs

import (
	"fmt"
	"time"
)

// expiryNotice is how long before its end a personal access token is warned about.
const expiryNotice = 14 * 24 * time.Hour

// ExpiryWarning is what people should know of the end of a personal access token;
// empty: it has none, or it is far.
func ExpiryWarning(end, now time.Time) string {
	left := end.Sub(now)
	switch {
	case end.IsZero() || left > expiryNotice:
		return ""
	case left <= 0:
		return "the personal access token has ended at " + end.UTC().Format(time.RFC3339) + "; make a new one in OCP and write it with its expires_at"
	}
	return fmt.Sprintf("the personal access token ends at %s; make a new one in OCP and write it with its expires_at", end.UTC().Format(time.RFC3339))
}
