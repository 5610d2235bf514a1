package backend

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// mount is what a mount is tuned to. Asking Vault crosses the plugin's boundary
// and would cost a read of creds/ more than everything else in it, so the
// answer is remembered for a second.
type mount struct {
	view   logical.SystemView
	recent atomic.Pointer[tuning]
}

type tuning struct {
	defaultTTL, maxTTL time.Duration
	asked              time.Time
}

const tuningAge = time.Second

// DefaultLeaseTTL returns the mount's default TTL.
func (m *mount) DefaultLeaseTTL() time.Duration { return m.tuning().defaultTTL }

// MaxLeaseTTL returns the mount's maximum TTL.
func (m *mount) MaxLeaseTTL() time.Duration { return m.tuning().maxTTL }

func (m *mount) tuning() *tuning {
	if t := m.recent.Load(); t != nil && time.Since(t.asked) < tuningAge {
		return t
	}
	t := &tuning{defaultTTL: m.view.DefaultLeaseTTL(), maxTTL: m.view.MaxLeaseTTL(), asked: time.Now()}
	m.recent.Store(t)
	return t
}
