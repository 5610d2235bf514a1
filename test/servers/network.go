package servers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"syscall"
)

// network is a set of network namespaces, one for each node of a cluster and
// one with the switch between them. Each node has two links: one to the switch,
// over which the cluster talks and which can be cut, and one to us, over which
// clients and the identity server are reached and which stays.
//
// It needs root (CAP_NET_ADMIN, CAP_SYS_ADMIN) and iproute2.
type network struct {
	name    string // prefix of the namespaces
	third   int    // of the addresses 198.18.<third>.…
	nodes   []*node
	release func()
}

// node is a namespace of a network.
type node struct {
	index     int // from 1
	namespace string
	port      string // its end of the cable at the switch
}

const clusterPort, apiPort = 8201, 8200

// clusterIP is the node's address at the switch. It is only known inside of the
// namespaces (RFC 5737).
func (n *node) clusterIP() string { return fmt.Sprintf("192.0.2.%d", n.index) }

// nodeIP and hostIP are the two ends of the link between the node and us, in the
// range for benchmarks of networks (RFC 2544), which nobody routes.
func (w *network) nodeIP(n *node) string {
	return fmt.Sprintf("198.18.%d.%d", w.third, 4*n.index+2)
}

func (w *network) hostIP(n *node) string {
	return fmt.Sprintf("198.18.%d.%d", w.third, 4*n.index+1)
}

func newNetwork(ctx context.Context, nodes int) (*network, error) {
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, errors.New("a cluster needs the program ip (on Debian: iproute2)")
	}
	third, err := unusedThird()
	if err != nil {
		return nil, err
	}
	w := &network{name: fmt.Sprintf("panta%d", third), third: third}
	names := []string{w.name + "sw"}
	for i := 1; i <= nodes; i++ {
		n := &node{index: i, namespace: fmt.Sprintf("%sn%d", w.name, i), port: fmt.Sprintf("p%d", i)}
		w.nodes = append(w.nodes, n)
		names = append(names, n.namespace)
	}
	w.release, err = guard(`read -r _; for n in "$@"; do ip netns delete "$n"; done`, names...)
	if err != nil {
		return nil, err
	}
	if err := w.build(ctx); err != nil {
		w.remove()
		return nil, fmt.Errorf("network namespaces for the cluster, which need root: %w", err)
	}
	return w, nil
}

func unusedThird() (int, error) {
	for range 100 {
		third := 1 + rand.IntN(250)
		taken, err := net.InterfaceByName(hostLink(third, 1))
		if err != nil && taken == nil {
			return third, nil
		}
	}
	return 0, errors.New("no unused network in 198.18.0.0/16")
}

func hostLink(third, node int) string { return fmt.Sprintf("panta%d-%d", third, node) }

func (w *network) build(ctx context.Context) error {
	sw := w.name + "sw"
	commands := []string{
		"netns add " + sw,
		"-n " + sw + " link add br0 type bridge",
		"-n " + sw + " link set br0 up",
	}
	for _, n := range w.nodes {
		host := hostLink(w.third, n.index)
		in := "-n " + n.namespace + " "
		commands = append(
			commands,
			"netns add "+n.namespace,
			in+"link set lo up",
			"link add "+host+" type veth peer name host netns "+n.namespace,
			"address add "+w.hostIP(n)+"/30 dev "+host,
			"link set "+host+" up",
			in+"address add "+w.nodeIP(n)+"/30 dev host",
			in+"link set host up",
			in+fmt.Sprintf("route add 198.18.%d.0/24 via %s", w.third, w.hostIP(n)),
			"-n "+sw+" link add "+n.port+" type veth peer name switch netns "+n.namespace,
			"-n "+sw+" link set "+n.port+" master br0",
			"-n "+sw+" link set "+n.port+" up",
			in+"address add "+n.clusterIP()+"/24 dev switch",
			in+"link set switch up",
		)
	}
	for _, c := range commands {
		if err := ip(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// cut takes a node's cable out of the switch; mend puts it back.
func (w *network) cut(ctx context.Context, n *node) error {
	return ip(ctx, "-n "+w.name+"sw link set "+n.port+" down")
}

func (w *network) mend(ctx context.Context, n *node) error {
	return ip(ctx, "-n "+w.name+"sw link set "+n.port+" up")
}

// remove ends the namespaces; links go with them.
func (w *network) remove() {
	w.release()
	names := []string{w.name + "sw"}
	for _, n := range w.nodes {
		names = append(names, n.namespace)
	}
	for _, name := range names {
		_ = exec.Command("ip", "netns", "delete", name).Run() //nolint:noctx // takes a moment, and must happen
	}
}

func ip(ctx context.Context, args string) error {
	out, err := exec.CommandContext(ctx, "ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", args, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// guard starts a shell script that sees the end of its stdin when we end in
// whatever way. The function that it returns ends it before that.
func guard(script string, args ...string) (release func(), err error) {
	//nolint:noctx // the guard must outlive us
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "guard"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	lifeline, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	return func() {
		// The guard goes first: at the end of its stdin it would act.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = lifeline.Close()
	}, nil
}
