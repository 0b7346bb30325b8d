package traffic

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// MirrorRecorder hears of copies: sent, failed, dropped (too many on their way) or skipped (its body). It must not block.
type MirrorRecorder interface {
	Mirrored(upstream, result string)
}

// Mirrors owns the copies that are on their way, for all routes. Close waits for them.
type Mirrors struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	busy   map[string]int // copies on their way by upstream
	rec    MirrorRecorder
}

// NewMirrors makes the owner. rec may be nil.
func NewMirrors(rec MirrorRecorder) *Mirrors {
	ctx, cancel := context.WithCancel(context.Background())
	return &Mirrors{ctx: ctx, cancel: cancel, busy: map[string]int{}, rec: rec}
}

// Close ends all copies.
func (m *Mirrors) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.wg.Wait()
}

func (m *Mirrors) tell(upstream, result string) {
	if m.rec != nil {
		m.rec.Mirrored(upstream, result)
	}
}

func (m *Mirrors) begin(upstream string, most int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.busy[upstream] >= most {
		return false
	}
	m.busy[upstream]++
	m.wg.Add(1)
	return true
}

func (m *Mirrors) end(upstream string) {
	m.mu.Lock()
	if m.busy[upstream]--; m.busy[upstream] == 0 {
		delete(m.busy, upstream)
	}
	m.mu.Unlock()
	m.wg.Done()
}

// Layer copies requests to another upstream, whose handler has no breaker and no retry: what becomes of a copy counts for
// nobody. secrets are fields that hold credentials beside Authorization and Cookie.
func (m *Mirrors) Layer(cfg Mirror, to pipeline.Handler, secrets []string) pipeline.Layer {
	return func(next pipeline.Handler) pipeline.Handler {
		return &mirror{cfg: cfg, to: to, all: m, next: next, secrets: append([]string{"Authorization", "Cookie"}, secrets...)}
	}
}

type mirror struct {
	cfg  Mirror
	to   pipeline.Handler
	all  *Mirrors
	next pipeline.Handler

	secrets []string
}

const copyTime = 30 * time.Second // a copy has at most so long, and no longer than the route

// Serve implements pipeline.Handler.
func (m *mirror) Serve(ctx context.Context, x *pipeline.Exchange) error {
	if !x.Switch.Granted && (m.cfg.Share >= 1 || rand.Float64() < float64(m.cfg.Share)) {
		m.tap(x)
	}
	return m.next.Serve(ctx, x)
}

// tap sends a copy when that costs the request nothing but reading its body before it is passed on.
func (m *mirror) tap(x *pipeline.Exchange) {
	body, ok := m.body(x)
	if !ok {
		m.all.tell(m.cfg.Upstream, "skipped")
		return
	}
	if !m.all.begin(m.cfg.Upstream, m.cfg.InFlight) {
		m.all.tell(m.cfg.Upstream, "dropped")
		return
	}
	d := x.Detach(body)
	if !m.dress(d) {
		m.all.tell(m.cfg.Upstream, "skipped")
		m.all.end(m.cfg.Upstream)
		return
	}
	d.Start = time.Now()
	if end := d.Start.Add(copyTime); d.Deadline.IsZero() || end.Before(d.Deadline) {
		d.Deadline = end
	}
	go m.send(d)
}

// dress takes off what is not for the copy. False: there is no room to say so, and the copy must not go.
func (m *mirror) dress(d *pipeline.Detached) bool {
	ok := d.Outgoing.Remove("Idempotency-Key") && d.Outgoing.Set("X-Gateway-Mirror", one) // the copy is nobody's retry
	if m.cfg.Secrets {
		return ok
	}
	d.Outgoing.Authorization = false // and DPoP
	for _, name := range m.secrets {
		ok = ok && d.Outgoing.Remove(name)
	}
	return ok
}

var one = []byte("1")

// body gives the whole body when it is short enough. A client that breaks off here breaks off for the request, too.
func (m *mirror) body(x *pipeline.Exchange) ([]byte, bool) {
	n := x.Request.ContentLength()
	if n == 0 {
		return nil, true
	}
	if n < 0 || n > int64(m.cfg.Body) {
		return nil, false
	}
	if whole, ok := x.Request.Buffered(); ok {
		return whole, true
	}
	began := time.Now()
	body, err := x.Request.Buffer(int64(m.cfg.Body))
	if err == nil && !x.Deadline.IsZero() {
		x.Deadline = x.Deadline.Add(time.Since(began)) // the client's time, not the upstream's
	}
	return body, err == nil
}

func (m *mirror) send(d *pipeline.Detached) {
	result := "failed"
	defer func() {
		_ = recover() // a copy must not end the process; it is counted as failed
		d.Response.Reset()
		d.Finish(pipeline.End{Kind: pipeline.ClientGone, At: time.Now()})
		m.all.tell(m.cfg.Upstream, result)
		m.all.end(m.cfg.Upstream)
	}()
	if m.to.Serve(m.all.ctx, &d.Exchange) == nil {
		result = "sent"
	}
}
