package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// callee is a gRPC server that does what the metadata of a call says: x-code ends it so, x-first sends a head before,
// x-times says how often, x-hang waits until it is let go.
type callee struct {
	testgrpc.UnimplementedTestServiceServer
	server  *grpc.Server
	address string
	hanging chan struct{} // gets one for each call that hangs
	let     chan struct{} // lets one go

	mu    sync.Mutex
	calls int
	left  []time.Duration // of each call
	seen  metadata.MD     // of the last call
}

func (s *callee) UnaryCall(ctx context.Context, in *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	said := func(name string) string {
		if all := md.Get(name); len(all) > 0 {
			return all[0]
		}
		return ""
	}
	end, _ := ctx.Deadline()
	s.mu.Lock()
	s.calls++
	n := s.calls
	s.left, s.seen = append(s.left, time.Until(end)), md
	s.mu.Unlock()
	if said("x-hang") != "" {
		s.hanging <- struct{}{}
		select {
		case <-s.let:
		case <-ctx.Done():
		}
	}
	if said("x-first") != "" {
		_ = grpc.SendHeader(ctx, metadata.Pairs("x-head", "sent"))
	}
	if back := said("x-pushback"); back != "" {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", back))
	}
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-cost", "7"))
	if times, err := strconv.Atoi(said("x-times")); err == nil && n > times {
		return &testgrpc.SimpleResponse{Username: "after " + said("x-times")}, nil
	}
	if code, err := strconv.Atoi(said("x-code")); err == nil {
		st := status.New(codes.Code(code), "call "+strconv.Itoa(n)+" \u20ac")
		if detailed, err := st.WithDetails(&testgrpc.SimpleResponse{Username: "detail of call " + strconv.Itoa(n)}); err == nil {
			st = detailed
		}
		return nil, st.Err()
	}
	return &testgrpc.SimpleResponse{Username: "call " + strconv.Itoa(n), Payload: &testgrpc.Payload{Body: make([]byte, in.ResponseSize)}}, nil
}

func (s *callee) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *callee) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.left = 0, nil
}

func calleeOf(t *testing.T) *callee {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &callee{server: grpc.NewServer(), address: ln.Addr().String(), hanging: make(chan struct{}, 100), let: make(chan struct{})}
	testgrpc.RegisterTestServiceServer(s.server, s)
	go func() { _ = s.server.Serve(ln) }()
	t.Cleanup(s.server.Stop)
	return s
}

var plainText = insecure.NewCredentials()

func statusOf(err error) *status.Status { return status.Convert(err) }

// rpc is one client of the gateway.
type rpc struct {
	t  *testing.T
	tc testgrpc.TestServiceClient
}

// got is what a client has of a call.
type got struct {
	code    codes.Code
	message string
	details string
	text    string // of the answer
	md      metadata.MD
}

func (g got) field(name string) string {
	if all := g.md.Get(name); len(all) > 0 {
		return all[0]
	}
	return ""
}

func (c rpc) call(pairs ...string) got {
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	return c.with(ctx, &testgrpc.SimpleRequest{}, pairs...)
}

func (c rpc) with(ctx context.Context, in *testgrpc.SimpleRequest, pairs ...string) got {
	var head, tail metadata.MD
	answer, err := c.tc.UnaryCall(metadata.AppendToOutgoingContext(ctx, pairs...), in, grpc.Header(&head), grpc.Trailer(&tail))
	st := status.Convert(err)
	return got{code: st.Code(), message: st.Message(), details: fmt.Sprint(st.Details()), text: answer.GetUsername(), md: metadata.Join(head, tail)}
}

// wants calls and compares code and kind.
func (c rpc) wants(what string, code codes.Code, kind string, pairs ...string) got {
	c.t.Helper()
	g := c.call(pairs...)
	if g.code != code || g.field("oncegate-kind") != kind {
		c.t.Errorf("%s: %v %q, kind %q; want %v, %q; %v", what, g.code, g.message, g.field("oncegate-kind"), code, kind, g.md)
	}
	return g
}

func client(t *testing.T, address string, security credentials.TransportCredentials) rpc {
	return rpc{t, testgrpc.NewTestServiceClient(grpcClient(t, address, security))}
}

