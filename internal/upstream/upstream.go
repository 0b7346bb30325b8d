// Package upstream is the end of a plan: it picks a target and makes the call.
//
// It promises that a request is dispatched once, and again only when no byte of it was sent, or when a GET or HEAD without a
// body met a connection that the upstream had already given up. The exchange's Effect says what the upstream may have done. It
// knows no policy: retries, breakers and limits wrap it. Its state, connections and what is known of targets, outlives
// configurations (Pools).
package upstream

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/mutant"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/balance"
	"github.com/oncegate/oncegate/internal/upstream/h1"
	"github.com/oncegate/oncegate/internal/upstream/health"
)

// Upstream is one entry of upstreams, ready to serve. It belongs to a snapshot; only DNS changes its targets.
type Upstream struct {
	name   string
	cfg    Config
	group  *group
	rules  rules
	hash   hashKey
	tls    *tlsIdentity
	rec    Recorder
	checks *health.Settings // nil: none
	first  []netip.Addr     // what DNS gave
	set    atomic.Pointer[set]
}

// target is an address of an upstream with the settings of its calls.
type target struct {
	upstream string
	addr     string // host:port
	host     string // what stands in Host when the target's own name is wanted
	name     string // for the certificate
	url      string
	weight   int
	node     *node
	set      *set
	tls      *tlsIdentity // nil: plain
	conns    *conns
	limits   h1.Limits
	rec      Recorder // may be nil
}

// Recorder is told about connections that were closed although they should have been fine. It must not block.
type Recorder interface {
	StaleConnection(upstream, target string)  // closed by the upstream while idle
	UnsolicitedBytes(upstream, target string) // bytes that answer nothing
}

// Stale implements h1.Watch.
func (t *target) Stale() {
	if t.rec != nil {
		t.rec.StaleConnection(t.upstream, t.addr)
	}
}

// Unsolicited implements h1.Watch.
func (t *target) Unsolicited() {
	if t.rec != nil {
		t.rec.UnsolicitedBytes(t.upstream, t.addr)
	}
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
	s, key := u.set.Load(), u.hash.of(x)
	tried := &x.Attempt.Tried
	if tried.Of != s { // places of another upstream, or of targets that DNS has changed
		*tried = pipeline.Tried{Of: s}
	}
	first := s.pick(tried, key, balance.Now(now))
	if first == nil {
		return now, u.noTarget(x)
	}
	at, again, err := first.try(ctx, x, body, now)
	if err == nil || again == tryNever || again == tryElsewhere && len(s.targets) == 1 || again == tryAnywhere && x.Attempt.Once {
		return at, err
	}
	now = time.Now()
	if !x.Deadline.IsZero() && !now.Before(x.Deadline) {
		return at, err
	}
	if second := s.pick(tried, key, balance.Now(now)); second != nil {
		at, _, err = second.try(ctx, x, body, now)
	}
	return at, err
}

// noTarget refuses a call that nobody can take: DNS gave no address, or all targets are drained.
func (u *Upstream) noTarget(x *pipeline.Exchange) error {
	x.Problem.RetryAfter = 1
	if x.Effect == pipeline.EffectNone {
		x.Problem.Executed = pipeline.ExecutedNo
	}
	return fmt.Errorf("upstream %s has no target to call: %w", u.name, pipeline.UpstreamOpen)
}

type again uint8

const (
	tryNever     again = iota
	tryElsewhere       // the target is full: only another one helps
	tryAnywhere        // nothing was sent
	tryHTTP1           // the same target: its handshake chose HTTP/1.1
)

// try is a try on one target. Connections that turn out dead before a byte was sent are passed over in silence.
func (t *target) try(ctx context.Context, x *pipeline.Exchange, body *h1.Payload, now time.Time) (time.Time, again, error) {
	if t.conns.multiplexes(x, now) {
		if at, again, err := t.tryHTTP2(ctx, x, body, now); again != tryHTTP1 {
			return at, again, err
		}
		now = time.Now()
	}
	x.Attempt.Target = t.addr
	x.Attempt.Count++
	t.begin()
	streams := false
	defer func() { // also when the code of a view panics
		if !streams {
			t.end()
		}
	}()
	for fresh, repeated := x.Switch.Granted, false; ; now = time.Now() {
		c, err := t.conns.h1.Acquire(ctx, now, &t.limits, t.until(x, now), fresh)
		if err != nil {
			t.unreached(ctx, x, err, now)
			return now, t.afterConnect(ctx, err), t.wrap(err)
		}
		if !c.AtOnce() {
			now = time.Now() // connecting, or waiting for a connection, took its time
		}
		out := c.Exchange(ctx, x, &t.limits, t.host, *body, now)
		switch {
		case out.Err == nil:
			streams = out.Streams
			t.answered(x, &out, now)
			return out.At, tryNever, nil
		case out.Idle != h1.IdleFine && out.Reused:
			continue
		case !repeated && repeatable(x, body, &out):
			repeated, fresh = true, true
			x.Attempt.Count++
			continue
		}
		t.broke(&out, now)
		if out.Idle != h1.IdleFine && !repeated {
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

// afterConnect says where a call may go for which there was no connection. That holds as well when it is the repetition of a
// safe request: a target that stops closes what is idle and takes nothing new, and others are there.
func (t *target) afterConnect(ctx context.Context, err error) again {
	switch {
	case ctx.Err() != nil:
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
