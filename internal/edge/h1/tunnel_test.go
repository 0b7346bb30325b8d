package h1

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

const asks = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

// grants answers 101 with one end of a pair of sockets; the test has the other.
func grants(t *testing.T, far chan<- *net.TCPConn, change func(*pipeline.Switch)) handle {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return func(_ context.Context, x *pipeline.Exchange) error {
		if !x.Switch.Asked {
			return nil
		}
		near, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return err
		}
		other, err := ln.Accept()
		if err != nil {
			return err
		}
		x.Switch.Granted, x.Switch.Idle, x.Switch.Tunnel = true, time.Minute, near.(*net.TCPConn)
		if change != nil {
			change(&x.Switch)
		}
		x.Response.SetStatus(101)
		x.Response.Set("Upgrade", []byte("other"))
		x.Response.Set("X-A", []byte("b"))
		far <- other.(*net.TCPConn)
		return nil
	}
}

func (c *client) until(end string) string {
	c.t.Helper()
	var b strings.Builder
	for !strings.HasSuffix(b.String(), end) {
		one, err := c.br.ReadByte()
		if err != nil {
			c.t.Fatalf("%v after %q", err, b.String())
		}
		b.WriteByte(one)
	}
	return b.String()
}

// The exchange lives as long as the tunnel, and what it tells at its end is its own: fasthttp's buffers serve others by then.
func TestTunnel(t *testing.T) {
	far := make(chan *net.TCPConn, 1)
	s := serve(t, config(), grants(t, far, nil))
	c := s.dial().send(asks + "early")
	got := c.until("\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n") || !strings.Contains(got, "X-A: b\r\n") || strings.Contains(got, "other") || strings.Contains(got, "Content-") {
		t.Errorf("%q", got)
	}
	up := <-far
	_ = up.SetDeadline(time.Now().Add(5 * time.Second))
	for range 20 { // others take what the request left behind
		if a := s.dial().send("GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").until("\r\n\r\n"); !strings.HasPrefix(a, "HTTP/1.1 200") {
			t.Fatal(a)
		}
		s.ended()
	}
	for by := time.Now().Add(5 * time.Second); s.Active() > 1 && time.Now().Before(by); {
		time.Sleep(time.Millisecond) // the last of the others counts as over a moment after it told its end
	}
	if n := s.Active(); n != 1 {
		t.Errorf("%d active", n)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(up, b); err != nil || string(b) != "early" {
		t.Errorf("%q %v", b, err)
	}
	_, _ = up.Write([]byte("down"))
	c.until("down")
	_ = up.Close()
	if _, err := c.br.ReadByte(); err != io.EOF {
		t.Errorf("%v, wanted the end", err)
	}
	_ = c.Close()
	if e := s.ended(); e.Status != 101 || e.path != "/ws" || e.BytesIn != 5 || e.BytesOut != 4 {
		t.Errorf("%+v", e)
	}
}

func TestTunnelBreaks(t *testing.T) {
	far := make(chan *net.TCPConn, 1)
	s := serve(t, config(), grants(t, far, nil))
	c := s.dial().send(asks)
	c.until("\r\n\r\n")
	up := <-far
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
	_ = up.SetDeadline(time.Now().Add(5 * time.Second))
	if rest, _ := io.ReadAll(up); len(rest) > len(closeFrame(1001, true)) {
		t.Errorf("%q", rest)
	}
	if e := s.ended(); !e.Aborted || e.Status != 101 {
		t.Errorf("%+v", e)
	}
}

// A tunnel that a layer gave up is closed, and the refusal is what the client sees.
func TestTunnelGivenUp(t *testing.T) {
	far := make(chan *net.TCPConn, 1)
	grant := grants(t, far, nil)
	s := serve(t, config(), func(ctx context.Context, x *pipeline.Exchange) error {
		if err := grant(ctx, x); err != nil {
			return err
		}
		x.Response.Reset()
		return pipeline.Forbidden
	})
	c := s.dial().send(asks)
	if got := c.until("\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 403 ") {
		t.Errorf("%q", got)
	}
	up := <-far
	_ = up.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := up.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%v, wanted the end", err)
	}
}

// Shutdown tells tunnels shortly before its time is up, and waits for them until then.
func TestTunnelsAreDrained(t *testing.T) {
	far := make(chan *net.TCPConn, 1)
	s := serve(t, config(), grants(t, far, nil))
	c := s.dial().send(asks)
	c.until("\r\n\r\n")
	up := <-far
	_ = up.SetDeadline(time.Now().Add(5 * time.Second))
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	done, began := make(chan error, 1), time.Now()
	go func() { done <- s.Shutdown(ctx) }()
	c.until(string(closeFrame(1001, false)))
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("told after %v", took)
	}
	frame := make([]byte, 8)
	if _, err := io.ReadFull(up, frame); err != nil || string(frame) != string(closeFrame(1001, true)) {
		t.Errorf("%q %v", frame, err)
	}
	_ = c.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
