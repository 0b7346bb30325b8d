package h1

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

func TestSlowHead(t *testing.T) {
	cfg := config()
	cfg.Limits.ReadTimeout = units.Duration(200 * time.Millisecond)
	s := serve(t, cfg, reply("x"))
	within := func(name string, start time.Time) {
		t.Helper()
		if d := time.Since(start); d < 150*time.Millisecond || d > 600*time.Millisecond {
			t.Errorf("%s: %v", name, d)
		}
	}
	start := time.Now()
	s.dial().answer("GET").problem(t, pipeline.RequestTimeout)
	within("silence", start)

	start = time.Now()
	s.dial().send("GET / HT").answer("GET").problem(t, pipeline.RequestTimeout)
	within("part of a head", start)

	c := s.dial() // the limit is for the head as a whole: a drip does not prolong it
	start = time.Now()
	go func(c *client) {
		for _, b := range []byte("GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("x", 100)) {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}(c)
	c.answer("GET").problem(t, pipeline.RequestTimeout)
	within("drip", start)

	c = s.dial()
	c.get("/").is(t, 200, "x")
	time.Sleep(300 * time.Millisecond) // longer than a head may take: idling has its own limit
	start = time.Now()
	c.send("GET / ").answer("GET").problem(t, pipeline.RequestTimeout)
	within("second head", start)
}

func TestIdleTimeout(t *testing.T) {
	cfg := config()
	cfg.Limits.IdleTimeout = units.Duration(200 * time.Millisecond)
	s := serve(t, cfg, reply("x"))
	c := s.dial()
	for range 4 { // busier than the limit: it starts anew each time
		c.get("/").is(t, 200, "x")
		time.Sleep(80 * time.Millisecond)
	}
	start := time.Now()
	if err := c.closed(); err != nil || time.Since(start) > 400*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

func TestConnectionLimits(t *testing.T) {
	for _, name := range []string{"in all", "per address"} {
		cfg := config()
		if cfg.Limits.Connections = 10; name == "per address" {
			cfg.Limits.Connections, cfg.Limits.ConnectionsPerIP = 100, 10
		}
		s := serve(t, cfg, reply("x"))
		var open []*client
		for range 10 {
			c := s.dial()
			c.get("/").is(t, 200, "x")
			open = append(open, c)
		}
		if a, err := s.dial().tryAnswer("GET"); err == nil {
			t.Errorf("%s: the eleventh was served: %v", name, a)
		}
		if !strings.Contains(s.log.String(), "connections refused") {
			t.Error("nobody was told")
		}
		open[3].get("/").is(t, 200, "x") // others are not disturbed
		_ = open[0].Close()
		for by := time.Now().Add(3 * time.Second); ; time.Sleep(time.Millisecond) {
			c := s.dial()
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err == nil {
				if a, err := c.tryAnswer("GET"); err == nil {
					a.is(t, 200, "x")
					break
				}
			}
			if time.Now().After(by) {
				t.Fatalf("%s: a closed connection makes no room", name)
			}
		}
	}
}

// An address that has left leaves nothing behind.
func TestRegistryForgets(t *testing.T) {
	var r registry
	r.init(2, 1, func(int) {})
	open := func() bool { return false }
	a := &conn{peer: netip.MustParseAddrPort("192.0.2.1:1")}
	if !r.add(a, open) || r.add(&conn{peer: a.peer}, open) {
		t.Fatal("one per address")
	}
	r.remove(a)
	r.remove(a)
	if len(r.open) != 0 || len(r.per) != 0 {
		t.Errorf("%v %v", r.open, r.per)
	}
	if r.add(a, func() bool { return true }) {
		t.Error("nothing is taken while stopping")
	}
}

func TestWhoAsks(t *testing.T) {
	cfg := config()
	who := func(_ context.Context, x *pipeline.Exchange) error {
		x.Response.SetBody(fmt.Appendf(nil, "%v %v %s|%s|%s", x.ClientIP, x.Secure, x.Hops, x.Asked, x.Request.Header("X-Forwarded-For")))
		return nil
	}
	ask := "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4, 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: pub.example\r\n\r\n"
	serve(t, cfg, who).dial().send(ask).answer("GET").is(t, 200, "127.0.0.1 false ||")
	cfg.TrustedProxies = []string{"127.0.0.0/8"}
	serve(t, cfg, who).dial().send(ask).answer("GET").is(t, 200, "192.0.2.7 true 192.0.2.7|pub.example|")
	cfg.TrustedProxies = []string{"nonsense"}
	if _, err := New(cfg, nil, nil); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("%v", err)
	}
}

// Ids that could break a log or a header are replaced.
func TestRequestID(t *testing.T) {
	s := serve(t, config(), reply(""))
	for id, kept := range map[string]bool{"abc": true, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "a b": false, "": false, "\xff": false} {
		a := s.dial().send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: " + id + "\r\n\r\n").answer("GET")
		if got := a.Header.Get("X-Request-Id"); (got == id) != kept || got == "" {
			t.Errorf("%q: %q", id, got)
		}
	}
}

// A handler that wants to sees what was refused at the door.
type refuser struct {
	seen chan pipeline.Refusal
	ends chan pipeline.End
}

func (r *refuser) Serve(context.Context, *pipeline.Exchange) error { return nil }

func (r *refuser) Refuse(_ context.Context, x *pipeline.Exchange, err error) error {
	x.AtEnd(func(_ *pipeline.Exchange, e pipeline.End) { r.ends <- e })
	r.seen <- pipeline.KindOf(err)
	return err
}

func TestRefuser(t *testing.T) {
	r := &refuser{make(chan pipeline.Refusal, 1), make(chan pipeline.End, 1)}
	s := &server{t: t, log: &lines{}}
	s.start(config(), r)
	s.dial().send("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n").answer("GET").problem(t, pipeline.BadRequest)
	if kind, e := <-r.seen, <-r.ends; kind != pipeline.BadRequest || e.Kind != kind || e.Status != 400 {
		t.Errorf("%v %+v", kind, e)
	}
}

func TestKeepAlive(t *testing.T) {
	s := serve(t, config(), reply("x"))
	for head, kept := range map[string]bool{
		"HTTP/1.1\r\n":                                   true,
		"HTTP/1.1\r\nConnection: Close\r\n":              false,
		"HTTP/1.1\r\nConnection: keep-alive, cLose\r\n":  false,
		"HTTP/1.1\r\nconnection: close\r\n":              false,
		"HTTP/1.0\r\n":                                   false,
		"HTTP/1.0\r\nConnection: keep-alive\r\n":         true,
		"HTTP/1.0\r\nConnection: close, keep-alive\r\n":  false,
		"HTTP/1.1\r\nConnection: x\r\nConnection: y\r\n": true,
	} {
		c := s.dial()
		a := c.send("GET / " + head + "Host: a\r\n\r\n").answer("GET")
		if a.is(t, 200, "x"); a.Close == kept {
			t.Errorf("%q: Close %v, %v", head, a.Close, a.Header)
		}
		if kept {
			c.get("/").is(t, 200, "x")
		} else if err := c.closed(); err != nil {
			t.Errorf("%q: %v", head, err)
		}
	}
}

// The bytes that fasthttp takes for a head must be those that were handed to it; otherwise the connection is given up.
func TestLeadingLineEnds(t *testing.T) {
	s := serve(t, config(), reply("x"))
	c := s.dial().send("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n" + smuggled)
	if a := c.answer("GET"); a.StatusCode != 200 || !a.Close {
		t.Errorf("%d, Close %v", a.StatusCode, a.Close)
	}
}

func TestDateIsKeptForASecond(t *testing.T) {
	now := time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)
	if d := string(dateOf(now)); d != "Mon, 23 Nov 2026 06:00:00 GMT" {
		t.Error(d)
	}
	if n := testing.AllocsPerRun(100, func() { dateOf(now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if d := string(dateOf(now.Add(time.Second))); d != "Mon, 23 Nov 2026 06:00:01 GMT" {
		t.Error(d)
	}
}
