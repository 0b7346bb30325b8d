package bulkhead

import (
	"context"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Layer guards the calls of one upstream.
func Layer(cfg Config, b *Bulkhead) pipeline.Layer {
	s := cfg.Settings()
	ended := func(*pipeline.Exchange, pipeline.End) { b.release(&s) }
	return func(next pipeline.Handler) pipeline.Handler {
		return &guard{bulkhead: b, settings: &s, next: next, ended: ended}
	}
}

type guard struct {
	bulkhead *Bulkhead
	settings *Settings
	next     pipeline.Handler
	ended    func(*pipeline.Exchange, pipeline.End)
}

// Serve implements pipeline.Handler. A call that got an answer keeps its place until the last byte; any other, and a panic,
// gives it back at once.
func (g *guard) Serve(ctx context.Context, x *pipeline.Exchange) error {
	if err := g.bulkhead.acquire(ctx, x, g.settings); err != nil {
		if err == pipeline.Overloaded {
			x.Problem.RetryAfter = 1
			if x.Effect == pipeline.EffectNone {
				x.Problem.Executed = pipeline.ExecutedNo
			}
		}
		return err
	}
	kept := false
	defer func() {
		if !kept {
			g.bulkhead.release(g.settings)
		}
	}()
	began := time.Now()
	err := g.next.Serve(ctx, x)
	if err != nil {
		return err
	}
	if status := x.Response.Status(); status < 500 && status != 429 {
		at := x.Attempt.At
		if !at.After(began) {
			at = time.Now()
		}
		g.bulkhead.learn(g.settings, at.Sub(began), at)
	}
	kept = true
	x.AtEnd(g.ended)
	return nil
}
