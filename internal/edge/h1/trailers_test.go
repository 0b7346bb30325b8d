package h1

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

type named string

func (n named) Has(name []byte) bool { return strings.EqualFold(string(name), string(n)) }

// Trailers are handed on behind the body, but not what belongs in a head, was stripped from it, or has '_' in its name.
func TestRequestTrailers(t *testing.T) {
	for _, buffered := range []bool{false, true} {
		s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) (err error) {
			x.Request.Strip(named("X-User"))
			said := "silent "
			if x.RequestTrailers != nil {
				said = "announced "
			}
			var body []byte
			if buffered {
				body, err = x.Request.Buffer(100)
			} else {
				body, err = io.ReadAll(x.Request.Body())
			}
			said += string(body)
			x.RequestTrailers.Each(func(name, value string) { said += " " + name + "=" + value })
			x.Response.SetBody([]byte(said))
			return err
		})
		c := s.dial()
		for trailers, want := range map[string]string{
			"": "abc", "X-Sum: 1\r\n": "abc X-Sum=1", "b:\r\na:\t 2 \r\nb:3\r\n": "abc b= a=2 b=3", "X-User: root\r\nx_user: root\r\nA: 1\r\n": "abc A=1", "grpc-status:0\r\n": "abc grpc-status=0",
		} {
			for announced, field := range map[string]string{"silent ": "", "announced ": "Trailer: a, b\r\n"} {
				c.send("POST / HTTP/1.1\r\nHost: a\r\n"+field+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"+trailers+"\r\n").answer("POST").is(t, 200, announced+want)
			}
		}
		for _, bad := range []string{"Cookie: a", "X-Forwarded-For: 1.1.1.1", "If-Match: *", "Max-Forwards: 1", "Host: b", "Idempotency-Key: k", "Content-Length: 3", "A\x00: b", "A: \x01", ": b", "A", "A : b"} {
			got, err := s.dial().send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n" + bad + "\r\n\r\n").tryAnswer("POST")
			if err != nil || got.StatusCode != 400 || !got.Close {
				t.Errorf("%q: %+v %v", bad, got, err)
			}
		}
	}
}

// A client that never says a word is counted, one that is merely slow between requests is not.
func TestSilenceIsCounted(t *testing.T) {
	cfg := config()
	cfg.Limits.ReadTimeout, cfg.Limits.IdleTimeout = units.Duration(50*time.Millisecond), units.Duration(50*time.Millisecond)
	s := serve(t, cfg, reply("x"))
	silent := func() (n uint64) {
		edge.EachFault([]*edge.Faults{s.Faults()}, func(at, fault string, count uint64) {
			if at+fault == "portsilent" {
				n = count
			} else if count > 0 {
				t.Errorf("%s %s: %d", at, fault, count)
			}
		})
		return n
	}
	kept := s.dial()
	kept.get("/").is(t, 200, "x")
	_ = kept.closed()
	half := s.dial().send("GET / HT")
	half.answer("GET").problem(t, pipeline.RequestTimeout)
	if n := silent(); n != 0 {
		t.Fatalf("%d silent clients before there was one", n)
	}
	_, _ = s.dial().tryAnswer("GET")
	if n := silent(); n != 1 {
		t.Errorf("%d silent clients", n)
	}
}
