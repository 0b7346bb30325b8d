package h1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// heapGrowth is how many bytes f allocates.
func heapGrowth(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// drip gives one piece for each that is sent to it, then ends with err.
type drip struct {
	pieces chan string
	err    error
	closed chan struct{}
}

func newDrip(err error) *drip {
	return &drip{make(chan string, 10), err, make(chan struct{}, 10)}
}

func (d *drip) Read(p []byte) (int, error) {
	piece, ok := <-d.pieces
	if !ok {
		return 0, d.err
	}
	return copy(p, piece), nil
}

func (d *drip) Close() error { d.closed <- struct{}{}; return nil }

// streamed answers with d.
func streamed(d *drip, n int64) handle {
	return func(_ context.Context, x *pipeline.Exchange) error {
		x.Response.SetStream(d, n)
		return nil
	}
}

// Head and pieces arrive when they are written, whatever the framing.
func TestStreamArrivesAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		version string
		n       int64
		head    string
	}{
		"chunked":      {"1.1", -1, "Transfer-Encoding: chunked"},
		"sized":        {"1.1", 6, "Content-Length: 6"},
		"until close":  {"1.0", -1, "Connection: close"},
		"sized in 1.0": {"1.0", 6, "Content-Length: 6"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDrip(io.EOF)
			s := serve(t, config(), streamed(d, c.n))
			conn := s.dial().send("GET / HTTP/" + c.version + "\r\nHost: a\r\n\r\n")
			head := ""
			for !strings.HasSuffix(head, "\r\n\r\n") {
				line, err := conn.br.ReadString('\n')
				if head += line; err != nil {
					t.Fatal(err)
				}
			}
			if !strings.Contains(head, c.head+"\r\n") || strings.Contains(head, "chunked") != (name == "chunked") {
				t.Fatalf("head: %s", head)
			}
			for _, piece := range []string{"abc", "def"} {
				d.pieces <- piece
				want := piece
				if name == "chunked" {
					want = "3\r\n" + piece + "\r\n"
				}
				got := make([]byte, len(want))
				if _, err := io.ReadFull(conn.br, got); err != nil || string(got) != want {
					t.Fatalf("%q %v", got, err)
				}
			}
			close(d.pieces)
			if name == "chunked" {
				end := make([]byte, 5)
				if _, _ = io.ReadFull(conn.br, end); string(end) != "0\r\n\r\n" {
					t.Fatalf("%q", end)
				}
			}
			if c.version == "1.0" {
				if err := conn.closed(); err != nil {
					t.Fatal(err)
				}
			}
			<-d.closed
			if e := s.ended(); e.BytesOut != 6 || e.Aborted {
				t.Errorf("%+v", e)
			}
		})
	}
}

// What breaks off never looks complete (P33), and is told apart from a client that left.
func TestBrokenStream(t *testing.T) {
	broken := errors.New("upstream died")
	for name, c := range map[string]struct {
		version string
		n       int64
	}{"chunked": {"1.1", -1}, "sized": {"1.1", 10}, "until close": {"1.0", -1}} {
		for _, pieces := range []int{0, 1, 2} {
			for _, cause := range []error{broken, io.EOF} {
				if cause == io.EOF && c.n < 0 {
					continue
				}
				var attempt bool
				d := newDrip(cause)
				s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
					x.AtEnd(func(x *pipeline.Exchange, _ pipeline.End) { attempt = x.Attempt.Broken })
					x.Response.SetStream(d, c.n)
					return nil
				})
				for range pieces {
					d.pieces <- "abc"
				}
				close(d.pieces)
				a, err := s.dial().send("GET / HTTP/" + c.version + "\r\nHost: a\r\n\r\n").tryAnswer("GET")
				if err == nil && a.err == nil {
					t.Errorf("%s after %d pieces: looks complete: %q", name, pieces, a.body)
				}
				if e := s.ended(); !e.Aborted || !attempt || e.Err == nil || e.Status != 200 {
					t.Errorf("%s: %+v, broken %v", name, e, attempt)
				}
				<-d.closed
			}
		}
	}
}

// An answer that breaks off ends when it does, not when its last byte went out.
func TestBrokenStreamEndsWhenItBreaks(t *testing.T) {
	d := newDrip(errors.New("upstream died"))
	s := serve(t, config(), streamed(d, 10))
	c := s.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	d.pieces <- "abc"
	c.until("abc")
	breaks := time.Now()
	close(d.pieces)
	if e := s.ended(); !e.Aborted || e.At.Before(breaks) {
		t.Errorf("aborted %v, %v before", e.Aborted, breaks.Sub(e.At))
	}
}

// A client that leaves while the upstream is silent is nobody's failure: no breaker may count it.
func TestClientLeavesASilentStream(t *testing.T) {
	var broken bool
	d := newDrip(pipeline.ClientGone)
	s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		x.AtEnd(func(x *pipeline.Exchange, _ pipeline.End) { broken = x.Attempt.Broken })
		x.Response.SetStream(d, -1)
		return nil
	})
	d.pieces <- "abc"
	close(d.pieces)
	_, _ = s.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").tryAnswer("GET")
	if e := s.ended(); !e.Aborted || broken || e.Status != 200 {
		t.Errorf("%+v, broken %v", e, broken)
	}
}

func TestStreamLongerThanAnnounced(t *testing.T) {
	d := newDrip(io.EOF)
	s := serve(t, config(), streamed(d, 4))
	d.pieces <- "abc"
	d.pieces <- "def"
	close(d.pieces)
	if a, err := s.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").tryAnswer("GET"); err == nil && a.err == nil {
		t.Errorf("%q", a.body)
	}
	if e := s.ended(); !e.Aborted {
		t.Errorf("%+v", e)
	}
}

