package h1

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// What closes a connection while requests wait unread on it must not cost the client the whole answers before: the kernel
// would reset the connection, and the reset overtakes what is still to be sent.
func TestAnswersBeforeACloseArrive(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	for name, last := range map[string]handle{
		"broken off": func(_ context.Context, x *pipeline.Exchange) error {
			x.Response.SetStream(io.NopCloser(strings.NewReader("part")), 100)
			return nil
		},
		"last": func(_ context.Context, x *pipeline.Exchange) error {
			x.Problem.Close = true
			return pipeline.Overloaded
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, config(), func(ctx context.Context, x *pipeline.Exchange) error {
				if string(x.Request.Path()) == "/last" {
					return last(ctx, x)
				}
				x.Response.SetBody([]byte(long))
				return nil
			})
			nc, err := (&net.Dialer{}).Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = nc.(*net.TCPConn).SetReadBuffer(4 << 10)
			c := s.client(nc).send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /last HTTP/1.1\r\nHost: a\r\n\r\n" +
				fmt.Sprintf("POST /never HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(long), long))
			s.ended()
			s.ended()
			s.soon("the connection is being closed", func() bool {
				open := 0
				s.conns.each(func(*conn) { open++ })
				return open == 0 || waitsIn("IO wait", "(*conn).drainAndClose(")
			})
			c.answer("GET").is(t, 200, long)
			if a := c.answer("GET"); a.err != nil != (name == "broken off") {
				t.Errorf("%q, %v", a.body, a.err)
			}
			if err := c.closed(); err != nil && name == "last" {
				t.Error(err)
			}
		})
	}
}

// fasthttp does not let go of a stream that panicked. It must not close it later, when its exchange is another request's.
func TestAnEndedResponseLeavesNoStreamBehind(t *testing.T) {
	ex, fast := exchanges.New().(*exchange), &fasthttp.Response{}
	ex.resp.begin(fast)
	first, second := newDrip(io.EOF), newDrip(io.EOF)
	ex.resp.SetStream(first, -1)
	ex.resp.end()
	ex.resp.begin(&fasthttp.Response{})
	ex.resp.SetStream(second, -1)
	fast.Reset()
	if len(first.closed) != 1 || len(second.closed) != 0 {
		t.Errorf("closed %d times, the other's %d times", len(first.closed), len(second.closed))
	}
}
