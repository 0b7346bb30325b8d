package h2

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/h1"
)

// waitSlice is how often a wait looks whether the client left.
const waitSlice = 250 * time.Millisecond

// clock bounds the waits of a call. net/http blocks where h1 would look around, so a timer does that, and ends the stream when
// a limit has passed or nobody wants the answer any more. The time that a client takes for its body is its own.
type clock struct {
	mu    sync.Mutex
	k     *call
	timer *time.Timer
	over  bool
	err   error // why the call was ended

	done    bool          // the request was sent to its end
	taken   bool          // some of a streamed body was read
	sentAt  time.Time     // when it was done
	reading bool          // the client is being read
	unread  bool          // nobody wants the rest of the client's body
	rested  chan struct{} // closed when a read ends that somebody waits for
	since   time.Time     // when that began
	client  time.Duration // what it took before
	last    time.Time     // when the request's body last moved

	answer io.Closer // the answer's body; the end of the context does not wake an upload that waits for room
	head   bool      // the answer's head is there
	body   bool      // the answer's body is being read
	asleep time.Time
}

func (c *clock) begin(k *call, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.k, c.sentAt, c.last = k, now, now
	c.timer = time.AfterFunc(c.nextLocked(now), c.tick)
}

// nextLocked is when to look again: a slice from now, or when the nearest limit passes.
func (c *clock) nextLocked(now time.Time) time.Duration {
	next := waitSlice
	if c.head {
		return min(next, c.k.lim.IdleBody)
	}
	if end, bounded := c.limitLocked(now); bounded {
		next = min(next, end.Sub(now))
	}
	return max(next, time.Millisecond)
}

// limitLocked is the end of the wait for the answer's head as things stand.
func (c *clock) limitLocked(now time.Time) (end time.Time, bounded bool) {
	nearer := func(t time.Time) {
		if !bounded || t.Before(end) {
			end, bounded = t, true
		}
	}
	client := c.client
	if c.reading {
		client += now.Sub(c.since)
	}
	k := c.k
	switch {
	case c.done:
		nearer(c.sentAt.Add(k.lim.FirstByte))
	case !c.reading:
		nearer(c.last.Add(k.lim.IdleBody)) // it takes no more of the body
	}
	if k.lim.Try > 0 {
		nearer(k.start.Add(k.lim.Try + client))
	}
	if !k.x.Deadline.IsZero() {
		nearer(k.x.Deadline.Add(client))
	}
	if k.hard > 0 {
		nearer(k.x.Start.Add(k.hard))
	}
	return end, bounded
}

func (c *clock) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.err != nil {
		return
	}
	now := time.Now()
	if err := c.checkLocked(now); err != nil {
		c.err = err
		c.k.cancel()
		if c.answer != nil {
			go c.answer.Close()
		}
		return
	}
	c.timer.Reset(c.nextLocked(now))
}

func (c *clock) checkLocked(now time.Time) error {
	k := c.k
	switch {
	case c.head && !c.body: // nobody waits
		return nil
	case c.head:
		from := c.asleep
		if c.last.After(from) {
			from = c.last
		}
		if now.Sub(from) >= k.lim.IdleBody {
			return fmt.Errorf("the answer's body stood still: %w", pipeline.UpstreamTimeout)
		}
	default:
		if end, bounded := c.limitLocked(now); bounded && !now.Before(end) {
			return fmt.Errorf("%w: no answer in time", pipeline.UpstreamTimeout)
		}
		if err := k.serve.Err(); err != nil && !c.leftLocked() {
			return fmt.Errorf("%w: %w", h1.Stopped(err), err)
		}
	}
	if !k.keyed && c.leftLocked() {
		return pipeline.ClientGone
	}
	return nil
}

// leftLocked asks whether the client left; while an h1 client is being read, its reader finds out.
func (c *clock) leftLocked() bool { return (c.k.both || !c.reading) && c.k.x.Gone() }

// reads begins a read of the client's body; false: nobody needs it any more.
func (c *clock) reads(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.unread || c.err != nil {
		return false
	}
	c.reading, c.since = true, now
	return true
}

// read ends it.
func (c *clock) read(now time.Time, n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = false
	if c.rested != nil {
		close(c.rested)
		c.rested = nil
	}
	c.client += now.Sub(c.since)
	c.last = now
	c.taken = c.taken || n > 0
	switch {
	case err == io.EOF:
		c.done, c.sentAt = true, now
	case err != nil && c.err == nil && !c.over && !c.unread: // the client broke it off: no fault of the target
		c.err = err
	}
}

// moved notes progress of a body in memory, done its end.
func (c *clock) moved(now time.Time, done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = now
	if done {
		c.done, c.sentAt = true, now
	}
}

// came has the answer's body closed with the call, once by whomever.
func (c *clock) came(res *http.Response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body := &onceBody{ReadCloser: res.Body}
	res.Body, c.answer = body, body
	if c.err != nil {
		go body.Close()
	}
}

type onceBody struct {
	io.ReadCloser
	once sync.Once
}

// Close implements io.Closer.
func (b *onceBody) Close() (err error) {
	b.once.Do(func() { err = b.ReadCloser.Close() })
	return err
}

// answered notes the head, and gives the time that the client took for its body so far. An error: the call was ended just before.
func (c *clock) answered(now time.Time) (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.head = true
	if c.reading {
		return c.client + now.Sub(c.since), c.err
	}
	return c.client, c.err
}

// waits begins or ends a wait for the answer's body.
func (c *clock) waits(now time.Time, waiting bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.body, c.asleep = waiting, now
}

func (c *clock) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// consumed tells that some of a streamed body is gone.
func (c *clock) consumed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken
}

func (c *clock) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.timer != nil {
		c.timer.Stop()
	}
}

// interrupt has a read of the client's body end, if there is one, and lets no other begin; wait: it has ended on return. The
// exchange is there as long as a read lasts, so how may use it.
func (c *clock) interrupt(how func(), wait bool) {
	c.mu.Lock()
	c.unread = true
	var rested chan struct{}
	if c.reading && how != nil {
		how()
		if wait {
			rested = make(chan struct{})
			c.rested = rested
		}
	}
	c.mu.Unlock()
	if rested != nil {
		<-rested
	}
}
