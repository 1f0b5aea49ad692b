package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fault is one nemesis. inject does harm that lasts; cluster.revive mends all but what undo must.
type fault struct {
	name   string
	weight int
	alone  bool // never beside another
	inject func(f *field) (undo func() error, err error)
}

// field is where faults act, and the count of what they did.
type field struct {
	cluster *cluster
	rnd     *rand.Rand
	counts  map[string]int
	say     func(finding string)
}

func (f *field) count(what string) { f.counts[what]++ }

func faults() []fault {
	return []fault{
		{"kill", 6, false, kill},
		{"kill-all", 2, false, killAll},
		{"pause", 2, false, pause},
		{"pause-two", 1, false, pauseTwo},
		{"isolate-leader", 2, false, isolateLeader},
		{"one-way", 2, false, oneWay},
		{"pair", 1, false, pair},
		{"ring", 1, false, ring},
		{"halves", 1, false, halves},
		{"slow", 1, false, slow},
		{"loss", 1, false, loss},
		{"flap", 1, false, flap},
		{"stutter", 1, false, stutter},
		{clockFault, 1, false, clock},
		{"transfer", 2, false, transfer},
		{"slow-disk", 1, true, slowDisk},
		{"replace", 1, true, replace},
		{"standby", 1, true, standby},
		{"disk-full", 1, false, diskFull},
		{"power-cut", 3, false, powerCut},
		{"power-cut-all", 1, false, powerCutAll},
		{"rolling", 1, true, rolling},
		{"wipe", 1, true, wipe},
	}
}

