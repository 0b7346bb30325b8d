package h1

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// shutdown starts Shutdown with a limit.
func (s *server) shutdown(limit time.Duration) <-chan error {
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		done <- s.Shutdown(ctx)
	}()
	return done
}

func wait(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(5 * time.Second):
		t.Fatal("Shutdown does not end")
		return nil
	}
}

func TestDrain(t *testing.T) {
	s := serve(t, config(), reply("x"))
	old := s.dial()
	old.get("/").is(t, 200, "x")
	s.Drain()
	for _, c := range []*client{old, s.dial()} { // new connections are served too (P54)
		a := c.get("/")
		if a.is(t, 200, "x"); !a.Close {
			t.Error("the answer must close the connection")
		}
		if err := c.closed(); err != nil {
			t.Error(err)
		}
	}
}

// held serves a handler that waits until release is closed.
func held(t *testing.T) (s *server, running <-chan struct{}, release chan struct{}) {
	began := make(chan struct{}, 10)
	release = make(chan struct{})
	return serve(t, config(), func(ctx context.Context, x *pipeline.Exchange) error {
		began <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
			return ctx.Err()
		}
		x.Response.SetBody([]byte("done"))
		return nil
	}), began, release
}

func TestShutdownWaitsForRunning(t *testing.T) {
	s, running, release := held(t)
	c := s.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-running
	if s.Active() != 1 {
		t.Errorf("active: %d", s.Active())
	}
	done := s.shutdown(5 * time.Second)
	s.soon("connections are refused", func() bool { return refuses(s.addr) })
	select {
	case err := <-done:
		t.Fatalf("ended too early: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	a := c.answer("GET")
	if a.is(t, 200, "done"); !a.Close {
		t.Error("the last answer must say so")
	}
	if err := wait(t, done); err != nil || s.Active() != 0 {
		t.Errorf("%v, active %d", err, s.Active())
	}
}

func refuses(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err == nil {
		_ = c.Close()
	}
	return err != nil
}

// Idle and silent connections don't delay the end (P41), and no reset is seen.
func TestShutdownClosesIdle(t *testing.T) {
	s := serve(t, config(), reply("x"))
	idle, silent := s.dial(), s.dial()
	idle.get("/").is(t, 200, "x")
	probe := s.dial()
	probe.get("/").is(t, 200, "x") // silent was accepted before it
	start := time.Now()
	if err := wait(t, s.shutdown(5*time.Second)); err != nil || time.Since(start) > time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	for _, c := range []*client{idle, silent, probe} {
		if err := c.closed(); err != nil {
			t.Error(err)
		}
	}
}

// A request that reached an idle connection before it closed is served (P55).
func TestShutdownServesWhatHasArrived(t *testing.T) {
	for range 20 {
		s := serve(t, config(), reply("x"))
		c := s.dial()
		c.get("/").is(t, 200, "x")
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		time.Sleep(100 * time.Microsecond)
		done := s.shutdown(5 * time.Second)
		c.answer("GET").is(t, 200, "x")
		if err := wait(t, done); err != nil {
			t.Fatal(err)
		}
	}
}

// A body that is still arriving is taken to its end.
func TestShutdownWaitsForUpload(t *testing.T) {
	s := serve(t, config(), readAll)
	c := s.dial().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
	s.soon("the upload runs", func() bool { return s.Active() == 1 })
	done := s.shutdown(5 * time.Second)
	s.soon("connections are refused", func() bool { return refuses(s.addr) })
	s.conns.each(func(c *conn) { // a wake-up that was meant for an idle connection and comes too late
		_ = c.socket.SetReadDeadline(time.Unix(1, 0))
	})
	time.Sleep(20 * time.Millisecond) // who reads has met it: nothing shows that
	c.send("cd").answer("POST").is(t, 200, "abcd")
	if err := wait(t, done); err != nil {
		t.Fatal(err)
	}
}

// Who listens to the context can still say why; who does not is cut.
func TestShutdownTellsBeforeItCuts(t *testing.T) {
	s, running, _ := held(t)
	c := s.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-running
	if err := wait(t, s.shutdown(100*time.Millisecond)); err == nil || !strings.Contains(err.Error(), "1 running") {
		t.Errorf("%v", err)
	}
	a := c.answer("GET")
	if a.problem(t, pipeline.Draining); !a.Close || a.Header.Get("Retry-After") == "" {
		t.Errorf("Close %v, %v", a.Close, a.Header)
	}
}

func TestShutdownCuts(t *testing.T) {
	running, release := make(chan struct{}), make(chan struct{})
	s := serve(t, config(), func(context.Context, *pipeline.Exchange) error { close(running); <-release; return nil })
	time.AfterFunc(800*time.Millisecond, func() { close(release) })
	c := s.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-running
	err := wait(t, s.shutdown(100*time.Millisecond))
	if err == nil || !strings.Contains(err.Error(), "1 running") || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if a, err := c.tryAnswer("GET"); err == nil {
		t.Errorf("served: %d", a.StatusCode)
	}
	if e := s.ended(); !e.Aborted {
		t.Errorf("%+v", e)
	}
}

func TestServeAfterShutdown(t *testing.T) {
	e, err := New(config(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	ln, err := edge.Listen(config(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Serve(ln); err != nil {
		t.Error(err)
	}
	if !refuses(ln.Addr().String()) {
		t.Error("the listener must be closed")
	}
}
