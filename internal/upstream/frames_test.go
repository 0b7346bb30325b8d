package upstream

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// framer is one connection of an upstream that says exact frames of HTTP/2.
type framer struct {
	*http2.Framer
	*peer
}

// newFramer is an upstream whose connections run the script once the preface has come and the settings were said.
func newFramer(t testing.TB, script func(*framer), settings ...http2.Setting) *fake {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startFake(t, ln, "h2c", func(p *peer) {
		if _, err := io.CopyN(io.Discard, p.r, int64(len(http2.ClientPreface))); err != nil {
			return
		}
		f := &framer{http2.NewFramer(p.Conn, p.r), p}
		_ = f.WriteSettings(settings...)
		script(f)
	})
}

// next waits for the next frame of a kind and acknowledges settings on the way; nil: the connection ended.
func (f *framer) next(kind http2.FrameType) http2.Frame {
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return nil
		}
		if s, ok := frame.(*http2.SettingsFrame); ok && !s.IsAck() {
			_ = f.WriteSettingsAck()
		}
		if n := frame.Header().Length; frame.Header().Type == http2.FrameData && n > 0 {
			_ = f.WriteWindowUpdate(0, n)
		}
		if frame.Header().Type == kind {
			if kind == http2.FrameHeaders {
				f.f.mu.Lock()
				f.f.seen = append(f.f.seen, &seen{})
				f.f.mu.Unlock()
			}
			return frame
		}
	}
}

// request waits for the next request's head and gives its stream; 0: the connection ended.
func (f *framer) request() uint32 {
	if h := f.next(http2.FrameHeaders); h != nil {
		return h.Header().StreamID
	}
	return 0
}

func (f *framer) head(id uint32, end bool, fields ...string) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: end})
}

func (f *framer) ok(id uint32) {
	f.head(id, false, ":status", "200")
	_ = f.WriteData(id, true, []byte("ok"))
}

// good answers all that comes.
func (f *framer) good() {
	for id := f.request(); id != 0; id = f.request() {
		f.ok(id)
	}
}

// first has the first request meet what then does; all others, also on other connections, are answered.
func first(then func(f *framer, id uint32)) func(*framer) {
	return func(f *framer) {
		if f.n == 0 {
			if id := f.request(); id != 0 {
				then(f, id)
			}
		}
		f.good()
	}
}

func quick(url string) Config {
	cfg := defaults(url)
	cfg.Timeout.FirstByte = units.Duration(150 * time.Millisecond)
	cfg.Timeout.IdleBody = units.Duration(150 * time.Millisecond)
	return cfg
}

// What an upstream that ends a stream before its answer is believed: only what says that nothing was processed lets a call go on.
func TestHTTP2EndsBeforeTheAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		then   func(f *framer, id uint32)
		kind   pipeline.Refusal // 0: answered, by a second dispatch
		effect pipeline.Effect
	}{
		"GOAWAY below the stream": {func(f *framer, id uint32) { _ = f.WriteGoAway(0, http2.ErrCodeNo, nil); f.block() }, 0, pipeline.EffectDone},
		"GOAWAY with an error, first stream": {func(f *framer, id uint32) {
			_ = f.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, []byte("calm"))
			f.block()
		}, 0, pipeline.EffectDone},
		"REFUSED_STREAM": {func(f *framer, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, 0, pipeline.EffectDone},
		"GOAWAY with the stream, then the end": {func(f *framer, id uint32) {
			_ = f.WriteGoAway(id, http2.ErrCodeNo, []byte("secret text"))
			_ = f.Close()
		},
			pipeline.UpstreamFailed, pipeline.EffectUnknown},
		"RST INTERNAL": {func(f *framer, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeInternal) }, pipeline.UpstreamFailed, pipeline.EffectUnknown},
		"RST CANCEL":   {func(f *framer, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeCancel) }, pipeline.UpstreamFailed, pipeline.EffectUnknown},
		"the end":      {func(f *framer, id uint32) { _ = f.Close() }, pipeline.UpstreamFailed, pipeline.EffectUnknown},
		"silence":      {func(f *framer, id uint32) { f.block() }, pipeline.UpstreamTimeout, pipeline.EffectUnknown},
		"1xx, silence": {func(f *framer, id uint32) { f.head(id, false, ":status", "103"); f.block() }, pipeline.UpstreamTimeout, pipeline.EffectUnknown},
		"garbage":      {func(f *framer, id uint32) { _ = f.WriteRawFrame(http2.FrameData, 0, 0, nil) }, pipeline.UpstreamFailed, pipeline.EffectUnknown},
		"status 600":   {func(f *framer, id uint32) { f.head(id, true, ":status", "600") }, pipeline.UpstreamFailed, pipeline.EffectUnknown},
		"status word":  {func(f *framer, id uint32) { f.head(id, true, ":status", "abc") }, pipeline.UpstreamFailed, pipeline.EffectUnknown},
		"no status":    {func(f *framer, id uint32) { f.head(id, true, "x", "y") }, pipeline.UpstreamFailed, pipeline.EffectUnknown},
		"two lengths": {func(f *framer, id uint32) {
			f.head(id, false, ":status", "200", "content-length", "2", "content-length", "2")
		}, pipeline.UpstreamFailed, pipeline.EffectUnknown},
		"a bad length":   {func(f *framer, id uint32) { f.head(id, false, ":status", "200", "content-length", "+2") }, pipeline.UpstreamFailed, pipeline.EffectUnknown},
		"1xx and answer": {func(f *framer, id uint32) { f.head(id, false, ":status", "103"); f.ok(id) }, 0, pipeline.EffectDone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFramer(t, first(tt.then))
			r := newRig(t, quick(f.url))
			m := with("POST", "a").WithBody([]byte("{}"))
			body, err := r.do(m)
			if m.Effect != tt.effect {
				t.Errorf("effect %v, want %v", m.Effect, tt.effect)
			}
			if tt.kind == 0 {
				wantOK(t, body, err)
				return
			}
			wantKind(t, err, tt.kind)
			if n := len(f.requests()); n != 1 || strings.Contains(err.Error(), "secret") {
				t.Errorf("%d requests, %v", n, err)
			}
		})
	}
}

