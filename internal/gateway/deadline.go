package gateway

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// leastDeadline: a request that leaves less time is answered at once, before anything is done for it.
const leastDeadline = 5 * time.Millisecond

// deadline fixes one point in time for everything below it. It bounds the way to the answer's head; bodies are bounded by
// their pauses, so a long download is not cut. A client may ask for less than the route gives, never for more.
func deadline(timeout time.Duration) pipeline.Layer {
	return func(next pipeline.Handler) pipeline.Handler {
		return pipeline.HandlerFunc(func(ctx context.Context, x *pipeline.Exchange) error {
			limit := timeout
			if asked, ok := askedTimeout(x.Request); ok && asked < limit {
				limit = asked
			}
			x.Deadline = x.Start.Add(limit)
			if limit < leastDeadline && limit < timeout {
				x.Problem.Executed = pipeline.ExecutedNo
				return fmt.Errorf("%w: the client leaves %v", pipeline.UpstreamTimeout, limit)
			}
			return next.Serve(ctx, x)
		})
	}
}

// askedTimeout is what a client says it waits: X-Request-Timeout in milliseconds, or grpc-timeout of a gRPC call. What
// makes no sense is nothing.
func askedTimeout(r pipeline.Request) (time.Duration, bool) {
	if text := r.Header("X-Request-Timeout"); text != nil {
		n, ok := digits(text)
		return time.Duration(n) * time.Millisecond, ok
	}
	text := r.Header("grpc-timeout")
	if text == nil || !bytes.HasPrefix(r.Header("Content-Type"), []byte("application/grpc")) {
		return 0, false
	}
	return grpcTimeout(text)
}

// grpcTimeout reads at most 8 digits and a unit (gRPC over HTTP/2, Timeout).
func grpcTimeout(text []byte) (time.Duration, bool) {
	if len(text) < 2 {
		return 0, false
	}
	n, ok := digits(text[:len(text)-1])
	unit := unitOf(text[len(text)-1])
	return time.Duration(n) * unit, ok && unit > 0
}

func unitOf(letter byte) time.Duration {
	switch letter {
	case 'H':
		return time.Hour
	case 'M':
		return time.Minute
	case 'S':
		return time.Second
	case 'm':
		return time.Millisecond
	case 'u':
		return time.Microsecond
	case 'n':
		return time.Nanosecond
	}
	return 0
}

// digits reads a number of at most eight digits.
func digits(text []byte) (n int64, ok bool) {
	if len(text) == 0 || len(text) > 8 {
		return 0, false
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
