package main

import "sort"

// staleRefusals counts writes that were refused for what was there or was not, though at no moment
// between question and answer that was so: the node looked at an old state. Nothing is lost by it,
// so it is a figure and no violation.
func (c *checker) staleRefusals() int {
	n := 0
	for i := range c.h.Ops {
		o := &c.h.Ops[i]
		decided := o.Outcome == Refused && (o.Status == 404 || o.Status == 409)
		if decided && o.isWrite() && c.neverRight(o) {
			n++
		}
	}
	return n
}

// neverRight: each state that the key may have had meanwhile would have allowed it.
func (c *checker) neverRight(o *Op) bool {
	events := c.events[o.Key]
	// The last change that was acknowledged before the question, and the first that was asked for after the answer.
	first := sort.Search(len(events), func(i int) bool { return !c.over(events[i], o.Call) }) - 1
	for i := first; i < len(events); i++ {
		if i > first && c.begun(events[i]) > o.Return {
			break
		}
		if !allowed(stateAfter(events, i), o) {
			return false
		}
	}
	return true
}

func stateAfter(events []Event, i int) register {
	if i < 0 || events[i].Type == "DELETED" {
		return register{}
	}
	return register{there: true, value: events[i].Value, rev: events[i].Rev}
}

// over: whoever made the change had its answer by then. Nobody signs deletions: they count as not over.
func (c *checker) over(e Event, t int64) bool {
	w := c.byValue[e.Value]
	return e.Type != "DELETED" && w != nil && w.Outcome == Done && w.Return < t
}

func (c *checker) begun(e Event) int64 {
	if w := c.byValue[e.Value]; w != nil && e.Type != "DELETED" {
		return w.Call
	}
	return 0
}
