package record

import "time"

// Clock gives a store's clock: it starts at the wall clock's time and runs on monotonic time, so that a wall clock which is
// set while the process runs neither ends a lease early nor forgets a key.
func Clock() func() time.Time {
	start := time.Now()
	return func() time.Time { return start.Add(time.Since(start)) }
}
