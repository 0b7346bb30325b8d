package fleet

import (
	"fmt"
	"io"
	"math"
	"testing"
	"time"
)

// OutageRule is the limit that outages are measured with, OutageLoad how much of it is offered: enough that an admission too
// many shows, little enough that a busy machine keeps up.
var OutageRule = Rule{40, 40}

// OutageLoad is offered to each limit, as a multiple of its rate.
const OutageLoad = 2.5

// Places of the limits in OutageLimits: one for each word of on_store_failure.
const (
	Local = iota
	Allow
	Deny
)

// OutageLimits are alike but for what they do without Redis.
var OutageLimits = []Limit{
	Local: {Name: "local", Rule: OutageRule, Spec: "rate: 40/s, burst: 40, on_store_failure: local"},
	Allow: {Name: "allow", Rule: OutageRule, Spec: "rate: 40/s, burst: 40, on_store_failure: allow"},
	Deny:  {Name: "deny", Rule: OutageRule, Spec: "rate: 40/s, burst: 40, on_store_failure: deny"},
}

// Outage is one fault of Redis. Strike and Mend run in the test's goroutine; Mend returns when Redis can be used again.
type Outage struct {
	Name   string
	Open   func(t testing.TB) *Store
	Strike func(s *Store)
	Mend   func(s *Store)
	Lasts  time.Duration // between the two
	Total  bool          // no gateway can use Redis meanwhile
	Gift   float64       // bursts that each bucket may give once more, because Redis lost it; below 1 for a moment, then it is a debt
}

// Course is what one outage left.
type Course struct {
	History        History
	Struck, Mended time.Duration
	Asked          time.Duration // until scripts ran again, after Mended
	Gateways       int
}

// settle is how long after its end an outage may still show: the next probe of every gateway and its jitter.
const settle = 2 * time.Second

// Misses tells which promises an outage broke.
func (o Outage) Misses(c Course) (out []string) {
	miss := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for route, name := range []string{"local", "allow", "deny", "free"} {
		for status, n := range c.History.Route(route).Statuses() {
			if status != 200 && status != 429 && !(status == 503 && route == Deny) {
				miss("%s: %d answers with status %d", name, n, status)
			}
		}
	}
	out = append(out, c.late()...)
	out = append(out, o.localMisses(c)...)
	out = append(out, o.allowMisses(c)...)
	out = append(out, o.denyMisses(c)...)
	if c.Asked > settle {
		miss("Redis was asked again only %v after it was back", c.Asked)
	}
	return out
}

// Busy tells how busy the machine was, see History.Busy.
func (c Course) Busy() float64 { return c.History.Busy(len(OutageLimits)) }

// stray is how many of n requests may meet a Redis that is slow because the machine is: such a request is followed by others
// that are not sent to Redis for a moment.
func (c Course) stray(n int) int { return 1 + int(float64(n)*(.005+10*c.Busy())) }

// limited are the answers of the three limits while the outage lasts, a second longer, and four in all; free those without any,
// beside them.
func (c Course) limited() (limited, free History) {
	h := c.History.Between(c.Struck, max(c.Mended+time.Second, c.Struck+4*time.Second))
	return h.Only(func(r Request) bool { return r.Route != len(OutageLimits) }), h.Route(len(OutageLimits))
}

// Added is what requests may wait for Redis.
const Added = 25 * time.Millisecond

// late compares limited answers with those of a route without limits at the same time: both wait for the machine, one for
// Redis, too.
func (c Course) late() (out []string) {
	limited, free := c.limited()
	l, f := limited.times(Request.Took), free.times(Request.Took)
	if got, base := Quantile(l, .99), Quantile(f, .99); got > base+Added {
		out = append(out, fmt.Sprintf("p99 of limited answers is %v, of others %v: more than %v added", got, base, Added))
	}
	const tolerance = 10 * time.Millisecond // a request may meet the scheduler twice more than a free one does
	slowest := Quantile(c.History.Route(len(OutageLimits)).times(Request.Took), 1)
	if share := limited.SlowerThan(slowest + Added + tolerance); share > .002 {
		out = append(out, fmt.Sprintf("%.2f %% of limited answers took longer than %v; the slowest other one took %v", 100*share, slowest+Added+tolerance, slowest))
	}
	return out
}

// Shares is what buckets of the gateways' own hold together when they begin.
func (c Course) Shares() float64 {
	return float64(c.Gateways) * max(1, math.Floor(OutageRule.Burst/float64(c.Gateways)))
}

