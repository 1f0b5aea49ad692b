package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// Membership: nodes that go, come, are replaced, and leadership that is handed on, under load.

const membersPath = "/weft/v1/members"

// changed: not all who founded it belong to it any more.
func (c *cluster) changed() bool {
	for _, n := range c.nodes {
		if n.member != n.name {
			return true
		}
	}
	return false
}

// ask sends a change of members to whatever node but one, again and again: it may be refused for as
// long as the cluster cannot do it, and is the same change each time. What never comes is a finding.
func (f *field) ask(not *node, method, path string) bool {
	last := "nobody was asked"
	err := until(recovery, fmt.Sprintf("%s %s", method, path), func() bool {
		for _, n := range f.cluster.others(f.rnd, not) {
			code, _, body, err := f.cluster.api.call(n, method, path+"?timeout=1s", "", nil)
			if err != nil {
				last = n.name + ": " + err.Error()
				continue
			}
			last = fmt.Sprintf("%s: %d %s", n.name, code, reason(body))
			if code < 300 || (method == http.MethodDelete && code == http.StatusNotFound) {
				return true
			}
		}
		return false
	})
	if err != nil {
		f.say(err.Error() + "; last seen: " + last)
	}
	return err == nil
}

// role is a member's as the others know it; "" is no member.
func (c *cluster) role(n *node) string {
	for _, other := range c.nodes {
		if other == n {
			continue
		}
		var list struct {
			Items []struct{ Name, Role string } `json:"items"`
		}
		code, _, body, err := c.api.call(other, http.MethodGet, membersPath, "", nil)
		if err != nil || code != http.StatusOK || json.Unmarshal(body, &list) != nil {
			continue
		}
		for _, m := range list.Items {
			if m.Name == n.member {
				return m.Role
			}
		}
	}
	return ""
}

func (f *field) becomes(n *node, role string) bool {
	err := until(recovery, fmt.Sprintf("%s (%s) is a %s", n.name, n.member, role), func() bool {
		return f.cluster.role(n) == role
	})
	if err != nil {
		f.say(err.Error())
	}
	return err == nil
}

// disturb has another node die and come back meanwhile, every second time. The answer waits for it.
func (f *field) disturb(not *node) func() error {
	if f.rnd.IntN(2) == 0 {
		return func() error { return nil }
	}
	n, rnd, done := f.cluster.others(f.rnd, not)[0], rand.New(rand.NewPCG(f.rnd.Uint64(), 0)), make(chan error, 1)
	f.count("kill")
	go func() {
		sleepMs(rnd, 1, 400)
		n.kill()
		sleepMs(rnd, 10, 400)
		done <- n.start()
	}()
	return func() error { return <-done }
}

// joinAnew makes it a node that nobody knows, with an empty disk, and starts it.
func (f *field) joinAnew(n *node, flags ...string) error {
	if err := n.disk.unmount(); err != nil {
		return err
	}
	if err := n.disk.format(); err != nil {
		return err
	}
	n.joins++
	n.member = fmt.Sprintf("%s-%d", n.name, n.joins)
	c := f.cluster
	if c.tls {
		if err := shell(fmt.Sprintf("%s init --dir %s/pki --add %s", c.weftd, c.dir, n.member)); err != nil {
			return err
		}
	}
	contacts := ""
	for _, other := range c.others(f.rnd, n) {
		if contacts != "" {
			contacts += ","
		}
		contacts += "http://" + other.api()
	}
	n.argv = c.argv(n, append(flags, "--join", contacts, "--peer", c.peerAddress(n.id))...)
	return n.start()
}

// leave: it is removed, dead or alive, and then its process ends. false: it was not to be.
func (f *field) leave(n *node) bool {
	if f.rnd.IntN(2) == 0 {
		n.kill()
	}
	left := f.ask(n, http.MethodDelete, membersPath+"/"+n.member)
	n.kill()
	return left
}

// replace: a node is removed, and one with a new identity and an empty disk takes its place.
func replace(f *field) (func() error, error) {
	n := f.cluster.pick(f.rnd)
	f.count("replace")
	back := f.disturb(n)
	left := f.leave(n)
	if err := back(); err != nil || !left {
		return nil, err
	}
	back = f.disturb(n)
	err := f.joinAnew(n)
	if err == nil {
		f.becomes(n, "voter")
	}
	if backErr := back(); err == nil {
		err = backErr
	}
	return nil, err
}

// standby: the same, but what comes has no vote at first, and is given one later.
func standby(f *field) (func() error, error) {
	n := f.cluster.pick(f.rnd)
	f.count("standby")
	if !f.leave(n) {
		return nil, nil
	}
	if err := f.joinAnew(n, "--standby"); err != nil || !f.becomes(n, "standby") {
		return nil, err
	}
	sleepMs(f.rnd, 50, 500)
	back := f.disturb(n)
	if f.ask(n, http.MethodPost, membersPath+"/"+n.member+"/promote") {
		f.becomes(n, "voter")
	}
	return nil, back()
}

// transfer hands leadership to somebody, some times in a row. It may be refused: nothing is lost.
func transfer(f *field) (func() error, error) {
	for range 1 + f.rnd.IntN(4) {
		order := f.cluster.others(f.rnd, nil)
		code, _, _, err := f.cluster.api.call(order[0], http.MethodPost, membersPath+"/"+order[1].member+"/lead?timeout=1s", "", nil)
		if err == nil && code < 300 {
			f.count("transfer")
		}
		time.Sleep(time.Duration(f.rnd.IntN(200)) * time.Millisecond)
	}
	return nil, nil
}
