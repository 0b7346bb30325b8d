package redis

import (
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// fleet knows the servers, and which of them is the primary of which bucket.
type fleet struct {
	cfg   Config
	names *names
	view  atomic.Pointer[view] // nil until the first discovery

	mu     sync.Mutex // guards what follows, and changes of view
	nodes  map[string]*node
	closed bool
}

// view says which node serves what. It is never changed, only replaced.
type view struct {
	of     [buckets]*node
	secret *node
}

const (
	maxNodes   = 1024        // that a cluster's answers may make us know
	retireTime = time.Minute // that calls to a node which left the view have to end
)

func newFleet(cfg Config, names *names) *fleet {
	return &fleet{cfg: cfg, names: names, nodes: map[string]*node{}}
}

// place is the node of a bucket; nil when nobody knows.
func (f *fleet) place(bucket int) *node {
	if v := f.view.Load(); v != nil {
		return v.of[bucket]
	}
	return nil
}

func (f *fleet) keeper() *node {
	if v := f.view.Load(); v != nil {
		return v.secret
	}
	return nil
}

// known is the node at an address, which is made if need be. A reply may leave out the host: it is that of who replied.
func (f *fleet) known(addr, from string) *node {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil
	}
	if host == "" {
		if host, _, err = net.SplitHostPort(from); err != nil {
			return nil
		}
		addr = net.JoinHostPort(host, port)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.nodes[addr]; n != nil {
		return n
	}
	if f.closed || len(f.nodes) >= maxNodes {
		return nil
	}
	n := newNode(f.cfg, addr)
	n.since = time.Now() // until a view has it
	f.nodes[addr] = n
	return n
}

// move puts one bucket to another node until the next discovery says more.
func (f *fleet) move(bucket int, to *node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v := f.view.Load(); v != nil {
		next := *v
		next.of[bucket] = to
		f.view.Store(&next)
	}
}

// replace takes over a view by slots, and drops the nodes that have long not been in one.
func (f *fleet) replace(owner func(slot int) *node) {
	next := &view{secret: owner(slotOf(f.names.secret()))}
	in := map[*node]bool{next.secret: true}
	for b := range next.of {
		next.of[b] = owner(f.names.slot[b])
		in[next.of[b]] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.view.Store(next)
	for addr, n := range f.nodes {
		switch {
		case in[n]:
			n.since = time.Time{}
		case n.since.IsZero():
			n.since = time.Now()
		case time.Since(n.since) > retireTime:
			delete(f.nodes, addr)
			_ = n.client.Close()
		}
	}
}

// primaries are the nodes of the view, each once.
func (f *fleet) primaries() []*node {
	v := f.view.Load()
	if v == nil {
		return nil
	}
	seen, all := map[*node]bool{nil: true}, []*node(nil)
	for _, n := range append(v.of[:len(v.of):len(v.of)], v.secret) {
		if !seen[n] {
			seen[n] = true
			all = append(all, n)
		}
	}
	return all
}

// addresses are those of all known nodes, first those that answered last.
func (f *fleet) addresses() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var well, down []string
	for addr, n := range f.nodes {
		if n.down.Load() {
			down = append(down, addr)
		} else {
			well = append(well, addr)
		}
	}
	return append(well, down...)
}

func (f *fleet) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, n := range f.nodes {
		_ = n.client.Close()
	}
}

// byServer lists all buckets, those of one server behind each other.
func (f *fleet) byServer() []int {
	all, v := make([]int, buckets), f.view.Load()
	for b := range all {
		all[b] = b
	}
	if v != nil {
		addr := func(b int) string {
			if v.of[b] == nil {
				return ""
			}
			return v.of[b].addr
		}
		slices.SortStableFunc(all, func(a, b int) int { return strings.Compare(addr(a), addr(b)) })
	}
	return all
}

func (f *fleet) bucketsOf(n *node) (which []int) {
	if v := f.view.Load(); v != nil {
		for b, of := range v.of {
			if of == n {
				which = append(which, b)
			}
		}
	}
	return which
}
