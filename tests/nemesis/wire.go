package main

import (
	"fmt"
	"os/exec"
	"strings"
)

// wire is the network: a namespace a node, joined by a bridge in the namespace that this program
// was started in (scripts/nemesis makes that one, and it goes with the program). Each node has two
// addresses: one for peers that speak TLS, and one of loopback, which weftd wants for the API and
// for peers without TLS; route_localnet lets those travel.
type wire struct{ nodes int }

const (
	subnet    = "127.30.0"
	tlsSubnet = "10.30.0"
)

func address(node int) string    { return fmt.Sprintf("%s.%d", subnet, node) }
func tlsAddress(node int) string { return fmt.Sprintf("%s.%d", tlsSubnet, node) }
func namespace(node int) string  { return fmt.Sprintf("/run/netns/n%d", node) }
func port(node int) string       { return fmt.Sprintf("v%d", node) }

const hostSetup = `
mount --make-rprivate /
mount -t tmpfs none /dev/shm
mkdir -p /run/netns && mount -t tmpfs none /run/netns
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
ip link set lo up; ip addr del 127.0.0.1/8 dev lo; ip addr add 127.0.0.1/32 dev lo
ip link add br0 type bridge && ip addr add SUBNET.254/24 dev br0 && ip link set br0 up
`

const nodeSetup = `
ip netns add nI
ip link add vI type veth peer name eth0 netns nI
ip link set vI master br0 up
nsenter --net=/run/netns/nI sh -ec '
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
ip link set lo up; ip addr del 127.0.0.1/8 dev lo; ip addr add 127.0.0.1/32 dev lo
ip addr add SUBNET.I/24 dev eth0; ip addr add TLSNET.I/24 dev eth0; ip link set eth0 up
nft "add table ip cut; add chain ip cut in { type filter hook input priority 0; };
add chain ip cut flap_in { type filter hook input priority 0; };
add chain ip cut flap_out { type filter hook output priority 0; }"'
`

// hostUp is done once; nodes come and go with each run.
func hostUp() error { return shell(strings.ReplaceAll(hostSetup, "SUBNET", subnet)) }

func wireUp(nodes int) (*wire, error) {
	for i := 1; i <= nodes; i++ {
		script := strings.NewReplacer("SUBNET", subnet, "TLSNET", tlsSubnet, "nI", fmt.Sprintf("n%d", i), "vI", port(i),
			".I/", fmt.Sprintf(".%d/", i)).Replace(nodeSetup)
		if err := shell(script); err != nil {
			return nil, err
		}
	}
	return &wire{nodes}, nil
}

func (w *wire) down() error {
	for i := 1; i <= w.nodes; i++ {
		if err := shell(fmt.Sprintf("ip link del %s; ip netns del n%d", port(i), i)); err != nil {
			return err
		}
	}
	return nil
}

// drop lets nothing come from one node to another. Clients are never cut off.
func (w *wire) drop(from, to int) error {
	return w.nft(to, fmt.Sprintf("add rule ip cut in ip saddr { %s, %s } drop", address(from), tlsAddress(from)))
}

// peers is the addresses of all nodes: clients are at another.
func (w *wire) peers() string {
	var all []string
	for i := 1; i <= w.nodes; i++ {
		all = append(all, address(i), tlsAddress(i))
	}
	return "{ " + strings.Join(all, ", ") + " }"
}

// lose drops so many of a hundred packets that come from other nodes.
func (w *wire) lose(node, percent int) error {
	return w.nft(node, fmt.Sprintf("add rule ip cut in ip saddr %s iifname eth0 numgen random mod 100 < %d counter drop", w.peers(), percent))
}

// flap takes the link to the other nodes away, or brings it back.
func (w *wire) flap(node int, away bool) error {
	if !away {
		return w.nft(node, "flush chain ip cut flap_in; flush chain ip cut flap_out")
	}
	return w.nft(node, fmt.Sprintf("add rule ip cut flap_in iifname eth0 ip saddr %s drop; add rule ip cut flap_out oifname eth0 ip daddr %s drop",
		w.peers(), w.peers()))
}

// part cuts both ways.
func (w *wire) part(a, b int) error {
	if err := w.drop(a, b); err != nil {
		return err
	}
	return w.drop(b, a)
}

// squeeze caps what a node sends and receives.
func (w *wire) squeeze(node, kbit int) error {
	tbf := fmt.Sprintf("tbf rate %dkbit burst 16kb latency 100ms", kbit)
	return shell(fmt.Sprintf("tc qdisc replace dev %s root %s; nsenter --net=%s tc qdisc replace dev eth0 root %s",
		port(node), tbf, namespace(node), tbf))
}

func (w *wire) heal() error {
	for i := 1; i <= w.nodes; i++ {
		if err := w.nft(i, "flush chain ip cut in"); err != nil {
			return err
		}
		_ = exec.Command("tc", "qdisc", "del", "dev", port(i), "root").Run() // none is the usual case
		_ = exec.Command("nsenter", "--net="+namespace(i), "tc", "qdisc", "del", "dev", "eth0", "root").Run()
	}
	return nil
}

func (w *wire) nft(node int, rule string) error {
	return shell(fmt.Sprintf("nsenter --net=%s nft '%s'", namespace(node), rule))
}

func shell(script string) error {
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.TrimSpace(script), err, out)
	}
	return nil
}
