package h2

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// sink is what net/http gives a handler, as cheap as can be.
type sink struct {
	head  http.Header
	wrote int
}

func (s *sink) Header() http.Header                { return s.head }
func (s *sink) WriteHeader(int)                    {}
func (s *sink) Write(b []byte) (int, error)        { s.wrote += len(b); return len(b), nil }
func (s *sink) FlushError() error                  { return nil }
func (s *sink) SetReadDeadline(time.Time) error    { return nil }
func (s *sink) SetWriteDeadline(t time.Time) error { return nil }

// rewound is a body that is read again for each request.
type rewound struct{ *bytes.Reader }

func (rewound) Close() error { return nil }

// What the edge itself allocates for a request stays within bounds: one string for the answer's fields with their list, keys that
// net/http has no constant for, and what handing out a stream takes. Frames are net/http's and not counted here.
func TestAllocs(t *testing.T) {
	kilobyte := bytes.Repeat([]byte{'x'}, 1<<10)
	type1, type2, length := []byte("application/json"), []byte("application/grpc"), []byte("1")
	up, down := rewound{bytes.NewReader(kilobyte)}, rewound{bytes.NewReader(kilobyte)}
	trailers := &pipeline.Trailers{}
	trailers.Add("grpc-status", "0")
	room := make([]byte, 4<<10)
	e, err := New(config(), pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		r := x.Response
		switch string(x.Request.Path()) {
		case "/refused":
			return pipeline.RateLimited
		case "/body":
			r.Set("Content-Type", type1)
			r.Set("X-Cost", length)
			r.SetBody(kilobyte)
		default:
			if _, err := x.Request.Body().Read(room); err != nil && err != io.EOF {
				return err
			}
			r.Set("Content-Type", type2)
			_, _ = down.Seek(0, io.SeekStart)
			r.SetStream(down, -1)
			x.Trailers = trailers
		}
		return nil
	}), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	peer := &connection{peer: netip.MustParseAddrPort("192.0.2.1:1000"), peerIP: []byte("192.0.2.1")}
	ctx := context.WithValue(t.Context(), connectionKey{}, peer)
	for _, c := range []struct {
		path, kind string
		most       float64
	}{{"/body", "", 3}, {"/refused", "", 3}, {"/call", "application/grpc", 8}} {
		q, err := http.NewRequestWithContext(ctx, "GET", "https://a.test"+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.RequestURI, q.ProtoMajor = c.path, 2
		q.Header = http.Header{"User-Agent": {"a/1"}, "Accept": {"*/*"}, "X-A": {"1"}, "Cache-Control": {"no-cache"}}
		if c.kind != "" {
			q.Method, q.Body, q.ContentLength = "POST", up, -1
			q.Header["Content-Type"], q.Header["Te"] = []string{c.kind}, []string{"trailers"}
		}
		w := &sink{head: http.Header{}}
		ask := func() {
			clear(w.head)
			_, _ = up.Seek(0, io.SeekStart)
			w.wrote = 0
			e.ServeHTTP(w, q)
		}
		ask()
		if w.wrote == 0 {
			t.Fatalf("%s: no answer", c.path)
		}
		got := testing.AllocsPerRun(300, ask)
		t.Logf("%s: %v", c.path, got)
		if got > c.most && !raceDetector {
			t.Errorf("%s: %v allocations, wanted at most %v", c.path, got, c.most)
		}
	}
}
