package traffic

import (
	"context"
	"strconv"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// failure is a class of outcomes. What the upstream is to blame for has a status, too: what the client would get.
type failure uint16

const (
	failedOpen failure = 1 << iota
	failedOverloaded
	failedConnect
	failedReset
	failedTimeout
	failed5xx
)

var failureWords = []string{"open", "overloaded", "connect", "reset", "timeout", "5xx", "500", "501", "502", "503", "504"}

var failuresByWord = map[string]failure{
	"open": failedOpen, "overloaded": failedOverloaded, "connect": failedConnect, "reset": failedReset, "timeout": failedTimeout, "5xx": failed5xx,
}

// parseFailure reads a word; a status is given back as it is.
func parseFailure(word string) (failure, bool) {
	if f, ok := failuresByWord[word]; ok {
		return f, true
	}
	n, err := strconv.Atoi(word)
	return 0, err == nil && n >= 400 && n <= 599
}

// Recorder hears of fallbacks, for metrics. It must not block.
type Recorder interface {
	GaveUp(x *pipeline.Exchange, end pipeline.End) // before a rule is followed: how the call ended that x still speaks of
	FellBack(route, what string)                   // a rule answered
}

// fallbackRule is a compiled Rule.
type fallbackRule struct {
	on       failure
	statuses []int
	branch   *Branch // nil: answer
	answer   pipeline.Handler
	what     string
	mark     []byte // the same, for the field
}

func (r *fallbackRule) takes(f failure, status int) bool {
	if r.on&f != 0 || r.on&failed5xx != 0 && status >= 500 {
		return true
	}
	for _, s := range r.statuses {
		if s == status {
			return true
		}
	}
	return false
}

type fallback struct {
	next  pipeline.Handler
	rules []fallbackRule
	route string
	rec   Recorder
}

const markField = "X-Gateway-Fallback"

// Fallback makes the layer that tries the rules in their order when what is below fails, and tells so in X-Gateway-Fallback;
// what an upstream says there itself is taken off, also without rules. branches are by upstream. rec may be nil.
func Fallback(rules []Rule, route string, branches map[string]*Branch, rec Recorder) pipeline.Layer {
	compiled := make([]fallbackRule, len(rules))
	for i, rule := range rules {
		c := &compiled[i]
		for _, word := range rule.On {
			if f, _ := parseFailure(word); f != 0 {
				c.on |= f
			} else if n, err := strconv.Atoi(word); err == nil {
				c.statuses = append(c.statuses, n)
			}
		}
		if rule.Respond != nil {
			c.answer, c.what = rule.Respond.Handler(), "respond"
		} else {
			c.branch, c.what = branches[rule.Upstream], rule.Upstream
		}
		c.mark = []byte(c.what)
	}
	return func(next pipeline.Handler) pipeline.Handler {
		return &fallback{next, compiled, route, rec}
	}
}

// Serve implements pipeline.Handler. Each rule is tried once, in order; what a fallback fails with is judged by the rules
// behind it. A call that is given up is told to the recorder as it ended: nobody can tell it from the client's answer.
func (f *fallback) Serve(ctx context.Context, x *pipeline.Exchange) error {
	if len(f.rules) > 0 {
		if err := f.keepBody(x); err != nil {
			return err
		}
	}
	mark, problem := x.Mark(), x.Problem
	effect, err := called(ctx, f.next, x)
	if err == nil {
		x.Response.Del(markField)
	}
	for i := range f.rules {
		rule := &f.rules[i]
		kind, status := classify(x, err, effect)
		if kind == 0 && status < 400 {
			return err
		}
		if !rule.takes(kind, status) || !f.may(rule, x) {
			continue
		}
		end := pipeline.End{Status: status, Kind: pipeline.KindOf(err), Err: err, At: time.Now()}
		if f.rec != nil {
			f.rec.GaveUp(x, end)
		}
		x.Abandon(mark, end)
		x.Problem = problem
		x.Attempt.Fallback = rule.what
		if effect, err = rule.follow(ctx, x); err == nil {
			x.Response.Set(markField, rule.mark)
			if f.rec != nil {
				f.rec.FellBack(f.route, rule.what)
			}
		}
	}
	return err
}

// keepBody reads a short body of a request that may be sent again. The time it takes is the client's, not the deadline's.
func (f *fallback) keepBody(x *pipeline.Exchange) error {
	if x.Keyed || !repeatable(x) {
		return nil
	}
	return x.KeepBody(keptBody)
}

func (r *fallbackRule) follow(ctx context.Context, x *pipeline.Exchange) (pipeline.Effect, error) {
	if r.branch == nil {
		return pipeline.EffectNone, r.answer.Serve(ctx, x)
	}
	return called(ctx, r.branch.Handler, x)
}

// called gives the effect of this call alone, which says how it failed. The exchange keeps the greatest of all: what one upstream
// may have done is not undone by an answer from elsewhere.
func called(ctx context.Context, h pipeline.Handler, x *pipeline.Exchange) (pipeline.Effect, error) {
	before := x.Effect
	x.Effect = pipeline.EffectNone
	err := h.Serve(ctx, x)
	own := x.Effect
	x.Effect = max(own, before)
	return own, err
}

const keptBody = 64 << 10

// may: a write is never executed twice, and a keyed one never gets an answer that is not its own.
func (f *fallback) may(rule *fallbackRule, x *pipeline.Exchange) bool {
	if rule.branch == nil {
		return !x.Keyed
	}
	if !x.Deadline.IsZero() && !time.Now().Before(x.Deadline) {
		return false
	}
	if x.Effect == pipeline.EffectNone {
		return true
	}
	_, whole := x.Request.Buffered()
	return !x.Keyed && repeatable(x) && whole
}

// repeatable: safe methods (RFC 9110, 9.2.1), without an opt-in.
func repeatable(x *pipeline.Exchange) bool {
	switch string(x.Request.Method()) {
	case "GET", "HEAD", "OPTIONS":
		return true
	}
	return false
}

// classify gives the class of a call that failed, and the status of its answer, or the one that stands for a failure of the
// upstream. effect is that of this call. What the gateway refused by itself has no status here: it is named on its own.
func classify(x *pipeline.Exchange, err error, effect pipeline.Effect) (failure, int) {
	if err == nil {
		return 0, x.HeadStatus()
	}
	switch kind := pipeline.KindOf(err); kind {
	case pipeline.UpstreamOpen:
		return failedOpen, 0
	case pipeline.Overloaded:
		return failedOverloaded, 0
	case pipeline.UpstreamFailed:
		if effect == pipeline.EffectNone {
			return failedConnect, kind.Status()
		}
		return failedReset, kind.Status()
	case pipeline.UpstreamTimeout:
		if effect == pipeline.EffectNone { // nobody took the connection, which is as much the one as the other
			return failedTimeout | failedConnect, kind.Status()
		}
		return failedTimeout, kind.Status()
	}
	return 0, 0
}
