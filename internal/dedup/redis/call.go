package redis

import (
	"context"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/redisconn"
)

// op is one step on one record.
type op struct {
	script *script
	key    record.Key
	bucket int
	names  []string
	args   []any // after the record's key
	wait   bool  // what it writes has to be on replicas
	fresh  bool  // it may make a claim; args[grantAt] says so
	place  string
	token  record.Token
}

const grantAt = 6 // in the arguments of Begin

// What Begin may do.
const (
	grantNothing = iota
	grantAnything
	grantOwn // what the token has already
)

// reply is what a step came back with.
type reply struct {
	value   any
	acked   int   // replicas that confirmed
	wait    int   // how many were asked for
	limited error // why no claim could be made
	node    *node
}

func (r reply) short() bool { return r.acked < r.wait }

func (s *Store) op(sc *script, key record.Key, args ...any) *op {
	o := &op{script: sc, key: key, bucket: bucketOf(key), names: s.names.of(key), args: args, wait: true}
	if s.clock != nil {
		o.args = append(o.args, s.clock())
	}
	return o
}

func (o *op) command(verb, text string) []any {
	args := make([]any, 0, 7+len(o.args))
	args = append(args, verb, text, len(o.names), o.names[0], o.names[1], o.names[2], o.key[:])
	return append(args, o.args...)
}

// The bound of redirections, and of waiting for a slot that is being moved.
const (
	maxHops     = 6
	slotBackoff = 20 * time.Millisecond
)

// call runs a step on the primary of its bucket, following the cluster's redirections.
func (s *Store) call(ctx context.Context, o *op) (reply, error) {
	start := time.Now()
	r, err := s.follow(ctx, o)
	s.rec.StoreTime(o.script.name, time.Since(start), err != nil)
	if err != nil {
		s.poke()
		return r, failed(o.script.name, err)
	}
	return r, nil
}

func (s *Store) follow(ctx context.Context, o *op) (r reply, err error) {
	n, asking := s.fleet.place(o.bucket), false
	for range maxHops {
		if n == nil {
			return r, errNoPrimary
		}
		if r.limited, err = s.admit(ctx, n, o); err != nil {
			return r, err
		}
		r.node, r.wait = n, s.waits(n, o)
		n.cut.arm(o.place, o.token[:])
		if r.value, r.acked, err = n.exec(ctx, o, r.wait, asking); err == nil {
			return r, nil
		}
		var again bool
		if n, asking, again = s.redirect(ctx, n, o, asking, err); !again {
			return r, err
		}
	}
	return r, err
}

// redirect tells where a step that a node refused belongs.
func (s *Store) redirect(ctx context.Context, n *node, o *op, asked bool, err error) (next *node, asking, again bool) {
	if s.cfg.Mode != redisconn.Cluster || ctx.Err() != nil {
		return nil, false, false
	}
	if says(err, "TRYAGAIN") { // some of its names are there, some here
		select {
		case <-time.After(slotBackoff):
			return n, asked, true
		case <-ctx.Done():
			return nil, false, false
		}
	}
	addr, ask, ok := redirection(err)
	if !ok {
		return nil, false, false
	}
	next = s.fleet.known(addr, n.addr)
	if next == nil {
		return nil, false, false
	}
	if !ask {
		s.fleet.move(o.bucket, next)
		s.poke()
		if s.probe(ctx, next) != nil { // its identity may be of long ago
			return nil, false, false
		}
	}
	return next, ask, true
}

// waits is how many replicas have to confirm a step.
func (s *Store) waits(n *node, o *op) int {
	if !o.wait || o.fresh && n.seen.Load().replicas < s.cfg.WaitReplicas {
		return 0
	}
	return s.cfg.WaitReplicas
}

// admit tells whether a step may be sent to a node, and why a new claim may not.
func (s *Store) admit(ctx context.Context, n *node, o *op) (limited, err error) {
	if n.seen.Load() == nil {
		if err := s.probe(ctx, n); err != nil {
			return nil, err
		}
	}
	seen := n.seen.Load()
	if why := n.unfit.Load(); why != nil {
		return nil, *why
	}
	if !seen.primary {
		return nil, errReplica
	}
	s.notice(n, o.bucket, &seen.identity)
	if !o.fresh {
		return nil, nil
	}
	if n.down.Load() {
		return nil, errDown
	}
	limited = s.limit(n, o.bucket)
	if limited != nil && o.args[grantAt] != grantNothing {
		o.args[grantAt] = grantOwn
	}
	return limited, nil
}

// limit is why no claim can be made in a bucket now.
func (s *Store) limit(n *node, bucket int) error {
	switch {
	case s.guard.paused(bucket):
		return errPaused
	case n.seen.Load().replicas < s.cfg.WaitReplicas:
		return errFewReplicas
	}
	return nil
}
