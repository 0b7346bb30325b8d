package redis

import (
	"context"
	"errors"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// batchMost is how many steps go into one round trip of a survey: more would hold up the steps of requests behind them.
const batchMost = 32

// batch runs steps that nobody has to confirm, one round trip for those of one server that follow each other, and gives their
// replies. What a server refuses, because it lacks the script or the slot has moved, is asked for again alone.
func (s *Store) batch(ctx context.Context, ops []*op) ([]any, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	values := make([]any, 0, len(ops))
	for len(ops) > 0 {
		n, size := s.fleet.place(ops[0].bucket), 1
		for size < len(ops) && s.fleet.place(ops[size].bucket) == n {
			size++
		}
		var err error
		if values, err = s.together(ctx, n, ops[:size], values); err != nil {
			return nil, err
		}
		ops = ops[size:]
	}
	return values, nil
}

// together appends the replies of steps that one server is asked for.
func (s *Store) together(ctx context.Context, n *node, ops []*op, values []any) ([]any, error) {
	name, start := ops[0].script.name, time.Now()
	replies, err := s.sendAll(ctx, n, ops)
	s.rec.StoreTime(name, time.Since(start), err != nil)
	if err != nil {
		s.poke()
		return nil, failed(name, err)
	}
	for i, reply := range replies {
		value, err := reply.Result()
		if err != nil {
			ops[i].wait = false
			r, err := s.call(ctx, ops[i])
			if err != nil {
				return nil, err
			}
			value = r.value
		}
		values = append(values, value)
	}
	return values, nil
}

// sendAll fails when there are no replies; a reply may still be an error.
func (s *Store) sendAll(ctx context.Context, n *node, ops []*op) ([]*goredis.Cmd, error) {
	if n == nil {
		return nil, errNoPrimary
	}
	pipe, replies := n.client.Pipeline(), make([]*goredis.Cmd, len(ops))
	for i, o := range ops {
		if _, err := s.admit(ctx, n, o); err != nil {
			return nil, err
		}
		replies[i] = goredis.NewCmd(ctx, o.command("evalsha", o.script.sha)...)
		_ = pipe.Process(ctx, replies[i])
	}
	_, err := pipe.Exec(ctx)
	var refused goredis.Error
	if err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	return replies, nil
}
