package h2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

type handle = func(ctx context.Context, x *pipeline.Exchange) error

// server is an edge on a port of its own, with what it logged and how its exchanges ended.
type server struct {
	*Edge
	t    *testing.T
	addr string
	mu   sync.Mutex
	said bytes.Buffer
	ends []pipeline.End
	done chan error
}

func (s *server) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Write(b)
}

func config() edge.Config {
	return edge.Config{HTTP2: true, Limits: edge.LimitsConfig{
		Header: 16 << 10, Headers: 100, Body: 1 << 20, Streams: 20, Connections: 100,
		ReadTimeout: units.Duration(5 * time.Second), WriteTimeout: units.Duration(5 * time.Second), IdleTimeout: units.Duration(5 * time.Second),
	}}
}

func start(t *testing.T, cfg edge.Config, h handle) *server {
	t.Helper()
	s := &server{t: t, done: make(chan error, 1)}
	var err error
	s.Edge, err = New(cfg, pipeline.HandlerFunc(func(ctx context.Context, x *pipeline.Exchange) error {
		x.AtEnd(func(_ *pipeline.Exchange, end pipeline.End) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.ends = append(s.ends, end)
		})
		return h(ctx, x)
	}), slog.New(slog.NewTextHandler(s, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	go func() { s.done <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		_ = s.Shutdown(ctx)
		_ = s.server.Close()
		if err := <-s.done; err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

// end waits for the end of the next exchange.
func (s *server) end() pipeline.End {
	s.t.Helper()
	for by := time.Now().Add(5 * time.Second); time.Now().Before(by); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		if len(s.ends) > 0 {
			end := s.ends[0]
			s.ends = s.ends[1:]
			s.mu.Unlock()
			return end
		}
		s.mu.Unlock()
	}
	s.t.Fatal("no exchange ended")
	return pipeline.End{}
}

// client is net/http's, on clear text.
func (s *server) client() *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p, DisableCompression: true, ExpectContinueTimeout: time.Second}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func (s *server) do(method, path string, body io.Reader, fields ...string) (*http.Response, string, error) {
	s.t.Helper()
	r, err := http.NewRequest(method, "http://"+s.addr+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	got, err := s.client().Do(r)
	if err != nil {
		return nil, "", err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	return got, string(text), err
}

// wireClient speaks frames.
type wireClient struct {
	*http2.Framer
	t    *testing.T
	conn net.Conn
	buf  bytes.Buffer
	enc  *hpack.Encoder
}

func (s *server) frames() *wireClient {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		s.t.Fatal(err)
	}
	w := &wireClient{Framer: http2.NewFramer(c, c), t: s.t, conn: c}
	w.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	w.enc = hpack.NewEncoder(&w.buf)
	if err := w.WriteSettings(); err != nil {
		s.t.Fatal(err)
	}
	return w
}

// block encodes fields: name, value, name, value.
func (w *wireClient) block(fields ...string) []byte {
	w.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = w.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(w.buf.Bytes())
}

func (w *wireClient) head(stream uint32, last bool, fields ...string) error {
	return w.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: w.block(fields...), EndStream: last, EndHeaders: true})
}

var plain = []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/"}

// until reads frames until one makes f true, or gives the error that ended them.
func (w *wireClient) until(f func(http2.Frame) bool) error {
	w.t.Helper()
	for {
		fr, err := w.ReadFrame()
		if err != nil {
			return err
		}
		if f(fr) {
			return nil
		}
	}
}

// verdict is how a stream or the connection ended: a status, RST or GOAWAY with its code, or an error.
func (w *wireClient) verdict(stream uint32) string {
	w.t.Helper()
	said := ""
	err := w.until(func(f http2.Frame) bool {
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if f.StreamID == stream {
				said = f.PseudoValue("status")
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == stream {
				said = "RST " + f.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			said = "GOAWAY " + f.ErrCode.String()
		}
		return said != ""
	})
	if err != nil {
		return err.Error()
	}
	return said
}

func contains(t *testing.T, what, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%s: %q does not stand in %q", what, part, text)
	}
}