// A body that was begun never ends like a whole one when it is none.
func TestHTTP2BodiesThatBreak(t *testing.T) {
	head := func(f *framer, id uint32, length string) {
		f.head(id, false, ":status", "200", "content-length", length)
	}
	for name, then := range map[string]func(f *framer, id uint32){
		"reset": func(f *framer, id uint32) {
			head(f, id, "4")
			_ = f.WriteData(id, false, []byte("ok"))
			_ = f.WriteRSTStream(id, http2.ErrCodeInternal)
		},
		"reset, no error": func(f *framer, id uint32) {
			f.head(id, false, ":status", "200")
			_ = f.WriteData(id, false, []byte("ok"))
			_ = f.WriteRSTStream(id, http2.ErrCodeNo)
		},
		"connection": func(f *framer, id uint32) {
			f.head(id, false, ":status", "200")
			_ = f.WriteData(id, false, []byte("ok"))
			_ = f.Close()
		},
		"GOAWAY below": func(f *framer, id uint32) {
			f.head(id, false, ":status", "200")
			_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
			f.block()
		},
		"too short": func(f *framer, id uint32) { head(f, id, "4"); _ = f.WriteData(id, true, []byte("ok")) },
		"nothing":   func(f *framer, id uint32) { f.head(id, true, ":status", "200", "content-length", "4") },
		"too long":  func(f *framer, id uint32) { head(f, id, "2"); _ = f.WriteData(id, true, []byte("okay")) },
		"too long, in pieces": func(f *framer, id uint32) {
			head(f, id, "2")
			_ = f.WriteData(id, false, []byte("ok"))
			_ = f.WriteData(id, true, []byte("ay"))
		},
		"announced, no end": func(f *framer, id uint32) { head(f, id, "2"); _ = f.WriteData(id, false, []byte("ok")); f.block() },
		"stands still":      func(f *framer, id uint32) { f.head(id, false, ":status", "200"); f.block() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFramer(t, first(then))
			r := newRig(t, quick(f.url))
			m := get("a")
			body, err := r.do(m)
			if err == nil || !m.Attempt.Broken || len(f.requests()) != 1 {
				t.Errorf("%q, %v, broken %v, %d requests", body, err, m.Attempt.Broken, len(f.requests()))
			}
		})
	}
}

