package breaker

import (
	"context"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Layer guards the calls of one upstream. A call is judged once, at its answer's head; a body that breaks off later takes
// the good result back. So does the status of a gRPC call that stands behind its body; as long as it is not known the call
// counts, but ends no series of failures.
func Layer(cfg Config, b *Breaker) pipeline.Layer {
	s := cfg.Settings()
	ended := func(x *pipeline.Exchange, end pipeline.End) {
		late := x.Attempt.Late
		switch {
		case x.Attempt.Broken, late != 0 && judgeStatus(late, false) == Failure:
			b.Fail(&s, x.Start, end.At)
		case late != 0 && judgeStatus(late, false) == Success:
			b.Well(x.Start, end.At)
		}
	}
	return func(next pipeline.Handler) pipeline.Handler {
		return &guard{breaker: b, settings: &s, next: next, ended: ended}
	}
}

type guard struct {
	breaker  *Breaker
	settings *Settings
	next     pipeline.Handler
	ended    func(*pipeline.Exchange, pipeline.End)
}

// Serve implements pipeline.Handler. A panic below counts as a failure and goes on.
func (g *guard) Serve(ctx context.Context, x *pipeline.Exchange) error {
	began := time.Now()
	permit, wait, err := g.breaker.Acquire(g.settings, began)
	if err != nil {
		return refuse(x, wait, err)
	}
	dispatched, outcome := x.Attempt.Count, Failure
	defer func() {
		now := x.Attempt.At // of this call when it got an answer
		if !now.After(began) {
			now = time.Now()
		}
		permit.Done(outcome, now.Sub(began), now)
	}()
	err = g.next.Serve(ctx, x)
	outcome = judge(x, err, x.Attempt.Count > dispatched, began)
	if err == nil && outcome != Failure {
		x.AtEnd(g.ended)
	}
	return err
}

// refuse says when to come again, and that nothing was done if no earlier attempt did something.
func refuse(x *pipeline.Exchange, wait time.Duration, err error) error {
	x.Problem.RetryAfter = int((wait + time.Second - 1) / time.Second)
	if x.Effect == pipeline.EffectNone {
		x.Problem.Executed = pipeline.ExecutedNo
	}
	return err
}

// judge blames the upstream for what the contract names: 500, 502, 503 and 504, resets and time-outs, and connections that
// no target takes. 429 and 501 say nothing about its health, nor does a 503 with Retry-After: it is called too often, and says
// so by itself. A time-out of a call that had no time from its beginning, and an answer that nobody was asked for, are ours.
func judge(x *pipeline.Exchange, err error, dispatched bool, began time.Time) Outcome {
	if err != nil {
		kind := pipeline.KindOf(err)
		late := kind == pipeline.UpstreamTimeout && !x.Deadline.IsZero() && !began.Before(x.Deadline)
		if kind.CountsAgainstUpstream() && !late {
			return Failure
		}
		return Neutral
	}
	if !dispatched {
		return Neutral
	}
	if x.TellsLater() {
		return Pending
	}
	status := x.HeadStatus()
	return judgeStatus(status, status == 503 && len(x.Response.Header("Retry-After")) > 0)
}

// judgeStatus judges an HTTP status, or what a gRPC status stands for. later: it said when to come again.
func judgeStatus(status int, later bool) Outcome {
	switch status {
	case 503:
		if later {
			return Neutral
		}
		return Failure
	case 500, 502, 504:
		return Failure
	case 429, 501:
		return Neutral
	}
	return Success
}
