package h1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

func TestBodies(t *testing.T) {
	s := serve(t, config(), readAll)
	long := strings.Repeat("0123456789abcdef", 10<<10)
	c := s.dial()
	for _, body := range []string{"", "x", "hello", long} {
		c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)).answer("POST").is(t, 200, body)
		if e := s.ended(); e.BytesIn != int64(len(body)) || e.BytesOut != int64(len(body)) {
			t.Errorf("%d: in %d out %d", len(body), e.BytesIn, e.BytesOut)
		}
		var chunked strings.Builder
		for rest := body; len(rest) > 0; {
			n := min(len(rest), 7000)
			fmt.Fprintf(&chunked, "%X;ext\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+chunked.String()+"0\r\nX-Sum: 1\r\n\r\n").answer("POST").is(t, 200, body)
		s.ended()
	}
}

// One byte at a time: heads, sizes, chunks and the next request come in any pieces.
func TestBytewise(t *testing.T) {
	s := serve(t, config(), readAll)
	c := s.dial()
	for _, b := range []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPOST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n") {
		c.send(string([]byte{b}))
	}
	c.answer("POST").is(t, 200, "abc")
	c.answer("POST").is(t, 200, "def")
	c.answer("GET").is(t, 200, "")
}

// Pipelined requests are answered in order, each as soon as it is ready: the first does not wait for the second (P29).
func TestPipelining(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, config(), func(ctx context.Context, x *pipeline.Exchange) error {
		if string(x.Request.Path()) == "/slow" {
			<-release
		}
		x.Response.SetBody(x.Request.Path())
		return nil
	})
	c := s.dial()
	c.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxxGET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /d HTTP/1.1\r\nHost: a\r\n\r\n")
	c.answer("GET").is(t, 200, "/a")
	c.answer("POST").is(t, 200, "/b")
	close(release)
	c.answer("GET").is(t, 200, "/slow")
	c.answer("GET").is(t, 200, "/d")
}

func TestBuffer(t *testing.T) {
	s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		r := x.Request
		if _, err := r.Buffer(4); !errors.Is(err, pipeline.TooLarge) {
			return fmt.Errorf("above max: %v", err)
		}
		b, err := r.Buffer(1 << 20)
		if err != nil {
			return err
		}
		_, _ = io.ReadAll(r.Body())
		again, _ := io.ReadAll(r.Body())
		held, whole := r.Buffered()
		if !bytes.Equal(b, again) || !bytes.Equal(b, held) || !whole {
			return errors.New("not the same from the start")
		}
		x.Response.SetBody(b)
		return nil
	})
	long := strings.Repeat("0123456789", 30<<10)
	for _, body := range []string{"hello", long} {
		c := s.dial()
		c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)).answer("POST").is(t, 200, body)
		c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)).answer("POST").is(t, 200, body)
	}
	if n := s.memory.Used(); n != 0 {
		for range 4 {
			s.ended()
		}
		if n = s.memory.Used(); n != 0 {
			t.Errorf("%d bytes stay counted", n)
		}
	}
}

// A short body that came with its head needs no copy and can be sent again.
func TestBufferedFromTheStart(t *testing.T) {
	s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		b, whole := x.Request.Buffered()
		x.Response.SetBody(fmt.Appendf(nil, "%s %v", b, whole))
		return nil
	})
	c := s.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy").answer("POST").is(t, 200, "xy true")
	c.get("/").is(t, 200, " true")
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx").answer("POST").is(t, 200, " false")
	c.send("y").get("/").is(t, 200, " true")
}

func TestMemoryBudget(t *testing.T) {
	s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		_, err := x.Request.Buffer(1 << 20)
		return err
	})
	s.memory.Max = 100 << 10
	c := s.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n").answer("POST").problem(t, pipeline.Overloaded)
	s.dial().send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n30000\r\n"+strings.Repeat("x", 0x30000)).answer("POST").problem(t, pipeline.Overloaded)
	s.ended()
	if e := s.ended(); s.memory.Used() != 0 {
		t.Errorf("%d bytes stay counted, %+v", s.memory.Used(), e)
	}
}

