// Package upstream is the end of a plan: it picks a target and makes the call.
//
// It promises that a request is dispatched once, and again only when no byte of it was sent, or when a GET or HEAD without a
// body met a connection that the upstream had already given up. The exchange's Effect says what the upstream may have done. It
// knows no policy: retries, breakers and limits wrap it. Its state, the pools, outlives configurations (Pools).
package upstream

import (
	"context"
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/mutant"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/h1"
)

// Upstream is one entry of upstreams, ready to serve. It belongs to a snapshot and does not change.
type Upstream struct {
	name    string
	targets []*target
	picks   picker
}

type target struct {
	upstream string
	addr     string // host:port
	host     string // what stands in Host when the target's own name is wanted
	url      string
	weight   int
	pool     *h1.Pool
	limits   h1.Limits
	rec      Recorder
}

// Recorder is told about connections that were closed although they should have been fine. It must not block.
type Recorder interface {
	StaleConnection(upstream, target string)  // closed by the upstream while idle
	UnsolicitedBytes(upstream, target string) // bytes that answer nothing
}

// Stale implements h1.Watch.
func (t *target) Stale() { t.rec.StaleConnection(t.upstream, t.addr) }

// Unsolicited implements h1.Watch.
func (t *target) Unsolicited() { t.rec.UnsolicitedBytes(t.upstream, t.addr) }

// New makes the upstream of a snapshot; its pools come from pools. rec may be nil. It reads the file of trusted roots.
func New(name string, cfg Config, pools *Pools, rec Recorder) (*Upstream, error) {
	u := &Upstream{name: name}
	weights := make([]int, 0, len(cfg.Targets))
	identity, err := readTLS(&cfg.TLS)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", name, err)
	}
	for i := range cfg.Targets {
		t, err := newTarget(name, &cfg, i, pools, identity, rec)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: %w", name, err)
		}
		u.targets = append(u.targets, t)
		weights = append(weights, t.weight)
	}
	if len(u.targets) == 0 {
		return nil, fmt.Errorf("upstream %s has no targets", name)
	}
	u.picks = newPicker(weights)
	return u, nil
}

func newTarget(name string, cfg *Config, i int, pools *Pools, id *tlsIdentity, rec Recorder) (*target, error) {
	where, problem := parseTarget(cfg.Targets[i].URL)
	if problem != "" {
		return nil, fmt.Errorf("target %d: %s", i, problem)
	}
	t := &target{
		upstream: name, addr: where.addr, host: where.host, url: where.String(), weight: max(1, cfg.Targets[i].Weight),
		pool: pools.get(where, id), rec: rec,
		limits: h1.Limits{
			Connect: cfg.Timeout.Connect.Std(), FirstByte: cfg.Timeout.FirstByte.Std(), Try: cfg.Timeout.Try.Std(),
			IdleBody: cfg.Timeout.IdleBody.Std(), Idle: cfg.Connections.Idle.Std(), Max: cfg.Connections.Max,
		},
	}
	if rec != nil {
		t.limits.Watch = t
	}
	return t, nil
}

// Serve implements pipeline.Handler: it answers x by a call, or leaves the response empty and returns a refusal.
func (u *Upstream) Serve(ctx context.Context, x *pipeline.Exchange) error {
	start := time.Now()
	x.Attempt.Upstream = u.name
	body, err := h1.Prepare(x)
	start = start.Add(body.Took())
	if err == nil {
		var at time.Time
		if at, err = u.call(ctx, x, &body, start); err == nil {
			x.Attempt.Duration += at.Sub(start)
			x.Attempt.At = at
			return nil
		}
	}
	x.Attempt.Duration += time.Since(start)
	x.Response.Reset()
	return err
}

// call makes one try, and one more when nothing was sent: on another target, or on the same when there is no other.
func (u *Upstream) call(ctx context.Context, x *pipeline.Exchange, body *h1.Payload, now time.Time) (time.Time, error) {
	first := u.picks.next(-1)
	at, again, err := u.targets[first].try(ctx, x, body, now)
	if err == nil || again == tryNever || again == tryElsewhere && len(u.targets) == 1 || again == tryAnywhere && x.Attempt.Once {
		return at, err
	}
	now = time.Now()
	if !x.Deadline.IsZero() && !now.Before(x.Deadline) {
		return at, err
	}
	at, _, err = u.targets[u.picks.next(first)].try(ctx, x, body, now)
	return at, err
}

type again uint8

const (
	tryNever     again = iota
	tryElsewhere       // the target is full: only another one helps
	tryAnywhere        // nothing was sent
)

// try is a try on one target. Connections that turn out dead before a byte was sent are passed over in silence.
func (t *target) try(ctx context.Context, x *pipeline.Exchange, body *h1.Payload, now time.Time) (time.Time, again, error) {
	x.Attempt.Target = t.addr
	x.Attempt.Count++
	for fresh, repeated := false, false; ; now = time.Now() {
		c, err := t.pool.Acquire(ctx, now, &t.limits, t.until(x, now), fresh)
		if err != nil {
			return now, t.afterConnect(ctx, err, repeated), t.wrap(err)
		}
		if !c.AtOnce() {
			now = time.Now() // connecting, or waiting for a connection, took its time
		}
		out := c.Exchange(ctx, x, &t.limits, t.host, *body, now)
		switch {
		case out.Err == nil:
			return out.At, tryNever, nil
		case out.Idle != h1.IdleFine && out.Reused:
			continue
		case !repeated && repeatable(x, body, &out):
			repeated, fresh = true, true
			x.Attempt.Count++
			continue
		case out.Idle != h1.IdleFine && !repeated:
			return now, tryAnywhere, t.wrap(out.Err)
		}
		return now, tryNever, t.wrap(out.Err)
	}
}

// repeatable: a safe request whose connection was given up by the upstream while it was idle, so that nothing came back, may
// be sent again without a word. Nothing else may, and nothing that is keyed.
func repeatable(x *pipeline.Exchange, body *h1.Payload, out *h1.Outcome) bool {
	if mutant.TransportRetries {
		return out.Lost && !out.Heard
	}
	if !out.Reused || !out.Lost || out.Heard || x.Keyed || !body.Empty() {
		return false
	}
	method := string(x.Request.Method())
	return method == "GET" || method == "HEAD"
}

func (t *target) afterConnect(ctx context.Context, err error, sent bool) again {
	switch {
	case sent || ctx.Err() != nil:
		return tryNever
	case pipeline.KindOf(err) == pipeline.Overloaded:
		return tryElsewhere
	}
	return tryAnywhere
}

// until bounds what comes before the request is sent.
func (t *target) until(x *pipeline.Exchange, now time.Time) time.Time {
	end := x.Deadline
	if t.limits.Try > 0 {
		if try := now.Add(t.limits.Try); end.IsZero() || try.Before(end) {
			end = try
		}
	}
	return end
}

func (t *target) wrap(err error) error {
	return fmt.Errorf("upstream %s, target %s: %w", t.upstream, t.addr, err)
}

// TargetInfo is a target as the admin API shows it.
type TargetInfo struct {
	URL      string
	Weight   int
	Open     int // connections, those being dialled included
	Idle     int
	InFlight int
}

// Targets tells about the targets in the order of the document.
func (u *Upstream) Targets() []TargetInfo {
	all := make([]TargetInfo, len(u.targets))
	for i, t := range u.targets {
		open, idle := t.pool.Stats()
		all[i] = TargetInfo{URL: t.url, Weight: t.weight, Open: open, Idle: idle, InFlight: open - idle}
	}
	return all
}
