package h1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

func TestPlain(t *testing.T) {
	s := serve(t, config(), reply("hello"))
	c := s.dial()
	for range 3 {
		a := c.get("/a?x=1")
		a.is(t, 200, "hello")
		if a.Header.Get("X-Request-Id") == "" || a.Header.Get("Date") == "" || a.ContentLength != 5 || a.Close {
			t.Fatalf("%v", a.Header)
		}
		for _, none := range []string{"Server", "Content-Type", "Connection"} {
			if v := a.Header.Get(none); v != "" {
				t.Errorf("%s: %s", none, v)
			}
		}
		if e := s.ended(); e.Status != 200 || e.BytesOut != 5 || e.Kind != 0 || e.Aborted || e.path != "/a" || e.At.IsZero() {
			t.Fatalf("%+v", e)
		}
	}
}

func TestViews(t *testing.T) {
	s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		r := x.Request
		var fields []string
		for i := range r.Fields() {
			if name, value := r.Field(i); name != nil {
				fields = append(fields, string(name)+"="+string(value))
			}
		}
		x.Response.SetBody(fmt.Appendf(nil, "%s %s %s %s %s|%s|%s|%v|%s", r.Method(), r.Host(), r.Authority(), r.Path(), r.Query(),
			strings.Join(fields, ","), r.Header("x-a"), r.Header("none") == nil, x.ID))
		return nil
	})
	a := s.dial().send("PROPFIND /a/%7Eb?q=%2F HTTP/1.1\r\nhost: Ex.Example:81\r\nX-Request-Id: me\r\nx-A: 1\r\nX-a: 2\r\nX_b: 3\r\n\r\n").answer("GET")
	a.is(t, 200, "PROPFIND ex.example Ex.Example:81 /a/~b q=%2F|host=Ex.Example:81,X-Request-Id=me,x-A=1,X-a=2|1|true|me")
	if a.Header.Get("X-Request-Id") != "me" {
		t.Error("the caller's id must come back")
	}
}

// Fiber answers methods it does not know by itself; the table of routes has to decide.
func TestEveryMethodReachesTheHandler(t *testing.T) {
	s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		x.Response.Set("Got", x.Request.Method())
		return pipeline.MethodNotAllowed
	})
	for _, m := range []string{"get", "PROPFIND", "QUERY", "X"} {
		a := s.dial().send(m + " / HTTP/1.1\r\nHost: a\r\n\r\n").answer("GET")
		a.problem(t, pipeline.MethodNotAllowed)
		if a.Header.Get("Got") != m {
			t.Errorf("%s: %v", m, a.Header)
		}
	}
}

func TestRefusals(t *testing.T) {
	var refuse error
	var set func(x *pipeline.Exchange)
	s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		if set != nil {
			set(x)
		}
		return refuse
	})
	for _, kind := range pipeline.Refusals() {
		if kind == pipeline.ClientGone {
			continue
		}
		refuse = fmt.Errorf("secret detail: %w", kind)
		a := s.dial().get("/")
		a.problem(t, kind)
		if strings.Contains(a.body, "secret") {
			t.Errorf("%v: detail leaked: %s", kind, a.body)
		}
		if after := a.Header.Get("Retry-After"); (after == "1") != (kind.Status() == 503 || kind == pipeline.RateLimited) {
			t.Errorf("%v: Retry-After %q", kind, after)
		}
		keyed := map[pipeline.Refusal]bool{pipeline.InProgress: true, pipeline.OutcomeUnknown: true, pipeline.ResultUnavailable: true,
			pipeline.KeyReused: true, pipeline.KeyMissing: true, pipeline.KeyInvalid: true, pipeline.StoreUnavailable: true, pipeline.Unauthenticated: true}
		if store := a.Header.Get("Cache-Control"); (store == "no-store") != keyed[kind] {
			t.Errorf("%v: Cache-Control %q", kind, store)
		}
		if e := s.ended(); e.Kind != kind || e.Status != kind.Status() || !errors.Is(e.Err, kind) || e.BytesOut != int64(len(a.body)) {
			t.Errorf("%v: %+v", kind, e)
		}
	}
	refuse = pipeline.OutcomeUnknown
	set = func(x *pipeline.Exchange) {
		x.Problem = pipeline.Problem{Status: 504, RetryAfter: 7, Executed: pipeline.ExecutedUnknown, Close: true}
		x.Response.Set("WWW-Authenticate", []byte("Bearer"))
		x.Response.Add("Link", []byte("<a>"))
		x.Response.Set("retry-after", []byte("99"))
	}
	a := s.dial().get("/")
	if a.StatusCode != 504 || !a.Close || strings.Join(a.Header["Retry-After"], "") != "7" || a.Header.Get("Link") != "<a>" ||
		a.Header.Get("WWW-Authenticate") != "Bearer" || !strings.Contains(a.body, `"executed":"unknown"`) {
		t.Errorf("%d %v %s", a.StatusCode, a.Header, a.body)
	}
	refuse = errors.New("anything")
	s.dial().get("/").problemOnly(t, 504, "internal")
}

