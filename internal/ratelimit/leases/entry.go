package leases

import (
	"math"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// entry is what this gateway holds of one key. All times are nanoseconds since the store began.
type entry struct {
	hash     uint64
	name     Name
	limit    *ratelimit.Limit // as seen last
	flight   *flight          // the one refill under way
	past     *past            // what a loss of the store or an outage needs; nil for most
	held     int64            // tokens that the store has subtracted and nobody took
	pending  int64            // tokens that waiting requests want
	debt     int64            // tokens to bring with the next draw
	void     int64            // of a Window: when its period ends; 0: not known
	used     int64            // when tokens came or went last
	deny     int64            // until then the store is known to have fewer than denied tokens
	denied   int64
	next     int64   // when the store has one more token
	down     int64   // the store has failed: not asked before
	left     float64 // in the store at leftAt; valid if known
	leftAt   int64
	demand   float64 // tokens asked for, fading with tau
	seen     int64
	fails    uint8
	named    bool // name is valid
	known    bool
	live     bool // in the list of the sweep
	missed   bool // the last draw guessed the wrong period
	overflow bool // shared by keys that found no room
}

const tau = float64(100 * time.Millisecond)

// ask adds to the demand.
func (e *entry) ask(cost float64, now int64) {
	if now > e.seen {
		e.demand *= math.Exp(float64(e.seen-now) / tau)
		e.seen = now
	}
	e.demand += cost
}

// rate is the demand in tokens a nanosecond.
func (e *entry) rate(now int64) float64 {
	return e.demand * math.Exp(float64(min(0, e.seen-now))/tau) / tau
}

// level is what could be taken: held here and left in the store, as far as is known. Other gateways may be faster.
func (e *entry) level(now int64) float64 {
	burst := e.limit.Burst()
	return max(-burst, min(burst, e.stored(now)+float64(e.held)-float64(e.debt)))
}

// stored is what the store has now, as far as is known.
func (e *entry) stored(now int64) float64 {
	switch {
	case !e.known:
		return e.limit.Burst()
	case isCalendar(e.limit):
		return e.left
	}
	return min(e.limit.Burst(), e.left+time.Duration(now-e.leftAt).Seconds()*e.limit.Rate())
}

// answeredSince reports that the store has answered, and not failed after it.
func (e *entry) answeredSince(since int64) bool { return e.known && e.leftAt >= since && e.fails == 0 }

// share is the most that one lease may hold: a tenth of the burst, or of a quota's remainder, divided by the fleet.
func (e *entry) share(fleet int) float64 {
	base := e.limit.Burst()
	if e.limit.Kind() == ratelimit.Window && e.known {
		base = min(base, max(0, e.left)+float64(e.held))
	}
	return fraction * base / float64(fleet)
}

// exact reports that tokens are too few to keep any: each is drawn for a request that waits.
func exact(share float64) bool { return share < 2 }

// horizon is how long a lease should last. Tokens that lie idle here are no loss while the store has plenty.
func (e *entry) horizon() float64 {
	if !e.known {
		return float64(target)
	}
	return float64(target) * (1 + 2*max(0, e.left)/e.limit.Burst())
}

// lease is how many tokens to hold and have in flight together: those of the next 20 to 60 ms, but no more than the share;
// and whatever waiting requests want.
func (e *entry) lease(fleet int, now int64) int64 {
	share := e.share(fleet)
	var want int64
	if !exact(share) {
		want = int64(min(math.Ceil(e.rate(now)*e.horizon()), math.Floor(share)))
	}
	return min(max(want, e.pending), int64(e.limit.Burst()))
}

// low reports that the next lease should be on its way: what is held lasts for less than two round trips.
func (e *entry) low(trip time.Duration, fleet int, now int64) bool {
	if e.flight != nil || now < e.deny || now < e.down {
		return false
	}
	need := e.rate(now) * 2 * float64(trip)
	return need >= 0.5 && float64(e.held) < need && !exact(e.share(fleet))
}

// wait is how long a refused charge of so many tokens takes to be admitted. Who comes then finds the store asked again.
func (e *entry) wait(tokens float64, now int64) time.Duration {
	var wait time.Duration
	switch lack := tokens - e.level(now); {
	case e.limit.Kind() == ratelimit.Window && !e.limit.Quota().Rolling:
		wait = time.Duration(e.void - now)
	case lack > 0:
		ns := math.Ceil(lack / e.limit.Rate() * float64(time.Second))
		if !(ns < math.MaxInt64) {
			return ratelimit.Never
		}
		wait = time.Duration(ns)
	}
	return max(1, wait, time.Duration(e.deny-now), time.Duration(e.next-now))
}

// worthless reports that forgetting the entry changes no decision.
func (e *entry) worthless(now int64, s *Store) bool {
	return e.flight == nil && e.held == 0 && e.pending == 0 && e.debt == 0 &&
		now >= e.deny && now >= e.down && now-e.used >= int64(idle) && now-e.seen >= int64(idle) &&
		(e.past == nil || e.past.over(e, now, s))
}
