package configs

import (
	"fmt"
	"maps"
	"sync"
	"time"
)

// expiryNotice is how long before its end a personal access token is warned about.
const expiryNotice = 14 * 24 * time.Hour

// ExpiryWarning is what people should know of the end of a personal access token;
// empty: it has none, or it is far.
func ExpiryWarning(end, now time.Time) string {
	const advice = "; make a new one in OCP and write it with its expires_at"
	at := end.UTC().Format(time.RFC3339)
	switch left := end.Sub(now); {
	case end.IsZero() || left > expiryNotice:
		return ""
	case left <= 0:
		return "the personal access token has ended at " + at + advice
	}
	return fmt.Sprintf("the personal access token ends at %s%s", at, advice)
}

// tokenEnds are the ends of the personal access tokens of the configs in memory.
type tokenEnds struct {
	mu   sync.Mutex
	ends map[string]time.Time // by config
}

// note remembers when the token of a config ends; zero: that is not known, or it has none.
func (t *tokenEnds) note(config string, end time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if end.IsZero() {
		delete(t.ends, config)
		return
	}
	if t.ends == nil {
		t.ends = map[string]time.Time{}
	}
	t.ends[config] = end
}

// TokenEnds returns when the personal access tokens end whose end is known, by config.
func (c *Configs) TokenEnds() map[string]time.Time {
	c.tokens.mu.Lock()
	defer c.tokens.mu.Unlock()
	return maps.Clone(c.tokens.ends)
}
