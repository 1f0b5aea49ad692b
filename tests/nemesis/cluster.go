package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// cluster is the nodes, their network and their disks.
type cluster struct {
	dir    string
	weftd  string
	tls    bool   // between peers
	clocks string // the library that moves a node's wall clock; "": none does
	wire   *wire
	nodes  []*node
	api    *api
}

func clusterNew(dir string, s settings, size int, tls bool) (*cluster, error) {
	w, err := wireUp(size)
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, weftd: s.weftd, clocks: s.clocks, tls: tls, wire: w, api: apiNew()}
	if tls {
		err = makeCerts(dir, s.weftd, size)
	}
	for i := 1; i <= size && err == nil; i++ {
		var n *node
		if n, err = c.nodeNew(i, size); err == nil {
			c.nodes = append(c.nodes, n)
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func makeCerts(dir, weftd string, size int) error {
	args := ""
	for i := 1; i <= size; i++ {
		args += fmt.Sprintf(" --name n%d", i)
	}
	return shell(fmt.Sprintf("%s init --dir %s/pki%s", weftd, dir, args))
}

func (c *cluster) peerAddress(id int) string {
	if c.tls {
		return fmt.Sprintf("%s:%d", tlsAddress(id), peerPort)
	}
	return fmt.Sprintf("%s:%d", address(id), peerPort)
}

func (c *cluster) nodeNew(id, size int) (*node, error) {
	var members []string
	for i := 1; i <= size; i++ {
		members = append(members, fmt.Sprintf("n%d=%s", i, c.peerAddress(i)))
	}
	dir := c.dir
	name := fmt.Sprintf("n%d", id)
	d, err := diskNew(filepath.Join(dir, "disks", name+".img"), filepath.Join(dir, "mnt", name))
	if err != nil {
		return nil, err
	}
	n := &node{id: id, name: name, member: name, disk: d, logPath: filepath.Join(dir, name+".log")}
	n.argv = c.argv(n, "--cluster", strings.Join(members, ","))
	if c.clocks != "" {
		n.env = clockEnv(c.clocks, n.clockFile())
		err = n.setClock(0)
	}
	return n, err
}

// argv is a node's command line; how: the flags that say which cluster it belongs to.
func (c *cluster) argv(n *node, how ...string) []string {
	out := []string{c.weftd, "--name", n.member, "--data", n.dataDir(),
		"--api", n.api(), "--xds", address(n.id) + ":15012", "--metrics", "none",
		// Small, so that checkpoints are taken and sent within a run.
		"--snapshot-log-mib", "1", "--xds-workers", "1"}
	if c.tls {
		out = append(out, "--peer-cert-dir", filepath.Join(c.dir, "pki", n.member))
	}
	return append(out, how...)
}

func (c *cluster) start() error {
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	return c.ready(20 * time.Second)
}

// ready: every node answers and has a quorum.
func (c *cluster) ready(patience time.Duration) error {
	return until(patience, "a quorum at every node", func() bool {
		for _, n := range c.nodes {
			st, err := c.api.status(n)
			if err != nil || !st.Quorum || st.Revision == 0 {
				return false
			}
		}
		return true
	})
}

func (c *cluster) leader() *node {
	for _, n := range c.nodes {
		if !n.alive() || n.isPaused() {
			continue
		}
		if st, err := c.api.status(n); err == nil && st.Node.Role == "leader" && st.Quorum {
			return n
		}
	}
	return nil
}

// pick is any node, or every second time the leader: what happens to it matters most.
func (c *cluster) pick(rnd *rand.Rand) *node {
	if rnd.IntN(2) == 0 {
		if lead := c.leader(); lead != nil {
			return lead
		}
	}
	return c.nodes[rnd.IntN(len(c.nodes))]
}

// others are the nodes but one, in a random order.
func (c *cluster) others(rnd *rand.Rand, not *node) []*node {
	var out []*node
	for _, i := range rnd.Perm(len(c.nodes)) {
		if c.nodes[i] != not {
			out = append(out, c.nodes[i])
		}
	}
	return out
}

// revive ends every fault that is left, whatever it was.
func (c *cluster) revive() error {
	if err := c.wire.heal(); err != nil {
		return err
	}
	for _, n := range c.nodes {
		n.signal(contSignal)
		if !n.alive() {
			if err := n.start(); err != nil {
				return err
			}
		}
	}
	return nil
}

// settled waits until all nodes are at one revision with one hash.
func (c *cluster) settled(patience time.Duration) ([]status, error) {
	var seen []status
	err := until(patience, "one revision and hash at all nodes", func() bool {
		seen = nil
		for _, n := range c.nodes {
			st, err := c.api.status(n)
			if err != nil || !st.Quorum {
				return false
			}
			seen = append(seen, st)
		}
		for _, st := range seen {
			if st.Revision != seen[0].Revision || st.StateHash != seen[0].StateHash {
				return false
			}
		}
		return true
	})
	return seen, err
}

func (c *cluster) problems() []string {
	var out []string
	for _, n := range c.nodes {
		out = append(out, n.problems()...)
	}
	return out
}

// close ends the processes and takes network and disks away.
func (c *cluster) close() error {
	var errs []error
	for _, n := range c.nodes {
		n.signal(contSignal)
		n.kill()
		errs = append(errs, n.disk.remove())
	}
	errs = append(errs, c.wire.down(), os.RemoveAll(filepath.Join(c.dir, "mnt")))
	return errors.Join(errs...)
}

// until polls; what does not come in time is named.
func until(patience time.Duration, what string, fn func() bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !fn() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
	return nil
}
