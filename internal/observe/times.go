package observe

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// bounds are the upper bounds of both histograms.
var bounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// times is a histogram of two additions: every processor that observes has to fetch what it adds to from the others.
type times struct {
	counts [len(bounds) + 1]atomic.Uint64 // the last is beyond all bounds
	sum    atomic.Int64                   // nanoseconds
}

func (t *times) observe(d time.Duration) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	t.counts[i].Add(1)
	t.sum.Add(int64(d))
}

// metric is a view for Prometheus: buckets are cumulative there. Observations that come meanwhile may show in the sum only.
func (t *times) metric(desc *prometheus.Desc, label string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(bounds))
	total := uint64(0)
	for i := range bounds {
		total += t.counts[i].Load()
		buckets[bounds[i].Seconds()] = total
	}
	total += t.counts[len(bounds)].Load()
	return prometheus.MustNewConstHistogram(desc, total, time.Duration(t.sum.Load()).Seconds(), buckets, label)
}
