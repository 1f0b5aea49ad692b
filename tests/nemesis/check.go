package main

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verdict is what the checks say of a history.
type Verdict struct {
	Violations []string
	Undecided  bool // porcupine ran out of time
}

const (
	violationsShown  = 20
	porcupinePatient = 5 * time.Minute
)

// check judges a history. page: where porcupine may draw what is wrong; "" for nowhere.
func check(h *History, page string) Verdict {
	c := &checker{h: h, byValue: map[string]*Op{}, events: map[string][]Event{}}
	c.index()
	c.nodesAgree()
	c.logInOrder()
	c.writesKept()
	c.deletesKept()
	c.commitsInRealTime()
	c.readsFresh()
	c.readsOfThePast()
	c.sessions()
	c.watchesComplete()
	c.refusedRightly()
	switch linearizable(h, page, porcupinePatient) {
	case porcupine.Illegal:
		c.say("not linearizable (porcupine)")
	case porcupine.Unknown:
		c.verdict.Undecided = true
	}
	return c.verdict
}

// checker holds a history and what is looked up in it again and again.
type checker struct {
	h       *History
	log     []Event            // the history as the first node tells it: what is compared with
	events  map[string][]Event // of a key, in order
	byValue map[string]*Op     // who wrote it
	verdict Verdict
}

func (c *checker) say(format string, args ...any) {
	if len(c.verdict.Violations) < violationsShown {
		c.verdict.Violations = append(c.verdict.Violations, fmt.Sprintf(format, args...))
	}
}

func (c *checker) index() {
	for i := range c.h.Ops {
		if o := &c.h.Ops[i]; o.Value != "" {
			c.byValue[o.Value] = o
		}
	}
	if len(c.h.Replay) == 0 {
		c.say("no node told its history")
		return
	}
	c.log = c.h.Replay[0].Events
	for _, e := range c.log {
		c.events[e.Key] = append(c.events[e.Key], e)
	}
}

// nodesAgree: one history, one state, one hash.
func (c *checker) nodesAgree() {
	for _, r := range c.h.Replay[min(1, len(c.h.Replay)):] {
		if !slices.Equal(r.Events, c.log) {
			c.say("n%d and n%d tell different histories: %s", c.h.Replay[0].Node, r.Node, difference(c.log, r.Events))
		}
	}
	want := fold(c.log, ^uint64(0))
	for _, f := range c.h.Final {
		first := c.h.Final[0]
		if f.Hash != first.Hash || f.Revision != first.Revision {
			c.say("n%d is at @%d with hash %s, n%d at @%d with %s", f.Node, f.Revision, f.Hash, first.Node,
				first.Revision, first.Hash)
		}
		if !maps.Equal(f.Items, want) {
			c.say("the state of n%d is not what its history leads to", f.Node)
		}
	}
}

