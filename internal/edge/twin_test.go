package edge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/edge/h1"
	"github.com/oncegate/oncegate/internal/edge/h2"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// twinConfig has small limits, so that a fuzzer finds them.
func twinConfig() edge.Config {
	return edge.Config{Address: "127.0.0.1:0", HTTP2: true, TrustedProxies: []string{"127.0.0.0/8"}, Limits: edge.LimitsConfig{
		Header: 2 << 10, Headers: 20, Body: 512, Streams: 20, Connections: 1000,
		ReadTimeout: units.Duration(3 * time.Second), WriteTimeout: units.Duration(3 * time.Second), IdleTimeout: units.Duration(3 * time.Second),
	}}
}

// twinPort is one port with both edges before one handler.
type twinPort struct {
	port *edge.Port
	h1   *h1.Edge
	h2   *h2.Edge
}

func openTwins(t testing.TB, cfg edge.Config, h pipeline.Handler) *twinPort {
	t.Helper()
	port, err := edge.Open(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &twinPort{port: port}
	if p.h1, err = h1.New(cfg, h, nil); err != nil {
		t.Fatal(err)
	}
	if p.h2, err = h2.New(cfg, h, nil); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 3)
	one, two := port.H1(), port.H2()
	go func() { done <- p.h1.Serve(one) }()
	go func() { done <- p.h2.Serve(two) }()
	go func() { done <- port.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		port.Stop()
		_ = p.h1.Shutdown(ctx)
		_ = p.h2.Shutdown(ctx)
		_, _ = one.Close(), two.Close()
		for range 3 {
			<-done
		}
	})
	return p
}

// dial's connections are reset in the end: a fuzzer would soon have no ports left otherwise.
func (p *twinPort) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.port.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// handed is what a handler was given, as text.
type handed struct {
	from       string // the client's end
	head, body string
	err        error // of the body
}

// witness answers with what it was given, and keeps it.
type witness struct {
	mu  sync.Mutex
	saw []handed
}

// take gives what came over one connection, and forgets the rest: a stream that was reset may have been handed on late.
func (w *witness) take(from string) (saw []handed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.saw {
		if h.from == from {
			h.from = ""
			saw = append(saw, h)
		}
	}
	w.saw = nil
	return saw
}

// Serve implements pipeline.Handler.
func (w *witness) Serve(_ context.Context, x *pipeline.Exchange) error {
	got := handed{from: x.Peer.String(), head: describe(x)}
	if body := x.Request.Body(); body != nil {
		text, err := io.ReadAll(body)
		got.body = string(text)
		got.err = err
	}
	var trailers []string
	x.RequestTrailers.Each(func(name, value string) { trailers = append(trailers, strings.ToLower(name)+"="+value) })
	slices.SortStableFunc(trailers, byName)
	got.body += "\n" + strings.Join(trailers, "\n")
	w.mu.Lock()
	w.saw = append(w.saw, got)
	w.mu.Unlock()
	if got.err != nil {
		return got.err
	}
	x.Response.SetStatus(201)
	x.Response.Add("X-Seen", []byte("a"))
	x.Response.Add("x-seen", []byte(""))
	x.Response.Add("Connection", []byte("X-Hop"))
	x.Response.Add("X-Hop", []byte("1"))
	x.Response.SetBody([]byte(got.head + got.body))
	return nil
}

func byName(a, b string) int {
	a, _, _ = strings.Cut(a, "=")
	b, _, _ = strings.Cut(b, "=")
	return strings.Compare(a, b)
}

// describe leaves out what docs/protocols.md says may differ: the order of different names, their case, how a cookie is split.
func describe(x *pipeline.Exchange) string {
	var fields []string
	cookies := 0
	for i := range x.Request.Fields() {
		name, value := x.Request.Field(i)
		line := strings.ToLower(string(name)) + "=" + string(value)
		switch {
		case name == nil || line == "" || strings.HasPrefix(line, "host="):
			continue
		case strings.HasPrefix(line, "cookie="):
			if cookies++; cookies > 1 {
				at := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, "cookie=") })
				fields[at] += "; " + string(value)
				continue
			}
		}
		fields = append(fields, line)
	}
	for i := range fields { // an empty last part of a cookie
		fields[i] = strings.TrimRight(fields[i], " ")
	}
	slices.SortStableFunc(fields, byName)
	id := ""
	if len(x.Request.Header("X-Request-Id")) > 0 {
		id = string(x.ID)
		if !slices.Contains(fields, "x-request-id="+id) {
			id = "one of ours"
		}
	}
	return fmt.Sprintf("%s\n%s\n%q %v\n%s %s\n%d\n%s %q %q %v %s\n%s\n\n", x.Request.Method(), x.Request.Path(), x.Request.Query(), x.Request.Query() == nil,
		x.Request.Host(), x.Request.Authority(), x.Request.ContentLength(), x.ClientIP, x.Hops, x.Asked, x.Secure, id, strings.Join(fields, "\n"))
}

// answer is what a client was told: a status, fields and a body, or how it was parted from.
type answer struct {
	status int
	fields []string
	body   string
	parted string // "" when it was answered
}

func (a answer) refused() bool { return a.parted != "" || a.status >= 400 || a.grpc() }

// grpc tells a refusal in gRPC's words.
func (a answer) grpc() bool {
	return slices.ContainsFunc(a.fields, func(f string) bool { return strings.HasPrefix(f, "grpc-status=") })
}

// problem tells a refusal of ours from one of a library.
func (a answer) problem() bool { return strings.Contains(a.body, "urn:oncegate:problem:") }

var errUnheard = errors.New("nothing was answered in time")
