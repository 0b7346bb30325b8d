package h2

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// What a problem document says stands in the metadata of a gRPC refusal.
func TestRefusalMetadata(t *testing.T) {
	s := start(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		x.Problem = pipeline.Problem{
			Executed: pipeline.ExecutedUnknown, SameKey: pipeline.Yes, NewKey: pipeline.No, OperationRef: "ref", Policy: "p", Scopes: "a b",
			OriginalStatus: 201, Location: "/o/1", Status: 504, GRPC: int(x.Request.Path()[1]-'a') + 1,
		}
		return pipeline.OutcomeUnknown
	})
	for path, code := range map[string]string{"/a": "1", "/d": "4"} {
		got, _, err := s.do("POST", path, strings.NewReader("x"), "Content-Type", "application/grpc")
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"Grpc-Status": code, "Oncegate-Kind": "outcome-unknown", "Oncegate-Executed": "unknown", "Oncegate-Safe-Same-Key-Retry": "true",
			"Oncegate-Safe-New-Key": "false", "Oncegate-Operation-Ref": "ref", "Oncegate-Policy": "p", "Oncegate-Scopes": "a b",
			"Oncegate-Original-Status": "201", "Oncegate-Location": "/o/1",
		} {
			if got.Header.Get(name) != want {
				t.Errorf("%s: %s %q, want %q", path, name, got.Header.Get(name), want)
			}
		}
	}
	got, _, err := s.do("POST", "/a", strings.NewReader("x"), "Content-Type", "application/json")
	if err != nil || got.Header.Get("Oncegate-Kind") != "" {
		t.Errorf("a problem document needs no metadata: %v %v", got.Header, err)
	}
}

// A gRPC answer ends with a status in every case: its own, also behind a body whose length is known, or ours.
func TestGRPCEnds(t *testing.T) {
	with := func(x *pipeline.Exchange) {
		x.Trailers = &pipeline.Trailers{}
		x.Trailers.Add("grpc-status", "5")
	}
	for name, c := range map[string]struct {
		answer func(x *pipeline.Exchange)
		status string
		body   string
	}{
		"in memory":                 {func(x *pipeline.Exchange) { x.Response.SetBody([]byte("abc")); with(x) }, "5", "abc"},
		"of known length":           {func(x *pipeline.Exchange) { x.Response.SetStream(late{strings.NewReader("abc"), x}, 3) }, "5", "abc"},
		"empty":                     {func(x *pipeline.Exchange) { x.Response.SetBody(nil); with(x) }, "5", ""},
		"in memory, no status":      {func(x *pipeline.Exchange) { x.Response.SetBody([]byte("abc")) }, "13", "abc"},
		"a stream without a status": {func(x *pipeline.Exchange) { x.Response.SetStream(io.NopCloser(strings.NewReader("abc")), -1) }, "13", "abc"},
		"known length, no status":   {func(x *pipeline.Exchange) { x.Response.SetStream(io.NopCloser(strings.NewReader("abc")), 3) }, "13", "abc"},
		"nothing at all":            {func(*pipeline.Exchange) {}, "13", ""},
	} {
		var logged int
		s := start(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
			x.Response.Set("Content-Type", []byte("application/grpc"))
			c.answer(x)
			x.AtEnd(func(x *pipeline.Exchange, _ pipeline.End) { logged, _ = x.GRPCStatus() })
			return nil
		})
		got, body, err := s.do("POST", "/", strings.NewReader("x"), "Content-Type", "application/grpc")
		s.end()
		if err != nil || body != c.body || got.Trailer.Get("Grpc-Status") != c.status || got.Header["Content-Length"] != nil {
			t.Errorf("%s: %q, %v, %v %v", name, body, err, got.Trailer, got.Header)
		}
		if logged != map[string]int{"5": 5, "13": 13}[c.status] {
			t.Errorf("%s: the end is told %d", name, logged)
		}
	}
}

// late has its trailers when it was read.
type late struct {
	io.Reader
	x *pipeline.Exchange
}

func (l late) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if err == io.EOF {
		l.x.Trailers = &pipeline.Trailers{}
		l.x.Trailers.Add("grpc-status", "5")
	}
	return n, err
}

func (late) Close() error { return nil }

// Nobody else gets a status.
func TestOthersEndWithoutStatus(t *testing.T) {
	s := start(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		x.Response.Set("Content-Type", x.Request.Header("X-Answer"))
		x.Response.SetStatus(int(200 + x.Request.Path()[1] - '0'))
		x.Response.SetBody([]byte("abc"))
		return nil
	})
	for _, c := range [][3]string{{"/0", "application/json", "application/grpc"}, {"/0", "application/grpc", "text/html"}, {"/1", "application/grpc", "application/grpc"}} {
		got, _, err := s.do("POST", c[0], strings.NewReader("x"), "Content-Type", c[1], "X-Answer", c[2])
		if err != nil || len(got.Trailer) != 0 || got.ContentLength != 3 {
			t.Errorf("%v: %v %v", c, got, err)
		}
	}
}

// A call that has to be here whole, and that waits for an answer first, ends in the time for a pause. Others may rest.
func TestGRPCBodyThatNeverEnds(t *testing.T) {
	cfg := config()
	cfg.Limits.ReadTimeout = units.Duration(100 * time.Millisecond)
	s := start(t, cfg, func(_ context.Context, x *pipeline.Exchange) error {
		if _, err := x.Request.Buffer(1 << 10); err != nil {
			return err
		}
		return nil
	})
	r, w := io.Pipe()
	defer w.Close()
	got, _, err := s.do("POST", "/", r, "Content-Type", "application/grpc")
	if err != nil || got.Header.Get("Grpc-Status") != "4" || got.Header.Get("Oncegate-Kind") != "request-timeout" {
		t.Errorf("%v %v", got, err)
	}
}

// A body that is kept while it goes on is in memory at its end, can be read again, and costs nothing when it is too large.
func TestKeep(t *testing.T) {
	type seen struct {
		first, again string
		whole        bool
		used         int64
	}
	got := make(chan seen, 1)
	var s *server
	s = start(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		x.Request.(interface{ Keep(int64) }).Keep(10)
		var is seen
		b, err := io.ReadAll(x.Request.Body())
		if err != nil {
			return err
		}
		is.first = string(b)
		if b, whole := x.Request.Buffered(); whole {
			is.whole, is.again = true, string(b)
			more, _ := io.ReadAll(x.Request.Body())
			is.again += "," + string(more)
		}
		is.used = s.memory.Used()
		got <- is
		return nil
	})
	for body, want := range map[string]seen{
		"abc":          {"abc", "abc,abc", true, 10},
		"abcdefghij":   {"abcdefghij", "abcdefghij,abcdefghij", true, 10},
		"abcdefghijk":  {"abcdefghijk", "", false, 0},
		"abcdefghijkl": {"abcdefghijkl", "", false, 0},
	} {
		if _, _, err := s.do("POST", "/", io.MultiReader(iotest.OneByteReader(strings.NewReader(body)), strings.NewReader("")), "Content-Type", "application/grpc"); err != nil {
			t.Fatal(err)
		}
		is := <-got
		s.end()
		s.settle(time.Second)
		if is.used > 10 || !is.whole && is.used != 0 {
			t.Errorf("%s: %d bytes are held", body, is.used)
		}
		if is.used = want.used; is != want {
			t.Errorf("%+v, want %+v", is, want)
		}
		if held := s.memory.Used(); held != 0 {
			t.Errorf("%s: %d bytes stay", body, held)
		}
	}
}