func TestLimitBody(t *testing.T) {
	s := serve(t, config(), func(ctx context.Context, x *pipeline.Exchange) error {
		x.Request.LimitBody(5)
		return readAll(ctx, x)
	})
	for in, want := range map[string]int{
		"Content-Length: 5\r\n\r\nhello":                             200,
		"Content-Length: 6\r\n\r\nhello!":                            413,
		"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n":  200,
		"Transfer-Encoding: chunked\r\n\r\n6\r\nhello!\r\n0\r\n\r\n": 413,
		"Transfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n2\r\no!\r\n": 413,
	} {
		if a := s.dial().send("POST / HTTP/1.1\r\nHost: a\r\n" + in).answer("POST"); a.StatusCode != want {
			t.Errorf("%q: %d %s", in, a.StatusCode, a.body)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	first := make(chan struct{}, 1)
	s := serve(t, config(), func(ctx context.Context, x *pipeline.Exchange) error {
		if x.Request.Header("Expect") != nil {
			t.Error("Expect must not be passed on")
		}
		if string(x.Request.Path()) == "/no" {
			return pipeline.Forbidden
		}
		if string(x.Request.Path()) != "/yes" {
			return readAll(ctx, x)
		}
		b, body := make([]byte, 5), x.Request.Body()
		n, err := body.Read(b)
		first <- struct{}{}
		if err == nil {
			_, err = io.ReadFull(body, b[n:])
		}
		x.Response.SetBody(b)
		return err
	})
	for _, framing := range []string{"Content-Length: 5", "Transfer-Encoding: chunked"} {
		for _, expect := range []string{"Expect: 100-continue", "expect: 100-Continue"} {
			head := " HTTP/1.1\r\nHost: a\r\n" + framing + "\r\n" + expect + "\r\n\r\n"
			// Refused first: 100 is never said (P34).
			c := s.dial().send("POST /no" + head)
			if a := c.answer("POST"); a.StatusCode != 403 || !a.Close {
				t.Fatalf("%s: %d", framing, a.StatusCode)
			}
			// Wanted: 100 comes when the body is read, the answer after it.
			c = s.dial().send("POST /yes" + head)
			if line, _ := c.br.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
				t.Fatalf("%q", line)
			}
			_, _ = c.br.ReadString('\n')
			pieces := []string{"he", "llo"}
			if framing[0] == 'T' {
				pieces = []string{"2\r\nhe\r\n", "3\r\nllo\r\n0\r\n\r\n"}
			}
			c.send(pieces[0])
			<-first // the second piece needs a second read, which says 100 no more
			c.send(pieces[1]).answer("POST").is(t, 200, "hello")
			c.get("/").is(t, 200, "")
		}
	}
	// A client that did not wait gets no 100.
	s.dial().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello").answer("POST").is(t, 200, "hello")
}

// slow is a configuration that loses patience soon.
func TestSlowBody(t *testing.T) {
	cfg := config()
	cfg.Limits.ReadTimeout = units.Duration(150 * time.Millisecond)
	s := serve(t, cfg, readAll)
	for _, head := range []string{"Content-Length: 100\r\n\r\nab", "Transfer-Encoding: chunked\r\n\r\n5\r\nab", "Transfer-Encoding: chunked\r\n\r\n5"} {
		start := time.Now()
		s.dial().send("POST / HTTP/1.1\r\nHost: a\r\n"+head).answer("POST").problem(t, pipeline.RequestTimeout)
		if d := time.Since(start); d < 120*time.Millisecond || d > time.Second {
			t.Errorf("%q: %v", head, d)
		}
	}
	// The limit is for pauses: a body that keeps moving may take longer (P30).
	c := s.dial().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")
	for range 8 {
		time.Sleep(50 * time.Millisecond)
		c.send("x")
	}
	c.answer("POST").is(t, 200, "xxxxxxxx")
}

// A body that ends early is the client's leaving, never a shorter body (P12).
func TestTruncatedBody(t *testing.T) {
	s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		_, err := io.ReadAll(x.Request.Body())
		return err
	})
	for _, head := range []string{"Content-Length: 100\r\n\r\nab", "Transfer-Encoding: chunked\r\n\r\n5\r\nab", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"} {
		c := s.dial().send("POST / HTTP/1.1\r\nHost: a\r\n" + head)
		_ = c.Close()
		if e := s.ended(); e.Kind != pipeline.ClientGone || e.Status != 499 || !e.Aborted {
			t.Errorf("%q: %+v", head, e)
		}
	}
}

func TestUploadTakesNoMemory(t *testing.T) {
	cfg := config()
	cfg.Limits.Body = 1 << 40
	const total = 64 << 20
	s := serve(t, cfg, func(_ context.Context, x *pipeline.Exchange) error {
		n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{x.Request.Body()}, make([]byte, 16<<10))
		x.Response.SetBody(fmt.Append(nil, n))
		return err
	})
	grown := heapGrowth(func() {
		c := s.dial().send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", total))
		piece := bytes.Repeat([]byte("x"), 64<<10)
		for range total / len(piece) {
			if _, err := c.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		c.answer("POST").is(t, 200, fmt.Sprint(total))
	})
	if grown > 4<<20 {
		t.Errorf("%d KiB were allocated for %d MiB", grown>>10, total>>20)
	}
}
