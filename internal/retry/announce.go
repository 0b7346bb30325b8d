package retry

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

const (
	attemptField = "X-Request-Attempt"
	timeoutField = "X-Request-Timeout"
)

// tried reports that the caller says its request is a retry already: tries of several gateways in a row would multiply.
func tried(x *pipeline.Exchange) bool {
	said := x.Request.Header(attemptField)
	if len(said) == 0 {
		return false // Atoi's error would be allocated
	}
	n, err := strconv.Atoi(string(said))
	return err == nil && n > 1
}

// digits are the bytes of what is announced; Outgoing borrows them during the call.
type digits struct{ attempt, timeout [20]byte }

var announcements = sync.Pool{New: func() any { return new(digits) }}

// announced calls with the number of the try and the milliseconds that are left of the deadline.
func (r *retrier) announced(ctx context.Context, x *pipeline.Exchange, n int) error {
	d := announcements.Get().(*digits)
	defer announcements.Put(d)
	x.Outgoing.Set(attemptField, strconv.AppendInt(d.attempt[:0], int64(n), 10))
	if rest, bounded := x.Remaining(time.Now(), 0); bounded {
		x.Outgoing.Set(timeoutField, strconv.AppendInt(d.timeout[:0], max(rest.Milliseconds(), 0), 10))
	}
	err := r.next.Serve(ctx, x)
	x.Outgoing.Remove(attemptField)
	x.Outgoing.Remove(timeoutField)
	return err
}
