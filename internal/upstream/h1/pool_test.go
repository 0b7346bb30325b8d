package h1

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// listener accepts and keeps what it accepted.
func listener(t *testing.T) *Pool {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := NewPool(&Dialer{Addr: ln.Addr().String()})
	t.Cleanup(func() { p.Close(); _ = ln.Close() })
	return p
}

var lim = &Limits{Connect: time.Second, Idle: 10 * time.Second, Max: 2}

func acquire(t *testing.T, p *Pool, fresh bool) *Conn {
	t.Helper()
	c, err := p.Acquire(context.Background(), time.Now(), lim, time.Time{}, fresh)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantStats(t *testing.T, p *Pool, open, idle int) {
	t.Helper()
	if o, i := p.Stats(); o != open || i != idle {
		t.Errorf("%d open, %d idle; want %d, %d", o, i, open, idle)
	}
}

func TestPoolIsLastInFirstOut(t *testing.T) {
	p := listener(t)
	a, b := acquire(t, p, false), acquire(t, p, false)
	p.put(a, time.Now(), lim.Idle)
	p.put(b, time.Now(), lim.Idle)
	if c := acquire(t, p, false); c != b || !c.Reused() {
		t.Error("the older connection was given")
	}
}

func TestFreshMakesRoom(t *testing.T) {
	p := listener(t)
	a, b := acquire(t, p, false), acquire(t, p, false)
	p.put(a, time.Now(), lim.Idle)
	p.put(b, time.Now(), lim.Idle)
	if c := acquire(t, p, true); c == a || c == b || c.Reused() {
		t.Error("not fresh")
	}
	wantStats(t, p, 2, 1)
}

func TestPoolLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(c *Conn)
		idle time.Duration
		kept time.Duration // how long it may be used again; 0: not at all
	}{
		"idle":             {func(c *Conn) { c.jitter = 1 }, 10 * time.Second, 10 * time.Second},
		"jitter":           {func(c *Conn) { c.jitter = 0.9 }, 10 * time.Second, 9 * time.Second},
		"upstream's limit": {func(c *Conn) { c.jitter, c.keep = 1, 4*time.Second }, 10 * time.Second, 4 * time.Second},
		"lifetime":         {func(c *Conn) { c.jitter, c.retire = 1, time.Now().Add(2*time.Second) }, 10 * time.Second, 2 * time.Second},
		"lifetime is over": {func(c *Conn) { c.retire = time.Now() }, 10 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := listener(t)
			c := acquire(t, p, false)
			if spread := time.Until(c.retire); spread < 4*time.Minute || spread > 6*time.Minute {
				t.Errorf("lifetime %v", spread)
			}
			tt.set(c)
			now := time.Now()
			p.put(c, now, tt.idle)
			if tt.kept == 0 {
				wantStats(t, p, 0, 0)
				return
			}
			p.Expire(now.Add(tt.kept - 100*time.Millisecond))
			wantStats(t, p, 1, 1)
			p.Expire(now.Add(tt.kept + 100*time.Millisecond))
			wantStats(t, p, 0, 0)
		})
	}
}

func TestQueueIsBounded(t *testing.T) {
	p := listener(t)
	a, b := acquire(t, p, false), acquire(t, p, false)
	errs := make(chan error, 3)
	for range 3 {
		go func() {
			c, err := p.Acquire(context.Background(), time.Now(), lim, time.Time{}, false)
			if err == nil {
				p.put(c, time.Now(), lim.Idle)
			}
			errs <- err
		}()
	}
	if err := <-errs; pipeline.KindOf(err) != pipeline.Overloaded { // the third at once, while both places are taken
		t.Errorf("%v", err)
	}
	p.put(a, time.Now(), lim.Idle)
	p.drop(b)
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestWaitIsBoundedByDeadlineAndContext(t *testing.T) {
	p := listener(t)
	a, b := acquire(t, p, false), acquire(t, p, false)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	start := time.Now()
	for _, tt := range []struct {
		ctx   context.Context
		until time.Time
	}{{context.Background(), start.Add(20 * time.Millisecond)}, {ctx, time.Time{}}} {
		if _, err := p.Acquire(tt.ctx, time.Now(), lim, tt.until, false); pipeline.KindOf(err) != pipeline.Overloaded {
			t.Errorf("%v", err)
		}
	}
	if d := time.Since(start); d > 500*time.Millisecond {
		t.Errorf("took %v", d)
	}
	p.drop(a)
	p.drop(b)
	wantStats(t, p, 0, 0)
}

func TestClosedPoolKeepsNothing(t *testing.T) {
	p := listener(t)
	a := acquire(t, p, false)
	p.Close()
	p.put(a, time.Now(), lim.Idle)
	wantStats(t, p, 0, 0)
	p.put(acquire(t, p, false), time.Now(), lim.Idle)
	wantStats(t, p, 0, 0)
}
