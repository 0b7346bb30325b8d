package h1

import (
	"context"
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/failpoint"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// call is one exchange on one connection.
type call struct {
	ctx   context.Context
	x     *pipeline.Exchange
	c     *Conn
	lim   *Limits
	body  Payload   // by value: a pointer in here would move it to the heap
	start time.Time // of the try
	limit time.Time // for the answer's head
	early bool      // the answer came before the request was sent to its end
	held  bool      // the connection is still ours to put back or drop
	out   Outcome
}

// Exchange sends the request of x on c and reads the answer's head into the response; the body follows as bytes when it is
// there already, else as a stream. c belongs to the exchange from now on. now is the begin of the try, host the target's.
func (c *Conn) Exchange(ctx context.Context, x *pipeline.Exchange, lim *Limits, host string, body Payload, now time.Time) Outcome {
	k := call{ctx: ctx, x: x, c: c, lim: lim, body: body, start: now, held: true}
	k.out.Reused = c.reused
	defer k.abandon() // also when the code of a view panics
	k.out.Err = k.run(host, now)
	return k.out
}

// abandon closes the connection of an exchange that did not end well.
func (k *call) abandon() {
	if k.held {
		k.held = false
		k.c.pool.drop(k.c)
	}
}

func (k *call) run(host string, now time.Time) error {
	c := k.c
	var err error
	if c.out, err = appendHead(c.out[:0], k.x, host, &k.body); err != nil {
		k.held = false
		c.pool.put(c, now, k.lim.Idle) // it was not touched
		return err
	}
	inline := k.body.bytes
	if len(inline) > inlineBody {
		inline = inline[:inlineBody]
	}
	c.out = append(c.out, inline...)
	k.setLimit(now)
	if c.secure {
		_ = c.nc.SetWriteDeadline(now.Add(k.lim.IdleBody))
	}
	if !k.arm(now) {
		return fmt.Errorf("%w: no time is left for a try", pipeline.UpstreamTimeout)
	}
	if err := k.send(len(inline)); err != nil {
		return err
	}
	h, err := k.awaitHead()
	if err != nil {
		return err
	}
	if failpoint.Enabled && k.x.Keyed {
		failpoint.Hit(failpoint.FirstByte)
	}
	k.out.At = time.Now()
	h.close = h.close || k.x.Switch.Granted // a connection that was offered another protocol is nobody else's
	if h.status == 101 {
		k.deliverTunnel(&h)
		return nil
	}
	return k.deliver(&h)
}

// send dispatches the head and what goes with it, then the rest of the body.
func (k *call) send(inline int) error {
	c, b := k.c, &k.body
	if failpoint.Enabled && k.x.Keyed {
		k.endHere()
	}
	if k.x.Keyed && !time.Now().Before(k.limit) { // the process was stopped since the claim: by now others may count it as over
		return fmt.Errorf("%w: no time is left for a try", pipeline.UpstreamTimeout)
	}
	complete := b.stream == nil && inline == len(b.bytes)
	n, err := c.dispatch(complete)
	for n == 0 && timedOut(err) && !c.secure && k.arm(time.Now()) {
		n, err = c.dispatch(complete) // the processor was away for longer than a slice: nothing was tried yet
	}
	if n > 0 {
		k.out.Sent = true
		k.x.Effect = max(k.x.Effect, pipeline.EffectUnknown)
		k.out.Heard = c.w > 0
	}
	if err != nil {
		return k.dispatchFailed(err, n)
	}
	if n < len(c.out) {
		if err := k.push(c.out[n:]); err != nil || k.early {
			return err
		}
	}
	if complete {
		return nil
	}
	if b.stream == nil {
		err = k.push(b.bytes[inline:])
	} else {
		err = k.upload()
	}
	if err == nil && !k.early {
		now := time.Now()
		k.setLimit(now)
		k.arm(now)
	}
	return err
}

func (k *call) dispatchFailed(err error, sent int) error {
	switch {
	case err == errStale:
		k.out.Idle = IdleStale
	case err == errUnsolicited:
		k.out.Idle = IdleUnsolicited
	case sent > 0 && sent < len(k.c.out) && k.earlyAnswer():
		return nil
	}
	if sent == 0 && k.out.Idle == IdleFine && k.c.reused && !timedOut(err) {
		k.out.Idle = IdleStale // the socket took no byte
	}
	k.lim.note(k.out.Idle)
	return k.lost(err)
}

// lost is the error for a connection that broke or fell silent.
func (k *call) lost(err error) error {
	if timedOut(err) {
		return fmt.Errorf("%w: %w", pipeline.UpstreamTimeout, err)
	}
	k.out.Lost = true
	return fmt.Errorf("%w: %w", pipeline.UpstreamFailed, err)
}

// setLimit fixes the end of the wait for the answer's head, the request being sent at now.
func (k *call) setLimit(now time.Time) {
	k.limit = now.Add(k.lim.FirstByte)
	if k.lim.Try > 0 {
		k.limit = earlier(k.limit, k.start.Add(k.lim.Try))
	}
	if !k.x.Deadline.IsZero() {
		k.limit = earlier(k.limit, k.x.Deadline)
	}
}

// arm sets the read deadline one slice ahead; false when the limit has passed.
func (k *call) arm(now time.Time) bool {
	if !now.Before(k.limit) {
		return false
	}
	k.c.armRead(now, k.limit)
	return true
}

// tick is called when a slice passed in silence: is there a reason to stop waiting?
func (k *call) tick() error {
	if !k.arm(time.Now()) {
		return fmt.Errorf("%w: no answer in time", pipeline.UpstreamTimeout)
	}
	if err := k.ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", Stopped(err), err)
	}
	if !k.x.Keyed && k.x.Gone() {
		return pipeline.ClientGone
	}
	return nil
}

// awaitHead reads until the head of the final answer is complete. Interim answers are dropped.
func (k *call) awaitHead() (head, error) {
	for range maxInterim + 1 {
		raw, err := k.rawHead()
		if err != nil {
			return head{}, err
		}
		var h head
		err = h.parse(raw)
		switch {
		case err != nil:
			return h, fmt.Errorf("%w: %w", pipeline.UpstreamFailed, err)
		case h.status == 101:
			return h, k.switched(&h)
		case h.status >= 200:
			return h, nil
		}
	}
	return head{}, fmt.Errorf("%w: more than %d interim answers", pipeline.UpstreamFailed, maxInterim)
}

// rawHead gives the bytes of the next head and consumes them.
func (k *call) rawHead() ([]byte, error) {
	c := k.c
	seen := 0
	for {
		b := c.buffered()
		n, err := headEnd(b, seen)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", pipeline.UpstreamFailed, err)
		}
		if n > 0 {
			c.r += n
			return b[:n], nil
		}
		seen = len(b)
		if err := k.more(); err != nil {
			return nil, err
		}
	}
}

// more waits for further bytes, slice by slice.
func (k *call) more() error {
	for {
		err := k.c.fill()
		switch {
		case err == nil:
			k.out.Heard = true
			return nil
		case !timedOut(err):
			return k.lost(err)
		}
		if err := k.tick(); err != nil {
			return err
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
