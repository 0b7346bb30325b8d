package redis

import (
	"sync"
	"sync/atomic"
	"time"
)

// pauseTime is how long a bucket takes no new claims after its primary changed: every gateway has then seen the change, which
// takes the watcher a second, and has asserted what it knows.
const pauseTime = 2 * time.Second

// guard notices that a bucket is served by another server, or by the same one with other data, than before.
type guard struct {
	start  time.Time
	served [buckets]atomic.Pointer[string] // identity; nil: not served yet
	until  [buckets]atomic.Int64           // since start; no new claims before
	recent *recent

	mu      sync.Mutex
	pending map[int]bool // buckets whose recent claims and results have to be asserted
	work    chan struct{}
}

func newGuard() *guard {
	return &guard{start: time.Now(), recent: newRecent(), pending: map[int]bool{}, work: make(chan struct{}, 1)}
}

func (g *guard) paused(bucket int) bool {
	until := g.until[bucket].Load()
	return until != 0 && time.Since(g.start) < time.Duration(until)
}

// meet notes who serves a bucket; true: it was somebody else before.
func (g *guard) meet(bucket int, identity *string) (changed bool) {
	last := g.served[bucket].Load()
	if last == nil {
		g.served[bucket].CompareAndSwap(nil, identity)
		last = g.served[bucket].Load()
	}
	return last != identity && *last != *identity
}

// change pauses the buckets that another served before, and lists them to be asserted.
func (g *guard) change(which []int, identity *string, force bool) (changed int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range which {
		if last := g.served[b].Load(); !force && (last == nil || *last == *identity) {
			continue
		}
		g.hold(b) // first: who sees the new identity sees the pause
		g.served[b].Store(identity)
		g.pending[b] = true
		changed++
	}
	if changed > 0 {
		g.wake()
	}
	return changed
}

// hold begins a bucket's pause again.
func (g *guard) hold(bucket int) { g.until[bucket].Store(int64(time.Since(g.start) + pauseTime)) }

// again lists buckets that could not be asserted, and keeps them paused.
func (g *guard) again(which map[int]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for b := range which {
		g.hold(b)
		g.pending[b] = true
	}
}

func (g *guard) wake() {
	select {
	case g.work <- struct{}{}:
	default:
	}
}

func (g *guard) take() map[int]bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	which := g.pending
	g.pending = map[int]bool{}
	return which
}

// notice compares who serves a bucket now with who did before. All buckets of the node are looked at: what happened to one
// happened to the server.
func (s *Store) notice(n *node, bucket int, identity *string) {
	if !s.guard.meet(bucket, identity) {
		return
	}
	which := s.fleet.bucketsOf(n)
	s.changed(n, append(which, bucket), identity, false)
}

func (s *Store) changed(n *node, which []int, identity *string, force bool) {
	if count := s.guard.change(which, identity, force); count > 0 {
		s.log.Warn("redis: another primary serves records, or one with other data: no new claims for a moment",
			"server", n.addr, "buckets", count)
		s.rec.PrimaryChanged()
	}
}
