package redis

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
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
	latest time.Time // to be sent
	first  bool      // of a key that this gateway knows nothing of
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
	queue  queue
	window window
	flying int
	timer  *time.Timer // of gather
	armed  bool
	probe  *time.Timer
	missed atomic.Int32 // probes since it is down
	sample string       // a key that failed: probes have its slot
	closed bool
}

func newNode(owner *Source, client *goredis.Client) *node {
	return &node{addr: client.Options().Addr, client: client, owner: owner, window: window{room: widest}}
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
	case !n.queue.add(c, time.Now()):
		n.owner.rec.StoreCalls(resultRefused, 1, 0)
		return ErrFull
	}
	switch {
	case n.flying == 0 || n.queue.len() >= batchSize && n.mayFly():
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
	case n.closed || n.queue.len() == 0:
	case n.mayFly():
		n.launch()
	default:
		_, late = n.queue.take(0, time.Now())
		n.arm(10 * gather)
	}
	n.mu.Unlock()
	n.refuse(late)
}

// mayFly tells whether one more pipeline may be under way. The caller holds n.mu.
func (n *node) mayFly() bool { return n.flying < maxFlying && n.window.free() > 0 }

// refuse answers calls that have waited for too long.
func (n *node) refuse(late []*call) {
	if len(late) == 0 {
		return
	}
	n.owner.rec.StoreCalls(resultRefused, len(late), 0)
	for _, c := range late {
		c.done(nil, ErrFull)
	}
}

// launch sends what waits. The caller holds n.mu.
func (n *node) launch() {
	batch, late := n.take()
	n.flying++
	if !n.owner.spawn(func() { n.fly(batch, late) }) {
		n.flying--
		n.window.used -= len(batch)
		for _, c := range append(batch, late...) {
			go c.done(nil, ErrDown)
		}
	}
}

// take removes the next pipeline's calls, and those that are too late. The caller holds n.mu.
func (n *node) take() (batch, late []*call) {
	batch, late = n.queue.take(n.window.free(), time.Now())
	n.window.used += len(batch)
	return batch, late
}

// fly sends pipelines until nothing waits.
func (n *node) fly(batch, late []*call) {
	for {
		n.refuse(late)
		began := time.Now()
		if len(batch) > 0 {
			n.exchange(batch)
		}
		slow := time.Since(began) > n.owner.cfg.patience/slowPart
		n.mu.Lock()
		n.window.back(len(batch), slow)
		batch, late = n.take()
		over := len(batch)+len(late) == 0
		if over {
			n.flying--
		}
		n.mu.Unlock()
		if over {
			return
		}
	}
}

// drain answers all that wait.
func (n *node) drain(err error) {
	n.mu.Lock()
	left := append(n.queue.known, n.queue.strangers...)
	n.queue = queue{}
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