// overBothEdges runs a test over clear text and over TLS.
func overBothEdges(t *testing.T, body string, run func(t *testing.T, g *gateway, c rpc)) {
	t.Run("h2c", func(t *testing.T) {
		t.Parallel()
		g := begin(t, body)
		run(t, g, client(t, g.address, plainText))
	})
	t.Run("tls", func(t *testing.T) {
		t.Parallel()
		ca := newAuthority(t, "servers", nil)
		cert, key := pairFiles(t, ca, filepath.Join(t.TempDir(), "server"), nil)
		g := prepare(t, body)
		g.replace("drain:", fmt.Sprintf("tls: { certificates: [{ cert: %s, key: %s }] }, drain:", cert, key))
		g.start()
		t.Cleanup(g.kill)
		run(t, g, client(t, g.address, credentials.NewTLS(&tls.Config{RootCAs: poolOf(ca), ServerName: "rpc.internal"})))
	})
}

// Retries: a head that says UNAVAILABLE and is all there is, where POST may be repeated. Anything else is sent once.
func TestGRPCRetries(t *testing.T) {
	t.Parallel()
	s := calleeOf(t)
	g := begin(t, `
upstreams:
  usual: { targets: [grpc://`+s.address+`], retry: { attempts: 3 } }
  post: { targets: [grpc://`+s.address+`], retry: { attempts: 4, methods: [POST], backoff: { base: 100ms } } }
routes:
  - { id: post, match: { path: /grpc.testing.TestService/**, headers: { X-Route: post } }, auth: none, timeout: 20s, to: post }
  - { id: keyed, match: { path: /grpc.testing.TestService/**, headers: { X-Route: keyed } }, auth: none, dedup: { client: "header:X-Client" }, to: post }
  - { id: usual, match: { path: /grpc.testing.TestService/** }, auth: none, to: usual }
`)
	c := client(t, g.address, plainText)
	for _, r := range []struct {
		name  string
		code  codes.Code
		calls int
		pairs []string
	}{
		{"POST is not repeated", codes.Unavailable, 1, []string{"x-code", "14"}},
		{"unless it may be", codes.OK, 3, []string{"x-route", "post", "x-code", "14", "x-times", "2"}},
		{"at most so often", codes.Unavailable, 4, []string{"x-route", "post", "x-code", "14"}},
		{"not behind a head", codes.Unavailable, 1, []string{"x-route", "post", "x-code", "14", "x-first", "1"}},
		{"not another status", codes.Internal, 1, []string{"x-route", "post", "x-code", "13"}},
		{"not when the server says so", codes.Unavailable, 1, []string{"x-route", "post", "x-code", "14", "x-pushback", "-1"}},
		{"nor with a key", codes.Unavailable, 1, []string{"x-route", "keyed", "x-code", "14", "x-client", "ann", "idempotency-key", "retries"}},
	} {
		s.reset()
		if got := c.call(r.pairs...); got.code != r.code {
			t.Errorf("%s: %+v", r.name, got)
		}
		if n := s.count(); n != r.calls {
			t.Errorf("%s: %d calls, want %d", r.name, n, r.calls)
		}
	}

	// What a client leaves shrinks from try to try, and the server says when to come again.
	s.reset()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	began := time.Now()
	if got := c.with(ctx, &testgrpc.SimpleRequest{}, "x-route", "post", "x-code", "14", "x-times", "1", "x-pushback", "700"); got.code != codes.OK || time.Since(began) < 700*time.Millisecond {
		t.Errorf("%+v after %v", got, time.Since(began))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.left) != 2 || s.left[0] > 10*time.Second || s.left[0]-s.left[1] < 650*time.Millisecond || s.left[1] < 5*time.Second {
		t.Errorf("%v are left", s.left)
	}
}

