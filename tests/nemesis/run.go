package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// settings of all runs.
type settings struct {
	weftd   string
	nemesis string
	clocks  string // as of cluster
	length  time.Duration
}

// result is what one run has to say.
type result struct {
	nodes      int
	tls        bool
	operations int // that were answered, or may have been
	unknown    int
	perSecond  float64
	silence    time.Duration // the longest without an acknowledged write
	injected   map[string]int
	verdict    Verdict
	dir        string // kept when something is wrong
}

const (
	leastPerSecond = 100
	recovery       = 30 * time.Second // after the last fault
	lastKey        = "end"
)

func (r *result) ok() bool { return len(r.verdict.Violations) == 0 && !r.verdict.Undecided }

func (r *result) counts() bool { return r.perSecond >= leastPerSecond }

func (r *result) line() string {
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(r.injected)) {
		faults = append(faults, fmt.Sprintf("%s %d", name, r.injected[name]))
	}
	peers := "plain"
	if r.tls {
		peers = "TLS"
	}
	return fmt.Sprintf("%d nodes, %s, %d operations (%d unknown), %.0f/s, no write for at most %.1f s, faults: %s; violations %d, undecided %v",
		r.nodes, peers, r.operations, r.unknown, r.perSecond, r.silence.Seconds(), strings.Join(faults, ", "), len(r.verdict.Violations), r.verdict.Undecided)
}

// runOnce is a cluster from birth to judgement. An error is a fault of the test, not of weft.
func runOnce(s settings, seed uint64) (r *result, err error) {
	dir, err := os.MkdirTemp("", "weft-nemesis-")
	if err != nil {
		return nil, err
	}
	rnd := rand.New(rand.NewPCG(seed, 0))
	if err := disksUnder(dir, rnd.IntN(3) > 0); err != nil {
		return nil, err
	}
	size := []int{3, 3, 5}[rnd.IntN(3)]
	c, err := clusterNew(dir, s, size, rnd.IntN(2) == 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := closeRun(c, dir, r != nil && r.ok()); err == nil {
			err = closeErr
		}
	}()
	if err := c.start(); err != nil {
		return nil, fmt.Errorf("%w; logs in %s", err, dir)
	}
	p := &play{settings: s, cluster: c, seed: seed, rnd: rnd, dir: dir}
	return p.play()
}

// disksUnder is where the images lie: mostly in memory, where a sync costs little, so that many runs
// fit into an hour; else on this machine's disk, where it takes its time.
func disksUnder(dir string, memory bool) error {
	disks := filepath.Join(dir, "disks")
	if !memory {
		return os.Mkdir(disks, 0o755)
	}
	return shell(fmt.Sprintf("mkdir %s && mount -t tmpfs -o size=2400m none %s", disks, disks))
}

func closeRun(c *cluster, dir string, clean bool) error {
	err := c.close()
	if err == nil {
		err = shell(fmt.Sprintf("umount %s/disks 2>/dev/null || true; rmdir %s/disks", dir, dir))
	}
	if err == nil && clean {
		err = os.RemoveAll(dir)
	}
	return err
}

// play is one run under way.
type play struct {
	settings
	cluster *cluster
	seed    uint64
	rnd     *rand.Rand
	dir     string

	history  History
	rec      recorder
	began    time.Time
	injected map[string]int
	troubles []string // found while it ran, beside the history
}

func (p *play) play() (*result, error) {
	first, err := p.cluster.api.status(p.cluster.nodes[0])
	if err != nil {
		return nil, err
	}
	p.began = time.Now()
	watching, stopWatching := context.WithCancel(context.Background())
	defer stopWatching()
	live := p.watchAll(watching, first.Revision)
	live.add(roamFrom(p.cluster.api, p.cluster.nodes, first.Revision, lastKey))
	if err := p.storm(); err != nil {
		return nil, fmt.Errorf("%w; logs in %s", err, p.dir)
	}
	spent := time.Since(p.began)
	p.calm()
	time.AfterFunc(recovery, stopWatching)
	p.history.Live = p.collect(live)
	p.last(first.Revision)
	return p.judge(spent), nil
}

// storm is clients and faults together.
func (p *play) storm() error {
	ctx, cancel := context.WithTimeout(context.Background(), p.length)
	defer cancel()
	w := &workload{cluster: p.cluster, rec: &p.rec, began: p.began, seed: p.seed, clients: 12, keys: 24}
	done := make(chan struct{})
	go func() { w.run(ctx); close(done) }()
	chosen, err := faultsNamed(p.settings)
	if err != nil {
		return err
	}
	f := &field{cluster: p.cluster, rnd: p.rnd, counts: map[string]int{},
		say: func(finding string) { p.troubles = append(p.troubles, finding) }}
	p.injected = f.counts
	for ctx.Err() == nil && err == nil {
		err = p.strike(ctx, f, chosen)
	}
	cancel()
	<-done
	return err
}

// strike is one fault or two at a time, a while of them, and a while of peace.
func (p *play) strike(ctx context.Context, f *field, chosen []fault) error {
	p.rest(ctx, 300, 1200)
	strikes := []fault{choose(p.rnd, chosen)}
	if second := choose(p.rnd, chosen); p.rnd.IntN(3) == 0 && !second.alone && !strikes[0].alone {
		strikes = append(strikes, second)
	}
	var undo []func() error
	for _, s := range strikes {
		p.note("inject " + s.name)
		u, err := s.inject(f)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if u != nil {
			undo = append(undo, u)
		}
	}
	p.rest(ctx, 200, 2000)
	p.note("heal")
	for _, u := range undo {
		if err := u(); err != nil {
			return err
		}
	}
	return p.cluster.revive()
}

