package main

import (
	"fmt"
	"strings"
	"testing"
)

// If these fail, a run of the nemeses says nothing: a checker that finds no planted fault finds no real one.

// story builds a true history, one operation after the other, which the tests then falsify.
type story struct {
	h     History
	log   []Event
	state map[string]Item
	clock int64
	rev   uint64
}

func newStory() *story {
	return &story{state: map[string]Item{}, rev: 10}
}

func (s *story) op(o Op) *Op {
	o.Node, o.Incarnation, o.Call, o.Return = 1, 1, s.clock+1, s.clock+2
	if o.Outcome == "" {
		o.Outcome = Done
	}
	s.clock += 3
	s.h.Ops = append(s.h.Ops, o)
	return &s.h.Ops[len(s.h.Ops)-1]
}

func (s *story) commit(key, value string) uint64 {
	s.rev++
	old, there := s.state[key]
	e := Event{Type: "ADDED", Key: key, Item: Item{Value: value, Rev: s.rev, Generation: 1}}
	if there {
		e.Type, e.Generation = "MODIFIED", old.Generation+1
	}
	s.log = append(s.log, e)
	s.state[key] = e.Item
	return s.rev
}

func (s *story) put(key, value string) *Op {
	return s.op(Op{Kind: Apply, Key: key, Value: value, Rev: s.commit(key, value)})
}

func (s *story) remove(key string) *Op {
	s.rev++
	old := s.state[key]
	delete(s.state, key)
	s.log = append(s.log, Event{Type: "DELETED", Key: key, Item: Item{Value: old.Value, Rev: s.rev, Generation: old.Generation}})
	return s.op(Op{Kind: Delete, Key: key})
}

func (s *story) get(key string, linear bool) *Op {
	return s.op(Op{Kind: Get, Key: key, Got: s.state[key], Rev: s.rev, Linear: linear})
}

func (s *story) list() *Op {
	return s.op(Op{Kind: List, Rev: s.rev, Linear: true, Items: fold(s.log, s.rev)})
}

func (s *story) end() *History {
	for node := 1; node <= 3; node++ {
		log := append([]Event(nil), s.log...)
		s.h.Replay = append(s.h.Replay, Told{Node: node, Events: log})
		s.h.Live = append(s.h.Live, Told{Node: node, Events: append([]Event(nil), log...)})
		s.h.Final = append(s.h.Final, Final{Node: node, Revision: s.rev, Hash: "same", Items: fold(log, s.rev)})
	}
	return &s.h
}

// everyday is a bit of everything: 200 rounds over three keys.
func everyday() *History {
	s := newStory()
	for i := range 200 {
		key := fmt.Sprintf("k%d", i%3)
		s.put(key, fmt.Sprintf("v%d", i))
		s.get(key, true)
		if i%7 == 6 {
			s.remove(key)
			s.get(key, true)
		}
		if i%10 == 9 {
			s.list()
		}
	}
	return s.end()
}

// forget takes a value out of everything that the nodes tell.
func forget(h *History, value string) {
	without := func(events []Event) []Event {
		var out []Event
		for _, e := range events {
			if e.Value != value {
				out = append(out, e)
			}
		}
		return out
	}
	for i := range h.Replay {
		h.Replay[i].Events = without(h.Replay[i].Events)
		h.Live[i].Events = without(h.Live[i].Events)
		h.Final[i].Items = fold(h.Replay[i].Events, ^uint64(0))
	}
}

func nth(h *History, n int, fits func(*Op) bool) *Op {
	for i := range h.Ops {
		if fits(&h.Ops[i]) {
			if n == 0 {
				return &h.Ops[i]
			}
			n--
		}
	}
	return nil
}

func isKind(kind Kind) func(*Op) bool { return func(o *Op) bool { return o.Kind == kind } }

func TestATrueHistoryPasses(t *testing.T) {
	if v := check(everyday(), ""); len(v.Violations) > 0 || v.Undecided {
		t.Fatal(v)
	}
}

