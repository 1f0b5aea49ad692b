package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// Wall clocks. libfaketime stands between a node and the kernel: the time of day is off by what a
// file says, read anew each time; monotonic clocks are left alone, as a real jump leaves them.

const (
	clockFault    = "clock"
	clocksLacking = "libfaketime is not installed (scripts/setup --test), or weftd has AddressSanitizer, which wants to be loaded first"
	clockLibrary  = "/usr/lib/*/faketime/libfaketimeMT.so.1"
)

// clocksOf is the library, or "" where clocks cannot be moved.
func clocksOf(weftd string) (string, error) {
	program, err := os.ReadFile(weftd)
	if err != nil {
		return "", err
	}
	found, err := filepath.Glob(clockLibrary)
	if err != nil || len(found) == 0 || bytes.Contains(program, []byte("libasan.so")) {
		return "", err
	}
	return found[0], nil
}

func clockEnv(library, file string) []string {
	return []string{"LD_PRELOAD=" + library, "FAKETIME_TIMESTAMP_FILE=" + file, "FAKETIME_NO_CACHE=1",
		"FAKETIME_DONT_FAKE_MONOTONIC=1"}
}

func (n *node) clockFile() string { return n.logPath + ".clock" }

// setClock takes effect at once, and stays over restarts.
func (n *node) setClock(off time.Duration) error {
	next, err := os.CreateTemp(filepath.Dir(n.logPath), n.name+".clock-")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(next, "%+.3f\n", off.Seconds())
	return errors.Join(err, next.Close(), os.Rename(next.Name(), n.clockFile()))
}

// jump is by seconds, hours or more than a year. Certificates are judged by the clock: with TLS it
// stays within what they allow, which is how far the docs promise that nothing happens.
func jump(rnd *rand.Rand, tls bool) time.Duration {
	far := []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour, 300 * 24 * time.Hour, 400 * 24 * time.Hour}
	back := rnd.IntN(2) == 0
	if tls {
		far = far[:5]
	}
	if tls && back {
		far = far[:3]
	}
	off := time.Duration(rnd.Int64N(int64(far[rnd.IntN(len(far))])))
	if back {
		return -off
	}
	return off
}

// clock: the wall clock of a node, or of every node, jumps once, or to and fro all the time. Half of
// them stay wrong when the fault is over.
func clock(f *field) (func() error, error) {
	f.count(clockFault)
	nodes := []*node{f.cluster.pick(f.rnd)}
	if f.rnd.IntN(3) == 0 {
		nodes = f.cluster.nodes
	}
	shake := func(rnd *rand.Rand) error {
		for _, n := range nodes {
			if err := n.setClock(jump(rnd, f.cluster.tls)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := shake(f.rnd); err != nil || f.rnd.IntN(2) == 0 {
		return nil, err
	}
	stop := f.again(func(rnd *rand.Rand) error {
		sleepMs(rnd, 10, 200)
		return shake(rnd)
	})
	return func() error {
		err := stop()
		for _, n := range nodes {
			if err == nil {
				err = n.setClock(0)
			}
		}
		return err
	}, nil
}
