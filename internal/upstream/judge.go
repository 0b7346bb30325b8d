package upstream

import (
	"context"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/balance"
	"github.com/oncegate/oncegate/internal/upstream/eject"
	"github.com/oncegate/oncegate/internal/upstream/h1"
)

// What a try says about its target. A try that says nothing (the client left, a limit of ours refused, no time was left, the
// target says that it is being called too often) changes neither its record nor its load.

func (t *target) begin() {
	t.node.load.Begin()
	if t.set.rules.kind == balance.Hash {
		t.set.group.total.Add(1)
	}
}

func (t *target) end() {
	t.node.load.End()
	if t.set.rules.kind == balance.Hash {
		t.set.group.total.Add(-1)
	}
}

// bad notes a failure and ejects the target when it was one too many.
func (t *target) bad(reason string) {
	if t.node.record.Bad(&t.set.rules.eject, reason) && len(t.set.targets) > 1 {
		t.set.eject(t, reason)
	}
}

// dialHurry: a connection that does not come about in less time than this, because the call had no more, says nothing. A longer
// time would let a dead address pass on routes with short time-outs.
const dialHurry = 50 * time.Millisecond

// unreached judges a try that got no connection.
func (t *target) unreached(ctx context.Context, x *pipeline.Exchange, err error, began time.Time) {
	kind := pipeline.KindOf(err)
	hurried := kind == pipeline.UpstreamTimeout && !x.Deadline.IsZero() && x.Deadline.Before(began.Add(min(t.limits.Connect, dialHurry)))
	if kind != pipeline.UpstreamFailed && kind != pipeline.UpstreamTimeout || hurried || ctx.Err() != nil {
		return
	}
	now := time.Now()
	t.node.load.Failed(now.Sub(began), balance.Now(now))
	t.bad(eject.Connect)
}

// broke judges a try that ended without an answer.
func (t *target) broke(out *h1.Outcome, began time.Time) {
	kind := pipeline.KindOf(out.Err)
	switch {
	case kind != pipeline.UpstreamFailed && kind != pipeline.UpstreamTimeout:
		return
	case out.Idle != h1.IdleFine: // a new connection that was closed, or spoken on, before it was used
		t.node.load.Failed(0, balance.Now(time.Now()))
		t.bad(eject.Connect)
		return
	case !out.Sent, out.Reused && out.Lost && !out.Heard: // no time was left; an upstream may end idle connections
		return
	}
	now := time.Now()
	t.node.load.Failed(now.Sub(began), balance.Now(now))
	t.bad(eject.Errors)
}

// answered judges a try by its answer. When the body is still to come, it takes a whole one to speak for the target.
func (t *target) answered(x *pipeline.Exchange, out *h1.Outcome, began time.Time) {
	took, now := out.At.Sub(began), balance.Now(out.At)
	status := out.Status
	switch {
	case x.Attempt.Late != 0:
		status = x.Attempt.Late
	case x.HTTP2:
		status = x.HeadStatus()
	}
	switch judge(status) {
	case failed:
		if status == 503 && x.Response.Header("Retry-After") != nil {
			return
		}
		t.node.load.Failed(took, now)
		t.bad(eject.Errors)
		return
	case silent:
		return
	case poor:
		t.node.load.Failed(took, now)
	case fine:
		t.node.load.Answered(took, now)
	}
	if !out.Streams {
		t.node.record.Good()
	}
}

type verdict uint8

const (
	fine   verdict = iota
	poor           // an error of its own: it attracts fewer calls, but is there
	failed         // what is behind it does not answer
	silent         // says nothing about its health
)

func judge(status int) verdict {
	switch status {
	case 502, 503, 504:
		return failed
	case 500:
		return poor
	case 429:
		return silent
	}
	return fine
}

// Ended implements h1.Watch.
func (t *target) Ended(status int, body h1.BodyEnd) {
	t.end()
	switch {
	case body == h1.BodyBroken:
		t.node.load.Failed(0, balance.Now(time.Now()))
		t.bad(eject.Errors)
	case body == h1.BodyJudged && judge(status) == failed:
		t.node.load.Failed(0, balance.Now(time.Now()))
		t.bad(eject.Errors)
	case (body == h1.BodyWhole || body == h1.BodyJudged) && judge(status) <= poor:
		t.node.record.Good()
	}
}
