package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// register is the model of one key: what is there and at which revision. A write whose revision
// nobody was told leaves rev 0 until a read says it; above is what every later revision exceeds.
type register struct {
	there bool
	value string
	rev   uint64
	above uint64
}

// model takes *Op as input and ignores the output: an operation knows its own answer.
func model() porcupine.Model {
	return porcupine.Model{
		Partition: byKey,
		Init:      func() any { return register{} },
		Step: func(state, input, _ any) (bool, any) {
			ok, next := step(state.(register), input.(*Op))
			return ok, next
		},
		DescribeOperation: func(input, _ any) string { return describe(input.(*Op)) },
		DescribeState: func(state any) string {
			r := state.(register)
			if !r.there {
				return "nothing"
			}
			return fmt.Sprintf("%s @%d", r.value, r.rev)
		},
	}
}

func step(s register, o *Op) (bool, register) {
	switch {
	case o.Kind == Get:
		return read(s, o.Got)
	case !allowed(s, o):
		// The end of an unknown outcome is open: refused is one of the ends.
		return o.Outcome == Unknown, s
	case o.Kind == Delete:
		return true, register{above: max(s.above, s.rev)}
	case o.Outcome == Unknown:
		return true, register{there: true, value: o.Value, above: max(s.above, s.rev)}
	default:
		return o.Rev > max(s.above, s.rev), register{there: true, value: o.Value, rev: o.Rev}
	}
}

func read(s register, got Item) (bool, register) {
	if got.Value == "" || !s.there {
		return got.Value == "" && !s.there, s
	}
	if s.rev == 0 && got.Rev > s.above {
		s.rev = got.Rev
	}
	return s.value == got.Value && s.rev == got.Rev, s
}

// allowed: would the server do it in this state?
func allowed(s register, o *Op) bool {
	switch o.Kind {
	case Create:
		return !s.there
	case Update, Delete:
		at := o.Expect == 0 || s.rev == o.Expect || (s.rev == 0 && o.Expect > s.above)
		return s.there && at
	default:
		return true
	}
}

func describe(o *Op) string {
	text := fmt.Sprintf("%s n%d", o.Kind, o.Node)
	if o.Value != "" {
		text += " " + o.Value
	}
	if o.Expect != 0 {
		text += fmt.Sprintf(" if @%d", o.Expect)
	}
	switch {
	case o.Outcome == Unknown:
		return text + " -> ?"
	case o.Kind == Get && o.Got.Value == "":
		return text + " -> nothing"
	case o.Kind == Get:
		return text + fmt.Sprintf(" -> %s @%d", o.Got.Value, o.Got.Rev)
	default:
		return text + fmt.Sprintf(" -> @%d", o.Rev)
	}
}

func byKey(history []porcupine.Operation) [][]porcupine.Operation {
	parts := map[string][]porcupine.Operation{}
	for _, op := range history {
		key := op.Input.(*Op).Key
		parts[key] = append(parts[key], op)
	}
	out := make([][]porcupine.Operation, 0, len(parts))
	for _, part := range parts {
		out = append(out, part)
	}
	return out
}

// operations is what the model judges: writes that were or may have been done, and reads that must
// not be stale; the final state of each node is such a read, after everything.
func operations(h *History) []porcupine.Operation {
	var out []porcupine.Operation
	end := int64(0)
	add := func(o *Op, ret int64) {
		out = append(out, porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Call, Return: ret})
	}
	keys := map[string]bool{}
	for i := range h.Ops {
		o := &h.Ops[i]
		end = max(end, o.Return)
		if o.Kind == List || o.Outcome == Refused {
			continue
		}
		keys[o.Key] = true
		switch {
		case o.isWrite() && o.Outcome == Unknown:
			add(o, math.MaxInt64)
		case o.isWrite() || (o.Linear && o.Outcome == Done):
			add(o, o.Return)
		}
	}
	for _, f := range h.Final {
		for key := range keys {
			add(&Op{Node: f.Node, Kind: Get, Key: key, Got: f.Items[key], Call: end + 1}, end+2)
		}
	}
	slices.SortStableFunc(out, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	return out
}

// linearizable asks porcupine. For an illegal history it leaves a page to look at.
func linearizable(h *History, page string, patience time.Duration) porcupine.CheckResult {
	result, info := porcupine.CheckOperationsVerbose(model(), operations(h), patience)
	if result == porcupine.Illegal && page != "" {
		_ = porcupine.VisualizePath(model(), info, page)
	}
	return result
}
