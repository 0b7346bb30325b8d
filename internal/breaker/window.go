package breaker

import "time"

const buckets = 10

// window counts the results of the last ten steps, the running one included: between 90 and 100 % of the length that was
// asked for. The zero value is empty.
type window struct {
	sum   count
	parts [buckets]count
	step  time.Duration // length of a part
	at    int64         // number of the running part since the origin
}

// count is never negative, and failed and slow are never above calls.
type count struct{ calls, failed, slow int }

func (c *count) add(d count) {
	c.calls += d.calls
	c.failed += d.failed
	c.slow += d.slow
}

func (c *count) sub(d count) { c.add(count{-d.calls, -d.failed, -d.slow}) }

// advance drops what is older than length at now, both since the origin. Another length than before keeps the counts: they
// go to the running part, since what happened must still be judged after a reload.
func (w *window) advance(length, now time.Duration) {
	step := max(length/buckets, 1)
	at := int64(now / step)
	if step != w.step {
		*w = window{sum: w.sum, step: step, at: at}
		w.parts[at%buckets] = w.sum
		return
	}
	for gone := int64(0); w.at < at && gone < buckets; gone++ {
		w.at++
		part := &w.parts[w.at%buckets]
		w.sum.sub(*part)
		*part = count{}
	}
	w.at = max(w.at, at)
}

// add counts in the running part.
func (w *window) add(c count) {
	w.parts[w.at%buckets].add(c)
	w.sum.add(c)
}

// spoil turns the latest success into a failure; without one it adds a failed call.
func (w *window) spoil() {
	for i := range int64(buckets) {
		if part := &w.parts[(w.at-i+buckets)%buckets]; part.calls > part.failed {
			part.failed++
			w.sum.failed++
			return
		}
	}
	w.add(count{calls: 1, failed: 1})
}