func (o Outage) localMisses(c Course) (out []string) {
	miss := func(format string, args ...any) { out = append(out, "local: "+fmt.Sprintf(format, args...)) }
	h := c.History.Route(Local)
	bound := Held(OutageRule, c.Gateways) + o.Gift*OutageRule.Burst + 1
	if o.Lasts > 0 || c.Busy() > .002 { // a Redis that is slow for a moment is a short outage
		bound += c.Shares()
	}
	if got := OutageRule.Proven(h.Admitted()); got > bound {
		miss("%.1f tokens above the rule, more than %.1f", got, bound)
	}
	after := h.Between(c.Mended, math.MaxInt64)
	given := .75 // of a burst: the first gateway that is back may draw before the others have told what they let pass
	if o.Gift >= 1 {
		given += o.Gift
	}
	if got := c.again(); got > OutageRule.Burst*given {
		miss("%.1f tokens above the rate after Redis was back: a burst was given again", got)
	}
	if o.Total {
		span := c.Mended - c.Struck - time.Second
		if n, due := len(h.Between(c.Struck+time.Second, c.Mended).Admitted()), span.Seconds()*OutageRule.Rate; float64(n) < .8*due-2 {
			miss("only %d of %.0f were admitted without Redis", n, due)
		}
	}
	late := after.Between(c.Mended+settle, math.MaxInt64)
	if n := len(late); n > 0 {
		span := late[n-1].Sent - c.Mended - settle
		if got, due := len(late.Admitted()), span.Seconds()*OutageRule.Rate; float64(got) < .8*due-2 {
			miss("only %d of %.0f were admitted after Redis was back", got, due)
		}
	}
	return out
}

// again is by how much the admissions of the local limit were above its rate, without any burst, once Redis was back.
func (c Course) again() float64 {
	return Rule{Rate: OutageRule.Rate}.Proven(c.History.Route(Local).Between(c.Mended, math.MaxInt64).Admitted())
}

func (o Outage) allowMisses(c Course) (out []string) {
	h := c.History.Route(Allow)
	if o.Total {
		during := h.Between(c.Struck+time.Second, c.Mended)
		if n := during.Statuses()[429]; n > len(during)/50 {
			out = append(out, fmt.Sprintf("allow: %d of %d were refused without Redis", n, len(during)))
		}
	}
	after := h.Between(c.Mended+settle, math.MaxInt64)
	if n := len(after); n > 0 {
		span := after[n-1].Sent - after[0].Sent
		if got, due := len(after.Admitted()), span.Seconds()*OutageRule.Rate+OutageRule.Burst/2+float64(c.stray(n)); float64(got) > due {
			out = append(out, fmt.Sprintf("allow: %d were admitted after Redis was back, %.0f are due", got, due))
		}
	}
	return out
}

func (o Outage) denyMisses(c Course) (out []string) {
	h := c.History.Route(Deny)
	down := h.Only(func(r Request) bool { return r.Status == 503 })
	for _, r := range down {
		if r.RetryAfter < 1 || !r.StoreDown {
			return append(out, fmt.Sprintf("deny: a 503 has Retry-After %d, store-unavailable %v", r.RetryAfter, r.StoreDown))
		}
	}
	if o.Total {
		during := h.Between(c.Struck+time.Second, c.Mended)
		if n := during.Statuses()[503]; n < len(during)*98/100 {
			out = append(out, fmt.Sprintf("deny: %d of %d were refused with 503 without Redis", n, len(during)))
		}
	}
	if n := len(down.Between(0, c.Struck)); n > c.stray(len(h.Between(0, c.Struck))) {
		out = append(out, fmt.Sprintf("deny: %d answers of 503 before anything happened", n))
	}
	if n := len(down.Between(c.Mended+settle, math.MaxInt64)); n > c.stray(len(h.Between(c.Mended+settle, math.MaxInt64))) {
		out = append(out, fmt.Sprintf("deny: %d answers of 503 more than %v after Redis was back", n, settle))
	}
	return out
}

// OutageHead writes the head of the table of outages.
func OutageHead(w io.Writer) {
	fmt.Fprintln(w, "| Redis, fault | Lasted | local: above the rule | local: above the rate afterwards | deny: 503 afterwards | p99 limited, free ms | Redis asked again | Busy |")
	fmt.Fprintln(w, "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |")
}

// Write writes the row of an outage.
func (o Outage) Write(w io.Writer, s *Store, c Course) {
	limited, free := c.limited()
	deny := c.History.Route(Deny).Between(c.Mended, math.MaxInt64)
	fmt.Fprintf(w, "| %s, %s | %.1f s | %.1f tokens of %.0f | %.1f | %d of %d | %s, %s | +%.2f s | %.1f %% |\n", s.Name, o.Name, (c.Mended - c.Struck).Seconds(),
		max(0, OutageRule.Proven(c.History.Route(Local).Admitted())), OutageRule.Burst, max(0, c.again()), deny.Statuses()[503], len(deny),
		ms(Quantile(limited.times(Request.Took), .99)), ms(Quantile(free.times(Request.Took), .99)), c.Asked.Seconds(), 100*c.Busy())
}
