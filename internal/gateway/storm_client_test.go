package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"
)

// shot is one request of a client.
type shot struct {
	id, method string
	bytes      []byte
	cut        bool // it breaks off
	old        bool // HTTP/1.0
}

func newShot(rng *rand.Rand, id string, last bool) shot {
	q := shot{id: id, method: []string{"GET", "GET", "GET", "HEAD", "POST", "POST"}[rng.IntN(6)]}
	version := "HTTP/1.1"
	if last && rng.IntN(6) == 0 {
		q.old, version = true, "HTTP/1.0"
	}
	size := 0
	if q.method == "POST" {
		size = []int{0, rng.IntN(100), rng.IntN(20 << 10), rng.IntN(100 << 10)}[rng.IntN(4)]
	}
	q.cut = last && size > 1 && rng.IntN(3) == 0
	head := fmt.Sprintf("%s /%s %s\r\nHost: storm.example\r\nX-Request-Id: %s\r\nX-Size: %d\r\n", q.method, id, version, id, size)
	if q.cut {
		head += "X-Abort: 1\r\n"
	}
	body := pattern(id, size)
	switch {
	case q.method != "POST":
		q.bytes = []byte(head + "\r\n")
	case q.old || rng.IntN(2) == 0:
		q.bytes = append(fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n", head, size), body...)
	default:
		q.bytes = []byte(head + "Transfer-Encoding: chunked\r\n\r\n")
		for len(body) > 0 {
			n := 1 + rng.IntN(len(body))
			q.bytes = fmt.Appendf(q.bytes, "%x\r\n%s\r\n", n, body[:n])
			body = body[n:]
		}
		q.bytes = append(q.bytes, "0\r\n\r\n"...)
	}
	if q.cut {
		q.bytes = q.bytes[:len(q.bytes)-1-rng.IntN(size/2+1)]
	}
	return q
}

// connection sends bursts of requests over one connection and checks their answers, in order.
func (s *storm) connection(rng *rand.Rand, name string) {
	if s.stop.Load() {
		return
	}
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		if !s.stop.Load() {
			s.fail("%v", err)
		}
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(c)
	for burst := range 1 + rng.IntN(8) {
		leaving := rng.IntN(8) == 0
		last := leaving || rng.IntN(4) == 0
		shots := make([]shot, 1+rng.IntN(5)*rng.IntN(2))
		var out []byte
		for i := range shots {
			shots[i] = newShot(rng, fmt.Sprintf("%s-%d-%d", name, burst, i), last && i == len(shots)-1)
			out = append(out, shots[i].bytes...)
		}
		if leaving {
			out = bytes.ReplaceAll(out, []byte("X-Size:"), []byte("X-Abort: after\r\nX-Size:"))
		}
		sent := make(chan struct{})
		go s.send(c, out, rng.Uint64(), sent)
		if leaving {
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond)
			if rng.IntN(2) == 0 {
				_ = c.(*net.TCPConn).SetLinger(0)
			}
			_ = c.Close()
			<-sent
			return
		}
		again := s.receive(in, shots, rng)
		if !again {
			_ = c.Close()
		}
		if <-sent; !again || last {
			return
		}
	}
}

func (s *storm) send(c net.Conn, out []byte, seed uint64, done chan<- struct{}) {
	defer close(done)
	rng := rand.New(rand.NewPCG(seed, 0))
	for slow := rng.IntN(3) == 0; len(out) > 0; {
		n := len(out)
		if slow {
			n = min(n, 1+rng.IntN(max(n/2, 200)))
			time.Sleep(time.Duration(rng.IntN(500)) * time.Microsecond)
		}
		if _, err := c.Write(out[:n]); err != nil {
			return
		}
		out = out[n:]
	}
}

// receive reads the answers to shots; false: the connection is at its end.
func (s *storm) receive(in *bufio.Reader, shots []shot, rng *rand.Rand) bool {
	for i := range shots {
		q := &shots[i]
		p := s.plan(q.id, q.method)
		if q.cut {
			return false // nothing to wait for
		}
		if rng.IntN(10) == 0 {
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond)
		}
		a, err := http.ReadResponse(in, &http.Request{Method: q.method})
		if err != nil {
			if s.stop.Load() {
				s.mu.Lock()
				s.lost = append(s.lost, q.method+" "+q.id)
				s.mu.Unlock()
			} else {
				s.fail("%s %s (%s) got no answer: %v", q.method, q.id, p.kind, err)
			}
			return false
		}
		body, err := io.ReadAll(a.Body)
		if !s.check(q, &p, a, body, err) || a.Close || err != nil {
			return false
		}
	}
	return true
}

// check judges one answer.
func (s *storm) check(q *shot, p *plan, a *http.Response, body []byte, err error) bool {
	whose := a.Header.Get("X-Storm")
	say := func(format string, args ...any) bool {
		s.fail("%s %s (%s, %d bytes): status %d, %d bytes, header %v: %s", q.method, q.id, p.kind, p.size, a.StatusCode, len(body), a.Header, fmt.Sprintf(format, args...))
		return false
	}
	if a.Header.Get("X-Request-Id") != q.id || len(a.Header["X-Request-Id"]) != 1 || len(a.Header["Date"]) != 1 {
		return say("request id or Date")
	}
	if whose == "" {
		s.answers[2].Add(1)
		known := p.broken || q.cut || s.rude && q.method == "POST" || s.rude && p.kind == "garbage"
		if !known && !(s.rude && a.StatusCode == 502) || a.StatusCode < 400 || q.method != "HEAD" && !bytes.Contains(body, []byte("urn:oncegate:problem:")) {
			return say("the gateway's own answer: %.300s", body)
		}
		return true
	}
	switch want := pattern(q.id, p.size); {
	case whose != q.id || a.StatusCode != p.status:
		return say("somebody else's answer")
	case a.Header.Get("X-Gone") != "" || strings.Contains(a.Header.Get("Connection"), "x-gone"):
		return say("hop-by-hop fields")
	case p.kind == "badhead" || p.kind == "hangup":
		return say("an answer that never was")
	case q.method == "HEAD":
		if err != nil || len(body) > 0 {
			return say("HEAD with a body: %v", err)
		}
	case p.broken && err == nil:
		return say("a truncated answer looks complete")
	case p.broken:
		if p.kind != "badchunk" && !bytes.HasPrefix(want, body) {
			return say("a foreign byte in a truncated answer")
		}
		s.answers[1].Add(1)
		return true
	case err != nil:
		return say("broke off: %v", err)
	case !bytes.Equal(body, want):
		return say("a foreign body")
	case a.ContentLength < 0 && len(a.TransferEncoding) == 0 && !q.old && p.status == 200:
		return say("its end can't be told")
	}
	s.answers[0].Add(1)
	return true
}
