package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

// old is an upstream that speaks HTTP/1.1 and answers calls with what stands behind their method in the path: its answers hold one
// empty message.
type old struct {
	address string
	mu      sync.Mutex
	heads   []http.Header
}

var oldAnswers = map[string]string{
	"whole":     "Transfer-Encoding: chunked\r\n\r\n5\r\n\x00\x00\x00\x00\x00\r\n0\r\nGrpc-Status: 0\r\nX-Cost: 7\r\nContent-Length: 3\r\nbad_name: 1\r\n\r\n",
	"failed":    "Transfer-Encoding: chunked\r\n\r\n0\r\ngrpc-status: 9\r\ngrpc-message: no\r\n\r\n",
	"down":      "Transfer-Encoding: chunked\r\n\r\n0\r\ngrpc-status: 14\r\n\r\n",
	"head":      "Grpc-Status: 7\r\nGrpc-Message: not you\r\nContent-Length: 0\r\n\r\n",
	"no status": "Transfer-Encoding: chunked\r\n\r\n5\r\n\x00\x00\x00\x00\x00\r\n0\r\n\r\n",
	"sized":     "Content-Length: 5\r\n\r\n\x00\x00\x00\x00\x00",
	"dies":      "Transfer-Encoding: chunked\r\n\r\n5\r\n\x00\x00",
}

func oldAt(t *testing.T) *old {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &old{address: ln.Addr().String()}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go o.serve(c)
		}
	}()
	return o
}

func (o *old) serve(c net.Conn) {
	defer c.Close()
	for in := bufio.NewReader(c); ; {
		q, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, q.Body)
		o.mu.Lock()
		o.heads = append(o.heads, q.Header)
		o.mu.Unlock()
		answer := oldAnswers[q.Header.Get("X-Answer")]
		if q.Header.Get("X-Slow") != "" { // in two parts: the head alone first
			head, body, _ := strings.Cut(answer, "\r\n\r\n")
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n%s\r\n\r\n", head)
			answer = body
			time.Sleep(20 * time.Millisecond) // slow is what it is
		} else {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n")
		}
		if _, err := io.WriteString(c, answer); err != nil || q.Header.Get("X-Answer") == "dies" {
			return
		}
	}
}

// A gRPC client of an HTTP/1.1 upstream: trailers of chunked bodies are its status; one that sends none is INTERNAL.
func TestGRPCToHTTP1(t *testing.T) {
	t.Parallel()
	o := oldAt(t)
	g := begin(t, `
upstreams: { old: { targets: [http://`+o.address+`] }, judged: { targets: [http://`+o.address+`], breaker: { minimum: 100, consecutive: 2 } } }
routes:
  - { id: keyed, match: { path: /grpc.testing.TestService/**, headers: { X-Route: keyed } }, auth: none, dedup: { client: "header:X-Route" }, to: old }
  - { id: judged, match: { path: /grpc.testing.TestService/**, headers: { X-Route: judged } }, auth: none, to: judged }
  - { id: old, match: { path: /grpc.testing.TestService/** }, auth: none, to: old }
`)
	c := client(t, g.address, plainText)
	for _, slow := range []string{"", "1"} {
		for _, r := range []struct {
			answer  string
			code    codes.Code
			message string
		}{
			{"whole", codes.OK, ""}, {"failed", codes.FailedPrecondition, "no"}, {"head", codes.PermissionDenied, "not you"},
			{"no status", codes.Internal, "The upstream gave no gRPC status."}, {"sized", codes.Internal, "The upstream gave no gRPC status."},
			{"dies", codes.Unavailable, "The upstream did not give a valid answer."},
		} {
			got := c.call("x-answer", r.answer, "x-slow", slow)
			if got.code != r.code || got.message != r.message {
				t.Errorf("%s, slow %q: %+v", r.answer, slow, got)
			}
			if r.answer == "whole" && (got.field("x-cost") != "7" || got.field("bad_name") != "") {
				t.Errorf("%v", got.md)
			}
		}
		for range 2 {
			keyed := c.call("x-answer", "failed", "x-slow", slow, "x-route", "keyed", "idempotency-key", "key"+slow)
			if keyed.code != codes.FailedPrecondition || keyed.message != "no" {
				t.Errorf("%+v", keyed)
			}
		}
	}
	o.mu.Lock()
	if n := len(o.heads); n != 2*6+2 {
		t.Errorf("%d calls", n)
	}
	for _, head := range o.heads {
		if head.Get("Te") != "trailers" || head.Get("Connection") != "TE" {
			t.Errorf("%v", head)
		}
	}
	o.mu.Unlock()
	for _, slow := range []string{"", "1"} {
		c.wants("a failure", codes.Unavailable, "", "x-answer", "down", "x-route", "judged", "x-slow", slow)
	}
	c.wants("open", codes.Unavailable, "upstream-open", "x-answer", "whole", "x-route", "judged")
}

// Over HTTP/1.1 gRPC is content like any other: it passes, without trailers, and refusals are problem documents.
func TestGRPCOverHTTP1(t *testing.T) {
	t.Parallel()
	s := calleeOf(t)
	g := begin(t, "upstreams: { rpc: { targets: [grpc://"+s.address+"] } }"+`
routes:
  - { id: keyed, match: { path: /grpc.testing.TestService/**, headers: { X-Client: ann } }, auth: none, dedup: { client: "header:X-Client" }, to: rpc }
  - { id: rpc, match: { path: /grpc.testing.TestService/** }, auth: none, to: rpc }
`)
	const path, message = "/grpc.testing.TestService/UnaryCall", "\x00\x00\x00\x00\x00"
	a := g.want(200, "", "POST", path, message, "Content-Type", "application/grpc", "TE", "trailers")
	if !strings.Contains(a.body, "call 1") || !strings.HasPrefix(a.header.Get("Content-Type"), "application/grpc") || a.header.Get("Grpc-Status") != "" {
		t.Errorf("%v %q", a.header, a.body)
	}
	if a := g.want(200, "", "POST", "/none", message, "Content-Type", "application/grpc"); a.header.Get("Grpc-Status") != "12" || a.header.Get("Oncegate-Kind") != "not-found" || a.body != "" {
		t.Errorf("refused: %v %q", a.header, a.body)
	}
	// What was asked for over HTTP/1.1 first is told a gRPC client whole: its status was kept, though nobody had it.
	for _, first := range []string{"9", ""} {
		key := "over-http1-" + first
		fields := []string{"Content-Type", "application/grpc", "X-Client", "ann", "Idempotency-Key", key}
		want := codes.OK
		if first != "" {
			fields, want = append(fields, "X-Code", first), codes.FailedPrecondition
		}
		g.want(200, "", "POST", path, message, fields...)
		got := client(t, g.address, plainText).call("x-client", "ann", "idempotency-key", key, "x-code", first)
		if got.code != want || got.field("idempotency-status") != "replayed" {
			t.Errorf("%+v", got)
		}
	}
}
