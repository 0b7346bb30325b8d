package h1

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// naming keeps what the log would say of refused requests: the id and the end.
type naming struct{ ends chan namedEnd }

type namedEnd struct {
	id  string
	end pipeline.End
}

func (n *naming) Serve(context.Context, *pipeline.Exchange) error { return nil }

func (n *naming) Refuse(_ context.Context, x *pipeline.Exchange, err error) error {
	x.AtEnd(func(x *pipeline.Exchange, e pipeline.End) { n.ends <- namedEnd{string(x.ID), e} })
	return err
}

func nameServer(t *testing.T) (*server, *naming) {
	cfg := config()
	cfg.Limits.Header = 2 << 10
	cfg.Limits.ReadTimeout = units.Duration(200 * time.Millisecond)
	n := &naming{make(chan namedEnd, 8)}
	s := &server{t: t, log: &lines{}}
	s.start(cfg, n)
	return s, n
}

// The caller's request id stands in the refusal of a head that can't be read, and in the log, as long as it can be told apart.
func TestUnreadableHeadsAreNamed(t *testing.T) {
	s, n := nameServer(t)
	const get, post = "GET / HTTP/1.1\r\nHost: a\r\n", "POST / HTTP/1.1\r\nHost: a\r\n"
	const id, long = "x-request-ID: mine \r\n", "A: b\r\n"
	filler := "A: " + strings.Repeat("x", 3<<10) + "\r\n\r\n"
	bad, large, late := pipeline.BadRequest, pipeline.HeaderTooLarge, pipeline.RequestTimeout
	for name, c := range map[string]struct {
		in   string
		want pipeline.Refusal
		kept bool
	}{
		"two hosts":             {get + id + "Host: a\r\n\r\n", bad, true},
		"two hosts, id behind":  {get + "Host: a\r\n" + id + "\r\n", bad, true},
		"no host":               {"GET / HTTP/1.1\r\n" + id + "\r\n", bad, true},
		"two lengths":           {post + id + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", bad, true},
		"another coding":        {post + id + "Transfer-Encoding: gzip\r\n\r\n", bad, true},
		"bad path":              {"GET /%00 HTTP/1.1\r\nHost: a\r\n" + id + "\r\n", bad, true},
		"another version":       {"GET / HTTP/4.2\r\nHost: a\r\n" + id + "\r\n", pipeline.VersionNotSupported, true},
		"blank in another name": {get + id + "X Y: b\r\n\r\n", bad, true},
		"empty lines first":     {"\r\n\r\n" + get + id + "Host: a\r\n\r\n", bad, true},
		"too many":              {get + strings.Repeat(long, 30) + id + "\r\n", large, true},
		"too large":             {get + id + filler, large, true},
		"behind what was read":  {get + filler[:len(filler)-2] + id + "\r\n", large, false},
		"late":                  {get + id, late, true},
		"late, half an id":      {get + id[:len(id)-2], late, false},
		"connect":               {"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n" + id + "\r\n", pipeline.MethodNotAllowed, true},
		"two ids":               {get + id + id + "Host: a\r\n\r\n", bad, false},
		"blank before colon":    {get + "X-Request-Id : mine\r\n\r\n", bad, false},
		"bad id":                {get + "X-Request-Id: m\xffne\r\nHost: a\r\n\r\n", bad, false},
		"folded":                {get + id + " more\r\nHost: a\r\n\r\n", bad, false},
		"bare LF":               {get + id + "A: b\nHost: a\r\n\r\n", bad, false},
		"bare CR":               {get + id + "A: b\rc\r\nHost: a\r\n\r\n", bad, false},
		"LF in the first line":  {"GET / HTTP/1.1\nHost: a\r\n" + id + "\r\n", bad, false},
	} {
		a := s.dial().send(c.in).answer("GET")
		a.problem(t, c.want)
		logged := <-n.ends
		got := a.Header.Get("X-Request-Id")
		if (got == "mine") != c.kept || got != logged.id || logged.end.Kind != c.want {
			t.Errorf("%s: %q, logged %q %v", name, got, logged.id, logged.end.Kind)
		}
	}
}

// A head in pieces has its name, whatever the pieces are and whatever ends it.
func TestNamesOfHeadsInPieces(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nHost: a\r\n\r\n"
	named := strings.Index(head, "mine\r\n") + len("mine\r\n")
	for first := 1; first < len(head)-1; first++ {
		for second := first + 1; second < len(head); second++ {
			for how, want := range map[string]bool{"whole": true, "full": second >= named, "late": second >= named, "left": second >= named} {
				var d draft
				buf := make([]byte, len(head)+10) // fasthttp's
				add := func(from, to int) { copy(buf[from:], head[from:to]); d.add(buf[from:], to-from, to == len(head)) }
				add(0, first)
				if how == "full" {
					buf = buf[:second]
				}
				add(first, second)
				switch how {
				case "whole":
					add(second, len(head))
				case "late":
					d.breakOff(os.ErrDeadlineExceeded)
				case "left":
					d.breakOff(io.EOF)
				}
				if (string(d.id) == "mine") != want || d.left != (how == "left") || d.text != nil {
					t.Fatalf("%d %d %s: %q, left %v", first, second, how, d.id, d.left)
				}
			}
		}
	}
}

// A request has not the name of the one before on its connection.
func TestNamesEndWithTheirRequest(t *testing.T) {
	s, _ := nameServer(t)
	c := s.dial()
	c.send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: before\r\n\r\n").answer("GET").is(t, 200, "")
	a := c.send("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n").answer("GET")
	if a.problem(t, pipeline.BadRequest); a.Header.Get("X-Request-Id") == "before" {
		t.Error("another request's id")
	}
	var d draft
	before := []byte("GET / HTTP/1.1\r\nX-Request-Id: before\r\n\r\n")
	if d.add(before, len(before), true); string(d.id) != "before" {
		t.Errorf("%q", d.id)
	}
	if d.add(before, 5, false); len(d.id) > 0 { // what follows may be refused before it is whole
		t.Errorf("%q of half a head", d.id)
	}
	c = s.dial().send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: before\r\n\r\nGET / HTTP/1.1\r\nX-Request-Id: mine\r\n\r\n")
	c.answer("GET").is(t, 200, "")
	if a := c.answer("GET"); a.Header.Get("X-Request-Id") != "mine" {
		t.Errorf("%v", a.Header)
	}
}

// Who leaves in the middle of a head is gone, as in the middle of a body: nobody reads the answer. A head that is bad already is.
func TestLeavingInAHead(t *testing.T) {
	s, n := nameServer(t)
	for in, want := range map[string]pipeline.Refusal{
		"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nA": pipeline.ClientGone,
		"GET / HTTP/1.1\nHost: a\r\nX-Request-Id: mine\r\nA":   pipeline.BadRequest,
	} {
		c := s.dial().send(in)
		_ = c.Close()
		got := <-n.ends
		if got.end.Kind != want || got.end.Status != want.Status() || (got.id == "mine") != (want == pipeline.ClientGone) {
			t.Errorf("%q: %+v", in, got)
		}
	}
}

// 405 says what is allowed (RFC 9110 15.5.6), to calls of gRPC too.
func TestNeverServedMethods(t *testing.T) {
	s, n := nameServer(t)
	for _, line := range []string{"CONNECT a:443", "TRACE /", "connect /"} {
		for _, kind := range []string{"text/plain", "application/grpc"} {
			a := s.dial().send(line + " HTTP/1.1\r\nHost: a\r\nContent-Type: " + kind + "\r\n\r\n").answer("GET")
			if <-n.ends; a.StatusCode != map[bool]int{true: 200, false: 405}[kind == "application/grpc"] || a.Header.Get("Allow") != "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT" {
				t.Errorf("%s %s: %d %v", line, kind, a.StatusCode, a.Header)
			}
		}
	}
}
