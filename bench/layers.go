package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/breaker"
	"github.com/oncegate/oncegate/internal/bulkhead"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/retry"
	"github.com/oncegate/oncegate/internal/traffic"
	"github.com/oncegate/oncegate/internal/units"
)

// good is a call that goes well and costs nothing.
var good = pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
	x.Effect, x.Attempt.Count = pipeline.EffectDone, x.Attempt.Count+1
	return nil
})

// layers measures what stands before an upstream around a call that goes well, in this process: time and allocations a call.
func (b *bench) layers() error {
	x := &pipeline.NewMemory("GET", "/").Detach(nil).Exchange // whose views allocate nothing
	x.Client.Identity = "main alice"
	open := breaker.Config{Window: units.Duration(10 * time.Second), Minimum: 20, FailureRate: 0.5, Open: units.Duration(time.Second), Probes: 3}
	tries := retry.Config{Attempts: 3, Budget: 0.2, Floor: 10}
	places := bulkhead.Config{InFlight: 1024, Least: 20}
	settings, one := open.Settings(), breaker.New("up", nil)
	split, err := traffic.NewSplit(traffic.Destination{Sticky: "client", Split: []traffic.Arm{{Upstream: "a", Weight: 95}, {Upstream: "b", Weight: 5}}},
		"route", []traffic.Branch{{Name: "a", Handler: good}, {Name: "b", Handler: good}}, nil)
	if err != nil {
		return err
	}
	fmt.Println("layers, a call that goes well:")
	now := time.Now()
	single("one reading of the clock", func() { now = time.Now() })
	single("breaker, admit and report", func() { // the clock has been read
		permit, _, _ := one.Acquire(&settings, now)
		permit.Done(breaker.Success, 0, now)
	})
	served("breaker, as a layer", x, breaker.Layer(open, breaker.New("up", nil))(good))
	served("bulkhead", x, bulkhead.Layer(places, bulkhead.New())(good))
	served("retry", x, retry.New("up", tries, retry.Deps{State: retry.NewState()})(good))
	served("split of two, by client", x, split)
	served("no layer", x, good)
	fmt.Println()
	return nil
}

func served(name string, x *pipeline.Exchange, h pipeline.Handler) {
	ctx := context.Background()
	single(name, func() {
		_ = h.Serve(ctx, x)
		x.Finish(pipeline.End{})
	})
}

func single(name string, f func()) {
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f()
		}
	})
	fmt.Printf("  %-28s %6.0f ns %3d allocations\n", name, float64(r.T.Nanoseconds())/float64(r.N), r.AllocsPerOp())
}
