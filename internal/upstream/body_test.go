package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// source is a client's body of n bytes that is made while it is read.
type source struct {
	left  int64
	pause time.Duration
	fail  error
}

func (s *source) Read(p []byte) (int, error) {
	if s.left <= 0 {
		if s.fail != nil {
			return 0, s.fail
		}
		return 0, io.EOF
	}
	time.Sleep(s.pause)
	n := min(int64(len(p)), s.left)
	for i := range p[:n] {
		p[i] = byte(s.left - int64(i))
	}
	s.left -= n
	return int(n), nil
}

// streaming is a request whose body is a reader.
type streaming struct {
	*pipeline.MemoryRequest
	body   io.Reader
	length int64
}

func (s streaming) ContentLength() int64         { return s.length }
func (s streaming) Body() io.Reader              { return s.body }
func (s streaming) Buffered() ([]byte, bool)     { return nil, false }
func (s streaming) Buffer(int64) ([]byte, error) { return io.ReadAll(s.body) }

func upload(id string, body io.Reader, length int64) *pipeline.Memory {
	m := with("POST", id)
	m.Request = streaming{m.Got, body, length}
	return m
}

// A client that takes its time over a short body does not use up the time for connecting, nor the first wait of a connection
// that is used again; no second try hides that.
func TestSlowShortBody(t *testing.T) {
	f := newFake(t, answering(okAnswer))
	cfg := defaults(f.url)
	cfg.Timeout.Connect = units.Duration(100 * time.Millisecond)
	r := newRig(t, cfg)
	for _, conn := range []string{"fresh", "reused"} {
		m := upload(conn, &source{left: 1, pause: 300 * time.Millisecond}, 1)
		if _, err := r.do(m); err != nil || m.Attempt.Count != 1 || m.Attempt.Duration > 200*time.Millisecond {
			t.Errorf("%s: %v, %d tries, %v", conn, err, m.Attempt.Count, m.Attempt.Duration)
		}
	}
}

const fifty = 50 << 20

// 50 MiB up and down, sized and chunked, arrive unchanged, and memory stays flat.
func TestBigBodiesBothWays(t *testing.T) {
	want := sha256.New()
	_, _ = io.Copy(want, &source{left: fifty})
	for _, length := range []int64{fifty, -1} {
		sums := make(chan []byte, 1)
		f := newFake(t, func(p *peer) {
			_, body := p.head()
			p.raw.Reset()
			sum := sha256.New()
			if n, err := copyQuietly(p, sum, body); n != fifty || err != nil {
				t.Errorf("upstream got %d bytes, %v", n, err)
			}
			sums <- sum.Sum(nil)
			p.send("HTTP/1.1 200 OK\r\nContent-Length: 52428800\r\n\r\n")
			_, _ = io.Copy(p.Conn, &source{left: fifty})
			p.block()
		})
		r := newRig(t, defaults(f.url))
		m := upload("big", &source{left: fifty}, length)
		resp := &keeper{MemoryResponse: m.Sent}
		m.Response = resp
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		if err := r.Serve(context.Background(), &m.Exchange); err != nil {
			t.Fatal(err)
		}
		if got := <-sums; !bytes.Equal(got, want.Sum(nil)) {
			t.Error("the upload changed")
		}
		down := sha256.New()
		if _, err := io.Copy(down, resp.stream); err != nil || !bytes.Equal(down.Sum(nil), want.Sum(nil)) {
			t.Errorf("the download changed, %v", err)
		}
		runtime.ReadMemStats(&after)
		if grown := int64(after.TotalAlloc - before.TotalAlloc); grown > 8<<20 {
			t.Errorf("%d MiB were allocated", grown>>20)
		}
		if info := r.Targets()[0]; info.Idle != 1 {
			t.Errorf("%+v", info)
		}
	}
}