// The breaker opens on UNAVAILABLE, in the head or behind it, and answers UNAVAILABLE; other outcomes are no failures.
func TestGRPCBreaker(t *testing.T) {
	t.Parallel()
	for _, head := range []string{"", "1"} {
		s := calleeOf(t)
		g := begin(t, "upstreams: { rpc: { targets: [grpc://"+s.address+"], breaker: { window: 60s, minimum: 20, consecutive: 3, failure_rate: 50%, open: 60s, probes: 1 } } }\n"+
			"routes: [{ id: rpc, match: { path: /grpc.testing.TestService/** }, auth: none, to: rpc }]")
		c := client(t, g.address, plainText)
		for _, code := range []string{"3", "5", "7", "9", "10", "11", "16"} {
			c.call("x-code", code, "x-first", head)
		}
		for range 3 {
			if n := s.count(); n < 7 {
				t.Fatalf("%d calls: it opened for what is no failure", n)
			}
			c.wants("a failure", codes.Unavailable, "", "x-code", "14", "x-first", head)
		}
		open := c.wants("open", codes.Unavailable, "upstream-open")
		if n := s.count(); n != 10 || open.field("retry-after") == "" || open.field("oncegate-executed") != "no" {
			t.Errorf("%d calls, %v", n, open.md)
		}
		if code := g.metric(`gateway_grpc_calls_total{code="14",route="rpc"}`); code != "4" {
			t.Errorf("%s calls with 14 are counted", code)
		}
		g.eventually("the access line", func() bool {
			return bytes.Contains([]byte(g.log.String()), []byte(`"grpc_status":"14","kind":"upstream-open"`))
		})
	}
}

// A target whose calls end with UNAVAILABLE goes out, also when they had begun well.
func TestGRPCEjection(t *testing.T) {
	t.Parallel()
	for _, head := range []string{"", "1"} {
		a, b := calleeOf(t), interopAt(t, "127.0.0.1:0")
		g := begin(t, "upstreams: { rpc: { targets: [grpc://"+a.address+", grpc://"+b.address+"], ejection: { consecutive: 3, time: 60s } } }\n"+
			"routes: [{ id: rpc, match: { path: /grpc.testing.TestService/** }, auth: none, to: rpc }]")
		c := client(t, g.address, plainText)
		for range 20 {
			c.call("x-code", "14", "x-first", head)
		}
		if a.count() != 3 || b.unary.Load() != 17 {
			t.Errorf("head %q: %d and %d calls", head, a.count(), b.unary.Load())
		}
	}
}

