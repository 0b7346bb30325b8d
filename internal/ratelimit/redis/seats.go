package redis

import (
	"context"
	"hash/maphash"
	"strconv"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/ratelimit/leases"
)

// seats are those that this gateway holds. While it lives it says so for them every 3 s; seats of one that died expire.
type seats struct {
	seed maphash.Seed

	mu    sync.Mutex
	last  uint64
	held  map[uint64]seat
	taken map[uint64]int // by seat.local
}

type seat struct {
	local uint64 // its limit and key, in this process
	name  leases.Name
	named bool // false: taken while the secret was never read
	sits  bool // false: Redis was asked and has not answered
}

func newSeats() *seats {
	return &seats{seed: maphash.MakeSeed(), held: map[uint64]seat{}, taken: map[uint64]int{}}
}

// enter gives a seat's number; 0 when this gateway holds too many.
func (h *seats) enter(c *ratelimit.Charge, name leases.Name, named bool) uint64 {
	local := maphash.Bytes(h.seed, c.Key)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.held) >= maxSeats {
		return 0
	}
	h.last++
	h.held[h.last] = seat{local: local, name: name, named: named}
	return h.last
}

// sit has a seat count, if no more than limit do then; limit below 0 is none.
func (h *seats) sit(id uint64, limit int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, ok := h.held[id]
	if !ok || limit >= 0 && h.taken[at.local] >= limit {
		return false
	}
	at.sits = true
	h.held[id] = at
	h.taken[at.local]++
	return true
}

// leave ends a seat; false when it was not held.
func (h *seats) leave(id uint64) (seat, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, ok := h.held[id]
	if !ok {
		return at, false
	}
	delete(h.held, id)
	if at.sits {
		if h.taken[at.local]--; h.taken[at.local] == 0 {
			delete(h.taken, at.local)
		}
	}
	return at, true
}

func (h *seats) has(id uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.held[id]
	return ok
}

// byName lists the seats that count.
func (h *seats) byName() map[leases.Name][]uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := map[leases.Name][]uint64{}
	for id, at := range h.held {
		if at.sits && at.named {
			list[at.name] = append(list[at.name], id)
		}
	}
	return list
}

// sat is what Redis says to a seat.
type sat struct {
	charge int
	taken  bool
	count  int64
	wait   time.Duration
	err    error
}

// Acquire takes a seat at each limit or at none, within 20 ms. While Redis is down each limit does what its on_store_failure
// says; the error is of one that denies then. Seats are asked for side by side, so one that is refused may have cost another
// request its seat for a moment.
func (s *Source) Acquire(ctx context.Context, charges []ratelimit.Charge) (bool, error) {
	answers := make(chan sat, len(charges))
	for i := range charges {
		s.askForSeat(&charges[i], i, answers)
	}
	allowed, failure := true, error(nil)
	for range charges {
		select {
		case a := <-answers:
			c := &charges[a.charge]
			if err := s.decide(c, a); err != nil {
				failure = err
			}
			allowed = allowed && (c.Admitted || c.Limit.Shadow())
		case <-ctx.Done():
			s.Release(charges)
			return false, ctx.Err()
		}
	}
	if !allowed || failure != nil {
		s.Release(charges)
		return false, failure
	}
	return true, nil
}

// askForSeat asks Redis. A seat that nobody waits for any more when the answer comes is given back.
func (s *Source) askForSeat(c *ratelimit.Charge, i int, answers chan<- sat) {
	name, named := s.Name(c.Key)
	c.Seat = 0
	if c.Cost > 0 {
		c.Seat = s.seats.enter(c, name, named)
	}
	if !named || c.Cost > 0 && c.Seat == 0 {
		answers <- sat{charge: i, err: ErrDown}
		return
	}
	id := c.Seat
	call := s.seatCall(name, c.Limit, id)
	call.done = func(value any, err error) {
		a := satDown(value, err)
		a.charge = i
		answers <- a
		if id != 0 && (a.err != nil || a.taken) && !s.seats.has(id) {
			s.giveBack(name, id)
		}
	}
	s.out.send(call)
}

func (s *Source) seatCall(name leases.Name, limit *ratelimit.Limit, id uint64) *call {
	c := &call{
		script: sitScript, key: s.names.of(seatsKind, name), due: time.Now().Add(s.cfg.patience),
		args: []any{decimal(limit.Burst()), seatLife.Microseconds(), s.member(id)},
	}
	if s.clock != nil {
		c.args = append(c.args, s.clock())
	}
	return c
}

// member is a seat's name in Redis; none for 0, which only looks.
func (s *Source) member(id uint64) string {
	if id == 0 {
		return ""
	}
	return s.me + ":" + strconv.FormatUint(id, 36)
}

func satDown(value any, err error) sat {
	if err != nil {
		return sat{err: err}
	}
	r := newRow(value)
	a := sat{taken: r.int() == 1, count: r.int(), wait: duration(r.int())}
	if r.bad {
		a.err = errStrange("a seat", value)
	}
	return a
}

// decide fills in a charge. The error is that of a limit which denies while the store is down.
func (s *Source) decide(c *ratelimit.Charge, a sat) error {
	limit := c.Limit.Burst()
	switch {
	case a.err != nil:
		return s.alone(c, a.err)
	case c.Cost == 0:
		c.Admitted = float64(a.count) < limit
	case a.taken:
		c.Admitted = s.seats.sit(c.Seat, -1)
	default:
		s.seats.leave(c.Seat)
		c.Seat, c.Admitted = 0, false
	}
	c.Level, c.Wait = max(0, limit-float64(a.count)), 0
	if !c.Admitted {
		c.Wait = min(max(a.wait, time.Millisecond), time.Second) // nobody knows when a request will end
	}
	return nil
}

// alone decides without Redis.
func (s *Source) alone(c *ratelimit.Charge, err error) error {
	limit, failure := int(c.Limit.Burst()), c.Limit.OnStoreFailure()
	n, _ := s.Gateways()
	share := min(limit, max(1, limit/n)) // a limit of none stays one of none
	if failure == ratelimit.FailAllow {
		share = -1
	}
	c.Level, c.Wait = 0, 0
	switch {
	case failure == ratelimit.FailDeny:
		c.Admitted = false
	case c.Cost == 0:
		c.Admitted = true
	default: // one above what this gateway can remember passes uncounted where all pass
		c.Admitted = s.seats.sit(c.Seat, share) || failure == ratelimit.FailAllow
	}
	if c.Admitted {
		return nil
	}
	s.leave(c.Seat)
	c.Seat, c.Wait = 0, time.Second
	if failure == ratelimit.FailDeny && !c.Limit.Shadow() {
		return err
	}
	return nil
}
