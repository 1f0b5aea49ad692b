// Command nemesis runs a real cluster of weftd under faults and has what its clients saw judged:
// README.md. It must be alone in its network, mount and process namespaces; scripts/nemesis sees to that.
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	s := settings{}
	runs := flag.Int("runs", 1, "clusters, one after the other")
	seed := flag.Uint64("seed", uint64(time.Now().Unix()), "of the first run; each next run has the next one")
	flag.StringVar(&s.nemesis, "nemesis", "", "only these, with commas; default: all\n"+strings.Join(names(), ", "))
	minutes := flag.Float64("minutes", 0.25, "of clients and faults, a run")
	flag.StringVar(&s.weftd, "weftd", "build/release/bin/weftd", "the program under test")
	judge := flag.String("judge", "", "only judge a history that a run kept")
	flag.Parse()
	s.length = time.Duration(*minutes * float64(time.Minute))
	if *judge != "" {
		os.Exit(judgeFile(*judge))
	}
	var err error
	if s.weftd, err = filepath.Abs(s.weftd); err == nil {
		err = hostUp()
	}
	if err == nil {
		s.clocks, err = clocksOf(s.weftd)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nemesis:", err)
		os.Exit(2)
	}
	if s.clocks == "" {
		fmt.Println("no clock jumps:", clocksLacking)
	}
	os.Exit(runAll(s, *runs, *seed, *minutes))
}

func names() []string {
	var out []string
	for _, f := range faults() {
		out = append(out, f.name)
	}
	return out
}

func judgeFile(path string) int {
	h, err := loadHistory(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, "nemesis:", err)
		return 2
	}
	v := check(h, path+".html")
	show(v)
	if len(v.Violations) > 0 || v.Undecided {
		return 1
	}
	return 0
}

func show(v Verdict) {
	for _, text := range v.Violations {
		fmt.Println("  VIOLATION:", text)
	}
	if v.Undecided {
		fmt.Println("  UNDECIDED: porcupine had not enough time")
	}
}

// totals of all runs.
type totals struct {
	runs, counted, operations, unknown, violations, undecided int
	injected                                                  map[string]int
}

func (t *totals) add(r *result) {
	t.runs++
	t.violations += len(r.verdict.Violations)
	if r.verdict.Undecided {
		t.undecided++
	}
	if !r.counts() {
		return
	}
	t.counted++
	t.operations += r.operations
	t.unknown += r.unknown
	for name, n := range r.injected {
		t.injected[name] += n
	}
}

func (t *totals) show() {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(t.injected)) {
		all = append(all, fmt.Sprintf("%s %d", name, t.injected[name]))
	}
	fmt.Printf("runs %d (%d of at least %d operations/s), operations %d, unknown outcomes %d\n", t.runs, t.counted,
		leastPerSecond, t.operations, t.unknown)
	fmt.Printf("faults: %s\n", strings.Join(all, ", "))
	fmt.Printf("violations %d, undecided %d\n", t.violations, t.undecided)
}

func runAll(s settings, runs int, seed uint64, minutes float64) int {
	t := totals{injected: map[string]int{}}
	for i := range uint64(runs) {
		began := time.Now()
		r, err := runOnce(s, seed+i)
		if err != nil {
			fmt.Fprintf(os.Stderr, "nemesis: seed %d: %v\n", seed+i, err)
			return 2
		}
		t.add(r)
		fmt.Printf("seed %d: %s, %.0f s\n", seed+i, r.line(), time.Since(began).Seconds())
		if !r.ok() {
			show(r.verdict)
			fmt.Println("  kept:", r.dir)
			fmt.Printf("  again: scripts/nemesis --seed %d --runs 1 --minutes %g%s\n", seed+i, minutes, again(s))
		}
	}
	t.show()
	if t.violations > 0 || t.undecided > 0 || t.counted == 0 {
		return 1
	}
	return 0
}

func again(s settings) string {
	if s.nemesis == "" {
		return ""
	}
	return " --nemesis " + s.nemesis
}
