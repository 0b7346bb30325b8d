package h2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/failpoint"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/h1"
	"github.com/oncegate/oncegate/internal/wire"
)

// call is one exchange on one stream.
type call struct {
	x     *pipeline.Exchange
	c     *Conn
	lim   *h1.Limits
	serve context.Context // of the exchange; its end is noticed, it is not passed on
	start time.Time       // of the try
	keyed bool
	mute  bool          // nothing came on the connection while the answer was awaited in vain
	both  bool          // the client can be read from while the answer goes to it
	grpc  bool          // what the client says of itself
	hard  time.Duration // what a gRPC client gives its call, from the request's head; 0: no such end

	ctx    context.Context
	cancel context.CancelFunc
	wrote  atomic.Bool // the request's head left
	heard  uint64      // what had been read from the connection when the call began
	src    *source     // nil: no body

	clock clock
	out   h1.Outcome
}

// Exchange sends the request of x on a reserved place of c and puts the answer's head into the response; its body follows as
// a stream. The place belongs to the exchange from now on. now is the begin of the try, host the target's.
func (c *Conn) Exchange(ctx context.Context, x *pipeline.Exchange, lim *h1.Limits, host string, body *h1.Payload, reused bool, now time.Time) h1.Outcome {
	k := &call{x: x, c: c, lim: lim, serve: ctx, start: now, keyed: x.Keyed, both: x.HTTP2, heard: c.wire.reads.Load()}
	k.out.Reused = reused
	if k.grpc = bytes.HasPrefix(x.Request.Header("Content-Type"), []byte("application/grpc")); k.grpc {
		k.hard = asked(x)
	}
	held := true
	defer func() { // also when the code of a view panics
		if held {
			k.end()
		}
	}()
	res, err := k.run(host, body, now)
	if err != nil {
		k.out.Err = k.failed(err)
		k.mute = pipeline.KindOf(k.out.Err) == pipeline.UpstreamTimeout && c.wire.reads.Load() == k.heard
		return k.out
	}
	held = !k.deliver(res)
	return k.out
}

// run sends the request and waits for the answer's head.
func (k *call) run(host string, body *h1.Payload, now time.Time) (*http.Response, error) {
	q, err := k.request(host)
	if err != nil {
		k.c.cc.Release()
		return nil, err
	}
	k.setBody(q, body)
	if k.keyed && !k.x.Deadline.IsZero() && !time.Now().Before(k.x.Deadline) {
		k.c.cc.Release()
		return nil, fmt.Errorf("%w: no time is left for a try", pipeline.UpstreamTimeout)
	}
	k.clock.begin(k, now)
	if k.src == nil || k.src.stream == nil || k.both && k.src.how != nil {
		res, err := k.c.cc.RoundTrip(q)
		if err == nil {
			k.clock.came(res)
		}
		return res, err
	}
	return k.pump(q)
}

func (k *call) setBody(q *http.Request, body *h1.Payload) {
	if body.Empty() {
		k.clock.done = true
		return
	}
	k.src = &source{k: k, stream: body.Stream(), length: body.Length(), rest: body.Bytes(), q: q}
	if i, ok := k.src.stream.(interface{ Interrupt() }); ok {
		k.src.how = i.Interrupt
	}
	q.Body, q.ContentLength = k.src, body.Length()
	if k.src.stream != nil && k.x.RequestTrailers != nil { // others would cost a frame more
		q.Trailer = http.Header{} // filled at the end of the body
		for _, name := range k.x.RequestTrailers.Announced() {
			q.Trailer[http.CanonicalHeaderKey(name)] = nil
		}
	}
}

// pump is for clients whose body can be read by their own goroutine only. An error for an answer ends the upload; a success
// that comes early waits for its end.
func (k *call) pump(q *http.Request) (res *http.Response, err error) {
	r, w := io.Pipe()
	q.Body = r
	done := make(chan struct{})
	go func() {
		defer close(done)
		if res, err = k.c.cc.RoundTrip(q); err == nil {
			k.clock.came(res)
			if res.StatusCode < 300 {
				return
			}
			k.clock.interrupt(nil, false) // how the upload ends does not count any more
		}
		_ = r.CloseWithError(http.ErrBodyReadAfterClose) // also when the call ended before it read
	}()
	_, copied := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{k.src}, make([]byte, 32<<10))
	_ = w.CloseWithError(copied)
	<-done
	return res, err
}

