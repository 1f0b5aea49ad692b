package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// workload is the clients of a run.
type workload struct {
	cluster *cluster
	rec     *recorder
	began   time.Time
	seed    uint64
	clients int
	keys    int
}

func (w *workload) now() int64 { return time.Since(w.began).Nanoseconds() }

// run goes on until ctx ends and returns when the last answer is there.
func (w *workload) run(ctx context.Context) {
	var all sync.WaitGroup
	for i := range w.clients {
		c := &client{workload: w, id: i, rnd: rand.New(rand.NewPCG(w.seed, uint64(i)+1)),
			known: map[string]uint64{}, shun: map[int]time.Time{}}
		all.Go(func() { c.run(ctx) })
	}
	all.Wait()
}

// client does one thing after the other, each at whatever node.
type client struct {
	*workload
	id     int
	rnd    *rand.Rand
	writes int
	keyed  int
	known  map[string]uint64 // the newest revision of a key that it heard of
	shun   map[int]time.Time // nodes that let it wait, until when
}

const shunFor = time.Second

func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		o := c.next()
		if o.isWrite() && c.rnd.IntN(2) == 0 {
			c.keyed++
			o.Once = fmt.Sprintf("c%d-%d", c.id, c.keyed)
		}
		n := c.node()
		c.do(n, &o)
		if o.Outcome == Unknown {
			c.shun[n.id] = time.Now().Add(shunFor)
		}
		if o.Outcome == Refused && o.Status != 404 && o.Status != 409 {
			c.rest(ctx)
		}
	}
}

// rest keeps a client that is refused from filling the history with nothing but that.
func (c *client) rest(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(5+c.rnd.IntN(20)) * time.Millisecond):
	}
}

func (c *client) do(n *node, o *Op) {
	o.Client, o.Node, o.Incarnation = c.id, n.id, n.life()
	o.Call = c.now()
	c.cluster.api.do(n, o)
	c.again(o)
	o.Return = c.now()
	if n.life() != o.Incarnation {
		o.Incarnation = 0 // which of its lives answered is not known
	}
	c.learn(o)
	c.rec.add(*o)
}

const triesMost = 10

// again sends what nobody knows the end of once more, to other nodes, under its key: the answer is
// then that of the first time, or it is done now. What is no answer leaves it unknown.
func (c *client) again(o *Op) {
	for o.Tries = 1; o.Once != "" && o.Outcome == Unknown && o.Tries < triesMost; o.Tries++ {
		time.Sleep(time.Duration(10+c.rnd.IntN(100)) * time.Millisecond)
		n, try := c.node(), *o
		c.cluster.api.do(n, &try)
		if try.Outcome == Done || (try.Outcome == Refused && (try.Status == 404 || try.Status == 409)) {
			try.Node, try.Incarnation = n.id, 0
			*o = try
		}
	}
}

func (c *client) learn(o *Op) {
	switch {
	case o.Outcome != Done:
	case o.Kind == Get && o.Got.Rev != 0:
		c.known[o.Key] = o.Got.Rev
	case o.isWrite() && o.Rev != 0:
		c.known[o.Key] = o.Rev
	}
}

// node is any that did not let us wait lately.
func (c *client) node() *node {
	nodes := c.cluster.nodes
	for range 4 {
		n := nodes[c.rnd.IntN(len(nodes))]
		if n.alive() && time.Now().After(c.shun[n.id]) {
			return n
		}
	}
	return nodes[c.rnd.IntN(len(nodes))]
}

// next is the mix of operations: two in five write.
func (c *client) next() Op {
	key := fmt.Sprintf("k%d", c.rnd.IntN(c.keys))
	switch p := c.rnd.IntN(100); {
	case p < 40:
		return Op{Kind: Get, Key: key, Linear: true}
	case p < 48:
		return Op{Kind: Get, Key: key}
	case p < 52:
		return Op{Kind: Get, Key: key, BoundMs: 1 + c.rnd.Int64N(1000)}
	case p < 56:
		return Op{Kind: List, Linear: c.rnd.IntN(2) == 0}
	case p < 68:
		return Op{Kind: Apply, Key: key, Value: c.value()}
	case p < 72:
		other := fmt.Sprintf("k%d", c.rnd.IntN(c.keys))
		if other == key {
			return Op{Kind: Apply, Key: key, Value: c.value()}
		}
		return Op{Kind: Apply, Key: key, Value: c.value(), Also: &Pair{other, c.value()}}
	case p < 86:
		return Op{Kind: Update, Key: key, Value: c.value(), Expect: c.known[key]}
	case p < 89:
		return Op{Kind: Update, Key: key, Value: c.value()}
	case p < 94:
		return Op{Kind: Create, Key: key, Value: c.value()}
	case p < 97:
		return Op{Kind: Delete, Key: key, Expect: c.known[key]}
	default:
		return Op{Kind: Delete, Key: key}
	}
}

func (c *client) value() string {
	c.writes++
	return fmt.Sprintf("c%d-%d", c.id, c.writes)
}
