package ratelimit

import (
	"context"
	"encoding/binary"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// quietRequest and quietResponse do no work of their own.
type quietRequest struct{ pipeline.Request }

func (quietRequest) Method() []byte       { return nil }
func (quietRequest) Header(string) []byte { return nil }

type quietResponse struct{ pipeline.Response }

func (quietResponse) Set(string, []byte) {}
func (quietResponse) Status() int        { return 200 }

func layerForCost(t testing.TB, rate string, n int) (pipeline.Handler, *pipeline.Exchange) {
	limits := []*Limit{limit(t, "per-client", rate, Config{}), limit(t, "per-ip", rate, Config{By: By{"ip"}}), limit(t, "all", rate, Config{By: By{"all"}})}
	next := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { return nil })
	x, _, _ := newExchange()
	x.Request, x.Response = quietRequest{}, quietResponse{}
	return New(limits[:n], LayerConfig{Keyed: true}, Deps{Store: NewMemory(MemoryConfig{})})(next), x
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("pools allocate under the race detector")
	}
	for name, rate := range map[string]string{"allowed": "100000000/s", "refused": "1/d"} {
		h, x := layerForCost(t, rate, 3)
		h.Serve(context.Background(), x)
		if n := testing.AllocsPerRun(200, func() { h.Serve(context.Background(), x) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func benchmarkLayer(b *testing.B, rate string, n int) {
	h, x := layerForCost(b, rate, n)
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		h.Serve(context.Background(), x)
	}
}

// reportCPU adds the processor time, which other work on the machine does not stretch.
func reportCPU(b *testing.B) func() {
	used := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

func BenchmarkAllowed(b *testing.B)  { benchmarkLayer(b, "100000000/s", 1) }
func BenchmarkAllowed3(b *testing.B) { benchmarkLayer(b, "100000000/s", 3) }
func BenchmarkRefused(b *testing.B)  { benchmarkLayer(b, "1/d", 1) }

// BenchmarkTake is the store alone: a million clients, taken in turn, so that every bucket is out of the cache.
func BenchmarkTake(b *testing.B) {
	m := NewMemory(MemoryConfig{})
	l := limit(b, "x", "1/d", Config{Burst: 1000})
	key := make([]byte, 24)
	charges := []Charge{{Limit: l, Key: key, Cost: 1}}
	i := uint64(0)
	take := func() {
		i = (i + 1) & (1<<20 - 1)
		binary.LittleEndian.PutUint64(key, i)
		m.Take(context.Background(), charges)
	}
	for range 1 << 20 {
		take()
	}
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		take()
	}
}

// One hot bucket: the record, the limiter, both kinds of quota, and the store that composes tiers.
func BenchmarkTakeRecord(b *testing.B) { benchmarkOne(b, limit(b, "x", "1000000000/s", Config{})) }
func BenchmarkTakeLimiter(b *testing.B) {
	benchmarkOne(b, limit(b, "x", "1000000000/s", Config{By: By{"all"}}))
}
func BenchmarkTakeCalendar(b *testing.B) { benchmarkOne(b, windowLimit("x", 1e15, false)) }
func BenchmarkTakeRolling(b *testing.B)  { benchmarkOne(b, windowLimit("x", 1e15, true)) }

func benchmarkOne(b *testing.B, l *Limit) {
	m := NewMemory(MemoryConfig{})
	charges := []Charge{charge(l, "a")}
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		m.Take(context.Background(), charges)
	}
}

// BenchmarkTiersDirect is the cost of composing alone: three local limits, of a store that does nothing.
func BenchmarkTiersDirect(b *testing.B) {
	charges := make([]Charge, 3)
	for i := range charges {
		charges[i].Limit = limit(b, "x", "1/s", Config{})
	}
	n := 0
	defer reportCPU(b)()
	for b.Loop() {
		n += sharedOf(charges)
	}
	if n > 0 {
		b.Error("shared")
	}
}

// BenchmarkBytesPerClient reports the heap of a million clients in debt.
func BenchmarkBytesPerClient(b *testing.B) {
	l := limit(b, "x", "1/d", Config{})
	key := make([]byte, 24)
	charges := []Charge{{Limit: l, Key: key, Cost: 1}}
	const clients = 1_000_000
	for b.Loop() {
		before := heap()
		m := NewMemory(MemoryConfig{})
		for i := range uint64(clients) {
			binary.LittleEndian.PutUint64(key, i)
			m.Take(context.Background(), charges)
		}
		b.ReportMetric(float64(heap()-before)/clients, "B/client")
		runtime.KeepAlive(m)
	}
}

func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