// failed names the end of a call that got no answer, and notes what is known.
func (k *call) failed(err error) error {
	why := k.clock.why()
	k.out.Sent = k.wrote.Load() || why != nil && k.ctx != nil
	var reset streamError
	switch {
	case errors.As(err, &reset) && reset.Code == refusedStream, unprocessed(err):
		k.out.Sent, k.out.Refused = false, true
		if k.src != nil && k.src.stream != nil && k.clock.consumed() { // a part of the body is gone: nobody may try again
			k.x.Effect, k.out.Refused = max(k.x.Effect, pipeline.EffectUnknown), false
		}
		return fmt.Errorf("%w: the request was not processed: %w", pipeline.UpstreamFailed, plain(err))
	case k.out.Sent:
		k.x.Effect = max(k.x.Effect, pipeline.EffectUnknown)
	case why == nil && pipeline.KindOf(err) == pipeline.Internal && unusable(err):
		k.out.Idle = h1.IdleStale
	}
	if why != nil {
		return why
	}
	if pipeline.KindOf(err) != pipeline.Internal || k.ctx == nil {
		return err // it was not tried: no time was left, or the head could not be made
	}
	k.out.Heard, k.out.Lost = reset.StreamID != 0, reset.StreamID == 0
	return fmt.Errorf("%w: %w", pipeline.UpstreamFailed, plain(err))
}

// deliver puts the answer into the response and tells whether a body is still to come.
func (k *call) deliver(res *http.Response) (streams bool) {
	if failpoint.Enabled && k.keyed {
		failpoint.Hit(failpoint.FirstByte)
	}
	k.out.At, k.out.Sent, k.out.Heard, k.out.Status = time.Now(), true, true, res.StatusCode
	k.x.Effect = max(k.x.Effect, pipeline.EffectUnknown)
	spent, err := k.clock.answered(k.out.At)
	length := int64(-1)
	if err == nil {
		length, err = lengthOf(res)
	}
	if err != nil {
		k.drop(res)
		k.out.Err = err
		return false
	}
	if spent > 0 && !k.x.Deadline.IsZero() {
		k.x.Deadline = k.x.Deadline.Add(spent)
	}
	k.fill(res)
	k.x.Effect = pipeline.EffectDone
	if ended := length < 0 && res.ContentLength == 0; k.grpc && length == 0 { // trailers may follow
		length = -1
	} else if ended || length == 0 || bodyless(res.StatusCode) || string(k.x.Request.Method()) == "HEAD" {
		k.drop(res)
		return false
	}
	k.x.Trailers = &pipeline.Trailers{}
	k.out.Streams = true
	k.x.Response.SetStream(&stream{k: k, res: res, left: length, trailers: k.x.Trailers, status: res.StatusCode}, length)
	return true
}

// drop ends an answer whose body nobody will read. Cancelled first: Close waits for the end of a request's body that is still
// being sent.
func (k *call) drop(res *http.Response) {
	k.cancel()
	_ = res.Body.Close()
}

func bodyless(status int) bool { return status == 204 || status == 304 }

// lengthOf checks what net/http lets pass.
func lengthOf(res *http.Response) (int64, error) {
	if res.StatusCode < 200 || res.StatusCode > 599 {
		return 0, fmt.Errorf("%w: the answer's status is out of range", pipeline.UpstreamFailed)
	}
	switch all := res.Header["Content-Length"]; {
	case len(all) == 0:
		return -1, nil
	case len(all) > 1:
		return 0, fmt.Errorf("%w: the answer's Content-Length is repeated", pipeline.UpstreamFailed)
	default:
		n, err := strconv.ParseUint(all[0], 10, 62)
		if err != nil {
			return 0, fmt.Errorf("%w: the answer's Content-Length is malformed", pipeline.UpstreamFailed)
		}
		return int64(n), nil
	}
}

func (k *call) fill(res *http.Response) {
	r := k.x.Response
	r.Reset()
	r.SetStatus(res.StatusCode)
	keep := bodyless(res.StatusCode) && res.StatusCode != 204 || string(k.x.Request.Method()) == "HEAD"
	for name, values := range res.Header {
		if wire.HopByHop([]byte(name)) || name == "Content-Length" && !keep {
			continue
		}
		for _, v := range values {
			r.Add(name, []byte(v))
		}
	}
}

// end gives the place back. Nothing of the exchange is touched afterwards.
func (k *call) end() {
	k.clock.end()
	if k.cancel != nil {
		k.cancel()
	}
	if k.src != nil {
		_ = k.src.Close()
		k.src.interrupt(true)
	}
	k.c.release(k.lim.Idle, k.mute)
}
