package h2

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func echo(_ context.Context, x *pipeline.Exchange) error {
	if body := x.Request.Body(); body != nil {
		text, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		x.Response.SetBody(text)
	}
	return nil
}

// What the head says reaches the handler; who speaks, too.
func TestHead(t *testing.T) {
	var fields, host, path, query string
	s := start(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		host, path, query = string(x.Request.Host()), string(x.Request.Path()), string(x.Request.Query())
		for i := range x.Request.Fields() {
			if name, value := x.Request.Field(i); name != nil {
				fields += string(name) + "=" + string(value) + ";"
			}
		}
		if !x.HTTP2 || x.TLS != nil || x.Secure || !x.Peer.IsValid() || string(x.PeerIP) != "127.0.0.1" || !x.ClientIP.IsLoopback() || x.Gone() || x.Left() == nil || x.Request.Body() != nil {
			t.Errorf("%+v", x)
		}
		return nil
	})
	got, _, err := s.do("GET", "/a%7Eb?c=%20", nil, "X-Request-Id", "mine", "TE", "trailers", "X_Under", "no", "X-Forwarded-For", "6.6.6.6", "X-A", "1", "X-A", "2")
	if err != nil || got.StatusCode != 200 || got.Header.Get("X-Request-Id") != "mine" || got.Header.Get("Date") == "" || got.Header.Get("Content-Length") != "0" {
		t.Fatalf("%v %v", got, err)
	}
	contains(t, "fields", fields, "X-A=1;X-A=2;")
	for _, gone := range []string{"Te=", "Under", "Forwarded", "Trailer"} {
		if strings.Contains(fields, gone) {
			t.Errorf("%s in %s", gone, fields)
		}
	}
	if host != "127.0.0.1" || path != "/a~b" || query != "c=%20" {
		t.Errorf("%s %s %s", host, path, query)
	}
	if end := s.end(); end.Status != 200 || end.Aborted || end.Kind != 0 {
		t.Errorf("%+v", end)
	}
}

// One reading with HTTP/1.1: what could be read in two ways is refused, as a problem or by resetting the stream.
func TestHygiene(t *testing.T) {
	s := start(t, config(), echo)
	for name, c := range map[string]struct {
		fields []string
		body   bool
		want   string
	}{
		"plain":               {plain, false, "200"},
		"host agrees":         {append([]string{}, append(plain, "host", "A")...), false, "200"},
		"host differs":        {append([]string{}, append(plain, "host", "b")...), false, "400"},
		"two hosts":           {append([]string{}, append(plain, "host", "a", "host", "a")...), false, "400"},
		"no authority":        {[]string{":method", "GET", ":scheme", "http", ":path", "/"}, false, "400"},
		"bad authority":       {[]string{":method", "GET", ":scheme", "http", ":authority", "a b", ":path", "/"}, false, "400"},
		"user in authority":   {[]string{":method", "GET", ":scheme", "http", ":authority", "u@a", ":path", "/"}, false, "RST PROTOCOL_ERROR"},
		"dots":                {[]string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/x/../y"}, false, "400"},
		"asterisk":            {[]string{":method", "OPTIONS", ":scheme", "http", ":authority", "a", ":path", "*"}, false, "400"},
		"absolute path":       {[]string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "http://b/"}, false, "400"},
		"no slash":            {[]string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "x"}, false, "RST PROTOCOL_ERROR"},
		"connect":             {[]string{":method", "CONNECT", ":authority", "a:443"}, false, "405"},
		"extended connect":    {[]string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "a", ":path", "/"}, false, "RST PROTOCOL_ERROR"},
		"trace":               {[]string{":method", "TRACE", ":scheme", "http", ":authority", "a", ":path", "/"}, false, "405"},
		"two authorizations":  {append([]string{}, append(plain, "authorization", "a", "authorization", "b")...), false, "400"},
		"length without body": {append([]string{}, append(plain, "content-length", "5")...), false, "400"},
		"zero without body":   {append([]string{}, append(plain, "content-length", "0")...), false, "200"},
		"two lengths":         {append([]string{}, append(plain, "content-length", "0", "content-length", "0")...), false, "400"},
		"bad length":          {append([]string{}, append(plain, "content-length", "+1")...), true, "RST PROTOCOL_ERROR"},
		"longer than said":    {append([]string{}, append(plain, "content-length", "1")...), true, "RST PROTOCOL_ERROR"},
		"expectation":         {append([]string{}, append(plain, "expect", "wonders")...), false, "417"},
		"chunked":             {append([]string{}, append(plain, "transfer-encoding", "chunked")...), false, "400"},
		"connection":          {append([]string{}, append(plain, "connection", "close")...), false, "400"},
		"te gzip":             {append([]string{}, append(plain, "te", "gzip")...), false, "400"},
		"upper case":          {append([]string{}, append(plain, "X-Upper", "a")...), false, "RST PROTOCOL_ERROR"},
		"line end":            {append([]string{}, append(plain, "x-a", "b\r\nx-admin: 1")...), false, "RST PROTOCOL_ERROR"},
		"pseudo twice":        {append([]string{}, append(plain, ":path", "/x")...), false, "RST PROTOCOL_ERROR"},
		"pseudo late":         {[]string{":method", "GET", ":scheme", "http", "x-a", "b", ":path", "/"}, false, "RST PROTOCOL_ERROR"},
		"pseudo unknown":      {append([]string{}, append(plain, ":admin", "1")...), false, "RST PROTOCOL_ERROR"},
		"no path":             {[]string{":method", "GET", ":scheme", "http", ":authority", "a"}, false, "RST PROTOCOL_ERROR"},
	} {
		w := s.frames()
		if err := w.head(1, !c.body, c.fields...); err != nil {
			t.Fatal(err)
		}
		if c.body {
			_ = w.WriteData(1, true, []byte("longer"))
		}
		if got := w.verdict(1); got != c.want && !(name == "bad length" && got == "400") { // the data behind it may come before our 400, or after
			t.Errorf("%s: %s, wanted %s", name, got, c.want)
		}
	}
}

