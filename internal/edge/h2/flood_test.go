package h2

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// Rapid reset (CVE-2023-44487): no more handlers run than streams are allowed, and the connection ends.
func TestRapidReset(t *testing.T) {
	var running, most atomic.Int64
	release := make(chan struct{})
	s := start(t, config(), func(context.Context, *pipeline.Exchange) error {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-release
		running.Add(-1)
		return nil
	})
	w := s.frames()
	go func() {
		for id := uint32(1); id < 2000; id += 2 {
			if w.head(id, true, plain...) != nil || w.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return
			}
		}
	}()
	code := http2.ErrCode(0)
	_ = w.until(func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		if ok {
			code = g.ErrCode
		}
		return ok
	})
	close(release)
	if code != http2.ErrCodeEnhanceYourCalm || most.Load() > 20 {
		t.Errorf("%v with %d handlers", code, most.Load())
	}
}

// More streams than allowed are refused, without a handler.
func TestStreams(t *testing.T) {
	release := make(chan struct{})
	s := start(t, config(), func(context.Context, *pipeline.Exchange) error { <-release; return nil })
	defer close(release)
	w := s.frames()
	for id := uint32(1); id <= 41; id += 2 {
		_ = w.head(id, true, plain...)
	}
	if got := w.verdict(41); got != "RST REFUSED_STREAM" && got != "RST PROTOCOL_ERROR" {
		t.Errorf("stream 21 of 20: %s", got)
	}
}

// A head that never ends (CVE-2023-45288) ends its connection long before it is large.
func TestContinuationFlood(t *testing.T) {
	s := start(t, config(), echo)
	w := s.frames()
	_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(plain...), EndStream: true})
	sent := 0
	go func() { _ = w.until(func(http2.Frame) bool { return false }) }()
	for ; sent < 64<<20; sent += 16 << 10 {
		if w.WriteContinuation(1, false, w.block("x-a", strings.Repeat("a", 16<<10))) != nil {
			break
		}
	}
	if sent >= 16<<20 {
		t.Errorf("%d bytes of one head were taken", sent)
	}
}

// Pings that are never read do not pile up.
func TestPingFlood(t *testing.T) {
	s := start(t, config(), echo)
	w := s.frames()
	_ = w.conn.SetDeadline(time.Now().Add(5 * time.Second))
	sent := 0
	for ; sent < 3_000_000; sent++ {
		if w.WritePing(false, [8]byte{}) != nil {
			break
		}
	}
	if sent >= 3_000_000 {
		t.Error("the pings were all taken")
	}
}

// Heads above the limits get a problem document; far above the limits they end their connection unread.
func TestHeadLimits(t *testing.T) {
	s := start(t, config(), echo)
	for n, problem := range map[int]bool{17 << 10: true, 60 << 10: true, 200 << 10: false} {
		got, text, err := s.do("GET", "/", nil, "X-Long", strings.Repeat("l", n))
		if !problem && err != nil {
			continue
		}
		if err != nil || got.StatusCode != 431 || problem != strings.Contains(text, "header-too-large") {
			t.Errorf("%d: %v %v %s", n, got, err, text)
		}
	}
	many := make([]string, 0, 250)
	for range 125 {
		many = append(many, "X-Many", "m")
	}
	if got, _, err := s.do("GET", "/", nil, many...); err != nil || got.StatusCode != 431 {
		t.Errorf("%v %v", got, err)
	}
}

// A connection without a request ends after idle_timeout, also with a head that is never finished.
func TestIdle(t *testing.T) {
	cfg := config()
	cfg.Limits.IdleTimeout = units.Duration(200 * time.Millisecond)
	s := start(t, cfg, echo)
	for _, half := range []bool{false, true} {
		w := s.frames()
		if half {
			_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(plain...), EndStream: true})
		}
		begun := time.Now()
		if got := w.verdict(1); got != "GOAWAY NO_ERROR" || time.Since(begun) > 5*time.Second {
			t.Errorf("half a head %v: %s after %v", half, got, time.Since(begun))
		}
	}
}

// Draining tells clients to go elsewhere with each answer; Shutdown waits for what runs and cuts what takes too long.
func TestShutdown(t *testing.T) {
	begun, release := make(chan struct{}, 2), make(chan struct{})
	s := start(t, config(), func(ctx context.Context, x *pipeline.Exchange) error {
		if string(x.Request.Path()) == "/waits" {
			begun <- struct{}{}
			<-release
		}
		x.Response.SetBody([]byte("done"))
		return nil
	})
	s.Drain()
	w := s.frames()
	_ = w.head(1, true, plain...)
	answered, told := false, false
	if err := w.until(func(f http2.Frame) bool {
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			answered = f.PseudoValue("status") == "200"
		case *http2.GoAwayFrame:
			told = f.ErrCode == http2.ErrCodeNo
		}
		return answered && told
	}); err != nil {
		t.Fatal(err)
	}
	finished := make(chan error, 1)
	go func() {
		_, text, err := s.do("GET", "/waits", nil)
		if err == nil && text != "done" {
			err = io.ErrUnexpectedEOF
		}
		finished <- err
	}()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	select {
	case err := <-stopped:
		t.Fatalf("Shutdown did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if err := <-finished; err != nil {
		t.Errorf("a running request: %v", err)
	}
	if err := <-stopped; err != nil || s.Active() != 0 {
		t.Errorf("%v, %d running", err, s.Active())
	}
}

func TestShutdownCuts(t *testing.T) {
	begun := make(chan struct{})
	s := start(t, config(), func(ctx context.Context, x *pipeline.Exchange) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	})
	w := s.frames()
	_ = w.head(1, true, plain...)
	<-begun
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "1 running exchanges") {
		t.Errorf("%v", err)
	}
	if end := s.end(); end.Kind != pipeline.Draining {
		t.Errorf("%+v", end)
	}
}