func TestPlantedFaultsAreFound(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant func(h *History)
		says  string
	}{
		{"stale read", func(h *History) {
			old := nth(h, 30, isKind(Get)).Got
			nth(h, 33, isKind(Get)).Got = old
		}, "not linearizable"},
		{"lost write", func(h *History) { forget(h, "v199") }, "lost: v199"},
		{"acknowledged and never done", func(h *History) {
			o := *nth(h, 199, isKind(Apply))
			o.Value, o.Rev, o.Call, o.Return = "nowhere", o.Rev+1, o.Call+100, o.Return+100
			h.Ops = append(h.Ops, o)
		}, "lost: nowhere"},
		{"doubled write", func(h *History) {
			for i := range h.Replay {
				e := h.Replay[i].Events[0]
				e.Type, e.Rev, e.Generation = "MODIFIED", h.Final[i].Revision+1, 100
				h.Replay[i].Events = append(h.Replay[i].Events, e)
			}
		}, "applied twice: v0"},
		{"refused and yet applied", func(h *History) { nth(h, 50, isKind(Apply)).Outcome = Refused }, "refused"},
		{"a value that nobody wrote", func(h *History) { nth(h, 50, isKind(Apply)).Value = "other" }, "nobody wrote"},
		{"acknowledged at another revision", func(h *History) { nth(h, 50, isKind(Apply)).Rev++ }, "acknowledged at"},
		{"an update refused by an old state", func(h *History) {
			h.Ops = append(h.Ops, Op{Kind: Update, Key: "k0", Value: "no", Outcome: Refused, Status: 404, Call: 1 << 40, Return: 1<<40 + 1})
		}, "refused wrongly"},
		{"half a request", func(h *History) {
			h.Ops = append(h.Ops, Op{Kind: Apply, Key: "k0", Value: "v0", Outcome: Unknown, Also: &Pair{"k1", "never"}})
		}, "torn"},
		{"watch gap", func(h *History) {
			e := h.Live[1].Events
			h.Live[1].Events = append(append([]Event(nil), e[:40]...), e[41:]...)
		}, "never told"},
		{"watch tells twice", func(h *History) {
			e := h.Live[1].Events
			h.Live[1].Events = append(append([]Event(nil), e[:41]...), e[40:]...)
		}, "told twice"},
		{"watch tells in another order", func(h *History) {
			e := h.Live[1].Events
			e[40], e[41] = e[41], e[40]
		}, "other order"},
		{"a node's history differs", func(h *History) { h.Replay[2].Events[7].Value = "v8" }, "different histories"},
		{"a node's hash differs", func(h *History) { h.Final[2].Hash = "other" }, "hash other"},
		{"a node's state differs", func(h *History) { delete(h.Final[2].Items, "k0") }, "not what its history"},
		{"a local read of what never was", func(h *History) {
			o := nth(h, 60, isKind(Get))
			o.Linear = false
			o.Got.Rev++
		}, "it was"},
		{"a torn list", func(h *History) { delete(nth(h, 3, isKind(List)).Items, "k1") }, "list of n1"},
		{"a list that is stale", func(h *History) {
			o, old := nth(h, 5, isKind(List)), nth(h, 2, isKind(List))
			o.Rev, o.Items, o.StaleMs = old.Rev, old.Items, -1
		}, "not stale"},
		{"a list that is staler than it may be", func(h *History) {
			o, old := nth(h, 5, isKind(List)), nth(h, 2, isKind(List))
			o.Rev, o.Items, o.StaleMs, o.Linear, o.BoundMs = old.Rev, old.Items, -1, false, 1
			o.Call, o.Return = o.Call+5e6, o.Return+5e6
		}, "at most 1 ms"},
		{"a list that is staler than it says", func(h *History) {
			o, old := nth(h, 5, isKind(List)), nth(h, 2, isKind(List))
			o.Rev, o.Items, o.Linear = old.Rev, old.Items, false
			o.Call, o.Return = o.Call+5e6, o.Return+5e6
		}, "says 0 ms"},
		{"a node that goes back", func(h *History) {
			o, old := nth(h, 5, isKind(List)), nth(h, 2, isKind(List))
			o.Rev, o.Items, o.Linear = old.Rev, old.Items, false
		}, "went back"},
		{"commits against real time", func(h *History) {
			a, b := nth(h, 20, isKind(Apply)), nth(h, 21, isKind(Apply))
			a.Call, a.Return, b.Call, b.Return = b.Call, b.Return, a.Call, a.Return
		}, "begun after"},
		{"a deletion that was not done", func(h *History) {
			h.Ops = append(h.Ops, Op{Kind: Delete, Key: "k0", Call: 1 << 40, Return: 1<<40 + 1, Outcome: Done})
		}, "deletions"},
		{"two conditional writes win", func(h *History) {
			first := nth(h, 100, isKind(Apply))
			second := nth(h, 103, isKind(Apply))
			second.Kind, second.Expect = Update, first.Rev-3
		}, "not linearizable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := everyday()
			c.plant(h)
			v := check(h, "")
			if !strings.Contains(strings.Join(v.Violations, "\n"), c.says) {
				t.Fatalf("%q is not among %q", c.says, v.Violations)
			}
		})
	}
}

// What nobody knows the end of may be done or not; either is a true history.
func TestUnknownOutcomes(t *testing.T) {
	for _, applied := range []bool{true, false} {
		s := newStory()
		s.put("k", "a")
		if applied {
			s.commit("k", "b")
		}
		s.op(Op{Kind: Apply, Key: "k", Value: "b", Outcome: Unknown})
		s.get("k", true)
		s.op(Op{Kind: Delete, Key: "other", Outcome: Unknown})
		if v := check(s.end(), ""); len(v.Violations) > 0 {
			t.Fatal(applied, v)
		}
	}
}

// A read may not see an unknown write and then not see it.
func TestUnknownOutcomeDoesNotFlicker(t *testing.T) {
	s := newStory()
	s.put("k", "a")
	before := s.state["k"]
	s.op(Op{Kind: Apply, Key: "k", Value: "b", Outcome: Unknown})
	s.commit("k", "b")
	s.get("k", true)
	s.get("k", true).Got = before
	if v := check(s.end(), ""); len(v.Violations) == 0 {
		t.Fatal("passed")
	}
}