// faultsNamed are those that were asked for; by default all that this machine can do.
func faultsNamed(s settings) ([]fault, error) {
	if s.nemesis == "" {
		return slices.DeleteFunc(faults(), func(f fault) bool { return f.name == clockFault && s.clocks == "" }), nil
	}
	var out []fault
	for name := range strings.SplitSeq(s.nemesis, ",") {
		if name == clockFault && s.clocks == "" {
			return nil, errors.New("clock: " + clocksLacking)
		}
		i := slices.IndexFunc(faults(), func(f fault) bool { return f.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no nemesis is called %q", name)
		}
		out = append(out, faults()[i])
	}
	return out, nil
}

func kill(f *field) (func() error, error) {
	f.cluster.pick(f.rnd).kill()
	f.count("kill")
	return nil, nil
}

func killAll(f *field) (func() error, error) {
	for _, n := range f.cluster.nodes {
		n.kill()
		f.count("kill")
	}
	return nil, nil
}

func pause(f *field) (func() error, error) {
	f.cluster.pick(f.rnd).signal(syscall.SIGSTOP)
	f.count("pause")
	return nil, nil
}

func pauseTwo(f *field) (func() error, error) {
	n := f.cluster.pick(f.rnd)
	n.signal(syscall.SIGSTOP)
	f.cluster.others(f.rnd, n)[0].signal(syscall.SIGSTOP)
	f.count("pause-two")
	return nil, nil
}

func isolateLeader(f *field) (func() error, error) {
	n := f.cluster.leader()
	if n == nil {
		n = f.cluster.pick(f.rnd)
	}
	f.count("isolate-leader")
	return nil, f.partAll([]*node{n}, f.cluster.others(f.rnd, n))
}

func (f *field) partAll(these, those []*node) error {
	for _, a := range these {
		for _, b := range those {
			if err := f.cluster.wire.part(a.id, b.id); err != nil {
				return err
			}
		}
	}
	return nil
}

// oneWay: one hears the other and is not heard.
func oneWay(f *field) (func() error, error) {
	a := f.cluster.pick(f.rnd)
	b := f.cluster.others(f.rnd, a)[0]
	if f.rnd.IntN(2) == 0 {
		a, b = b, a
	}
	f.count("one-way")
	return nil, f.cluster.wire.drop(a.id, b.id)
}

func pair(f *field) (func() error, error) {
	a := f.cluster.pick(f.rnd)
	f.count("pair")
	return nil, f.cluster.wire.part(a.id, f.cluster.others(f.rnd, a)[0].id)
}

// ring leaves each node those beside it: of five, every node sees a majority, and no two the same.
func ring(f *field) (func() error, error) {
	order := f.cluster.others(f.rnd, nil)
	f.count("ring")
	for i, a := range order {
		for j := i + 2; j < len(order); j++ {
			if i == 0 && j == len(order)-1 && len(order) > 3 {
				continue
			}
			if err := f.cluster.wire.part(a.id, order[j].id); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

func halves(f *field) (func() error, error) {
	order := f.cluster.others(f.rnd, nil)
	f.count("halves")
	return nil, f.partAll(order[:len(order)/2], order[len(order)/2:])
}

func slow(f *field) (func() error, error) {
	f.count("slow")
	return nil, f.cluster.wire.squeeze(f.cluster.pick(f.rnd).id, 256+f.rnd.IntN(1024))
}

// loss drops some of the packets between one node and the others, or between all of them.
func loss(f *field) (func() error, error) {
	f.count("loss")
	percent := 5 + f.rnd.IntN(26)
	if f.rnd.IntN(2) == 0 {
		return nil, f.cluster.wire.lose(f.cluster.pick(f.rnd).id, percent)
	}
	for _, n := range f.cluster.nodes {
		if err := f.cluster.wire.lose(n.id, percent); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// again does a thing over and over until it is undone. The thing draws from a source of its own.
func (f *field) again(step func(rnd *rand.Rand) error) func() error {
	rnd := rand.New(rand.NewPCG(f.rnd.Uint64(), 0))
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := step(rnd); err != nil {
				ended <- err
				return
			}
		}
	}()
	return func() error {
		close(stop)
		return <-ended
	}
}

func sleepMs(rnd *rand.Rand, from, to int) {
	time.Sleep(time.Duration(from+rnd.IntN(to-from)) * time.Millisecond)
}

// flap is a link that comes and goes: connections live, what they carry is late.
func flap(f *field) (func() error, error) {
	n, w := f.cluster.pick(f.rnd), f.cluster.wire
	f.count("flap")
	return f.again(func(rnd *rand.Rand) error {
		if err := w.flap(n.id, true); err != nil {
			return err
		}
		sleepMs(rnd, 20, 400)
		if err := w.flap(n.id, false); err != nil {
			return err
		}
		sleepMs(rnd, 20, 300)
		return nil
	}), nil
}

// stutter stops a process again and again for less or more than an election time-out.
func stutter(f *field) (func() error, error) {
	n := f.cluster.pick(f.rnd)
	f.count("stutter")
	return f.again(func(rnd *rand.Rand) error {
		n.signal(syscall.SIGSTOP)
		sleepMs(rnd, 20, 450)
		n.signal(contSignal)
		sleepMs(rnd, 20, 300)
		return nil
	}), nil
}

// slowDisk lets nothing reach a disk for a while, again and again: writes and syncs wait.
func slowDisk(f *field) (func() error, error) {
	n := f.cluster.pick(f.rnd)
	f.count("slow-disk")
	return f.again(func(rnd *rand.Rand) error {
		if err := n.disk.freeze(); err != nil {
			return err
		}
		sleepMs(rnd, 10, 500)
		if err := n.disk.thaw(); err != nil {
			return err
		}
		sleepMs(rnd, 10, 100)
		return nil
	}), nil
}

// diskFull: a node may stop for it, and must be well when there is space again.
func diskFull(f *field) (func() error, error) {
	n := f.cluster.pick(f.rnd)
	n.excuse()
	f.count("disk-full")
	if err := n.disk.fill(); err != nil {
		return nil, err
	}
	if f.rnd.IntN(2) == 0 && n.diesWithin(time.Second) {
		// Somebody starts it again before there is space.
		if err := n.start(); err != nil {
			return nil, err
		}
		n.excuse()
	}
	return func() error {
		if err := n.disk.empty(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}, nil
}

func powerCut(f *field) (func() error, error) {
	f.count("power-cut")
	return nil, f.cluster.pick(f.rnd).cutPower()
}

// cutAll is at one moment: what a majority has not synced then is lost for good.
func cutAll(nodes []*node) error {
	var wait sync.WaitGroup
	errs := make([]error, len(nodes))
	for i, n := range nodes {
		n.excuse()
		wait.Go(func() { errs[i] = n.disk.cut() })
	}
	wait.Wait()
	return errors.Join(errs...)
}

func powerCutAll(f *field) (func() error, error) {
	if err := cutAll(f.cluster.nodes); err != nil {
		return nil, err
	}
	for _, n := range f.cluster.nodes {
		f.count("power-cut")
		if err := n.powerOff(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// rolling is an upgrade: each node ends in order and comes back before the next.
func rolling(f *field) (func() error, error) {
	for _, n := range f.cluster.others(f.rnd, nil) {
		n.end(syscall.SIGTERM)
		f.count("restart")
		if err := n.start(); err != nil {
			return nil, err
		}
		if err := f.cluster.ready(10 * time.Second); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// wipe is a node that gets a new, empty disk: it catches up, and votes again when it may. A second
// disk must not be lost before that, so it waits.
func wipe(f *field) (func() error, error) {
	if f.cluster.changed() {
		return replace(f) // a founder asks those that it was founded with, and one of them is gone
	}
	n := f.cluster.pick(f.rnd)
	f.count("wipe")
	n.kill()
	if err := n.disk.unmount(); err != nil {
		return nil, err
	}
	if err := n.disk.format(); err != nil {
		return nil, err
	}
	joined := n.count("event=registry.joined")
	if err := n.start(); err != nil {
		return nil, err
	}
	err := until(recovery, n.name+" votes again with an empty disk", func() bool {
		return n.count("event=registry.joined") > joined
	})
	if err != nil {
		f.say(err.Error())
	}
	return nil, nil
}