func (a answer) problemOnly(t *testing.T, status int, slug string) {
	t.Helper()
	if a.StatusCode != status || !strings.Contains(a.body, slug) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestPanicCostsItsRequestOnly(t *testing.T) {
	others := make(chan struct{}, 1)
	s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		switch string(x.Request.Path()) {
		case "/panic":
			x.Response.Set("Half", []byte("done"))
			panic("boom")
		case "/end":
			x.AtEnd(func(*pipeline.Exchange, pipeline.End) { others <- struct{}{} })
			x.AtEnd(func(*pipeline.Exchange, pipeline.End) { panic("boom") })
		case "/stream":
			x.Response.SetStream(io.NopCloser(panicking{}), -1)
		}
		return nil
	})
	a := s.dial().get("/panic")
	a.problem(t, pipeline.Internal)
	if a.Header.Get("Half") != "" {
		t.Error("half an answer stayed")
	}
	s.dial().get("/end").is(t, 200, "")
	select {
	case <-others:
	case <-time.After(10 * time.Second):
		t.Error("what was to run after the function that panicked never ran")
	}
	if a := s.dial().send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").answer("GET"); a.err == nil {
		t.Error("a stream that panics must not look complete")
	}
	s.dial().get("/").is(t, 200, "")
	if !strings.Contains(s.log.String(), "boom") {
		t.Error("the panic must be logged")
	}
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("boom") }

func TestUpstreamFields(t *testing.T) {
	s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		r := x.Response
		for _, f := range [][2]string{{"Date", "Mon, 01 Jan 2024 00:00:00 GMT"}, {"connection", "keep-alive, x-hop"}, {"X-Hop", "1"}, {"x-hop", "2"},
			{"Keep-Alive", "timeout=5"}, {"Proxy-Connection", "x"}, {"Upgrade", "h2c"}, {"x-request-id", "theirs"}, {"Server", "up"},
			{"Set-Cookie", "a=1"}, {"Set-Cookie", "b=2"}, {"content-type", "text/x"}, {"eTag", "\"1\""}} {
			r.Add(f[0], []byte(f[1]))
		}
		r.SetStatus(203)
		r.SetBody([]byte("x"))
		return nil
	})
	c := s.dial()
	a := c.get("/")
	a.is(t, 203, "x")
	want := http.Header{"Date": {"Mon, 01 Jan 2024 00:00:00 GMT"}, "Server": {"up"}, "Set-Cookie": {"a=1", "b=2"},
		"Content-Type": {"text/x"}, "Etag": {`"1"`}, "Content-Length": {"1"}, "X-Request-Id": a.Header["X-Request-Id"]}
	if fmt.Sprint(a.Header) != fmt.Sprint(want) || a.Header.Get("X-Request-Id") == "theirs" {
		t.Errorf("got  %v\nwant %v", a.Header, want)
	}
	c.get("/").is(t, 203, "x") // the connection stays
}

// Fields of the same name keep their order (RFC 9110 section 5.3), also when ours replaces one between them.
func TestFieldOrder(t *testing.T) {
	s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		for _, f := range []string{"Link", "x-request-id", "Etag", "Link", "Link"} {
			x.Response.Add(f, fmt.Append(nil, x.Response.(*response).fast.Header.Len()))
		}
		x.Response.Set("ETAG", []byte("new"))
		return nil
	})
	a := s.dial().get("/")
	if l := a.Header["Link"]; len(l) != 3 || !(l[0] < l[1] && l[1] < l[2]) {
		t.Errorf("%v", l)
	}
	if id := a.Header["X-Request-Id"]; len(id) != 1 || len(id[0]) != 32 || a.Header.Get("Etag") != "new" {
		t.Errorf("%v", a.Header)
	}
}

func TestResponseView(t *testing.T) {
	s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		r := x.Response
		r.Add("X-a", []byte("1"))
		r.Add("x-A", []byte("2"))
		r.Add("Date", []byte("Mon, 01 Jan 2024 00:00:00 GMT"))
		if string(r.Header("X-A")) != "1" || r.Header("none") != nil {
			return errors.New("Header")
		}
		n := 0
		r.EachField(func(name, value []byte) { n++ })
		if r.Del("X-A"); n != 3 || r.Header("x-a") != nil {
			return errors.New("EachField or Del")
		}
		closed := 0
		r.SetStream(source{strings.NewReader("abc"), &closed}, -1)
		if _, ok, err := r.Buffer(2); ok || err != nil {
			return errors.New("Buffer under the length")
		}
		if b, ok, err := r.Buffer(3); !ok || err != nil || string(b) != "abc" || closed != 1 {
			return errors.New("Buffer")
		}
		r.SetStream(source{strings.NewReader("abc"), &closed}, 3)
		r.SetStatus(404)
		if r.Reset(); closed != 2 || r.Status() != 200 || r.Header("Date") != nil {
			return errors.New("Reset")
		}
		r.SetBody(make([]byte, 100<<10))
		if b, ok, _ := r.Buffer(1 << 20); !ok || len(b) != 100<<10 {
			return errors.New("Buffer of a long body")
		}
		r.Set("Date", []byte("Mon, 01 Jan 2024 00:00:00 GMT"))
		r.SetBody([]byte("ok"))
		return nil
	})
	a := s.dial().get("/")
	a.is(t, 200, "ok")
	if d := a.Header["Date"]; len(d) != 1 || d[0] != "Mon, 01 Jan 2024 00:00:00 GMT" {
		t.Errorf("Date: %v", d)
	}
}

type source struct {
	io.Reader
	closed *int
}

func (s source) Close() error { *s.closed++; return nil }
