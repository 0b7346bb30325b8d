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

// Who is refused while sending gets the whole answer before its end, may end its request, and then is not reset: some clients
// take a reset for the loss of the answer. Who goes on, or falls silent, is reset after a while.
func TestRefusedWhileSending(t *testing.T) {
	cfg := config()
	cfg.Limits.Body = 1000
	s := start(t, cfg, func(ctx context.Context, x *pipeline.Exchange) error {
		if string(x.Request.Path()) == "/early" {
			x.Response.SetStatus(201)
			x.Response.SetBody([]byte("early"))
			return nil
		}
		return echo(ctx, x)
	})
	for name, c := range map[string]struct {
		path, kind  string
		goes, ends  bool // on sending, or its request
		late, reset bool
	}{
		"ends when it has the answer": {"/", "text/plain", false, true, true, false},
		"falls silent":                {"/", "text/plain", false, false, true, true},
		"goes on":                     {"/", "text/plain", true, false, true, true},
		"gRPC":                        {"/", "application/grpc", false, false, false, true},
		"no refusal":                  {"/early", "text/plain", false, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := s.frames()
			_ = w.head(1, false, ":method", "POST", ":scheme", "http", ":authority", "a", ":path", c.path, "content-type", c.kind)
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
			if length == 0 && c.kind != "application/grpc" || late != c.late || reset != c.reset {
				t.Errorf("%d bytes, end late %v, reset %v", length, late, reset)
			}
			if took := time.Since(began); c.late && c.reset && !c.goes && took < lingerPause {
				t.Errorf("ended after %v", took)
			}
		})
	}
}
