package redis

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/failpoint"
)

// node is one server and the connections to it. go-redis' own sentinel and cluster clients are not used: they hide which
// server answered, and that is what tells a lost write from a kept one.
type node struct {
	addr   string
	client *goredis.Client
	seen   atomic.Pointer[sighting] // nil: it never answered
	down   atomic.Bool              // the last look at it failed
	unfit  atomic.Pointer[error]    // why nothing is asked of it
	bare   atomic.Bool              // it may lack the scripts
	cut    cutter
	since  time.Time // of its leaving the view, zero while it is in
}

// newNode makes a node and dials in the background.
func newNode(cfg Config, addr string) *node {
	n := &node{addr: addr}
	opts := clientOptions(cfg, addr)
	opts.PoolSize, opts.MinIdleConns = poolSize, minIdle
	opts.OnConnect = n.greet
	if failpoint.Enabled {
		opts.Dialer = n.cut.wrap(opts.Dialer)
	}
	n.client = goredis.NewClient(opts)
	return n
}

// clientOptions are for few connections; the dialer marks its errors: whatever was to be sent was not.
func clientOptions(cfg Config, addr string) *goredis.Options {
	opts := cfg.Options(addr, bounds())
	dial := opts.Dialer
	opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUnsent, err)
		}
		return conn, nil
	}
	return opts
}

// greet looks at the server behind every new connection before anything else is sent on it: a restart or a demotion is known
// before the first step meets it. The error has two causes, so go-redis can't unwrap it to one.
func (n *node) greet(ctx context.Context, conn *goredis.Conn) error {
	s, err := look(ctx, conn, sectionsOfGreeting)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errUnsent, n.addr, err)
	}
	n.learn(s)
	if !s.primary {
		return fmt.Errorf("%w: %w", errUnsent, errNotPrimary)
	}
	return nil
}

func (n *node) learn(s *sighting) {
	n.seen.Store(s)
	n.down.Store(false)
}

// exec runs a step and has its writes confirmed, in one round trip on one connection. asking follows an ASK. The second round
// trip is for a server that does not have the script.
func (n *node) exec(ctx context.Context, o *op, wait int, asking bool) (value any, acked int, err error) {
	value, acked, err = n.send(ctx, o.command("evalsha", o.script.sha), wait, asking)
	if says(err, "NOSCRIPT") {
		value, acked, err = n.send(ctx, o.command("eval", o.script.text), wait, asking)
	}
	return value, acked, err
}

func (n *node) send(ctx context.Context, args []any, wait int, asking bool) (value any, acked int, err error) {
	step := goredis.NewCmd(ctx, args...)
	if wait == 0 && !asking {
		_ = n.client.Process(ctx, step)
		value, err = step.Result()
		return value, 0, err
	}
	pipe := n.client.Pipeline()
	if asking {
		_ = pipe.Process(ctx, goredis.NewCmd(ctx, "asking"))
	}
	_ = pipe.Process(ctx, step)
	confirmed := goredis.NewCmd(ctx, "wait", wait, waitMillis(ctx))
	if wait > 0 {
		_ = pipe.Process(ctx, confirmed)
	}
	_, failure := pipe.Exec(ctx)
	if value, err = step.Result(); err == nil && value == nil {
		err = failure // go-redis leaves commands without their error when a new connection was greeted with one
	}
	if err != nil {
		return nil, 0, err
	}
	if wait > 0 {
		acked, _ = confirmed.Int() // no answer: nobody confirmed
	}
	return value, acked, nil
}

// waitMillis is how long replicas may take: the call's own time, less what the answer needs to come back.
func waitMillis(ctx context.Context) int64 {
	most := waitTimeout
	if end, ok := ctx.Deadline(); ok {
		most = min(most, time.Until(end)*4/5)
	}
	return max(1, most.Milliseconds()) // 0 would be without end
}