// copyQuietly copies without the fake's own record growing.
func copyQuietly(p *peer, dst io.Writer, body io.Reader) (n int64, err error) {
	buf := make([]byte, 32<<10)
	for {
		m, err := body.Read(buf)
		p.raw.Reset()
		_, _ = dst.Write(buf[:m])
		n += int64(m)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// keeper is a response that hands its stream to the test.
type keeper struct {
	*pipeline.MemoryResponse
	stream io.ReadCloser
	length int64
}

func (k *keeper) SetStream(body io.ReadCloser, n int64) { k.stream, k.length = body, n }

// serveStream serves m and gives the answer's stream.
func serveStream(t *testing.T, r *rig, m *pipeline.Memory) *keeper {
	t.Helper()
	k := &keeper{MemoryResponse: m.Sent}
	m.Response = k
	if err := r.Serve(context.Background(), &m.Exchange); err != nil {
		t.Fatal(err)
	}
	if k.stream == nil {
		t.Fatal("the answer is no stream")
	}
	return k
}

// A client's body that breaks off, is too large or too short never makes a complete request.
func TestBrokenUploads(t *testing.T) {
	for name, tt := range map[string]struct {
		body   io.Reader
		length int64
		kind   pipeline.Refusal
		effect pipeline.Effect
	}{
		"too large, chunked":   {&source{left: 100_000, fail: pipeline.TooLarge}, -1, pipeline.TooLarge, pipeline.EffectUnknown},
		"too large, sized":     {&source{left: 100_000, fail: pipeline.TooLarge}, 200_000, pipeline.TooLarge, pipeline.EffectUnknown},
		"slow client":          {&source{left: 100_000, fail: pipeline.RequestTimeout}, -1, pipeline.RequestTimeout, pipeline.EffectUnknown},
		"short":                {&source{left: 100_000}, 200_000, pipeline.BadRequest, pipeline.EffectUnknown},
		"short and small":      {&source{left: 10}, 20, pipeline.BadRequest, pipeline.EffectNone},
		"small and broken off": {&source{left: 10, fail: pipeline.RequestTimeout}, 20, pipeline.RequestTimeout, pipeline.EffectNone},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			f := newFake(t, func(p *peer) {
				if s := p.request(); s != nil {
					ended <- s.err
					p.send(okAnswer)
				}
			})
			r := newRig(t, defaults(f.url))
			m := upload("a", tt.body, tt.length)
			wantKind(t, r.Serve(context.Background(), &m.Exchange), tt.kind)
			if m.Effect != tt.effect {
				t.Errorf("effect %v", m.Effect)
			}
			if tt.effect == pipeline.EffectNone {
				if f.connections() != 0 {
					t.Error("a connection was taken before the body was there")
				}
				return
			}
			if err := <-ended; err == nil {
				t.Error("the upstream saw a complete request")
			}
			if info := r.Targets()[0]; info.Open != 0 {
				t.Errorf("%+v", info)
			}
		})
	}
}

func TestLongerBodyThanItsLengthIsCut(t *testing.T) {
	f := newFake(t, answering(okAnswer))
	r := newRig(t, defaults(f.url))
	body, err := r.do(upload("a", &source{left: 30_000}, 20_000))
	wantOK(t, body, err)
	if got := f.requests()[0]; len(got.body) != 20_000 || got.err != nil {
		t.Errorf("%d bytes, %v", len(got.body), got.err)
	}
}

const tooLarge = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig"

// The upstream refuses a big body from its head: the client gets the 413, whatever the upstream does with the rest.
func TestEarlyAnswerIsDelivered(t *testing.T) {
	for name, after := range map[string]func(p *peer, over <-chan struct{}){
		"close after 5 ms": func(*peer, <-chan struct{}) { time.Sleep(5 * time.Millisecond) },
		"stay silent":      func(_ *peer, over <-chan struct{}) { <-over },
		"read on":          func(p *peer, _ <-chan struct{}) { p.block() },
	} {
		for _, kind := range []string{"sized", "chunked", "in memory"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				over := make(chan struct{})
				f := newFake(t, func(p *peer) {
					if s, _ := p.head(); s != nil {
						p.send(tooLarge)
						after(p, over)
					}
				})
				t.Cleanup(func() { close(over) })
				r := newRig(t, defaults(f.url))
				for range 10 {
					m := upload("a", &source{left: fifty, pause: time.Microsecond}, fifty)
					switch kind {
					case "chunked":
						m = upload("a", &source{left: fifty}, -1)
					case "in memory":
						m = with("PUT", "a").WithBody(make([]byte, 8<<20))
						_, _ = m.Got.Buffer(fifty)
					}
					body, err := r.do(m)
					if err != nil || string(body) != "big" || m.Sent.Status() != 413 || m.Effect != pipeline.EffectDone {
						t.Fatalf("%q, %v, status %d", body, err, m.Sent.Status())
					}
				}
				if info := r.Targets()[0]; info.Open != 0 {
					t.Errorf("a connection with half a request was kept: %+v", info)
				}
			})
		}
	}
}

// Interim answers while the body is sent change nothing.
func TestContinueDuringUpload(t *testing.T) {
	f := newFake(t, func(p *peer) {
		s, body := p.head()
		p.send("HTTP/1.1 100 Continue\r\n\r\n")
		n, err := copyQuietly(p, io.Discard, body)
		if s == nil || n != 1<<20 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		p.send(okAnswer)
		p.block()
	})
	r := newRig(t, defaults(f.url))
	body, err := r.do(upload("a", &source{left: 1 << 20, pause: 100 * time.Microsecond}, -1))
	wantOK(t, body, err)
	if info := r.Targets()[0]; info.Idle != 1 {
		t.Errorf("%+v", info)
	}
}

