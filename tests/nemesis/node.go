package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// node is one weftd in a namespace and on a disk of its own.
type node struct {
	id      int
	name    string
	member  string // its name in the cluster: a new one each time that it joins anew
	joins   int    // how often it did
	argv    []string
	env     []string // beside that of this program
	logPath string
	disk    *disk

	mu          sync.Mutex
	cmd         *exec.Cmd
	ended       chan struct{}
	incarnation int
	mayEnd      bool // its end is not a finding: we do it, or its disk is bad
	paused      bool
	findings    []string
}

const (
	apiPort  = 7443
	peerPort = 7444
)

func (n *node) api() string { return fmt.Sprintf("%s:%d", address(n.id), apiPort) }

func (n *node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	log, err := os.OpenFile(n.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	// nsenter becomes weftd: the process is ours, under its own id.
	n.cmd = exec.Command("nsenter", append([]string{"--net=" + namespace(n.id)}, n.argv...)...)
	n.cmd.Stdout, n.cmd.Stderr = log, log
	n.cmd.Env = append(os.Environ(), n.env...)
	n.incarnation++
	n.mayEnd, n.paused = false, false
	n.ended = make(chan struct{})
	if err := n.cmd.Start(); err != nil {
		return err
	}
	go n.watch(n.cmd, n.ended)
	return nil
}

// watch waits for the end and judges it.
func (n *node) watch(cmd *exec.Cmd, ended chan struct{}) {
	err := cmd.Wait()
	n.mu.Lock()
	if !n.mayEnd {
		n.findings = append(n.findings, fmt.Sprintf("%s ended by itself: %v; %s", n.name, err, n.logPath))
	}
	n.mu.Unlock()
	close(ended)
}

func (n *node) alive() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// life counts starts: a read belongs to one of them.
func (n *node) life() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.incarnation
}

// excuse: an end from here to the next start is no finding.
func (n *node) excuse() {
	n.mu.Lock()
	n.mayEnd = true
	n.mu.Unlock()
}

func (n *node) signal(s syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil && n.cmd.Process != nil {
		_ = n.cmd.Process.Signal(s)
	}
	n.paused = s == syscall.SIGSTOP || (n.paused && s != syscall.SIGCONT)
}

func (n *node) isPaused() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.paused
}

// end sends a signal that ends it and waits until it has.
func (n *node) end(s syscall.Signal) {
	n.excuse()
	n.signal(s)
	if n.ended != nil {
		<-n.ended
	}
}

func (n *node) kill() { n.end(syscall.SIGKILL) }

// cutPower: the disk first, so that the process lives to see it fail.
func (n *node) cutPower() error {
	n.excuse()
	if err := n.disk.cut(); err != nil {
		return err
	}
	return n.powerOff()
}

// powerOff follows a cut of the disk: the process ends, and the disk is as it was when it was cut.
func (n *node) powerOff() error {
	n.kill()
	if err := n.disk.unmount(); err != nil {
		return err
	}
	return n.disk.mount()
}

// crash is what no log may hold, whatever the exit status says.
var crash = regexp.MustCompile(`(ERROR|WARNING): (Address|Leak|Thread)Sanitizer|runtime error: |weft: bug: |Segmentation fault`)

// problems is what is wrong with how it lived and ended.
func (n *node) problems() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.findings
	if text, err := os.ReadFile(n.logPath); err == nil {
		if found := crash.Find(text); found != nil {
			out = append(out, fmt.Sprintf("%s: its log says %q; %s", n.name, found, n.logPath))
		}
	}
	return out
}

func (n *node) dataDir() string { return filepath.Join(n.disk.at, "data") }

// count is how often its log has a text.
func (n *node) count(text string) int {
	log, _ := os.ReadFile(n.logPath)
	return bytes.Count(log, []byte(text))
}

// diesWithin waits for an end that is expected.
func (n *node) diesWithin(patience time.Duration) bool {
	return until(patience, "", func() bool { return !n.alive() }) == nil
}

// note writes a line of ours into its log.
func (n *node) note(text string) {
	if f, err := os.OpenFile(n.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err == nil {
		_, _ = fmt.Fprintf(f, "-- %s\n", text)
		_ = f.Close()
	}
}
