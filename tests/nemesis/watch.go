package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// watcher follows one node from a revision until it is told of the last key, over any number of
// connections. As clients of Kubernetes do, it resumes from the last resourceVersion that it was
// told. That may have been one of several events of a revision: those are told again then.
type watcher struct {
	api  *api
	node *node
	roam []*node // it goes on at the next of these each time; nil: it stays
	at   uint64
	from uint64 // where this connection began
	last string // the key that ends it
	told Told
	err  error // after run
}

var errTooLate = errors.New("too old resource version")

const resumeEvery = 50 * time.Millisecond

// roamFrom is a watch that is let go after a second and goes on at another node.
func roamFrom(a *api, nodes []*node, rev uint64, last string) *watcher {
	return &watcher{api: a, node: nodes[0], roam: nodes, at: rev, last: last}
}

func watchFrom(a *api, n *node, rev uint64, last string) *watcher {
	return &watcher{api: a, node: n, at: rev, last: last, told: Told{Node: n.id}}
}

// run returns when the last key was told or ctx ends.
func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		done, err := w.once(ctx)
		if done {
			return
		}
		if errors.Is(err, errTooLate) {
			w.told.Relists++
			if op := (Op{Kind: List}); w.relist(&op) {
				w.at = op.Rev
			}
		}
		w.told.Resumes++
		if w.roam != nil {
			w.node = w.roam[w.told.Resumes%len(w.roam)]
		}
		select {
		case <-ctx.Done():
		case <-time.After(resumeEvery):
		}
	}
	w.err = fmt.Errorf("the watch of %s was not told of %s; it stands at @%d", w.told.whose(), w.last, w.at)
}

func (w *watcher) relist(op *Op) bool {
	w.api.do(w.node, op)
	return op.Outcome == Done
}

// once is one connection.
func (w *watcher) once(ctx context.Context) (done bool, err error) {
	w.from = w.at
	seconds := 60
	if w.roam != nil {
		seconds = 1
	}
	url := fmt.Sprintf("http://%s%s?watch=1&allowWatchBookmarks=true&resourceVersion=%d&timeoutSeconds=%d", w.node.api(),
		collection, w.at, seconds)
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return false, err
	}
	resp, err := w.api.http.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusGone {
		return false, errTooLate
	}
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("status %d", resp.StatusCode)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if done, err := w.line(lines.Bytes()); done || err != nil {
			return done, err
		}
	}
	return false, lines.Err()
}

func (w *watcher) line(text []byte) (done bool, err error) {
	var e struct {
		Type   string
		Object json.RawMessage
	}
	var obj object
	if err := json.Unmarshal(text, &e); err != nil {
		return false, err // the connection was cut within a line
	}
	if e.Type == "ERROR" {
		return false, errTooLate
	}
	if err := json.Unmarshal(e.Object, &obj); err != nil {
		return false, err
	}
	w.at, err = strconv.ParseUint(obj.Metadata.ResourceVersion, 10, 64)
	if err != nil || e.Type == "BOOKMARK" {
		return false, err
	}
	w.take(Event{Type: e.Type, Key: obj.Metadata.Name, Item: obj.item()})
	return obj.Metadata.Name == w.last, nil
}

func (w *watcher) take(e Event) {
	if e.Rev == w.from && slices.Contains(w.told.Events[max(0, len(w.told.Events)-1024):], e) {
		w.told.Repeats++
		return
	}
	w.told.Events = append(w.told.Events, e)
}
