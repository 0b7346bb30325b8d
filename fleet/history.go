package fleet

import (
	"cmp"
	"slices"
	"time"
)

// Request is one request as its client saw it. Times count from the beginning of the run.
type Request struct {
	Due, Sent, Done        time.Duration
	Gateway, Client, Route int
	Status                 int // 0: no answer came
	RetryAfter             int // seconds; 0 when absent
	Left                   int // r of RateLimit; -1 when absent
	StoreDown              bool
}

// Admitted reports that the limit let the request pass.
func (r Request) Admitted() bool { return r.Status == 200 }

// Took is what the client waited for the answer.
func (r Request) Took() time.Duration { return r.Done - r.Sent }

// History is what one run left.
type History []Request

// Only keeps what keep says.
func (h History) Only(keep func(Request) bool) History {
	var out History
	for _, r := range h {
		if keep(r) {
			out = append(out, r)
		}
	}
	return out
}

// Route keeps the requests of a route.
func (h History) Route(i int) History { return h.Only(func(r Request) bool { return r.Route == i }) }

// Between keeps what was sent from a moment on and before another.
func (h History) Between(from, until time.Duration) History {
	return h.Only(func(r Request) bool { return r.Sent >= from && r.Sent < until })
}

// Admitted keeps what was let pass.
func (h History) Admitted() History { return h.Only(Request.Admitted) }

// Answered leaves out what got no answer: nobody knows whether it was counted.
func (h History) Answered() History { return h.Only(func(r Request) bool { return r.Status != 0 }) }

// Statuses counts answers by status.
func (h History) Statuses() map[int]int {
	n := map[int]int{}
	for _, r := range h {
		n[r.Status]++
	}
	return n
}

// by groups.
func (h History) by(key func(Request) int) map[int]History {
	groups := map[int]History{}
	for _, r := range h {
		groups[key(r)] = append(groups[key(r)], r)
	}
	return groups
}

// times gives one of each request's times, in order.
func (h History) times(of func(Request) time.Duration) []time.Duration {
	out := make([]time.Duration, len(h))
	for i, r := range h {
		out[i] = of(r)
	}
	slices.Sort(out)
	return out
}

func sent(r Request) time.Duration { return r.Sent }
func done(r Request) time.Duration { return r.Done }
func lag(r Request) time.Duration  { return r.Sent - r.Due }

// Quantile of sorted durations, 0 of none.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// SlowerThan is the share of answers that took longer.
func (h History) SlowerThan(d time.Duration) float64 {
	if len(h) == 0 {
		return 0
	}
	return float64(len(h.Only(func(r Request) bool { return r.Took() > d }))) / float64(len(h))
}

// bySent sorts a history by the order of its sendings.
func (h History) bySent() History {
	out := slices.Clone(h)
	slices.SortFunc(out, func(a, b Request) int { return cmp.Compare(a.Sent, b.Sent) })
	return out
}

// orderOfDone gives the indexes in the order of the answers.
func (h History) orderOfDone() []int {
	order := make([]int, len(h))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(h[a].Done, h[b].Done) })
	return order
}

// Busy is the share of answers of a route without a limit that took longer than the least time that a gateway waits for Redis.
// What the machine does to those it does to the others, and then the gateway rightly takes Redis for slow: the figures of such a
// run tell of the machine. It is 0 on a quiet one.
func (h History) Busy(free int) float64 { return h.Route(free).SlowerThan(5 * time.Millisecond) }

// Calm is the greatest Busy of a run whose figures count.
const Calm = .01
