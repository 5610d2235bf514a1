package backend

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// mount is Vault's view of a mount, with a memory of a second for what every
// request asks: how the mount is tuned (paths), and whether this node forwards
// (the framework, twice). Each question crosses the plugin's boundary and would
// cost a read of creds/ more than everything else in it. Where a node takes
// another place in its cluster, Vault makes the mount's backend anew.
type mount struct {
	logical.SystemView
	recent atomic.Pointer[answers]
}

type answers struct {
	defaultTTL, maxTTL time.Duration
	replication        consts.ReplicationState
	local              bool
	asked              time.Time
}

const answersAge = time.Second

// DefaultLeaseTTL implements logical.SystemView.
func (m *mount) DefaultLeaseTTL() time.Duration { return m.answers().defaultTTL }

// MaxLeaseTTL implements logical.SystemView.
func (m *mount) MaxLeaseTTL() time.Duration { return m.answers().maxTTL }

// ReplicationState implements logical.SystemView.
func (m *mount) ReplicationState() consts.ReplicationState { return m.answers().replication }

// LocalMount implements logical.SystemView.
func (m *mount) LocalMount() bool { return m.answers().local }

func (m *mount) answers() *answers {
	if a := m.recent.Load(); a != nil && time.Since(a.asked) < answersAge {
		return a
	}
	a := &answers{
		defaultTTL:  m.SystemView.DefaultLeaseTTL(),
		maxTTL:      m.SystemView.MaxLeaseTTL(),
		replication: m.SystemView.ReplicationState(),
		local:       m.SystemView.LocalMount(),
		asked:       time.Now(),
	}
	if a.maxTTL > 0 { // else Vault could not be asked
		m.recent.Store(a)
	}
	return a
}
