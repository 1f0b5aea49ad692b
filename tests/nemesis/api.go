package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

const contSignal = syscall.SIGCONT

// The keys are WorkloadEntries: a kind that nobody but the client writes to.
const (
	collection = "/apis/networking.istio.io/v1/namespaces/default/workloadentries"
	batchPath  = "/weft/v1/batch?fieldManager=nemesis"
	patience   = 1500 * time.Millisecond // of a client with one request
)

// api speaks the public API, one try a call.
type api struct{ http *http.Client }

func apiNew() *api {
	return &api{&http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: patience}).DialContext,
		MaxIdleConnsPerHost: 64,
		DisableCompression:  true,
	}}}
}

type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name            string `json:"name"`
		Namespace       string `json:"namespace,omitempty"`
		ResourceVersion string `json:"resourceVersion,omitempty"`
		Generation      int64  `json:"generation,omitempty"`
	} `json:"metadata"`
	Spec struct {
		Address string            `json:"address"`
		Labels  map[string]string `json:"labels"`
	} `json:"spec"`
}

func objectOf(key, value string, expect uint64) *object {
	o := &object{APIVersion: "networking.istio.io/v1", Kind: "WorkloadEntry"}
	o.Metadata.Name, o.Metadata.Namespace = key, "default"
	if expect != 0 {
		o.Metadata.ResourceVersion = strconv.FormatUint(expect, 10)
	}
	o.Spec.Address = "192.0.2.1"
	o.Spec.Labels = map[string]string{"v": value}
	return o
}

func (o *object) item() Item {
	rev, _ := strconv.ParseUint(o.Metadata.ResourceVersion, 10, 64)
	return Item{Value: o.Spec.Labels["v"], Rev: rev, Generation: o.Metadata.Generation}
}

type status struct {
	Revision  uint64 `json:"revision"`
	StateHash string `json:"stateHash"`
	Quorum    bool   `json:"quorum"`
	Node      struct {
		Role string `json:"role"`
	} `json:"node"`
}

func (a *api) status(n *node) (st status, err error) {
	code, _, body, err := a.call(n, "GET", "/weft/v1/status", "", nil)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("status %d", code)
	}
	if err == nil {
		err = json.Unmarshal(body, &st)
	}
	return st, err
}

func (a *api) call(n *node, method, path, once string, body any) (int, http.Header, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, nil, err
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+n.api()+path, reader)
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if once != "" {
		req.Header.Set("Idempotency-Key", once)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, text, err
}

// do runs the operation and fills in its outcome.
func (a *api) do(n *node, o *Op) {
	path := collection
	if o.Key != "" && o.Kind != Create && o.Kind != Apply {
		path += "/" + o.Key
	}
	switch o.Kind {
	case Get, List:
		a.finish(n, o, "GET", path+freshness(o), nil)
	case Create:
		a.finish(n, o, "POST", path, objectOf(o.Key, o.Value, 0))
	case Update:
		a.finish(n, o, "PUT", path, objectOf(o.Key, o.Value, o.Expect))
	case Delete:
		a.finish(n, o, "DELETE", path, preconditions(o.Expect))
	case Apply:
		a.finish(n, o, "POST", batchPath, batchOf(o))
	}
}

func batchOf(o *Op) any {
	items := []any{map[string]any{"verb": "apply", "object": objectOf(o.Key, o.Value, 0)}}
	if o.Also != nil {
		items = append(items, map[string]any{"verb": "apply", "object": objectOf(o.Also.Key, o.Also.Value, 0)})
	}
	return map[string]any{"items": items}
}

func freshness(o *Op) string {
	switch {
	case o.At != 0:
		return fmt.Sprintf("?resourceVersion=%d&resourceVersionMatch=Exact", o.At)
	case o.Linear:
		return "?consistency=linearizable"
	case o.BoundMs > 0:
		return fmt.Sprintf("?consistency=bounded&maxStalenessMs=%d", o.BoundMs)
	default:
		return ""
	}
}

func preconditions(expect uint64) any {
	if expect == 0 {
		return nil
	}
	return map[string]any{"preconditions": map[string]string{"resourceVersion": strconv.FormatUint(expect, 10)}}
}

func (a *api) finish(n *node, o *Op, method, path string, body any) {
	code, header, text, err := a.call(n, method, path, o.Once, body)
	o.Status = code
	switch {
	// Go's client sends a request that has a key once more by itself, when a connection breaks.
	case errors.Is(err, syscall.ECONNREFUSED) && o.Once == "":
		o.Outcome, o.Why = Refused, "connection refused"
	case err != nil:
		o.Outcome, o.Why = Unknown, err.Error()
	case code == http.StatusOK || code == http.StatusCreated:
		o.Outcome = Done
		o.shows(header)
		if err := o.answer(text); err != nil {
			o.Outcome, o.Why = Unknown, fmt.Sprintf("%v: %s", err, text)
		}
	case code == http.StatusNotFound && o.Kind == Get:
		o.Outcome = Done
		o.shows(header)
	case code < 500 || code == http.StatusServiceUnavailable:
		o.Outcome, o.Why = Refused, reason(text)
	default:
		o.Outcome, o.Why = Unknown, reason(text)
	}
}

func reason(text []byte) string {
	var st struct{ Message string }
	_ = json.Unmarshal(text, &st)
	return st.Message
}

// shows reads which state an answer is of, and how old that may be.
func (o *Op) shows(header http.Header) {
	if o.isWrite() {
		return
	}
	var err error
	o.Rev, _ = strconv.ParseUint(header.Get("weft-revision"), 10, 64)
	if o.StaleMs, err = strconv.ParseInt(header.Get("weft-staleness-ms"), 10, 64); err != nil {
		o.StaleMs = -1
	}
}

// answer reads what a success says.
func (o *Op) answer(text []byte) error {
	switch o.Kind {
	case Delete:
		return nil
	case Apply:
		var r struct{ Revision uint64 }
		err := json.Unmarshal(text, &r)
		o.Rev = r.Revision
		return err
	case List:
		return o.listed(text)
	}
	var obj object
	if err := json.Unmarshal(text, &obj); err != nil {
		return err
	}
	if o.Kind == Get {
		o.Got = obj.item()
	} else {
		o.Rev = obj.item().Rev
	}
	return nil
}

func (o *Op) listed(text []byte) error {
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Items []object `json:"items"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	o.Items = map[string]Item{}
	for i := range list.Items {
		o.Items[list.Items[i].Metadata.Name] = list.Items[i].item()
	}
	var err error
	o.Rev, err = strconv.ParseUint(list.Metadata.ResourceVersion, 10, 64)
	return err
}
