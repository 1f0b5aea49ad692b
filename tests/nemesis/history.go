package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

// Kind says what an operation asks for.
type Kind string

const (
	Apply  Kind = "apply"  // written whatever is there
	Create Kind = "create" // only where nothing is
	Update Kind = "update" // only where something is; with Expect only at that revision
	Delete Kind = "delete" // the same
	Get    Kind = "get"
	List   Kind = "list"
)

// Outcome says what the client knows of an operation afterwards.
type Outcome string

const (
	Done    Outcome = "done"
	Refused Outcome = "refused" // the server says that nothing was done, or nothing was ever sent
	Unknown Outcome = "unknown" // may be done, now or later or never
)

// Item is an object as a reader sees it. Values are unique in a run; the zero Item is "not there".
type Item struct {
	Value      string `json:"value,omitempty"`
	Rev        uint64 `json:"rev,omitempty"`
	Generation int64  `json:"generation,omitempty"`
}

// Op is one operation of one client. Times are nanoseconds since the run began.
type Op struct {
	Client      int             `json:"client"`
	Node        int             `json:"node"`
	Incarnation int             `json:"incarnation"` // how often the node had been started
	Kind        Kind            `json:"kind"`
	Key         string          `json:"key,omitempty"`
	Value       string          `json:"value,omitempty"`
	Also        *Pair           `json:"also,omitempty"`   // written by the same request: both or none
	Second      bool            `json:"second,omitempty"` // the other half of a request that stands here already
	Expect      uint64          `json:"expect,omitempty"`
	Once        string          `json:"once,omitempty"`    // idempotency key: sent until it is answered
	Tries       int             `json:"tries,omitempty"`   // how often it was sent
	Linear      bool            `json:"linear,omitempty"`  // of a read: must not be stale
	At          uint64          `json:"at,omitempty"`      // of a read: of this revision
	BoundMs     int64           `json:"boundMs,omitempty"` // of a read: at most so stale; 0 = however stale
	Call        int64           `json:"call"`
	Return      int64           `json:"return"`
	Outcome     Outcome         `json:"outcome"`
	Status      int             `json:"status,omitempty"`
	Why         string          `json:"why,omitempty"`
	Rev         uint64          `json:"rev,omitempty"`     // of a write's commit; of the state that a read shows
	StaleMs     int64           `json:"staleMs,omitempty"` // that the state may be, as the answer says; -1 = unknown
	Got         Item            `json:"got,omitzero"`
	Items       map[string]Item `json:"items,omitempty"`
}

// Pair is a key and what is written to it.
type Pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// halves of a request that writes two keys are an operation each, for checks that look at one key.
func (o *Op) halves() []Op {
	if o.Also == nil {
		return []Op{*o}
	}
	second := *o
	second.Key, second.Value, second.Second = o.Also.Key, o.Also.Value, true
	second.Also = &Pair{o.Key, o.Value}
	return []Op{*o, second}
}

func (o *Op) isWrite() bool { return o.Kind != Get && o.Kind != List }

// Event is what a watch told.
type Event struct {
	Type string `json:"type"` // ADDED, MODIFIED, DELETED
	Key  string `json:"key"`
	Item
}

// Told is all that one watch of one node told, over all its reconnections.
type Told struct {
	Node    int     `json:"node"` // 0: of all, one after the other
	Events  []Event `json:"events"`
	Relists int     `json:"relists"` // times it was told that it is too late: a gap is no lie then
	Resumes int     `json:"resumes"`
	Repeats int     `json:"repeats"` // events of the revision that it resumed from, told again
}

func (t *Told) whose() string {
	if t.Node == 0 {
		return "all nodes in turn"
	}
	return fmt.Sprintf("n%d", t.Node)
}

// Final is a node's state when all was over.
type Final struct {
	Node     int             `json:"node"`
	Revision uint64          `json:"revision"`
	Hash     string          `json:"hash"`
	Items    map[string]Item `json:"items"`
}

// History is everything that the checks look at.
type History struct {
	Ops    []Op    `json:"ops"`
	Live   []Told  `json:"live"`   // watches that ran along, one a node and one that goes round
	Replay []Told  `json:"replay"` // at the end each node tells its history once more, from the beginning
	Final  []Final `json:"final"`
}

func (h *History) save(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return json.NewEncoder(f).Encode(h)
}

func loadHistory(path string) (*History, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := &History{}
	return h, json.NewDecoder(f).Decode(h)
}

// recorder takes operations of all clients.
type recorder struct {
	mu  sync.Mutex
	ops []Op
}

func (r *recorder) add(o Op) {
	r.mu.Lock()
	r.ops = append(r.ops, o.halves()...)
	r.mu.Unlock()
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ops)
}

func (r *recorder) take() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ops
}
