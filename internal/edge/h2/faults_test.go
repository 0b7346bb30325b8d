package h2

import (
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// counted are the faults that happened so far.
func (s *server) counted() map[string]uint64 {
	all := map[string]uint64{}
	edge.EachFault([]*edge.Faults{s.Faults()}, func(_, fault string, n uint64) {
		if n > 0 {
			all[fault] = n
		}
	})
	return all
}

// What net/http refuses without a handler is counted by its kind.
func TestFaults(t *testing.T) {
	path := func(path string) []string {
		return []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", path}
	}
	for want, do := range map[string]func(w *wireClient){
		"malformed": func(w *wireClient) { _ = w.head(1, true, path("x")...) },
		"length": func(w *wireClient) {
			_ = w.head(1, false, append(path("/"), "content-length", "1")...)
			_ = w.WriteData(1, true, []byte("abc"))
		},
		"frame":      func(w *wireClient) { _ = w.WriteRSTStream(7, http2.ErrCodeCancel) },
		"connection": func(w *wireClient) { _ = w.head(2, true, plain...) },
		"window": func(w *wireClient) {
			_ = w.head(1, false, plain...)
			for range streamWindow/16384 + 1 {
				_ = w.WriteData(1, false, make([]byte, 16384))
			}
		},
		"streams": func(w *wireClient) {
			for id := uint32(1); id <= 43; id += 2 {
				_ = w.head(id, false, plain...)
			}
		},
		"flood": func(w *wireClient) {
			for id := uint32(1); id <= 2001; id += 2 {
				if w.head(id, true, plain...) != nil || w.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return
				}
			}
		},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			s := start(t, config(), func(context.Context, *pipeline.Exchange) error { <-release; return nil })
			defer close(release)
			w := s.frames()
			go func() { _ = w.until(func(http2.Frame) bool { return false }) }()
			do(w)
			for by := time.Now().Add(5 * time.Second); s.counted()[want] == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(by) {
					t.Fatalf("%v", s.counted())
				}
			}
		})
	}
}

func TestFaultOf(t *testing.T) {
	for what, want := range map[string]edge.Fault{
		"frame_data_pad_too_big": edge.H2Frame, "stream_STREAM_CLOSED_closed": edge.H2Frame, "stream_PROTOCOL_ERROR_trailers_bogus": edge.H2Malformed,
		"conn_ENHANCE_YOUR_CALM_too_many_early_resets": edge.H2Flood, "conn_0x77_a word of a later Go": edge.H2Other, "stream_PROTOCOL_ERROR_send_too_much": edge.H2Length,
		"stream_FLOW_CONTROL_ERROR_bad_flow": edge.H2Window, "stream_REFUSED_STREAM_over_max_streams_race": edge.H2Streams,
	} {
		if got := faultOf(what); got != want {
			t.Errorf("%s: %d, wanted %d", what, got, want)
		}
	}
}

// A trailer that belongs in a head makes the request malformed; one that was stripped from the head is not let in behind.
func TestTrailersThatAreRefused(t *testing.T) {
	s := start(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		x.Request.Strip(names("X-User"))
		if x.RequestTrailers == nil || x.RequestTrailers.Len() > 0 {
			t.Error("announced trailers are not told of, or are there too early")
		}
		body, err := x.Request.Buffer(100)
		x.RequestTrailers.Each(func(name, value string) { body = append(body, " "+name+"="+value...) })
		x.Response.SetBody(body)
		return err
	})
	for trailer, want := range map[string]string{"x-sum": "200 abc X-Sum=1", "x-user": "200 abc", "cookie": "400", "if-match": "400", "x-forwarded-for": "400"} {
		w := s.frames()
		_ = w.head(1, false, append(plain, "trailer", trailer)...)
		_ = w.WriteData(1, false, []byte("abc"))
		_ = w.head(1, true, trailer, "1")
		status, text := "", ""
		if err := w.until(func(f http2.Frame) bool {
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				status = f.PseudoValue("status")
				return f.StreamEnded()
			case *http2.DataFrame:
				text += string(f.Data())
				return f.StreamEnded()
			case *http2.RSTStreamFrame: // net/http knows some of these names itself
				status, text = "400", "{reset"
				return true
			}
			return false
		}); err != nil {
			t.Fatal(trailer, err)
		}
		if got := status + " " + text; got != want && !(want == "400" && strings.HasPrefix(got, "400 {")) {
			t.Errorf("%s: %s, wanted %s", trailer, got, want)
		}
	}
}

type names string

func (n names) Has(name []byte) bool { return strings.EqualFold(string(name), string(n)) }

// A body that is announced as empty is waited for to be so.
func TestNothingIsNothing(t *testing.T) {
	s := start(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		x.Response.SetBody([]byte("served"))
		return nil
	})
	for data, want := range map[string]string{"": "200", "abc": "RST PROTOCOL_ERROR"} {
		w := s.frames()
		_ = w.head(1, false, append(plain, "content-length", "0")...)
		_ = w.WriteData(1, true, []byte(data))
		if got := w.verdict(1); got != want {
			t.Errorf("%q: %s, wanted %s", data, got, want)
		}
	}
	w := s.frames()
	_ = w.head(1, true, ":method", "GET", ":scheme", "http", ":authority", "a", ":path", "http://a/")
	if got := w.verdict(1); got != "400" {
		t.Errorf("an absolute path: %s", got)
	}
}