// note puts a line into the logs of the nodes, so that what they say stands beside what we did.
func (p *play) note(text string) {
	for _, n := range p.cluster.nodes {
		n.note(fmt.Sprintf("nemesis: %.3f s: %s", time.Since(p.began).Seconds(), text))
	}
}

func (p *play) rest(ctx context.Context, fromMs, toMs int) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(fromMs+p.rnd.IntN(toMs-fromMs)) * time.Millisecond):
	}
}

func choose(rnd *rand.Rand, from []fault) fault {
	total := 0
	for _, f := range from {
		total += f.weight
	}
	at := rnd.IntN(total)
	for _, f := range from {
		if at -= f.weight; at < 0 {
			return f
		}
	}
	panic("weights")
}

func (p *play) trouble(err error) {
	if err != nil {
		p.troubles = append(p.troubles, err.Error())
	}
}

// calm: all is healed; the cluster must come to rest, take a write, and agree.
func (p *play) calm() {
	p.trouble(p.cluster.revive())
	p.trouble(p.cluster.ready(recovery))
	p.trouble(p.quiet())
	p.trouble(until(recovery, "the last write", p.writeLast))
	seen, err := p.cluster.settled(recovery)
	p.trouble(err)
	for i, st := range seen {
		p.history.Final = append(p.history.Final, Final{Node: i + 1, Revision: st.Revision, Hash: st.StateHash})
	}
}

// quiet: writes whose clients have gone away may still be on their way.
func (p *play) quiet() error {
	var rev uint64
	since := time.Now()
	return until(recovery, "no more writes", func() bool {
		st, err := p.cluster.api.status(p.cluster.nodes[0])
		if err != nil || st.Revision != rev {
			rev, since = st.Revision, time.Now()
		}
		return time.Since(since) > 500*time.Millisecond
	})
}

// writeLast creates the key that ends every watch; that it is there is as good as that we did it.
func (p *play) writeLast() bool {
	n := p.cluster.nodes[0]
	o := Op{Client: -1, Node: n.id, Kind: Create, Key: lastKey, Value: fmt.Sprintf("end-%d", p.rec.count()), Call: p.now()}
	p.cluster.api.do(n, &o)
	o.Return = p.now()
	p.rec.add(o)
	return o.Outcome == Done || o.Status == 409
}

func (p *play) now() int64 { return time.Since(p.began).Nanoseconds() }

// watches that run.
type watches struct {
	ctx  context.Context
	all  []*watcher
	wait sync.WaitGroup
}

func (p *play) watchAll(ctx context.Context, from uint64) *watches {
	w := &watches{ctx: ctx}
	for _, n := range p.cluster.nodes {
		w.add(watchFrom(p.cluster.api, n, from, lastKey))
	}
	return w
}

func (w *watches) add(one *watcher) {
	w.all = append(w.all, one)
	w.wait.Go(func() { one.run(w.ctx) })
}

func (p *play) collect(w *watches) []Told {
	w.wait.Wait()
	var out []Told
	for _, one := range w.all {
		p.trouble(one.err)
		out = append(out, one.told)
	}
	return out
}

// last asks every node for all that it had, and for its state at the last of it: writes whose
// clients have given up may still come after that.
func (p *play) last(from uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), recovery)
	defer cancel()
	p.history.Replay = p.collect(p.watchAll(ctx, from))
	var end uint64
	if events := p.history.Replay[0].Events; len(events) > 0 {
		end = events[len(events)-1].Rev
	}
	for i := range p.history.Final {
		o := Op{Kind: List, At: end}
		p.cluster.api.do(p.cluster.nodes[i], &o)
		if o.Outcome != Done {
			p.troubles = append(p.troubles, fmt.Sprintf("n%d lists nothing at the end: %d %s", i+1, o.Status, o.Why))
		}
		p.history.Final[i].Items = o.Items
	}
}

func (p *play) judge(spent time.Duration) *result {
	p.history.Ops = p.rec.take()
	r := &result{nodes: len(p.cluster.nodes), tls: p.cluster.tls, injected: p.injected, dir: p.dir}
	for i := range p.history.Ops {
		if o := &p.history.Ops[i]; o.Second {
			continue
		} else if o.Outcome == Unknown {
			r.unknown++
			r.operations++
		} else if o.Outcome == Done {
			r.operations++
		}
	}
	r.perSecond = float64(r.operations) / spent.Seconds()
	r.silence = silence(p.history.Ops, spent)
	r.verdict = check(&p.history, filepath.Join(p.dir, "linearizability.html"))
	r.verdict.Violations = slices.Concat(p.troubles, p.cluster.problems(), r.verdict.Violations)
	if !r.ok() {
		p.trouble(p.history.save(filepath.Join(p.dir, "history.json")))
	}
	return r
}

// silence is the longest time between two answers to writes, and from the last to the end.
func silence(ops []Op, spent time.Duration) time.Duration {
	at := []int64{0, spent.Nanoseconds()}
	for i := range ops {
		if o := &ops[i]; o.isWrite() && o.Outcome == Done && o.Client >= 0 {
			at = append(at, o.Return)
		}
	}
	slices.Sort(at)
	longest := int64(0)
	for i := 1; i < len(at); i++ {
		longest = max(longest, at[i]-at[i-1])
	}
	return time.Duration(longest)
}
