package pipeline

import "time"

// KeepBody reads a body of a known length up to max bytes into memory, so that it can be sent again; others are left as they
// are. The time it takes is the client's, not the deadline's. The error is the client's, or that no memory is left.
func (x *Exchange) KeepBody(max int64) error {
	n := x.Request.ContentLength()
	if n <= 0 || n > max {
		return nil
	}
	if _, whole := x.Request.Buffered(); whole {
		return nil
	}
	start := time.Now()
	_, err := x.Request.Buffer(max)
	if err == nil && !x.Deadline.IsZero() {
		x.Deadline = x.Deadline.Add(time.Since(start))
	}
	return err
}
