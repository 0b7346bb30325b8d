package retry

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// wait is how long to wait before try n, or why there is none.
func (r *retrier) wait(x *pipeline.Exchange, err error, n int) (wait time.Duration, refused string) {
	now := time.Now()
	if longest := r.cfg.Backoff.longest(n); longest > 0 {
		wait = rand.N(longest) // full jitter
	}
	if err == nil {
		after, said := pushback(x)
		if said && after < 0 {
			return 0, "pushback"
		}
		if said {
			wait = after + wait/4
		} else if asked := retryAfter(x.Response.Header("Retry-After"), now); asked > 0 {
			wait = asked + wait/4 // not all of them at the same instant
		}
	}
	switch rest, bounded := x.Remaining(now, 0); {
	case bounded && rest < wait+leastTry:
		return 0, "deadline"
	case !r.deps.Ready(now.Add(wait)):
		return 0, "breaker"
	case !r.deps.State.Budget.Take(float64(r.cfg.Budget), r.cfg.Floor, now):
		return 0, "budget"
	}
	return wait, ""
}

// late is what a request ends with for which there is no time to try again: an answer of the upstream stays.
func (r *retrier) late(err error, refused string) error {
	if err != nil && refused == "deadline" {
		return fmt.Errorf("%w: no time is left for another try: %w", pipeline.UpstreamTimeout, err)
	}
	return err
}

// pause waits, and ends early when the gateway stops or the client leaves.
func pause(ctx context.Context, x *pipeline.Exchange, d time.Duration) error {
	for d > 0 {
		step := min(d, look)
		t := time.NewTimer(step)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("%w: %w", pipeline.Draining, ctx.Err())
		}
		if d -= step; d > 0 && !x.Keyed && x.Gone() {
			return pipeline.ClientGone
		}
	}
	return nil
}

// retryAfter reads a Retry-After in seconds or as a date (RFC 9110, 10.2.3); 0 when there is none.
func retryAfter(field []byte, now time.Time) time.Duration {
	if len(field) == 0 {
		return 0
	}
	if n, err := strconv.ParseUint(string(field), 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	at, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", string(field))
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}