// Every refusal that can be provoked, as a gRPC client reads it.
func TestGRPCRefusalKinds(t *testing.T) {
	t.Parallel()
	s := calleeOf(t)
	dead := freePort(t)
	g := prepare(t, `
rate_limits: { few: { rate: 1/h, burst: 1, by: all } }
upstreams:
  rpc: { targets: [grpc://`+s.address+`] }
  dead: { targets: [grpc://`+dead+`] }
  open: { targets: [grpc://`+dead+`], breaker: { minimum: 1, open: 60s } }
  busy: { targets: [grpc://`+s.address+`], bulkhead: { in_flight: 1, queue: 0 } }
routes:
  - { id: auth, match: { path: /a/auth }, auth: { issuers: [main], require: { scopes: [rpc:call] } }, to: rpc }
  - { id: keys, match: { path: /a/keys }, auth: { issuers: [away] }, to: rpc }
  - { id: get, match: { path: /a/get, methods: [GET] }, auth: none, to: rpc }
  - { id: few, match: { path: /a/few }, auth: none, rate_limits: [few], to: rpc }
  - { id: small, match: { path: /a/small }, auth: none, body: 100B, rewrite: { path: /grpc.testing.TestService/UnaryCall }, to: rpc }
  - { id: dead, match: { path: /a/dead }, auth: none, to: dead }
  - { id: open, match: { path: /a/open }, auth: none, to: open }
  - { id: slow, match: { path: /a/slow }, auth: none, timeout: 200ms, rewrite: { path: /grpc.testing.TestService/UnaryCall }, to: rpc }
  - { id: busy, match: { path: /a/busy }, auth: none, rewrite: { path: /grpc.testing.TestService/UnaryCall }, to: busy }
  - { id: keyed, match: { path: /a/keyed }, auth: none, dedup: { client: "header:X-Client", key: required }, to: rpc }
  - { id: gone, match: { path: /a/gone }, auth: none, version: { name: v1, sunset: "2020-01-01", after_sunset: gone }, to: rpc }
  - { id: fixed, match: { path: /a/fixed }, auth: none, to: { respond: { status: 200, body: "[]" } } }
  - { id: moved, match: { path: /a/moved }, auth: none, to: { redirect: { location: /a/fixed } } }
  - { id: own, match: { path: /a/own }, auth: none, to: { respond: { headers: { Content-Type: application/grpc, Grpc-Status: "10", Grpc-Message: soon } } } }
  - { id: rescued, match: { path: /a/rescued }, auth: none, fallback: [{ on: [connect], respond: { status: 503, body: "{}" } }], to: dead }
`)
	g.replace("issuers: {", `issuers: { away: { issuer: "https://away.test/", audiences: [api], jwks: "http://`+freePort(t)+`/keys", algorithms: [ES256] },`)
	g.start()
	t.Cleanup(g.kill)
	cc := grpcClient(t, g.address, plainText)
	invoke := func(method string, in *testgrpc.SimpleRequest, pairs ...string) got {
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), pairs...), 10*time.Second)
		defer cancel()
		var head, tail metadata.MD
		st := status.Convert(cc.Invoke(ctx, method, in, &testgrpc.SimpleResponse{}, grpc.Header(&head), grpc.Trailer(&tail)))
		return got{code: st.Code(), message: st.Message(), md: metadata.Join(head, tail)}
	}
	empty, large := &testgrpc.SimpleRequest{}, &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, 1000)}}
	invoke("/a/few", empty)
	invoke("/a/open", empty)
	go invoke("/a/busy", empty, "x-hang", "1")
	<-s.hanging
	unsigned := "Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ." + "eyJpc3MiOiJodHRwczovL2F3YXkudGVzdC8ifQ" + ".AA"
	for _, r := range []struct {
		name, method string
		in           *testgrpc.SimpleRequest
		code         codes.Code
		kind         string
		field        string // that stands there, too
		pairs        []string
	}{
		{"bad request", "//a", empty, codes.InvalidArgument, "bad-request", "", nil},
		{"no credentials", "/a/auth", empty, codes.Unauthenticated, "unauthenticated", "www-authenticate", nil},
		{"no scope", "/a/auth", empty, codes.PermissionDenied, "forbidden", "oncegate-scopes", []string{"authorization", g.token()}},
		{"keys away", "/a/keys", empty, codes.Unavailable, "auth-unavailable", "retry-after", []string{"authorization", unsigned}},
		{"no route", "/a/none", empty, codes.Unimplemented, "not-found", "", nil},
		{"no method", "/a/get", empty, codes.Unimplemented, "method-not-allowed", "allow", nil},
		{"limit", "/a/few", empty, codes.ResourceExhausted, "rate-limited", "retry-after", nil},
		{"limit's fields", "/a/few", empty, codes.ResourceExhausted, "rate-limited", "ratelimit", nil},
		{"limit's name", "/a/few", empty, codes.ResourceExhausted, "rate-limited", "oncegate-policy", nil},
		{"large body", "/a/small", large, codes.ResourceExhausted, "too-large", "", nil},
		{"large head", "/a/small", empty, codes.ResourceExhausted, "header-too-large", "", []string{"x-large", string(bytes.Repeat([]byte("a"), 17<<10))}},
		{"no connection", "/a/dead", empty, codes.Unavailable, "upstream-failed", "", nil},
		{"breaker", "/a/open", empty, codes.Unavailable, "upstream-open", "retry-after", nil},
		{"time-out", "/a/slow", empty, codes.DeadlineExceeded, "upstream-timeout", "", []string{"x-hang", "1"}},
		{"bulkhead", "/a/busy", empty, codes.Unavailable, "overloaded", "retry-after", nil},
		{"no key", "/a/keyed", empty, codes.InvalidArgument, "key-missing", "link", []string{"x-client", "ann"}},
		{"two keys", "/a/keyed", empty, codes.InvalidArgument, "key-invalid", "link", []string{"x-client", "ann", "idempotency-key", "a", "idempotency-key", "b"}},
		{"nobody's key", "/a/keyed", empty, codes.InvalidArgument, "bad-request", "oncegate-executed", []string{"idempotency-key", "a"}},
		{"ended version", "/a/gone", empty, codes.Unimplemented, "gone", "sunset", nil},
		{"fixed answer", "/a/fixed", empty, codes.Unknown, "", "", nil},
		{"redirect", "/a/moved", empty, codes.Unknown, "", "location", nil},
		{"fixed answer of gRPC", "/a/own", empty, codes.Aborted, "", "", nil},
		{"fallback", "/a/rescued", empty, codes.Unavailable, "", "x-gateway-fallback", nil},
	} {
		got := invoke(r.method, r.in, r.pairs...)
		if got.code != r.code || got.field("oncegate-kind") != r.kind || got.message == "" || r.field != "" && got.field(r.field) == "" || got.field("x-request-id") == "" {
			t.Errorf("%s: %v %q, %v", r.name, got.code, got.message, got.md)
		}
	}
}
