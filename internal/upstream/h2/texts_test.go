package h2

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/h1"
)

// quiet is an upstream that says its settings and reads; told, it closes all connections.
func quiet(t *testing.T) (p *Pool, end func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				close(conns)
				return
			}
			conns <- c
			go func() {
				_ = http2.NewFramer(c, nil).WriteSettings()
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}()
	p = NewPool(&h1.Dialer{Addr: ln.Addr().String()})
	end = func() {
		_ = ln.Close()
		for c := range conns {
			_ = c.Close()
		}
	}
	t.Cleanup(func() { p.Close(); end() })
	return p, end
}

var limits = &h1.Limits{Connect: time.Second, FirstByte: time.Second, IdleBody: time.Second, Idle: time.Second, Max: 4}

func take(t *testing.T, p *Pool) *Conn {
	t.Helper()
	c, _, err := p.Acquire(context.Background(), time.Now(), limits, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The texts of net/http that tell that nothing was written. A change would only cost a further try: the error falls to the
// side on which nothing is sent again.
func TestTextsOfNetHTTP(t *testing.T) {
	p, _ := quiet(t)
	c := take(t, p)
	_ = c.cc.Close()
	q, _ := http.NewRequest("GET", "http://a/", nil)
	if _, err := c.cc.RoundTrip(q); err == nil || !unusable(err) {
		t.Errorf("a connection that was closed before its first call: %v", err)
	}
	c.release(time.Second, false)
	k := &call{x: &pipeline.Exchange{}, ctx: context.Background()}
	k.wrote.Store(true)
	_ = k.failed(io.ErrNoProgress) // a text that nobody knows
	if k.x.Effect != pipeline.EffectUnknown || k.out.Refused {
		t.Errorf("an unknown error: effect %v, refused %v", k.x.Effect, k.out.Refused)
	}
}

// A connection gets calls for five minutes, a tenth more or less; one with calls ends with these.
func TestConnectionsRetire(t *testing.T) {
	p, _ := quiet(t)
	c := take(t, p)
	if left := time.Until(c.retire); left < 4*time.Minute || left > 6*time.Minute {
		t.Errorf("retires in %v", left)
	}
	c.retire = time.Now()
	other := take(t, p)
	if other == c {
		t.Error("a call on a connection that is too old")
	}
	if open, _ := p.Stats(); open != 2 {
		t.Errorf("%d open: running calls were cut", open)
	}
	c.release(time.Minute, false)
	if open, idle := p.Stats(); open != 1 || idle != 0 {
		t.Errorf("%d open, %d idle", open, idle)
	}
	p.Close() // as for a target that DNS gives no more
	if open, _ := p.Stats(); open != 1 {
		t.Errorf("%d open", open)
	}
	other.release(time.Minute, false)
	if open, _ := p.Stats(); open != 0 {
		t.Errorf("%d open after the last call", open)
	}
}

// A connection on which a call waited in vain and nothing was heard at all gets no further calls.
func TestMuteConnectionsRetire(t *testing.T) {
	p, _ := quiet(t)
	c := take(t, p)
	c.release(time.Minute, true)
	if open, _ := p.Stats(); open != 0 {
		t.Errorf("%d open", open)
	}
}

func TestIdleConnectionsExpire(t *testing.T) {
	p, end := quiet(t)
	c := take(t, p)
	c.release(time.Minute, false)
	p.Expire(time.Now().Add(59 * time.Second))
	if open, idle := p.Stats(); open != 1 || idle != 1 {
		t.Errorf("%d open, %d idle", open, idle)
	}
	p.Expire(time.Now().Add(61 * time.Second))
	if open, _ := p.Stats(); open != 0 {
		t.Errorf("%d open", open)
	}
	end()
}
