package main

// refusedRightly: a write that was refused for what was there or was not met that at some moment
// between question and answer, also at a node that is behind.
func (c *checker) refusedRightly() {
	for i := range c.h.Ops {
		o := &c.h.Ops[i]
		if o.isWrite() && decided(o) && c.neverRight(o) {
			c.say("refused wrongly: %s of %s if @%d, client %d at n%d: %d %s", o.Kind, o.Key, o.Expect, o.Client, o.Node,
				o.Status, o.Why)
		}
	}
}

// decided by the state. A 409 to a write that wants no state says that others were faster, too often.
func decided(o *Op) bool {
	wants := o.Kind == Create || o.Expect != 0
	return o.Outcome == Refused && (o.Status == 404 || (o.Status == 409 && wants))
}

// neverRight: each state that the key may have had meanwhile would have allowed it.
func (c *checker) neverRight(o *Op) bool {
	events := c.events[o.Key]
	// The last change that was acknowledged before the question, and the first that was asked for after the answer.
	first := len(events) - 1
	for first >= 0 && !c.over(events[first], o.Call) {
		first--
	}
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

// over: whoever made the change had its answer by then. Nobody signs deletions: of these it is not known.
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
