package redis

import (
	"context"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/ratelimit/leases"
)

// Release gives the seats back, in the background: a request that was cut off gives its seats back as any other does.
func (s *Source) Release(charges []ratelimit.Charge) {
	for i := range charges {
		s.leave(charges[i].Seat)
		charges[i].Seat = 0
	}
}

func (s *Source) leave(id uint64) {
	if at, ok := s.seats.leave(id); ok && at.named {
		s.giveBack(at.name, id)
	}
}

// giveBack has Redis forget a seat. When that fails the seat expires: nobody says any more that it is held.
func (s *Source) giveBack(name leases.Name, ids ...uint64) {
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = s.member(id)
	}
	s.out.send(&call{
		script: leaveScript, key: s.names.of(seatsKind, name), args: args, due: time.Now().Add(s.cfg.patience),
		done: func(any, error) {},
	})
}

// mostAtOnce is how many seats one call names.
const mostAtOnce = 500

// staySeated says which seats are held, so that they don't expire, and that Redis knows them again after it lost its data.
func (s *Source) staySeated() {
	for name, ids := range s.seats.byName() {
		for len(ids) > 0 {
			part := ids[:min(len(ids), mostAtOnce)]
			ids = ids[len(part):]
			s.stay(name, part)
		}
	}
}

// stay renews seats. Those that were given back meanwhile are given back again: this may have come after it.
func (s *Source) stay(name leases.Name, ids []uint64) {
	now := any("")
	if s.clock != nil {
		now = s.clock()
	}
	args := []any{seatLife.Microseconds(), now}
	for _, id := range ids {
		args = append(args, s.member(id))
	}
	done := func(any, error) {
		var gone []uint64
		for _, id := range ids {
			if !s.seats.has(id) {
				gone = append(gone, id)
			}
		}
		if len(gone) > 0 {
			s.giveBack(name, gone...)
		}
	}
	s.out.send(&call{
		script: stayScript, key: s.names.of(seatsKind, name), args: args, due: time.Now().Add(s.cfg.patience), done: done,
	})
}

// sitting looks at how many seats are taken.
func (s *Source) sitting(ctx context.Context, name leases.Name, limit *ratelimit.Limit) (sat, error) {
	c := s.seatCall(name, limit, 0)
	a := satDown(s.ask(ctx, c.script, c.key, c.args...))
	return a, a.err
}
