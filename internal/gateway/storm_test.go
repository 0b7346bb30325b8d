package gateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncegate/oncegate/internal/edge/h1"
	"github.com/oncegate/oncegate/internal/observe"
)

// The storm: clients that pipeline, leave and break off against an upstream that answers by every framing and breaks off, too.
// What is to be answered to an id follows from the seed and the id alone, and every byte of a body tells its id.

const stormClients = 16

// plan is what the upstream does with one request.
type plan struct {
	kind   string
	status int
	size   int
	close  bool // announces that it closes
	broken bool // the answer can't come whole
	rng    *rand.Rand
}

var (
	politeKinds = []string{"sized", "sized", "sized", "medium", "large", "chunked", "chunked", "toclose", "204", "304", "drip", "interim", "pieces", "old", "refuse"}
	rudeKinds   = []string{"short", "shortchunks", "reset", "hangup", "extra", "garbage", "silent", "badhead", "badchunk"}
)

func (s *storm) plan(id, method string) plan {
	var h uint64 = 14695981039346656037
	for _, c := range []byte(id) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	p := plan{rng: rand.New(rand.NewPCG(s.seed, h)), status: 200}
	kinds := politeKinds
	if s.rude && p.rng.IntN(5) == 0 {
		kinds = rudeKinds
	}
	p.kind = kinds[p.rng.IntN(len(kinds))]
	if method == "HEAD" && (p.kind == "short" || p.kind == "shortchunks" || p.kind == "badchunk") {
		p.kind = "sized"
	}
	switch p.size = 1 + p.rng.IntN(3000); p.kind {
	case "204":
		p.status, p.size = 204, 0
	case "304":
		p.status, p.size = 304, 0
	case "refuse":
		p.status, p.close = 403, true
	case "medium":
		p.size = 3000 + p.rng.IntN(20000)
	case "large", "toclose", "chunked", "short", "shortchunks":
		p.size = 2 + p.rng.IntN(100<<10)
	case "sized":
		p.size = p.rng.IntN(3000)
		p.close = p.rng.IntN(16) == 0
	}
	p.broken = strings.Contains("short shortchunks reset hangup badhead badchunk", p.kind)
	return p
}

// pattern is n bytes of which each stretch tells the id.
func pattern(id string, n int) []byte {
	return bytes.Repeat([]byte("<"+id+">"), n/(len(id)+2)+1)[:n]
}

type storm struct {
	t    *testing.T
	seed uint64
	rude bool
	addr string

	mu      sync.Mutex
	seen    map[string]int // how often a request came whole
	bad     int
	answers [3]atomic.Int64 // whole, broken, gateway's own
	stop    atomic.Bool     // the gateway stops: requests that it has not begun get no answer
	lost    []string        // which these were
}

func (s *storm) fail(format string, args ...any) {
	s.mu.Lock()
	s.bad++
	n := s.bad
	s.mu.Unlock()
	if n <= 20 {
		s.t.Errorf("seed %d: "+format, append([]any{s.seed}, args...)...)
	}
}

// upstream serves one connection.
func (s *storm) upstream(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		id := strings.TrimPrefix(r.URL.Path, "/")
		if r.Header.Get("X-Request-Id") != id {
			s.fail("upstream got %s with the id %q", id, r.Header.Get("X-Request-Id"))
		}
		p := s.plan(id, r.Method)
		if p.kind != "refuse" {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				if r.Header.Get("X-Abort") == "" && !s.rude {
					s.fail("upstream got part of %s only: %v", id, err)
				}
				return
			}
			if r.Header.Get("X-Abort") != "" && r.Header.Get("X-Abort") != "after" {
				s.fail("a request that was broken off came whole: %s", id)
			}
			if !bytes.Equal(body, pattern(id, len(body))) || fmt.Sprint(len(body)) != r.Header.Get("X-Size") {
				s.fail("upstream got a foreign body for %s: %d bytes", id, len(body))
			}
		}
		s.mu.Lock()
		s.seen[r.Method+" "+id]++
		s.mu.Unlock()
		if !s.answer(c, id, r.Method, &p) {
			return
		}
		if p.kind == "refuse" {
			_, _ = io.Copy(io.Discard, in)
			return
		}
	}
}

