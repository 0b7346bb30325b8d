package ratelimit

import (
	"math/rand/v2"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Recorder counts decisions. Both strings are constants or owned by the configuration.
type Recorder interface {
	Decision(policy string, decision string)
}

// The decisions. near_limit, no_plan and returned are counted beside one of the others.
const (
	DecisionAllowed       = "allowed"
	DecisionRefused       = "refused"
	DecisionShadowRefused = "shadow_refused"
	DecisionReserved      = "reserved"   // refused to all but critical routes
	DecisionReturned      = "returned"   // allowed, and given back because the answer was a replay
	DecisionNearLimit     = "near_limit" // allowed, and more than 80 % is used
	DecisionNoPlan        = "no_plan"    // the claim names no known plan: the limit's own numbers hold
)

type silent struct{}

func (silent) Decision(string, string) {}

// record counts what became of each limit. A limit that would have admitted what another refused has decided nothing.
func (l *layer) record(c *call, allowed bool) {
	for i := range c.charges {
		charge := &c.charges[i]
		name := charge.Limit.name
		switch {
		case !charge.Admitted && charge.Limit.shadow:
			l.Recorder.Decision(name, DecisionShadowRefused)
		case !charge.Admitted && charge.reserved():
			l.Recorder.Decision(name, DecisionReserved)
		case !charge.Admitted:
			l.Recorder.Decision(name, DecisionRefused)
		case allowed:
			l.Recorder.Decision(name, DecisionAllowed)
			if charge.near() {
				l.Recorder.Decision(name, DecisionNearLimit)
			}
		}
	}
}

func (l *layer) recordReturned(c *call) {
	for _, charge := range c.counted() {
		if charge.Admitted {
			l.Recorder.Decision(charge.Limit.name, DecisionReturned)
		}
	}
}

// recordWord counts what is decided without counting.
func (l *layer) recordWord(limit *Limit) {
	if limit.word == wordUnlimited {
		l.Recorder.Decision(limit.name, DecisionAllowed)
		return
	}
	l.Recorder.Decision(limit.name, DecisionShadowRefused)
}

// reserved reports that only the reserve stood against the request.
func (c *Charge) reserved() bool { return c.Floor > 0 && c.Level >= c.Cost }

// refusal is rate-limited when the client used up what is its own, and overloaded when all that is left is reserved.
func (c *call) refusal() pipeline.Refusal {
	kind := pipeline.Overloaded
	for i := range c.charges {
		if charge := &c.charges[i]; !charge.Admitted && !charge.Limit.shadow && !charge.reserved() {
			kind = pipeline.RateLimited
		}
	}
	return kind
}

// isKeyedWrite reports whether dedup may hold an answer to this request.
func isKeyedWrite(r pipeline.Request) bool {
	switch string(r.Method()) {
	case "GET", "HEAD", "OPTIONS":
		return false
	}
	return r.Header("Idempotency-Key") != nil
}

// isPreflight reports the question of a browser whether it may send the request that the client wants (Fetch, CORS).
func isPreflight(r pipeline.Request) bool {
	return string(r.Method()) == "OPTIONS" && r.Header("Origin") != nil && r.Header("Access-Control-Request-Method") != nil
}

// explain names the limit that keeps the client waiting longest, and says that nothing was done.
func explain(x *pipeline.Exchange, c *call) {
	longest, slowest := time.Duration(-1), &Limit{}
	for i := range c.charges {
		charge := &c.charges[i]
		if charge.Admitted || charge.Limit.shadow {
			continue
		}
		wait := charge.Wait
		if charge.Cost+charge.Floor > charge.Limit.burst {
			wait = Never
		}
		if wait > longest {
			longest, slowest = wait, charge.Limit
		}
	}
	x.Problem.Policy, x.Problem.RetryAfter = slowest.name, retryAfter(longest, slowest, rand.Int64N)
	x.Problem.Executed = pipeline.ExecutedNo
}