func difference(a, b []Event) string {
	for i := 0; i < min(len(a), len(b)); i++ {
		if a[i] != b[i] {
			return fmt.Sprintf("event %d: %+v, %+v", i, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d events, %d events", len(a), len(b))
}

// fold is the state at a revision.
func fold(log []Event, rev uint64) map[string]Item {
	state := map[string]Item{}
	for _, e := range log {
		if e.Rev > rev {
			break
		}
		if e.Type == "DELETED" {
			delete(state, e.Key)
		} else {
			state[e.Key] = e.Item
		}
	}
	return state
}

// logInOrder: revisions rise, each change of a key once, each generation follows the last.
func (c *checker) logInOrder() {
	for i := 1; i < len(c.log); i++ {
		if c.log[i].Rev < c.log[i-1].Rev {
			c.say("the history goes back from @%d to @%d", c.log[i-1].Rev, c.log[i].Rev)
		}
	}
	for key, events := range c.events {
		last := Event{Type: "DELETED"}
		for _, e := range events {
			c.follows(key, last, e)
			last = e
		}
	}
}

func (c *checker) follows(key string, last, e Event) {
	if e.Rev == last.Rev {
		c.say("%s changes twice at @%d", key, e.Rev)
	}
	there := last.Type != "DELETED"
	if there == (e.Type == "ADDED") {
		c.say("%s: %s follows %s at @%d", key, e.Type, last.Type, e.Rev)
	}
	if e.Type == "ADDED" && e.Generation != 1 {
		c.say("%s: begins with generation %d at @%d", key, e.Generation, e.Rev)
	}
	if e.Type == "MODIFIED" && e.Generation != last.Generation+1 {
		c.say("%s: generation %d follows %d at @%d", key, e.Generation, last.Generation, e.Rev)
	}
}

// writesKept: what was acknowledged is in the history at the revision that was said, nothing is
// there twice, and nothing that was refused or that nobody wrote.
func (c *checker) writesKept() {
	seen := map[string]Event{}
	for _, e := range c.log {
		if e.Type == "DELETED" {
			continue
		}
		if first, twice := seen[e.Value]; twice {
			c.say("applied twice: %s at @%d and @%d", e.Value, first.Rev, e.Rev)
		}
		seen[e.Value] = e
		switch o := c.byValue[e.Value]; {
		case o == nil || o.Key != e.Key:
			c.say("nobody wrote %q to %s (@%d)", e.Value, e.Key, e.Rev)
		case o.Outcome == Refused:
			c.say("refused (%d %s) but applied: %s of %s at @%d", o.Status, o.Why, o.Value, o.Key, e.Rev)
		}
	}
	for i := range c.h.Ops {
		o := &c.h.Ops[i]
		if o.Value == "" || o.Outcome != Done {
			continue
		}
		if e, ok := seen[o.Value]; !ok {
			c.say("lost: %s of %s, acknowledged by n%d at @%d", o.Value, o.Key, o.Node, o.Rev)
		} else if e.Rev != o.Rev {
			c.say("%s of %s: acknowledged at @%d, is at @%d", o.Value, o.Key, o.Rev, e.Rev)
		}
	}
	c.requestsWhole(seen)
}

// requestsWhole: of a request that writes two keys both are there at one revision, or neither.
func (c *checker) requestsWhole(seen map[string]Event) {
	for i := range c.h.Ops {
		o := &c.h.Ops[i]
		if o.Also != nil && !o.Second && seen[o.Value].Rev != seen[o.Also.Value].Rev {
			c.say("torn: %s of %s is at @%d, %s of %s, of the same request, at @%d", o.Value, o.Key, seen[o.Value].Rev,
				o.Also.Value, o.Also.Key, seen[o.Also.Value].Rev)
		}
	}
}

// deletesKept: a deletion leaves no value; they are counted, a key at a time.
func (c *checker) deletesKept() {
	done, unknown := map[string]int{}, map[string]int{}
	for i := range c.h.Ops {
		o := &c.h.Ops[i]
		switch {
		case o.Kind == Delete && o.Outcome == Done:
			done[o.Key]++
		case o.Kind == Delete && o.Outcome == Unknown:
			unknown[o.Key]++
		}
	}
	for key, events := range c.events {
		n := 0
		for _, e := range events {
			if e.Type == "DELETED" {
				n++
			}
		}
		if n < done[key] || n > done[key]+unknown[key] {
			c.say("%s: %d deletions in the history, %d acknowledged, %d unknown", key, n, done[key], unknown[key])
		}
		delete(done, key)
	}
	for key, n := range done {
		c.say("%s: %d deletions acknowledged, none in the history", key, n)
	}
}

// commitsInRealTime: a write that began after another was acknowledged has a higher revision, over all keys.
func (c *checker) commitsInRealTime() {
	acked := acknowledged(c.h.Ops)
	for i := range c.h.Ops {
		o := &c.h.Ops[i]
		if o.Outcome != Done || o.Rev == 0 || !o.isWrite() {
			continue
		}
		if floor := acked.before(o.Call); o.Rev <= floor {
			c.say("%s of client %d at n%d is @%d, begun after @%d was acknowledged", o.Kind, o.Client, o.Node, o.Rev, floor)
		}
	}
}

// readsFresh: the state that a read shows has all that was acknowledged, of all keys, before it was
// asked for, or so long before that as the question allows, or as the answer says.
func (c *checker) readsFresh() {
	acked := acknowledged(c.h.Ops)
	for i := range c.h.Ops {
		o := &c.h.Ops[i]
		if o.Outcome != Done || o.isWrite() {
			continue
		}
		if o.Rev == 0 {
			c.say("%s of n%d does not say what it shows", o.Kind, o.Node)
			continue
		}
		for _, promise := range promises(o) {
			if floor := acked.before(o.Call - promise.ns); o.Rev < floor {
				c.say("%s of n%d shows @%d, %s, but @%d had been acknowledged", o.Kind, o.Node, o.Rev, promise.text, floor)
			}
		}
	}
}

// promise is how old a read may be.
type promise struct {
	text string
	ns   int64
}

func promises(o *Op) []promise {
	var out []promise
	if o.Linear {
		out = append(out, promise{"not stale", 0})
	}
	if o.BoundMs > 0 {
		out = append(out, promise{fmt.Sprintf("at most %d ms stale", o.BoundMs), o.BoundMs * 1e6})
	}
	if o.StaleMs >= 0 {
		// A begun millisecond is not told.
		out = append(out, promise{fmt.Sprintf("says %d ms stale", o.StaleMs), (o.StaleMs + 1) * 1e6})
	}
	return out
}

// marks is the highest revision by the time that it was known.
type marks struct {
	at  []int64
	rev []uint64
}

func acknowledged(ops []Op) *marks {
	var done []*Op
	for i := range ops {
		if o := &ops[i]; o.isWrite() && o.Outcome == Done && o.Rev != 0 {
			done = append(done, o)
		}
	}
	return marksOf(done)
}

func marksOf(ops []*Op) *marks {
	sort.Slice(ops, func(i, j int) bool { return ops[i].Return < ops[j].Return })
	m := &marks{}
	highest := uint64(0)
	for _, o := range ops {
		highest = max(highest, o.Rev)
		m.at = append(m.at, o.Return)
		m.rev = append(m.rev, highest)
	}
	return m
}

func (m *marks) before(t int64) uint64 {
	i := sort.Search(len(m.at), func(i int) bool { return m.at[i] >= t })
	if i == 0 {
		return 0
	}
	return m.rev[i-1]
}

// readsOfThePast: also a stale read shows what once was, whole, and never what is yet to come.
func (c *checker) readsOfThePast() {
	for i := range c.h.Ops {
		o := &c.h.Ops[i]
		if o.Outcome != Done {
			continue
		}
		if o.Kind == Get {
			c.wasThere(o)
		}
		if o.Kind == List {
			c.wasWhole(o)
		}
	}
}

func (c *checker) wasThere(o *Op) {
	events := c.events[o.Key]
	var want Item
	i := sort.Search(len(events), func(i int) bool { return events[i].Rev > o.Rev })
	if i > 0 && events[i-1].Type != "DELETED" {
		want = events[i-1].Item
	}
	if o.Got != want {
		c.say("n%d read %+v of %s at @%d, it was %+v then", o.Node, o.Got, o.Key, o.Rev, want)
	}
	if w := c.byValue[o.Got.Value]; w != nil && w.Call > o.Return {
		c.say("n%d read %s of %s before it was written", o.Node, o.Got.Value, o.Key)
	}
}

func (c *checker) wasWhole(o *Op) {
	want := fold(c.log, o.Rev)
	if maps.Equal(o.Items, want) {
		return
	}
	for key := range want {
		if o.Items[key] != want[key] {
			c.say("list of n%d at @%d: %s is %+v, was %+v then", o.Node, o.Rev, key, o.Items[key], want[key])
			return
		}
	}
	c.say("list of n%d at @%d holds more than was there", o.Node, o.Rev)
}

// sessions: a node that was not restarted in between never goes back, and has what it acknowledged.
func (c *checker) sessions() {
	lives := map[[2]int][]*Op{}
	for i := range c.h.Ops {
		o := &c.h.Ops[i]
		if o.Outcome == Done && o.Rev != 0 && o.Incarnation != 0 {
			life := [2]int{o.Node, o.Incarnation}
			lives[life] = append(lives[life], o)
		}
	}
	for life, ops := range lives {
		known := marksOf(ops)
		for _, o := range ops {
			if floor := known.before(o.Call); !o.isWrite() && o.Rev < floor {
				c.say("n%d went back: %s at @%d after it had said @%d", life[0], o.Kind, o.Rev, floor)
			}
		}
	}
}

// watchesComplete: a watch that ran along and was resumed told what the history holds, all of it, once, in order.
func (c *checker) watchesComplete() {
	for _, w := range c.h.Live {
		if w.Relists > 0 {
			continue // told that it is too late: what it then missed was said to be missed
		}
		if !slices.Equal(w.Events, c.log) {
			c.say("the watch of %s (resumed %d times) is not the history: %s", w.whose(), w.Resumes, watchGap(c.log, w.Events))
		}
	}
}

func watchGap(log, told []Event) string {
	for i, e := range told {
		if slices.Contains(told[:i], e) {
			return fmt.Sprintf("told twice: %+v", e)
		}
	}
	for _, e := range log {
		if !slices.Contains(told, e) {
			return fmt.Sprintf("never told: %+v", e)
		}
	}
	return "other order: " + difference(log, told)
}
