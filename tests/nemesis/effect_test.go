package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// If these fail, a fault is named, counted and does nothing: whoever reads the counts is told a lie.

const within = "WEFT_NEMESIS_WITHIN" // set in the namespaces that alone makes

// alone runs the test once more in namespaces of its own; true: this is that run.
func alone(t *testing.T) bool {
	if os.Getenv(within) != "" {
		return true
	}
	ns := []string{"--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Getuid() != 0 || exec.Command("unshare", append(ns, "true")...).Run() != nil {
		t.Skip("needs root and namespaces")
	}
	cmd := exec.Command("unshare", append(ns, os.Args[0], "-test.v", "-test.run", "^"+t.Name()+"$")...)
	cmd.Env = append(os.Environ(), within+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return false
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func twoNodes(t *testing.T) *wire {
	must(t, hostUp())
	w, err := wireUp(2)
	must(t, err)
	return w
}

var lost = regexp.MustCompile(`counter packets (\d+)`)

func TestLossDropsItsShare(t *testing.T) {
	if !alone(t) {
		return
	}
	w := twoNodes(t)
	must(t, w.lose(2, 30))
	must(t, shell(fmt.Sprintf("nsenter --net=%s bash -c 'for i in {1..1000}; do echo x >/dev/udp/%s/9; done'",
		namespace(1), tlsAddress(2))))
	out, err := exec.Command("nsenter", "--net="+namespace(2), "nft", "list", "chain", "ip", "cut", "in").Output()
	must(t, err)
	found := lost.FindSubmatch(out)
	if found == nil {
		t.Fatalf("no counter: %s", out)
	}
	// 300 of 1000, within ten standard deviations of 14.5.
	if n, _ := strconv.Atoi(string(found[1])); n < 155 || n > 445 {
		t.Fatalf("%d of 1000 were lost", n)
	}
}

// reaches: node 1 gets an answer of node 2, if only that nobody listens.
func reaches() bool {
	script := fmt.Sprintf("exec 3<>/dev/tcp/%s/9", tlsAddress(2))
	err := exec.Command("nsenter", "--net="+namespace(1), "timeout", "0.5", "bash", "-c", script).Run()
	exit, ok := err.(*exec.ExitError)
	return ok && exit.ExitCode() == 1
}

func TestFlapTakesTheLinkAwayAndBack(t *testing.T) {
	if !alone(t) {
		return
	}
	w := twoNodes(t)
	for range 2 {
		if !reaches() {
			t.Fatal("the link is not there")
		}
		must(t, w.flap(2, true))
		if reaches() {
			t.Fatal("the link is still there")
		}
		must(t, w.flap(2, false))
	}
}

func TestFrozenDiskHoldsWritesBack(t *testing.T) {
	if !alone(t) {
		return
	}
	must(t, hostUp())
	dir := t.TempDir()
	must(t, disksUnder(dir, true))
	d, err := diskNew(filepath.Join(dir, "disks", "d.img"), filepath.Join(dir, "mnt"))
	must(t, err)
	must(t, d.freeze())
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(filepath.Join(d.at, "f"), []byte("x"), 0o600) }()
	early := false
	select {
	case <-done:
		early = true
	case <-time.After(200 * time.Millisecond):
	}
	must(t, d.thaw())
	if early {
		t.Fatal("a frozen disk was written to")
	}
	must(t, <-done)
	must(t, d.remove())
	must(t, shell("umount "+dir+"/disks"))
}

// clockOf is a process that says what time it is whenever it is asked.
const clockOf = "import sys, time\nfor _ in sys.stdin: print(int(time.time()), flush=True)"

func ask(t *testing.T, in io.Writer, out *bufio.Reader) time.Time {
	t.Helper()
	_, err := io.WriteString(in, "\n")
	must(t, err)
	line, err := out.ReadString('\n')
	must(t, err)
	s, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	must(t, err)
	return time.Unix(s, 0)
}

func TestClockJumpsInALivingProcess(t *testing.T) {
	found, err := filepath.Glob(clockLibrary)
	must(t, err)
	if len(found) == 0 {
		t.Skip(clocksLacking)
	}
	n := &node{name: "n1", logPath: filepath.Join(t.TempDir(), "n1.log")}
	must(t, n.setClock(0))
	cmd := exec.Command("python3", "-c", clockOf)
	cmd.Env = append(os.Environ(), clockEnv(found[0], n.clockFile())...)
	in, err := cmd.StdinPipe()
	must(t, err)
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	out := bufio.NewReader(pipe)
	for _, off := range []time.Duration{0, 300 * 24 * time.Hour, -time.Hour, 0} {
		must(t, n.setClock(off))
		if wrong := time.Until(ask(t, in, out)) - off; wrong.Abs() > 5*time.Second {
			t.Errorf("set off by %s, it is wrong by %s", off, wrong)
		}
	}
	must(t, in.Close())
	must(t, cmd.Wait())
}