func TestUpstreamThatStopsReading(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	f := newFake(t, func(p *peer) { p.head(); <-over })
	t.Cleanup(func() { close(over) })
	cfg := defaults(f.url)
	cfg.Timeout.IdleBody = units.Duration(500 * time.Millisecond)
	r := newRig(t, cfg)
	m := upload("a", &source{left: fifty}, fifty)
	start := time.Now()
	_, err := r.do(m)
	wantKind(t, err, pipeline.UpstreamTimeout)
	if d := time.Since(start); d > 1500*time.Millisecond || m.Effect != pipeline.EffectUnknown {
		t.Errorf("%v, effect %v", d, m.Effect)
	}
}

// The client's own slowness is not the upstream's: the deadline moves by it.
func TestSlowUploadDoesNotEatTheDeadline(t *testing.T) {
	f := newFake(t, answering(okAnswer))
	cfg := defaults(f.url)
	cfg.Timeout.Try = units.Duration(150 * time.Millisecond)
	r := newRig(t, cfg)
	m := upload("a", &source{left: 20 * 32 << 10, pause: 20 * time.Millisecond}, 20*32<<10)
	m.Deadline = time.Now().Add(200 * time.Millisecond)
	body, err := r.do(m)
	wantOK(t, body, err)
}

func TestDrippingBodyArrives(t *testing.T) {
	f := newFake(t, func(p *peer) {
		p.request()
		p.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
		for i := range 8 {
			time.Sleep(30 * time.Millisecond)
			p.send("abcdefgh"[i : i+1])
		}
		p.block()
	})
	cfg := defaults(f.url)
	cfg.Timeout.IdleBody = units.Duration(200 * time.Millisecond)
	r := newRig(t, cfg)
	m := get("a")
	m.Deadline = time.Now().Add(100 * time.Millisecond) // bounds the way to the head only
	body, err := r.do(m)
	if err != nil || string(body) != "abcdefgh" || r.Targets()[0].Idle != 1 {
		t.Errorf("%q, %v, %+v", body, err, r.Targets()[0])
	}
}

func TestSilentBodyBreaks(t *testing.T) {
	f := newFake(t, func(p *peer) {
		p.request()
		p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
		p.block()
	})
	cfg := defaults(f.url)
	cfg.Timeout.IdleBody = units.Duration(300 * time.Millisecond)
	r := newRig(t, cfg)
	m := get("a")
	k := serveStream(t, r, m)
	got, err := io.ReadAll(k.stream)
	if string(got) != "ok" || !errors.Is(err, io.ErrUnexpectedEOF) || !m.Attempt.Broken || pipeline.KindOf(err) != pipeline.UpstreamTimeout {
		t.Errorf("%q, %v", got, err)
	}
	if info := r.Targets()[0]; info.Open != 0 {
		t.Errorf("%+v", info)
	}
}

// A client that leaves during a silent event stream frees the upstream within a second.
func TestClientGoneDuringStream(t *testing.T) {
	closed := make(chan struct{})
	f := newFake(t, func(p *peer) {
		p.request()
		p.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
		p.block()
		close(closed)
	})
	r := newRig(t, defaults(f.url))
	m := get("a")
	k := serveStream(t, r, m)
	buf := make([]byte, 100)
	if n, err := k.stream.Read(buf); err != nil || string(buf[:n]) != "data: 1\n\n" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	m.Leave()
	_, err := k.stream.Read(buf)
	wantKind(t, err, pipeline.ClientGone)
	select {
	case <-closed:
	case <-time.After(time.Second):
		t.Error("the upstream's connection stayed open")
	}
	if m.Attempt.Broken {
		t.Error("the upstream is blamed")
	}
}

func TestClosingAnUnreadStreamClosesTheConnection(t *testing.T) {
	f := newFake(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 100_000)))
	r := newRig(t, defaults(f.url))
	k := serveStream(t, r, get("a"))
	_, _ = k.stream.Read(make([]byte, 10))
	_, _ = k.stream.Close(), k.stream.Close()
	if _, err := k.stream.Read(make([]byte, 10)); err == nil || err == io.EOF {
		t.Errorf("read after close: %v", err)
	}
	if info := r.Targets()[0]; info.Open != 0 {
		t.Errorf("%+v", info)
	}
}
