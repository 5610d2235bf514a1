package servers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// Cluster is a raft cluster, each of whose nodes is in a network namespace of
// its own (see network).
type Cluster struct {
	Nodes []*Vault
	// HostIP is the address at which all nodes reach servers of this process,
	// whether or not they reach each other.
	HostIP string

	net *network
}

// StartCluster starts a cluster of n nodes with the plugin of o.Plugin in it. It
// returns when every node votes.
func StartCluster(ctx context.Context, n int, o Options) (_ *Cluster, err error) {
	c := &Cluster{}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	if c.net, err = newNetwork(ctx, n); err != nil {
		return nil, err
	}
	c.HostIP = c.net.hostIP(c.net.nodes[0])
	for _, at := range c.net.nodes {
		v, err := c.startNode(ctx, at, o)
		if v != nil {
			c.Nodes = append(c.Nodes, v)
		}
		if err != nil {
			return nil, err
		}
	}
	first := c.Nodes[0]
	if err := first.initialise(ctx); err != nil {
		return nil, err
	}
	client, err := first.Client()
	if err != nil {
		return nil, err
	}
	// A node votes when it has been stable for this long; the default is 10 s.
	if _, err := client.Logical().WriteWithContext(ctx, "sys/storage/raft/autopilot/configuration", map[string]any{"server_stabilization_time": "1s"}); err != nil {
		return nil, err
	}
	for _, v := range c.Nodes[1:] {
		if err := v.join(ctx, first); err != nil {
			return nil, err
		}
	}
	if err := c.Healthy(ctx); err != nil {
		return nil, err
	}
	if o.Plugin == "" {
		return c, nil
	}
	return c, c.enable(ctx, o)
}

// enable registers and enables the plugin at the leader. A cluster that has just
// been formed may change its leader once more, and does then not see at once what
// was registered.
func (c *Cluster) enable(ctx context.Context, o Options) error {
	var last error
	err := c.Nodes[0].proc.await(ctx, "the plugin's mount", time.Minute, func(ctx context.Context) bool {
		leader, err := c.Leader(ctx)
		if err == nil {
			err = leader.Register(ctx, o.Plugin, o.PluginEnv...)
		}
		if err == nil {
			err = leader.Enable(ctx, Mount)
		}
		last = err
		return err == nil || strings.Contains(err.Error(), "path is already in use")
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
}

func (c *Cluster) startNode(ctx context.Context, at *node, o Options) (*Vault, error) {
	v, err := newVault(ctx, o)
	if err != nil {
		return nil, err
	}
	v.inside = at
	v.Addr = fmt.Sprintf("http://%s:%d", c.net.nodeIP(at), apiPort)
	config := filepath.Join(v.Dir, "server.hcl")
	if err := os.WriteFile(config, []byte(c.nodeConfig(v, at)), 0o600); err != nil {
		return v, err
	}
	v.args = []string{"server", "-config=" + config}
	if o.Plugin != "" {
		if _, err := v.install(o.Plugin); err != nil {
			return v, err
		}
	}
	return v, v.launch(ctx)
}

func (c *Cluster) nodeConfig(v *Vault, at *node) string {
	return fmt.Sprintf(`storage "raft" {
  path = %q
  node_id = "n%d"
  performance_multiplier = 1
}
listener "tcp" {
  address = "%s:%d"
  tls_disable = true
}
listener "tcp" {
  address = "%s:%[4]d"
  cluster_address = "%[5]s:%[6]d"
  tls_disable = true
}
api_addr = "http://%[3]s:%[4]d"
cluster_addr = "https://%[5]s:%[6]d"
plugin_directory = %[7]q
disable_mlock = true
raw_storage_endpoint = true
`, filepath.Join(v.Dir, "data"), at.index, c.net.nodeIP(at), apiPort, at.clusterIP(), clusterPort, filepath.Join(v.Dir, "plugins"))
}

// join makes a new node a member of the cluster of another one.
func (v *Vault) join(ctx context.Context, first *Vault) error {
	v.Token, v.UnsealKeys = first.Token, first.UnsealKeys
	client, err := v.Client()
	if err != nil {
		return err
	}
	leader := fmt.Sprintf("http://%s:%d", first.inside.clusterIP(), apiPort)
	if _, err := client.Sys().RaftJoinWithContext(ctx, &api.RaftJoinRequest{LeaderAPIAddr: leader}); err != nil {
		return err
	}
	return v.Unseal(ctx)
}

// Healthy waits until every node votes.
func (c *Cluster) Healthy(ctx context.Context) error {
	return c.Nodes[0].proc.await(ctx, "the cluster's voters", time.Minute, func(ctx context.Context) bool {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		leader, err := c.Leader(ctx)
		if err != nil {
			return false
		}
		client, err := leader.Client()
		if err != nil {
			return false
		}
		state, err := client.Sys().RaftAutopilotStateWithContext(ctx)
		return err == nil && state != nil && state.Healthy && len(state.Voters) == len(c.Nodes)
	})
}

// Leader returns the active node. While nodes are cut off there may be a former
// one that does not know yet; then it is any of the two.
func (c *Cluster) Leader(ctx context.Context) (*Vault, error) {
	for _, v := range c.Nodes {
		if v.proc.alive() && v.Active(ctx) {
			return v, nil
		}
	}
	return nil, errors.New("no node of the cluster is active")
}

// Active says whether the node says that it is the active one.
func (v *Vault) Active(ctx context.Context) bool {
	return status(ctx, v.Addr+"/v1/sys/health") == http.StatusOK
}

// Cut takes a node's cable to the other nodes out; Mend puts it back. The node
// still reaches the identity server and its clients.
func (c *Cluster) Cut(ctx context.Context, v *Vault) error { return c.net.cut(ctx, v.inside) }

// Mend ends Cut.
func (c *Cluster) Mend(ctx context.Context, v *Vault) error { return c.net.mend(ctx, v.inside) }

// Stop stops all nodes and removes what they and the network left.
func (c *Cluster) Stop() {
	for _, v := range c.Nodes {
		v.Stop()
	}
	if c.net != nil {
		c.net.remove()
	}
}
