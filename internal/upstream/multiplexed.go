package upstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/h1"
)

// tryHTTP2 is try for targets that are called over HTTP/2: the target is picked for each stream. A stream that the target
// refused, or that it had not looked at when it said good-bye, was not processed: it may be tried anywhere.
func (t *target) tryHTTP2(ctx context.Context, x *pipeline.Exchange, body *h1.Payload, now time.Time) (time.Time, again, error) {
	x.Attempt.Target = t.addr
	x.Attempt.Count++
	t.begin()
	streams := false
	defer func() { // also when the code of a view panics
		if !streams {
			t.end()
		}
	}()
	if x.Switch.Granted { // configuration refuses such routes
		return now, tryElsewhere, t.wrap(fmt.Errorf("%w: WebSocket needs a target of HTTP/1.1", pipeline.UpstreamFailed))
	}
	for repeated := false; ; now = time.Now() {
		c, reused, err := t.conns.h2.Acquire(ctx, now, &t.limits, t.until(x, now))
		if t.conns.h1 != nil && errors.Is(err, h1.ErrNotHTTP2) {
			t.conns.remember(time.Now())
			x.Attempt.Count--
			return now, tryHTTP1, nil
		}
		if err != nil {
			t.unreached(ctx, x, err, now)
			return now, t.afterConnect(ctx, err), t.wrap(err)
		}
		now = time.Now()
		out := c.Exchange(ctx, x, &t.limits, t.host, body, reused, now)
		switch {
		case out.Err == nil:
			streams = out.Streams
			t.answered(x, &out, now)
			return out.At, tryNever, nil
		case out.Idle != h1.IdleFine && out.Reused:
			t.limits.Watch.Stale()
			continue
		case !repeated && repeatable(x, body, &out):
			repeated = true
			x.Attempt.Count++
			continue
		}
		t.broke(&out, now)
		if (out.Refused || out.Idle != h1.IdleFine) && !repeated {
			return now, tryAnywhere, t.wrap(out.Err)
		}
		return now, tryNever, t.wrap(out.Err)
	}
}