func TestBodies(t *testing.T) {
	cfg := config()
	cfg.Limits.Body = 1000
	s := start(t, cfg, func(ctx context.Context, x *pipeline.Exchange) error {
		switch string(x.Request.Path()) {
		case "/buffer":
			b, err := x.Request.Buffer(500)
			if again, _ := x.Request.Buffer(500); err == nil && string(again) != string(b) {
				t.Error("another body the second time")
			}
			if err == nil {
				if _, whole := x.Request.Buffered(); !whole {
					t.Error("not whole")
				}
				if body := x.Request.Body(); body != nil {
					b, _ = io.ReadAll(body)
				}
				x.Response.SetBody(b)
			}
			return err
		case "/limited":
			x.Request.LimitBody(5)
		}
		return echo(ctx, x)
	})
	for _, c := range []struct {
		path    string
		n       int
		chunked bool
		want    int
	}{
		{"/", 1000, false, 200}, {"/", 1001, false, 413}, {"/", 1000, true, 200}, {"/", 1001, true, 413}, {"/limited", 5, true, 200}, {"/limited", 6, true, 413}, {"/limited", 6, false, 413},
		{"/buffer", 500, false, 200}, {"/buffer", 501, false, 413}, {"/buffer", 500, true, 200}, {"/buffer", 501, true, 413}, {"/buffer", 0, false, 200},
	} {
		var body io.Reader = strings.NewReader(strings.Repeat("b", c.n))
		if c.chunked {
			body = io.MultiReader(body)
		}
		got, text, err := s.do("POST", c.path, body)
		if err != nil || got.StatusCode != c.want || c.want == 200 && len(text) != c.n {
			t.Errorf("%+v: %v %v, %d bytes", c, got, err, len(text))
		}
		if end := s.end(); c.want == 200 && (end.BytesIn != int64(c.n) || end.BytesOut != int64(c.n) || end.Aborted) {
			t.Errorf("%+v: %+v", c, end)
		}
	}
	if s.memory.Used() != 0 {
		t.Errorf("%d bytes of buffers are still counted", s.memory.Used())
	}
}

