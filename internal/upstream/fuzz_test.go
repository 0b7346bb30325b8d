package upstream

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// scripted answers "fuzz" with whatever the fuzzer made, and everything else with its own id.
type scripted struct {
	mu     sync.Mutex
	answer []byte
	close  bool
}

func (s *scripted) serve(p *peer) {
	for req := p.request(); req != nil; req = p.request() {
		if req.id != "fuzz" {
			p.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclean")
			continue
		}
		s.mu.Lock()
		answer, end := s.answer, s.close
		s.mu.Unlock()
		_, _ = p.Write(answer)
		if end {
			return
		}
	}
}

// Whatever an upstream answers: no panic, no clean end of a body that net/http calls truncated, and the next exchange gets its
// own answer.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{okAnswer, okAnswer + okAnswer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "HTTP/1.1 100 Continue\r\n\r\n" + okAnswer, "HTTP/1.0 200 OK\r\n\r\nok",
		"HTTP/1.1 304 Not Modified\r\nConnection: a, close\r\nA: b\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	script := &scripted{}
	up := newFake(f, script.serve)
	cfg := defaults(up.url)
	cfg.Timeout.FirstByte, cfg.Timeout.IdleBody = units.Duration(20*time.Millisecond), units.Duration(20*time.Millisecond)
	r := newRig(f, cfg)
	f.Fuzz(func(t *testing.T, answer []byte, end bool) {
		script.mu.Lock()
		script.answer, script.close = answer, end
		script.mu.Unlock()
		m := get("fuzz")
		m.Response = &fastMemory{MemoryResponse: m.Sent}
		m.Keyed = true // one dispatch
		body, err := r.do(m)
		checkAnswer(t, answer, m, body, err)
		next := get("next")
		if body, err := r.do(next); err != nil || string(body) != "clean" {
			t.Fatalf("the next exchange got %q, %v", body, err)
		}
		if info := r.Targets()[0]; info.InFlight != 0 {
			t.Fatalf("%+v", info)
		}
	})
}

// checkAnswer asks net/http for a second opinion on what we took for complete.
func checkAnswer(t *testing.T, answer []byte, m *pipeline.Memory, body []byte, err error) {
	if err != nil {
		return
	}
	in := bufio.NewReader(bytes.NewReader(answer))
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: "GET"})
		if err != nil {
			t.Fatalf("a malformed answer passed: %q: %v", answer, err)
		}
		if resp.StatusCode < 200 {
			continue
		}
		want, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(want, body) {
			t.Fatalf("%q ended clean with %q; net/http: %q, %v", answer, body, want, err)
		}
		return
	}
}