// Connections that never come to speak HTTP/2 are failures to connect: nothing was asked.
func TestHTTP2ConnectionsThatFail(t *testing.T) {
	for name, tt := range map[string]struct {
		script func(*peer)
		kind   pipeline.Refusal
	}{
		"silence":        {func(p *peer) { p.block() }, pipeline.UpstreamTimeout},
		"HTTP/1.1":       {func(p *peer) { p.send("HTTP/1.1 400 Bad Request\r\n\r\n"); p.block() }, pipeline.UpstreamFailed},
		"the end":        {func(p *peer) {}, pipeline.UpstreamFailed},
		"half a frame":   {func(p *peer) { p.send("\x00\x00\x00\x04") }, pipeline.UpstreamFailed},
		"wrong settings": {func(p *peer) { p.send("\x00\x00\x01\x04\x00\x00\x00\x00\x00x"); p.block() }, pipeline.UpstreamFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, tt.script)
			cfg := quick(strings.Replace(f.url, "http:", "h2c:", 1))
			cfg.Timeout.Connect = units.Duration(100 * time.Millisecond)
			r := newRig(t, cfg)
			m := with("POST", "a").WithBody([]byte("{}"))
			_, err := r.do(m)
			wantKind(t, err, tt.kind)
			if m.Effect != pipeline.EffectNone || r.Targets()[0].Open != 0 {
				t.Errorf("effect %v, %+v", m.Effect, r.Targets()[0])
			}
			if name == "HTTP/1.1" && !strings.Contains(err.Error(), "does not speak HTTP/2") {
				t.Error(err)
			}
		})
	}
}

// When all places are taken a second connection is made, then calls wait, then they are refused; what gets free wakes who waits.
func TestHTTP2Places(t *testing.T) {
	turn, came := make(chan struct{}), make(chan struct{}, 10)
	f := newFramer(t, func(f *framer) {
		for id := f.request(); id != 0; id = f.request() {
			came <- struct{}{}
			<-turn
			f.ok(id)
		}
	}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
	cfg := defaults(f.url)
	cfg.Connections.Max = 2
	r := newRig(t, cfg)
	errs := make(chan error, 5)
	call := func() {
		body, err := r.do(get("a"))
		if err == nil && string(body) != "ok" {
			err = io.ErrUnexpectedEOF
		}
		errs <- err
	}
	go call()
	<-came
	go call()
	<-came
	for range 3 {
		go call()
	}
	if err := <-errs; pipeline.KindOf(err) != pipeline.Overloaded {
		t.Errorf("the third in the queue got %v", err)
	}
	close(turn)
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := f.connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// A part of a streamed body that is gone can't be sent again, whoever says that nothing was processed.
func TestHTTP2RefusedUpload(t *testing.T) {
	f := newFramer(t, first(func(f *framer, id uint32) {
		f.next(http2.FrameData)
		_ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream)
	}))
	r := newRig(t, quick(f.url))
	m := upload("a", &source{left: 1 << 20}, -1)
	_, err := r.do(m)
	wantKind(t, err, pipeline.UpstreamFailed)
	if m.Effect != pipeline.EffectUnknown || len(f.requests()) != 1 {
		t.Errorf("effect %v, %d requests", m.Effect, len(f.requests()))
	}
}

// An answer that comes before the upload's end is not lost, be it an error or a success.
func TestHTTP2EarlyAnswers(t *testing.T) {
	f := newFramer(t, func(f *framer) {
		for n := 0; ; n++ {
			id := f.request()
			if id == 0 {
				return
			}
			if n == 0 {
				f.head(id, false, ":status", "413")
				_ = f.WriteData(id, true, []byte("ok"))
				continue
			}
			f.head(id, false, ":status", "200")
			for {
				d := f.next(http2.FrameData)
				if d == nil || d.Header().Flags.Has(http2.FlagDataEndStream) {
					break
				}
				if n := d.Header().Length; n > 0 {
					_ = f.WriteWindowUpdate(id, n)
				}
			}
			_ = f.WriteData(id, true, []byte("ok"))
		}
	})
	r := newRig(t, defaults(f.url))
	m := upload("a", &source{left: 8 << 20}, -1)
	body, err := r.do(m)
	wantOK(t, body, err)
	if m.Sent.Status() != 413 {
		t.Errorf("status %d", m.Sent.Status())
	}
	m = upload("b", &source{left: 1 << 20}, -1)
	body, err = r.do(m)
	wantOK(t, body, err)
}

// An upload that the upstream stops reading ends with its idle limit.
func TestHTTP2UploadStandsStill(t *testing.T) {
	f := newFramer(t, func(f *framer) { f.request(); f.block() })
	r := newRig(t, quick(f.url))
	m := upload("a", &source{left: 8 << 20}, -1)
	_, err := r.do(m)
	wantKind(t, err, pipeline.UpstreamTimeout)
	if m.Effect != pipeline.EffectUnknown {
		t.Errorf("effect %v", m.Effect)
	}
}

// The same after a success that came early.
func TestHTTP2UploadStandsStillAfterTheHead(t *testing.T) {
	f := newFramer(t, func(f *framer) {
		if id := f.request(); id != 0 {
			f.head(id, false, ":status", "200")
		}
		f.block()
	})
	r := newRig(t, quick(f.url))
	_, err := r.do(upload("a", &source{left: 8 << 20}, -1))
	wantKind(t, err, pipeline.UpstreamTimeout)
}