// A client that pauses within a body is told 408, one that pauses less is not; one that takes nothing is let go.
func TestPauses(t *testing.T) {
	cfg := config()
	cfg.Limits.ReadTimeout, cfg.Limits.WriteTimeout = units.Duration(200*time.Millisecond), units.Duration(200*time.Millisecond)
	s := start(t, cfg, func(ctx context.Context, x *pipeline.Exchange) error {
		switch string(x.Request.Path()) {
		case "/long":
			x.Response.SetStream(io.NopCloser(io.LimitReader(zeros{}, 10<<20)), -1)
			return nil
		case "/slow":
			time.Sleep(500 * time.Millisecond) // the handler's own time is not the client's
			x.Response.SetBody([]byte("late"))
			return nil
		}
		return echo(ctx, x)
	})
	w := s.frames()
	_ = w.head(1, false, ":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/")
	for range 4 {
		time.Sleep(100 * time.Millisecond) // the pauses themselves
		_ = w.WriteData(1, false, []byte("x"))
	}
	begun := time.Now()
	if got := w.verdict(1); got != "408" || time.Since(begun) < 150*time.Millisecond {
		t.Errorf("a pause: %s after %v", got, time.Since(begun))
	}
	if end := s.end(); end.Kind != pipeline.RequestTimeout || end.BytesIn != 4 {
		t.Errorf("%+v", end)
	}
	if got, text, err := s.do("GET", "/slow", nil); err != nil || text != "late" {
		t.Errorf("%v %v", got, err)
	}
	s.end()
	w = s.frames()
	_ = w.head(1, true, ":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/long")
	if end := s.end(); !end.Aborted || end.BytesOut > 1<<20 || end.Err == nil {
		t.Errorf("a client that takes nothing: %+v", end)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// An answer that breaks off is reset, never ended; the handler's panics cost their request only.
func TestBrokenAnswers(t *testing.T) {
	s := start(t, config(), func(ctx context.Context, x *pipeline.Exchange) error {
		switch string(x.Request.Path()) {
		case "/short":
			x.Response.SetStream(io.NopCloser(strings.NewReader("abc")), 10)
		case "/fails":
			x.Response.SetStream(io.NopCloser(io.MultiReader(strings.NewReader("abc"), failing{})), -1)
		case "/long":
			x.Response.SetStream(io.NopCloser(strings.NewReader("abcdef")), 3)
		case "/panics":
			x.Response.SetBody([]byte("secret"))
			panic("boom")
		case "/gone":
			return pipeline.ClientGone
		}
		return nil
	})
	for path, aborted := range map[string]bool{"/short": true, "/fails": true, "/long": true, "/gone": true, "/panics": false} {
		got, text, err := s.do("GET", path, nil)
		end := s.end()
		if end.Aborted != aborted || aborted != (err != nil) {
			t.Errorf("%s: %v %v %+v", path, got, err, end)
		}
		if path == "/panics" && (got.StatusCode != 500 || strings.Contains(text, "secret") || end.Kind != pipeline.Internal) {
			t.Errorf("%d %s", got.StatusCode, text)
		}
	}
	contains(t, "log", s.said.String(), "boom")
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("upstream broke") }

// Trailers pass both ways; those that would frame or identify a message do not.
func TestTrailers(t *testing.T) {
	s := start(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		text, _ := io.ReadAll(x.Request.Body())
		x.Trailers = &pipeline.Trailers{}
		x.RequestTrailers.Each(func(name, value string) { x.Trailers.Add("Got-"+name, value) })
		x.Trailers.Add("grpc-status", "0")
		x.Trailers.Add("Content-Length", "9")
		x.Response.SetStream(io.NopCloser(strings.NewReader(string(text))), -1)
		return nil
	})
	r, _ := http.NewRequest("POST", "http://"+s.addr+"/", io.MultiReader(strings.NewReader("abc")))
	r.Trailer = http.Header{"X-Sum": {"1"}, "X_under": {"2"}}
	got, err := s.client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(got.Body)
	_ = got.Body.Close()
	if string(text) != "abc" || err != nil || len(got.Trailer) != 2 || got.Trailer.Get("Grpc-Status") != "0" || got.Trailer.Get("Got-X-Sum") != "1" {
		t.Errorf("%q %v %v", text, err, got.Trailer)
	}
}

// A refusal is a problem document, for gRPC a head that is also the trailers.
func TestRefusals(t *testing.T) {
	s := start(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		x.Response.Set("WWW-Authenticate", []byte("Bearer"))
		x.Response.SetBody([]byte("dropped"))
		x.Problem.RetryAfter = 3
		return pipeline.Unauthenticated
	})
	for contentType, grpc := range map[string]bool{"application/json": false, "application/grpc": true, "application/grpc+proto": true, "application/grpc-web": false, "application/grpc; x": true} {
		got, text, err := s.do("POST", "/", strings.NewReader("x"), "Content-Type", contentType)
		if err != nil || got.Header.Get("WWW-Authenticate") != "Bearer" || got.Header.Get("Retry-After") != "3" || got.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%v %v", got, err)
		}
		if grpc && (got.StatusCode != 200 || got.Header.Get("Grpc-Status") != "16" || text != "" || got.Header["Content-Length"] != nil) {
			t.Errorf("%s: %d %v %s", contentType, got.StatusCode, got.Header, text)
		}
		if !grpc && (got.StatusCode != 401 || got.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(text, `"urn:oncegate:problem:unauthenticated"`)) {
			t.Errorf("%s: %d %s", contentType, got.StatusCode, text)
		}
	}
	if got := string(edge.AppendPercent(nil, "50% \n\x80")); got != "50%25 %0A%80" {
		t.Error(got)
	}
}

// A client that resets its stream is seen to have left.
func TestGone(t *testing.T) {
	left := make(chan bool, 1)
	s := start(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		<-x.Left()
		left <- x.Gone()
		return pipeline.ClientGone
	})
	w := s.frames()
	_ = w.head(1, true, plain...)
	_ = w.WriteRSTStream(1, http2.ErrCodeCancel)
	if !<-left {
		t.Error("not gone")
	}
	if end := s.end(); end.Status != 499 || !end.Aborted {
		t.Errorf("%+v", end)
	}
}
