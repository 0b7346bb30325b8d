package h2

import (
	"context"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// ending gives how a stream ends: the bytes of its answer, whether their end came later than they, and whether a reset followed.
// then is called when they are there; goesOn: whatever room the server makes is filled.
func (w *wireClient) ending(stream uint32, then func(), goesOn bool) (length int, late, reset bool) {
	w.t.Helper()
	if err := w.until(func(f http2.Frame) bool {
		ended := false
		switch f := f.(type) {
		case *http2.DataFrame:
			ended = f.StreamEnded()
			if n := len(f.Data()); n > 0 {
				length, late = length+n, !ended
				then()
			}
		case *http2.MetaHeadersFrame:
			ended = f.StreamEnded()
		case *http2.WindowUpdateFrame:
			for left := int(f.Increment); goesOn && f.StreamID == stream && left > 0; left -= 16 << 10 {
				_ = w.WriteData(stream, false, make([]byte, min(left, 16<<10)))
			}
		case *http2.RSTStreamFrame:
			reset = true
		case *http2.PingFrame:
			return f.IsAck() // all before it is here
		}
		if ended {
			_ = w.WritePing(false, [8]byte{1})
		}
		return false
	}); err != nil {
		w.t.Fatal(err)
	}
	return length, late, reset
}

// Who is answered while sending gets the whole answer before its end, may end its request, and then is not reset: some clients
// take a reset for the loss of the answer. Who goes on, or falls silent, is reset after a while.
func TestAnsweredWhileSending(t *testing.T) {
	cfg := config()
	cfg.Limits.Body = 1000
	s := start(t, cfg, func(ctx context.Context, x *pipeline.Exchange) error {
		switch string(x.Request.Path()) {
		case "/early":
			x.Response.SetStatus(201)
			x.Response.SetBody([]byte("early"))
			return nil
		case "/moved":
			x.Response.SetStatus(308)
			return nil
		}
		return echo(ctx, x)
	})
	for name, c := range map[string]struct {
		path        string
		goes, ends  bool // on sending, or its request
		reset, bare bool
	}{
		"ends when it has the answer": {"/", false, true, false, false},
		"falls silent":                {"/", false, false, true, false},
		"goes on":                     {"/", true, false, true, false},
		"no refusal, ends":            {"/early", false, true, false, false},
		"no refusal, falls silent":    {"/early", false, false, true, false},
		"no body":                     {"/moved", false, false, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := s.frames()
			_ = w.head(1, false, ":method", "POST", ":scheme", "http", ":authority", "a", ":path", c.path, "content-type", "text/plain")
			_ = w.WriteData(1, false, make([]byte, 2000))
			began := time.Now()
			length, late, reset := w.ending(1, func() {
				if c.goes {
					for range 10 {
						_ = w.WriteData(1, false, make([]byte, 16<<10))
					}
				}
				if c.ends {
					_ = w.WriteData(1, true, nil)
				}
			}, c.goes)
			if length == 0 != c.bare || late == c.bare || reset != c.reset {
				t.Errorf("%d bytes, end late %v, reset %v", length, late, reset)
			}
			if took := time.Since(began); c.reset && !c.goes && took < lingerPause {
				t.Errorf("ended after %v", took)
			}
		})
	}
}

// A refusal of a call is one frame, head and end. It waits for a request that is about to end, for no longer than a message takes
// when a client of gRPC streams, and what an upstream answered never waits.
func TestCallsAnsweredWhileSending(t *testing.T) {
	s := start(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		if string(x.Request.Path()) != "/upstream" {
			return pipeline.Unauthenticated
		}
		x.Attempt.At = time.Now()
		x.Response.Set("Content-Type", []byte("application/grpc"))
		x.Response.Set(pipeline.GRPCStatusField, []byte("5"))
		return nil
	})
	for name, c := range map[string]struct {
		path, te    string
		ends, reset bool
		from, below time.Duration
	}{
		"ends":                        {"/", "trailers", true, false, 0, 0},
		"ends, not of gRPC":           {"/", "", true, false, 0, 0},
		"streams":                     {"/", "trailers", false, true, lingerCall, lingerPause},
		"falls silent, not of gRPC":   {"/", "", false, true, lingerPause, lingerTotal},
		"streams, the upstream ended": {"/upstream", "trailers", false, true, 0, lingerPause},
		"not of gRPC, upstream's end": {"/upstream", "", false, true, 0, lingerPause},
	} {
		t.Run(name, func(t *testing.T) {
			w := s.frames()
			fields := []string{":method", "POST", ":scheme", "http", ":authority", "a", ":path", c.path, "content-type", "application/grpc"}
			if c.te != "" {
				fields = append(fields, "te", c.te)
			}
			began := time.Now()
			_ = w.head(1, false, fields...)
			if c.ends { // behind the head, while the answer is kept back
				_ = w.WriteData(1, true, make([]byte, 5))
			}
			ended, reset := false, false
			if err := w.until(func(f http2.Frame) bool {
				switch f := f.(type) {
				case *http2.MetaHeadersFrame:
					if ended = f.StreamEnded(); !ended {
						t.Error("the head came without its end")
					}
					_ = w.WritePing(false, [8]byte{1})
				case *http2.RSTStreamFrame:
					reset = true
				case *http2.PingFrame:
					return f.IsAck()
				}
				return false
			}); err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			if !ended || reset != c.reset {
				t.Errorf("ended %v, reset %v", ended, reset)
			}
			if took < c.from || c.below > 0 && took >= c.below {
				t.Errorf("ended after %v", took)
			}
		})
	}
}
