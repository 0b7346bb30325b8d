package shed

import (
	"context"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// answered is an upstream that takes no time.
var answered = pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
	x.Attempt.Count, x.Attempt.Duration, x.Attempt.At, x.Effect = 1, time.Millisecond, x.Start, pipeline.EffectDone
	return nil
})

// taken has one place, and somebody in it.
func taken(cfg Config) *Shedder {
	s := New(nil)
	var x pipeline.Exchange
	x.Begin(blankRequest{}, blankResponse{}, nil)
	_ = pipeline.Compose(ok, s.Layer(cfg, Critical)).Serve(context.Background(), &x)
	return s
}

func handlers() map[string]pipeline.Handler {
	s := New(nil)
	return map[string]pipeline.Handler{
		"none":     answered,
		"fixed":    pipeline.Compose(answered, New(nil).Layer(fixed(1000), Normal)),
		"adaptive": pipeline.Compose(answered, s.Layer(adaptive(1000), Normal)),
		"refused":  pipeline.Compose(answered, taken(fixed(1)).Layer(fixed(1), Low)),
	}
}

func BenchmarkLayer(b *testing.B) {
	for name, h := range handlers() {
		b.Run(name, func(b *testing.B) {
			var x pipeline.Exchange
			start := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				x.Begin(blankRequest{}, blankResponse{}, nil)
				x.Start, x.Route = start, "a"
				_ = h.Serve(context.Background(), &x)
				x.Finish(pipeline.End{})
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			start := time.Now()
			b.RunParallel(func(pb *testing.PB) {
				var x pipeline.Exchange
				for pb.Next() {
					x.Begin(blankRequest{}, blankResponse{}, nil)
					x.Start, x.Route = start, "a"
					_ = h.Serve(context.Background(), &x)
					x.Finish(pipeline.End{})
				}
			})
		})
	}
}

func TestNothingIsAllocated(t *testing.T) {
	for name, h := range handlers() {
		x := new(pipeline.Exchange)
		start := time.Now()
		if n := testing.AllocsPerRun(1000, func() {
			x.Begin(blankRequest{}, blankResponse{}, nil)
			x.Start, x.Route = start, "a"
			_ = h.Serve(context.Background(), x)
			x.Finish(pipeline.End{})
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
