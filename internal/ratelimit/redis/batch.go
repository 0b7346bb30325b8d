package redis

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// What a call can end with before anything was sent. Of any other error nobody knows whether the script was executed.
var (
	ErrDown = errors.New("redis: the store of limits is down")
	ErrFull = errors.New("redis: too many calls wait for the store of limits")
)

// call is one script on one key. done is called once, from a goroutine of its own or of the server's, never from send.
type call struct {
	script *script
	key    string
	args   []any
	done   func(value any, err error)
	due    time.Time // when its caller has waited enough
	asking bool      // follows an ASK
	hops   int
	probe  bool // goes out although the server is thought to be down
}

// sender takes calls and never blocks.
type sender interface{ send(c *call) }

// node is one server. Calls wait in a bounded queue and leave it in pipelines: at once when none is under way, else when there
// are enough of them or after a moment.
type node struct {
	addr    string
	client  *goredis.Client
	owner   *Source
	breaker breaker

	mu     sync.Mutex
	queue  []*call
	flying int
	timer  *time.Timer // of gather
	armed  bool
	probe  *time.Timer
	sample string // a key that failed: probes have its slot
	closed bool
}

func newNode(owner *Source, client *goredis.Client) *node {
	return &node{addr: client.Options().Addr, client: client, owner: owner}
}

func (n *node) send(c *call) {
	if err := n.enqueue(c); err != nil {
		go c.done(nil, err)
	}
}

func (n *node) enqueue(c *call) error {
	if !c.probe && n.breaker.isOpen() {
		n.owner.rec.StoreCalls(resultRefused, 1, 0)
		return ErrDown
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return ErrDown
	case len(n.queue) >= queueSize:
		n.owner.rec.StoreCalls(resultRefused, 1, 0)
		return ErrFull
	}
	n.queue = append(n.queue, c)
	switch {
	case n.flying == 0 || len(n.queue) >= batchSize && n.flying < maxFlying:
		n.launch()
	case !n.armed:
		n.arm(gather)
	}
	return nil
}

// arm has the queue looked at after d. The caller holds n.mu.
func (n *node) arm(d time.Duration) {
	n.armed = true
	if n.timer == nil {
		n.timer = time.AfterFunc(d, n.gathered)
		return
	}
	n.timer.Reset(d)
}

// gathered sends what waits. When nothing more can be under way, calls whose time is over are answered instead.
func (n *node) gathered() {
	n.mu.Lock()
	n.armed = false
	var late []*call
	switch {
	case n.closed || len(n.queue) == 0:
	case n.flying < maxFlying:
		n.launch()
	default:
		late = n.overdue(time.Now())
		n.arm(10 * gather)
	}
	n.mu.Unlock()
	for _, c := range late {
		c.done(nil, ErrFull)
	}
}

// overdue removes the calls that nobody waits for any more. The caller holds n.mu.
func (n *node) overdue(now time.Time) (late []*call) {
	n.queue = slices.DeleteFunc(n.queue, func(c *call) bool {
		over := !c.due.After(now)
		if over {
			late = append(late, c)
		}
		return over
	})
	return late
}

// launch sends what waits. The caller holds n.mu.
func (n *node) launch() {
	batch := n.take()
	n.flying++
	if !n.owner.spawn(func() { n.fly(batch) }) {
		n.flying--
		for _, c := range batch {
			go c.done(nil, ErrDown)
		}
	}
}

// take removes the next pipeline's calls. The caller holds n.mu.
func (n *node) take() []*call {
	batch := slices.Clone(n.queue[:min(len(n.queue), batchSize)])
	n.queue = slices.Delete(n.queue, 0, len(batch))
	return batch
}

// fly sends pipelines until nothing waits.
func (n *node) fly(batch []*call) {
	for len(batch) > 0 {
		n.exchange(batch)
		n.mu.Lock()
		batch = n.take()
		if len(batch) == 0 {
			n.flying--
		}
		n.mu.Unlock()
	}
}

// drain answers all that wait.
func (n *node) drain(err error) {
	n.mu.Lock()
	left := n.queue
	n.queue = nil
	n.mu.Unlock()
	for _, c := range left {
		c.done(nil, err)
	}
}

func (n *node) close() {
	n.mu.Lock()
	n.closed = true
	for _, t := range []*time.Timer{n.timer, n.probe} {
		if t != nil {
			t.Stop()
		}
	}
	n.mu.Unlock()
	n.drain(ErrDown)
}

// exchange sends a batch and answers its calls, within the time that the oldest of them has.
func (n *node) exchange(batch []*call) {
	begin := time.Now()
	due := batch[0].due
	for _, c := range batch {
		if c.due.Before(due) {
			due = c.due
		}
	}
	ctx, cancel := context.WithDeadline(context.Background(), due)
	defer cancel()
	n.trip(ctx, batch, begin)
}
