package retry

import (
	"strconv"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Calls of gRPC are POST, so without POST among the methods they are tried again only when nothing was processed: no connection,
// or a stream that the upstream refused. With it they are also on an answer that is trailers only and says UNAVAILABLE, when
// 503 is among the failures: nothing came before it. What reset, timed out, or sent more than that may have done anything.

const (
	unavailable   = 503
	pushbackField = "Grpc-Retry-Pushback-Ms"
)

// keeper is a request whose body can be kept while it goes on.
type keeper interface{ Keep(max int64) }

// keepStream has the messages of a call kept. Whether more are to come only its client knows, so they are not awaited.
func keepStream(x *pipeline.Exchange) {
	if k, ok := x.Request.(keeper); ok {
		k.Keep(keptBody)
	}
}

// refusedCall gives the word of a gRPC call's answer that may be tried again, or "".
func (r *retrier) refusedCall(x *pipeline.Exchange) string {
	status := x.HeadStatus()
	if x.Response.Status() == 200 && (status != unavailable || x.Trailers != nil) {
		return ""
	}
	return r.answered(status)
}

// pushback is what a gRPC server says of when to come again; said: it did. Below zero: never, as for what can't be read.
func pushback(x *pipeline.Exchange) (wait time.Duration, said bool) {
	text := x.Response.Header(pushbackField)
	if text == nil || !x.Calls() {
		return 0, false
	}
	n, err := strconv.ParseInt(string(text), 10, 32)
	if err != nil {
		return -1, true
	}
	return time.Duration(n) * time.Millisecond, true
}