// answer writes what the plan wants; false ends the connection.
func (s *storm) answer(c net.Conn, id, method string, p *plan) bool {
	body := pattern(id, p.size)
	head := fmt.Sprintf("HTTP/1.1 %d Storm\r\nX-Storm: %s\r\nX-Request-Id: up-%s\r\n", p.status, id, id)
	if p.rng.IntN(2) == 0 {
		head += "Date: Mon, 23 Nov 2026 06:00:00 GMT\r\nConnection: keep-alive, x-gone, content-length\r\nX-Gone: 1\r\n"
	}
	sized := head + fmt.Sprintf("Content-Length: %d\r\n", p.size)
	if p.close {
		sized += "Connection: close\r\n"
	}
	put := func(text string, b []byte) {
		if method == "HEAD" {
			b = nil
		}
		_, _ = c.Write(append([]byte(text), b...))
	}
	switch p.kind {
	case "204", "304":
		put(head+"\r\n", nil)
	case "old":
		put(strings.Replace(sized, "HTTP/1.1", "HTTP/1.0", 1)+"\r\n", body)
		return false
	case "toclose":
		if method == "HEAD" { // nothing else tells that the connection ends
			head += "Connection: close\r\n"
		}
		put(head+"\r\n", body)
		return false
	case "interim":
		put("HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n", nil)
		put(sized+"\r\n", body)
	case "pieces", "drip":
		all := []byte(sized + "\r\n")
		if method != "HEAD" {
			all = append(all, body...)
		}
		for len(all) > 0 {
			n := min(len(all), 1+p.rng.IntN(max(len(all)/3, 40)))
			_, _ = c.Write(all[:n])
			all = all[n:]
			time.Sleep(time.Duration(p.rng.IntN(2000)) * time.Microsecond)
		}
	case "chunked":
		s.chunks(c, head, body, method, p, len(body))
	case "shortchunks":
		s.chunks(c, head, body, method, p, p.rng.IntN(len(body)))
		return false
	case "badchunk":
		put(head+"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n", nil)
		return false
	case "short":
		put(sized+"\r\n", body[:p.rng.IntN(p.size)])
		if p.rng.IntN(2) == 0 {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		return false
	case "reset":
		put(sized[:p.rng.IntN(len(sized))], nil)
		_ = c.(*net.TCPConn).SetLinger(0)
		return false
	case "hangup":
		return false
	case "badhead":
		put(strings.Replace(sized, "X-Storm: ", "X-Storm : ", 1)+"\r\n", body)
		return false
	case "extra": // in one segment with the answer, or it might come behind the next request
		stray := "HTTP/1.1 200 OK\r\nX-Storm: stray\r\nContent-Length: 5\r\n\r\nstray"
		if method != "HEAD" {
			stray = string(body) + stray
		}
		put(sized+"\r\n"+stray, nil)
	case "garbage":
		put(sized+"\r\n", body)
		time.Sleep(time.Duration(p.rng.IntN(1000)) * time.Microsecond)
		_, _ = c.Write([]byte("garbage\r\n\r\n"))
	case "silent":
		put(sized+"\r\n", body)
		return false
	default:
		put(sized+"\r\n", body)
	}
	return !p.close
}

// chunks writes the first n bytes of body in chunks; the last chunk only when that is all.
func (s *storm) chunks(c net.Conn, head string, body []byte, method string, p *plan, n int) {
	out := []byte(head + "Transfer-Encoding: chunked\r\n\r\n")
	whole := n == len(body)
	for body = body[:n]; len(body) > 0 && method != "HEAD"; {
		k := 1 + p.rng.IntN(len(body))
		out = fmt.Appendf(out, "%x;ext=1\r\n%s\r\n", k, body[:k])
		if body = body[k:]; p.rng.IntN(3) == 0 {
			_, _ = c.Write(out)
			out = out[:0]
		}
	}
	if whole && method != "HEAD" {
		out = append(out, "0\r\nX-Trailer: a\r\n\r\n"...)
	}
	_, _ = c.Write(out)
}

func stormTime(t *testing.T) time.Duration {
	d, err := time.ParseDuration(os.Getenv("ONCEGATE_STORM"))
	if err != nil {
		d = 1700 * time.Millisecond
	}
	if testing.Short() {
		d = min(d, 500*time.Millisecond)
	}
	return d
}

func TestStorm(t *testing.T) {
	for _, mode := range []string{"polite", "rude", "stopping"} {
		t.Run(mode, func(t *testing.T) { runStorm(t, mode) })
	}
}

func runStorm(t *testing.T, mode string) {
	before := goleak.IgnoreCurrent()
	s := &storm{t: t, seed: uint64(time.Now().UnixNano()), rude: mode == "rude", seen: map[string]int{}}
	if text := os.Getenv("ONCEGATE_STORM_SEED"); text != "" {
		_, _ = fmt.Sscan(text, &s.seed)
	}
	t.Logf("ONCEGATE_STORM_SEED=%d", s.seed)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			go s.upstream(c)
		}
	}()
	doc := document(t, "http://"+ln.Addr().String(), `
listen: { address: "127.0.0.1:0", drain: { notice: 0s, timeout: 1s } }
admin: { address: "127.0.0.1:0" }
upstreams: { up: { targets: ["@UP@"] } }
routes: [ { id: all, match: { path: "/{id}" }, auth: none, to: up } ]
`)
	metrics, logger := observe.NewMetrics(observe.BuildInfo{}), slog.New(slog.DiscardHandler)
	g, err := New(doc, NewState(metrics, observe.New(metrics, nil, logger), logger))
	if err != nil {
		t.Fatal(err)
	}
	edge, err := h1.New(doc.Listen.Config, g, logger)
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = front.Addr().String()
	go func() { _ = edge.Serve(front) }()

	end := time.Now().Add(stormTime(t))
	if mode == "stopping" {
		wait := time.Until(end) / 2
		time.AfterFunc(wait, func() {
			s.stop.Store(true)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := edge.Shutdown(ctx); err != nil {
				s.fail("%v", err)
			}
		})
	}
	var wait sync.WaitGroup
	for i := range stormClients {
		wait.Go(func() {
			rng := rand.New(rand.NewPCG(s.seed, uint64(i)))
			for n := 0; time.Now().Before(end) && !t.Failed() && !s.stop.Load(); n++ {
				s.connection(rng, fmt.Sprintf("c%d-%d", i, n))
			}
		})
	}
	wait.Wait()
	t.Logf("answers: %d whole, %d broken, %d of the gateway", s.answers[0].Load(), s.answers[1].Load(), s.answers[2].Load())
	s.mu.Lock() // an upstream's last connections may still be ending
	seen := maps.Clone(s.seen)
	s.mu.Unlock()
	for _, key := range s.lost {
		if seen[key] > 0 {
			s.fail("%s was done, and nobody got the answer", key)
		}
	}
	for key, n := range seen {
		if n > 1 && strings.HasPrefix(key, "POST") {
			s.fail("%s came %d times", key, n)
		}
	}
	s.settled(edge, g, metrics)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := edge.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	_ = g.Close()
	_ = ln.Close()
	if err := goleak.Find(before,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2")); err != nil {
		t.Error(err)
	}
}

// settled waits until nothing runs and no connection of the pool is lent.
func (s *storm) settled(edge *h1.Edge, g *Gateway, metrics *observe.Metrics) {
	var text bytes.Buffer
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		text.Reset()
		_ = metrics.Write(&text)
		up := g.Snapshot().Upstreams["up"].Targets()[0]
		if edge.Active() == 0 && up.InFlight == 0 && strings.Contains(text.String(), `gateway_in_flight{route="all"} 0`) {
			return
		}
		if time.Now().After(end) {
			s.fail("%d exchanges, %d connections of the upstream are still in use", edge.Active(), up.InFlight)
			return
		}
	}
}
