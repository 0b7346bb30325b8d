package breaker

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// rpc makes a call whose status stands in the head, or comes behind a body.
func rpc(b *Breaker, cfg Config, code int, late bool) {
	m := pipeline.NewMemory("POST", "/a.B/C").WithHeader("Content-Type", "application/grpc")
	m.HTTP2 = true
	_ = Layer(cfg, b)(pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		x.Attempt.Count++
		x.Response.SetStatus(200)
		if !late {
			x.Response.Set("Grpc-Status", strconv.AppendInt(nil, int64(code), 10))
		}
		return nil
	})).Serve(context.Background(), &m.Exchange)
	if late {
		m.Attempt.Late = pipeline.GRPCAsHTTP(code)
	}
	m.Finish(pipeline.End{Status: 200, At: time.Now()})
}

// TestLayerJudgesGRPC: by the call's own status, wherever it stands.
func TestLayerJudgesGRPC(t *testing.T) {
	fails := map[int]bool{2: true, 4: true, 13: true, 14: true, 15: true, 17: true}
	for code := range 18 {
		for _, late := range []bool{false, true} {
			b, cfg := New("u", nil), config()
			rpc(b, cfg, code, late)
			if got := b.State(time.Now()); (got == Open) != fails[code] {
				t.Errorf("%d, late %v: %v", code, late, got)
			}
		}
	}
}

// Failures in a row are counted where they are told late, and ended by a good end, not by a head that says nothing yet.
func TestLayerCountsLateSeries(t *testing.T) {
	cfg := config()
	cfg.Minimum, cfg.Consecutive = 1000, 3
	b := New("u", nil)
	failed := func(want int) {
		t.Helper()
		if shot := b.Snapshot(time.Now()); shot.Failures != want || shot.Calls == 0 {
			t.Errorf("%+v, want %d in a row", shot, want)
		}
	}
	rpc(b, cfg, 14, true)
	rpc(b, cfg, 14, true)
	failed(2)
	rpc(b, cfg, 8, true) // says nothing
	failed(2)
	rpc(b, cfg, 0, true)
	failed(0)
	for range 3 {
		rpc(b, cfg, 14, true)
	}
	if got := b.State(time.Now()); got != Open {
		t.Errorf("%v", got)
	}
}

// A probe is good when its head came: streams may last for hours.
func TestLateProbe(t *testing.T) {
	cfg, b := config(), New("u", nil)
	b.Force(Open, time.Now())
	b.Release(time.Now())
	s := cfg.Settings()
	b.machine.enter(HalfOpen, b.tick(time.Now()))
	p, _, err := b.Acquire(&s, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p.Done(Pending, 0, time.Now())
	if got := b.State(time.Now()); got != Closed {
		t.Errorf("%v", got)
	}
}
