package redis

import "time"

// queue holds the calls that wait for one server. Those of keys that this gateway knows go first: a flood of made-up ones waits
// behind them. A call that has waited for half of its time is not sent any more: it would fail by its own lateness, and take the
// pipeline that it is in, and in the end the server's good name, with it.
type queue struct{ known, strangers []*call }

const strangersSize = queueSize / 4

func (q *queue) len() int { return len(q.known) + len(q.strangers) }

// add is false when there is no room.
func (q *queue) add(c *call, now time.Time) bool {
	list, most := &q.known, queueSize
	if c.first {
		list, most = &q.strangers, strangersSize
	}
	if len(*list) >= most {
		return false
	}
	c.latest = now.Add(c.due.Sub(now) / 2)
	*list = append(*list, c)
	return true
}

// take removes the next calls, n at most, and those before them that are too late; of n 0 all that are.
func (q *queue) take(n int, now time.Time) (batch, late []*call) {
	for _, list := range []*[]*call{&q.known, &q.strangers} {
		kept := (*list)[:0]
		for i, c := range *list {
			if c.latest.Before(now) {
				late = append(late, c)
			} else if len(batch) < n {
				batch = append(batch, c)
			} else if n > 0 {
				kept = append(kept, (*list)[i:]...)
				break
			} else {
				kept = append(kept, c)
			}
		}
		clear((*list)[len(kept):])
		*list = kept
	}
	return batch, late
}

// window is how many calls may be under way to one server. A slow round trip halves it, each quick one widens it: many gateways
// together do not queue up more at a server than it can answer in time.
type window struct{ room, used int }

const (
	widest    = maxFlying * batchSize
	leastRoom = 32
	widenBy   = 8
	slowPart  = 4 // a round trip is slow when it takes more than this part of the patience
)

func (w *window) free() int { return min(batchSize, w.room-w.used) }

// back books the end of a round trip of n calls.
func (w *window) back(n int, slow bool) {
	w.used -= n
	if slow {
		w.room = max(leastRoom, w.room/2)
		return
	}
	w.room = min(widest, w.room+widenBy)
}
