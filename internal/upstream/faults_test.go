package upstream

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

var methods = []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}

// A fault of an upstream on a connection that already carried one good exchange, and on a fresh one. An execution is a
// request that the upstream read whole; no request id may ever be seen twice, except that a safe one may be sent again when
// the reused connection broke without a byte of an answer.
func TestFaultsCountExecutions(t *testing.T) {
	faults := []struct {
		name   string
		fault  func(p *peer)
		kind   pipeline.Refusal
		lost   bool // the connection broke with no answer byte
		effect pipeline.Effect
	}{
		{"eof", func(p *peer) {}, pipeline.UpstreamFailed, true, pipeline.EffectUnknown},
		{"reset", func(p *peer) { p.reset() }, pipeline.UpstreamFailed, true, pipeline.EffectUnknown},
		{"silence", func(p *peer) { p.block() }, pipeline.UpstreamTimeout, false, pipeline.EffectUnknown},
		{"one byte", func(p *peer) { p.send("H") }, pipeline.UpstreamFailed, false, pipeline.EffectUnknown},
		{"half a head", func(p *peer) { p.send("HTTP/1.1 200 OK\r\nA: b\r\n") }, pipeline.UpstreamFailed, false, pipeline.EffectUnknown},
		{"interim and eof", func(p *peer) { p.send("HTTP/1.1 103 Early Hints\r\n\r\n") }, pipeline.UpstreamFailed, false, pipeline.EffectUnknown},
		{"garbage", func(p *peer) { p.send("hello there\r\n\r\n") }, pipeline.UpstreamFailed, false, pipeline.EffectUnknown},
		{"status 700", func(p *peer) { p.send("HTTP/1.1 700 X\r\nContent-Length: 0\r\n\r\n") }, pipeline.UpstreamFailed, false, pipeline.EffectUnknown},
		{"101", func(p *peer) { p.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n") }, pipeline.UpstreamFailed, false, pipeline.EffectUnknown},
		{"two lengths", func(p *peer) { p.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok") }, pipeline.UpstreamFailed, false, pipeline.EffectUnknown},
	}
	for _, fault := range faults {
		for _, reused := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/reused=%v", fault.name, reused), func(t *testing.T) {
				t.Parallel()
				for _, method := range methods {
					for _, keyed := range []bool{false, true} {
						safe := method == "GET" || method == "HEAD"
						again := fault.lost && reused && safe && !keyed
						r, f := faultyRig(t, reused, fault.fault)
						m := with(method, "the-one")
						m.Keyed = keyed
						body, err := r.do(m)
						if again { // the second dispatch meets the fault on a fresh connection, and that is final
							if got := count(f, "the-one"); got != 2 {
								t.Errorf("%s: seen %d times, want 2", method, got)
							}
						} else if got := count(f, "the-one"); got != 1 {
							t.Errorf("%s keyed=%v: seen %d times, want 1", method, keyed, got)
						}
						if pipeline.KindOf(err) != fault.kind || m.Effect != fault.effect {
							t.Errorf("%s: %q, %v, effect %v; want %v, %v", method, body, err, m.Effect, fault.kind, fault.effect)
						}
						if m.Sent.Resets() == 0 {
							t.Errorf("%s: the response was not reset", method)
						}
					}
				}
			})
		}
	}
}

// faultyRig is an upstream that meets "the-one" with the fault; with reused the pool holds a good connection before.
func faultyRig(t *testing.T, reused bool, fault func(*peer)) (*rig, *fake) {
	f := newFake(t, func(p *peer) {
		for s := p.request(); s != nil; s = p.request() {
			if s.id == "the-one" {
				fault(p)
				return
			}
			p.send(okAnswer)
		}
	})
	cfg := defaults(f.url)
	cfg.Timeout.FirstByte = units.Duration(60 * time.Millisecond)
	r := newRig(t, cfg)
	if reused {
		body, err := r.do(get("warm"))
		wantOK(t, body, err)
	}
	return r, f
}

func count(f *fake, id string) (n int) {
	for _, s := range f.requests() {
		if s.id == id {
			n++
		}
	}
	return n
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return "http://" + ln.Addr().String()
}

func TestRefusedDialTriesOnceMore(t *testing.T) {
	good := newFake(t, answering(okAnswer))
	for _, method := range methods[2:] {
		r := newRig(t, defaults(closedPort(t), good.url))
		m := with(method, method).WithBody([]byte("{}"))
		body, err := r.do(m)
		wantOK(t, body, err)
		if m.Attempt.Count != 2 || m.Attempt.Target != good.ln.Addr().String() || m.Effect != pipeline.EffectDone {
			t.Errorf("%s: %+v, effect %v", method, m.Attempt, m.Effect)
		}
		if count(good, method) != 1 {
			t.Errorf("%s: seen %d times", method, count(good, method))
		}
	}
}

func TestRefusedDialKeepsTheBodyForTheSecondTry(t *testing.T) {
	good := newFake(t, answering(okAnswer))
	r := newRig(t, defaults(closedPort(t), good.url))
	sent := strings.Repeat("x", 100_000)
	body, err := r.do(with("POST", "big").WithChunkedBody([]byte(sent)))
	wantOK(t, body, err)
	if got := good.requests()[0]; string(got.body) != sent || got.err != nil {
		t.Errorf("upstream got %d bytes, %v", len(got.body), got.err)
	}
}

func TestRefusedDialOnTheOnlyTarget(t *testing.T) {
	r := newRig(t, defaults(closedPort(t)))
	m := with("POST", "a")
	_, err := r.do(m)
	wantKind(t, err, pipeline.UpstreamFailed)
	if m.Attempt.Count != 2 || m.Effect != pipeline.EffectNone || m.Attempt.Upstream != "orders" || m.Attempt.Duration <= 0 {
		t.Errorf("%+v, effect %v", m.Attempt, m.Effect)
	}
}

// A listener whose queue is full lets no connection through.
func TestDialTimeout(t *testing.T) {
	cfg := defaults("http://192.0.2.1:81")
	cfg.Timeout.Connect = units.Duration(30 * time.Millisecond)
	r := newRig(t, cfg)
	m := with("POST", "a")
	m.Deadline = time.Now().Add(40 * time.Millisecond)
	_, err := r.do(m)
	if k := pipeline.KindOf(err); k != pipeline.UpstreamTimeout && k != pipeline.UpstreamFailed || m.Effect != pipeline.EffectNone {
		t.Errorf("%v, effect %v", err, m.Effect)
	}
}

func TestUpstreamThatHangsUpBeforeTheRequest(t *testing.T) {
	f := newFake(t, func(p *peer) {
		if p.n == 0 {
			p.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n") // spoken before it was asked
			return
		}
		answering(okAnswer)(p)
	})
	r := newRig(t, defaults(f.url))
	// Whether the bytes are there at the look before the write is the network's choice; they never reach a second exchange.
	_, _ = r.do(get("a"))
	body, err := r.do(get("b"))
	wantOK(t, body, err)
}

func TestDeadlineBoundsTheWait(t *testing.T) {
	f := newFake(t, func(p *peer) { p.request(); p.block() })
	for name, set := range map[string]func(*Config, *pipeline.Memory){
		"first byte": func(c *Config, _ *pipeline.Memory) { c.Timeout.FirstByte = units.Duration(400 * time.Millisecond) },
		"try":        func(c *Config, _ *pipeline.Memory) { c.Timeout.Try = units.Duration(400 * time.Millisecond) },
		"deadline":   func(_ *Config, m *pipeline.Memory) { m.Deadline = time.Now().Add(400 * time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg, m := defaults(f.url), with("POST", "a")
			set(&cfg, m)
			r := newRig(t, cfg)
			start := time.Now()
			_, err := r.do(m)
			wantKind(t, err, pipeline.UpstreamTimeout)
			if d := time.Since(start); d < 360*time.Millisecond || d > 600*time.Millisecond {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestDeadlineThatHasPassedSendsNothing(t *testing.T) {
	f := newFake(t, answering(okAnswer))
	r := newRig(t, defaults(f.url))
	body, err := r.do(get("warm"))
	wantOK(t, body, err)
	m := with("POST", "late")
	m.Deadline = time.Now().Add(-time.Second)
	_, err = r.do(m)
	wantKind(t, err, pipeline.UpstreamTimeout)
	if m.Effect != pipeline.EffectNone || count(f, "late") != 0 {
		t.Errorf("effect %v, seen %d times", m.Effect, count(f, "late"))
	}
}

func TestClientGoneWhileWaiting(t *testing.T) {
	closed := make(chan struct{}, 2)
	f := newFake(t, func(p *peer) {
		if s := p.request(); s != nil && s.id == "keyed" {
			time.Sleep(600 * time.Millisecond)
			p.send(okAnswer)
		}
		p.block()
		closed <- struct{}{}
	})
	r := newRig(t, defaults(f.url))
	m := with("POST", "a")
	m.Leave()
	start := time.Now()
	_, err := r.do(m)
	wantKind(t, err, pipeline.ClientGone)
	select {
	case <-closed:
	case <-time.After(time.Second):
		t.Error("the upstream's connection stayed open")
	}
	if d := time.Since(start); d > time.Second || m.Effect != pipeline.EffectUnknown {
		t.Errorf("took %v, effect %v", d, m.Effect)
	}
	keyed := with("POST", "keyed")
	keyed.Keyed = true
	keyed.Leave()
	body, err := r.do(keyed)
	wantOK(t, body, err)
}

func TestCancelledContextEndsTheWait(t *testing.T) {
	f := newFake(t, func(p *peer) { p.request(); p.block() })
	r := newRig(t, defaults(f.url))
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	m := get("a")
	wantKind(t, r.Serve(ctx, &m.Exchange), pipeline.Draining)
}

// A panic in a view's code must not leak the connection's place.
func TestPanicGivesTheConnectionBack(t *testing.T) {
	f := newFake(t, func(p *peer) { p.request() })
	r := newRig(t, defaults(f.url))
	m := with("POST", "a").WithChunkedBody([]byte("x"))
	m.Request = panicking{m.Got}
	func() {
		defer func() { _ = recover() }()
		_ = r.Serve(context.Background(), &m.Exchange)
	}()
	if info := r.Targets()[0]; info.Open != 0 || m.Effect != pipeline.EffectUnknown {
		t.Errorf("%+v, effect %v", info, m.Effect)
	}
}

type panicking struct{ *pipeline.MemoryRequest }

func (p panicking) Body() io.Reader { return panicReader{} }

type panicReader struct{}

func (panicReader) Read([]byte) (int, error) { panic("read") }

// A request that was sent twice already, the second time in vain, goes nowhere else.
// A target that stops ends its kept connections and takes no new ones: a safe request goes to another target, if there is one.
func TestSilentRetryGoesElsewhere(t *testing.T) {
	stopping := func(p *peer) {
		for s := p.request(); s != nil; s = p.request() {
			if s.id == "again" {
				_ = p.f.ln.Close()
				return
			}
			p.send(okAnswer)
		}
	}
	first, second := newFake(t, stopping), newFake(t, answering(okAnswer))
	r := newRig(t, defaults(first.url, second.url))
	for range 2 {
		body, err := r.do(get("warm"))
		wantOK(t, body, err)
	}
	m := get("again")
	body, err := r.do(m)
	wantOK(t, body, err)
	if count(first, "again") != 1 || count(second, "again") != 1 || m.Effect != pipeline.EffectDone || m.Attempt.Count != 3 {
		t.Errorf("seen %d and %d times, effect %v, %+v", count(first, "again"), count(second, "again"), m.Effect, m.Attempt)
	}
	alone := newFake(t, stopping)
	r = newRig(t, defaults(alone.url))
	body, err = r.do(get("warm"))
	wantOK(t, body, err)
	m = get("again")
	_, err = r.do(m)
	wantKind(t, err, pipeline.UpstreamFailed)
	if count(alone, "again") != 1 || m.Effect != pipeline.EffectUnknown {
		t.Errorf("seen %d times, effect %v", count(alone, "again"), m.Effect)
	}
}