func TestNoBodyWhereNoneMayBe(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		status int
		length string
	}{
		"HEAD": {"HEAD", 200, "10"}, "204": {"GET", 204, ""}, "304": {"GET", 304, ""}, "HEAD refused": {"HEAD", 404, "*"},
	} {
		for _, kind := range []string{"body", "long", "stream", "field"} {
			d := newDrip(io.EOF)
			s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
				x.Response.SetStatus(c.status)
				switch kind {
				case "body":
					x.Response.SetBody([]byte("0123456789"))
				case "long":
					x.Response.SetBody(make([]byte, 10000))
				case "stream":
					x.Response.SetStream(d, 10)
				case "field":
					x.Response.Set("Content-Length", []byte("10"))
				}
				if c.status == 404 {
					return pipeline.NotFound
				}
				return nil
			})
			conn := s.dial()
			for range 2 {
				a := conn.send(c.method + " / HTTP/1.1\r\nHost: a\r\n\r\n").answer(c.method)
				length := strings.Replace(c.length, "10", map[string]string{"long": "10000"}[kind]+"10", 1)
				if kind == "long" {
					length = strings.Replace(c.length, "10", "10000", 1)
				}
				got := a.Header.Get("Content-Length")
				if a.StatusCode != c.status || a.body != "" || got != length && c.length != "*" && !(c.status == 304 && kind == "field") {
					t.Errorf("%s %s: %d %q, Content-Length %q", name, kind, a.StatusCode, a.body, got)
				}
				if e := s.ended(); e.BytesOut != 0 || e.Aborted {
					t.Errorf("%s %s: %+v", name, kind, e)
				}
			}
		}
	}
}

func TestLongBodies(t *testing.T) {
	for _, n := range []int{inPlace, inPlace + 1, dataRoom - 1, dataRoom, dataRoom + 1, 300 << 10} {
		body := strings.Repeat("x", n)
		s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
			if string(x.Request.Path()) == "/head" { // longer than the room before the data
				x.Response.Set("Long", bytes.Repeat([]byte("y"), headRoom))
			}
			x.Response.SetBody([]byte(body))
			return nil
		})
		c := s.dial()
		c.get("/").is(t, 200, body)
		c.get("/head").is(t, 200, body)
		if e := s.ended(); e.BytesOut != int64(n) {
			t.Errorf("%+v", e)
		}
	}
}

type endless struct{ left int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), e.left)
	e.left -= n
	return int(n), nil
}

func TestDownloadTakesNoMemory(t *testing.T) {
	const total = 64 << 20
	s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		n := int64(total)
		if string(x.Request.Path()) == "/chunked" {
			n = -1
		}
		x.Response.SetStream(io.NopCloser(&endless{total}), n)
		return nil
	})
	for _, path := range []string{"/sized", "/chunked"} {
		c := s.dial().send("GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		buf := make([]byte, 64<<10)
		grown := heapGrowth(func() {
			if n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, buf); n < total {
				t.Errorf("%d bytes", n)
			}
		})
		if grown > 2<<20 {
			t.Errorf("%s: %d KiB were allocated", path, grown>>10)
		}
	}
}

// A client that stops reading is cut off after the pause limit; one that reads slowly is not (P30, P43).
func TestSlowReader(t *testing.T) {
	cfg := config()
	cfg.Limits.WriteTimeout = units.Duration(200 * time.Millisecond)
	s := serve(t, cfg, func(_ context.Context, x *pipeline.Exchange) error {
		x.Response.SetStream(io.NopCloser(&endless{64 << 20}), -1)
		return nil
	})
	c := s.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	start := time.Now()
	if e := s.ended(); !e.Aborted || time.Since(start) > 3*time.Second {
		t.Errorf("after %v: %+v", time.Since(start), e)
	}
	_ = c

	d := newDrip(io.EOF)
	s = serve(t, cfg, streamed(d, -1))
	c = s.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	go func() {
		for i := range 6 {
			time.Sleep(100 * time.Millisecond)
			d.pieces <- fmt.Sprint(i)
		}
		close(d.pieces)
	}()
	c.answer("GET").is(t, 200, "012345")
}

func TestGone(t *testing.T) {
	for name, leave := range map[string]func(c *client){
		"close":      func(c *client) { _ = c.Close() },
		"half-close": func(c *client) { _ = c.Conn.(interface{ CloseWrite() error }).CloseWrite() },
		"behind bytes": func(c *client) {
			c.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
			_ = c.Close()
		},
	} {
		here, left := make(chan bool), make(chan struct{})
		s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
			here <- !x.Gone()
			<-left
			for by := time.Now().Add(3 * time.Second); !x.Gone(); time.Sleep(time.Millisecond) {
				if time.Now().After(by) {
					return errors.New("not seen")
				}
			}
			return pipeline.ClientGone
		})
		c := s.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if !<-here {
			t.Errorf("%s: gone too early", name)
		}
		leave(c)
		close(left)
		if e := s.ended(); e.Kind != pipeline.ClientGone || e.Status != 499 || !e.Aborted || e.BytesOut != 0 {
			t.Errorf("%s: %+v", name, e)
		}
		if name == "half-close" {
			if err := c.closed(); err != nil { // nothing is written for somebody who left
				t.Error(err)
			}
		}
	}
}
