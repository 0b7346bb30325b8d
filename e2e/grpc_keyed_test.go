package e2e

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
)

const keyedRoute = `
routes: [{ id: rpc, match: { path: /grpc.testing.TestService/** }, auth: none, timeout: 5s, dedup: { client: "header:X-Client", key: required, wait: 5s, max_answer: 64KiB }, to: rpc }]
`

// Keyed unary writes by metadata: executed once, and told again with everything that a client reads of a call, also by the
// gateway's next life.
func TestGRPCKeyedWrites(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"grpc", "h2c"} { // one protocol
		s := calleeOf(t)
		overBothEdges(t, "upstreams: { rpc: { targets: ["+scheme+"://"+s.address+"] } }"+keyedRoute, func(t *testing.T, g *gateway, c rpc) {
			firsts := map[string]got{}
			cases := map[string][]string{
				"ok": nil, "ok-head": {"x-first", "1"}, "error": {"x-code", "9"}, "error-head": {"x-code", "9", "x-first", "1"}, "internal": {"x-code", "13"}, "unknown": {"x-code", "2"},
			}
			keyed := func(name string) []string {
				return append([]string{"x-client", "ann", "idempotency-key", t.Name() + "-" + name}, cases[name]...)
			}
			replayed := func(name string) {
				t.Helper()
				first, again := firsts[name], c.call(keyed(name)...)
				if again.code != first.code || again.message != first.message || again.details != first.details || again.text != first.text {
					t.Errorf("%s: first %+v, then %+v", name, first, again)
				}
				if again.field("idempotency-status") != "replayed" || again.field("idempotent-replayed") != "true" || again.field("x-cost") != "" {
					t.Errorf("%s: %v", name, again.md)
				}
			}
			for name := range cases {
				first := c.call(keyed(name)...)
				if first.field("idempotency-status") != "executed" || first.field("x-cost") != "7" || (first.code != codes.OK) != strings.Contains(first.details, "detail of call") {
					t.Errorf("%s: %+v", name, first)
				}
				firsts[name] = first
				replayed(name)
				// The same key with another message.
				other := c.with(t.Context(), &testgrpc.SimpleRequest{FillUsername: true}, keyed(name)...)
				if other.code != codes.FailedPrecondition || other.field("oncegate-kind") != "key-reused" || other.field("oncegate-executed") != "no" || other.field("oncegate-safe-new-key") != "true" {
					t.Errorf("%s with another message: %+v", name, other)
				}
			}
			g.kill()
			g.start()
			for name := range cases {
				replayed(name)
			}
		})
		t.Cleanup(func() {
			if n := s.count(); n != 2*6 { // each once over each edge
				t.Errorf("%s: %d executions", scheme, n)
			}
		})
	}
}

// What is not kept: a key is free after UNAUTHENTICATED, unknown after UNAVAILABLE, and finished without an answer after a large one.
func TestGRPCKeyedOutcomes(t *testing.T) {
	t.Parallel()
	s := calleeOf(t)
	g := begin(t, "upstreams: { rpc: { targets: [grpc://"+s.address+"] } }"+keyedRoute)
	c := client(t, g.address, plainText)
	executed := func(what string, want int) {
		t.Helper()
		if n := s.count(); n != want {
			t.Errorf("%s: %d executions, want %d", what, n, want)
		}
		s.reset()
	}
	c.wants("no key", codes.InvalidArgument, "key-missing", "x-client", "ann")
	c.wants("a bad key", codes.InvalidArgument, "key-invalid", "x-client", "ann", "idempotency-key", "a, b")
	executed("refused keys", 0)
	for _, head := range []string{"", "1"} {
		for code, name := range map[codes.Code]string{codes.Unauthenticated: "16", codes.ResourceExhausted: "8"} {
			frees := []string{"x-client", "ann", "idempotency-key", "frees-" + head + "-" + name, "x-code", name, "x-first", head}
			for range 2 {
				if first := c.wants(name+" frees", code, "", frees...); first.field("idempotency-status") != "executed" {
					t.Errorf("%v", first.md)
				}
			}
			executed(name+" frees", 2)
		}
		for code, name := range map[codes.Code]string{codes.Unavailable: "14", codes.DeadlineExceeded: "4", codes.Canceled: "1"} {
			loses := []string{"x-client", "ann", "idempotency-key", "loses-" + head + "-" + name, "x-code", name, "x-first", head}
			first := c.wants(name+" for the first caller", code, "outcome-unknown", loses...)
			if first.field("oncegate-executed") != "unknown" || first.field("oncegate-safe-same-key-retry") != "true" || first.field("oncegate-safe-new-key") != "false" || len(first.field("oncegate-operation-ref")) != 43 {
				t.Errorf("%v", first.md)
			}
			again := c.wants(name+" for a duplicate", codes.Aborted, "outcome-unknown", loses...)
			if again.field("oncegate-operation-ref") != first.field("oncegate-operation-ref") {
				t.Errorf("%v, then %v", first.md, again.md)
			}
			executed(name, 1)
		}
	}
	large := []string{"x-client", "ann", "idempotency-key", "large"}
	in := &testgrpc.SimpleRequest{ResponseSize: 100 << 10}
	if first := c.with(t.Context(), in, large...); first.code != codes.OK || first.field("idempotency-status") != "executed" || first.field("x-cost") != "7" {
		t.Errorf("%+v", first)
	}
	if again := c.with(t.Context(), in, large...); again.code != codes.Aborted || again.field("oncegate-kind") != "result-unavailable" || again.field("oncegate-executed") != "yes" {
		t.Errorf("%+v", again)
	}
	executed("a large answer", 1)
}

// Fifty duplicates at once are one execution; when nobody may wait they are told so.
func TestGRPCKeyedStorm(t *testing.T) {
	t.Parallel()
	s := calleeOf(t)
	overBothEdges(t, "upstreams: { rpc: { targets: [grpc://"+s.address+"] } }"+strings.Replace(keyedRoute, "wait: 5s", "wait: 0s", 1), func(t *testing.T, _ *gateway, c rpc) {
		keyed := []string{"x-client", "ann", "idempotency-key", t.Name(), "x-hang", "1"}
		all := make(chan got, 50)
		var storm sync.WaitGroup
		for range cap(all) {
			storm.Go(func() { all <- c.call(keyed...) })
		}
		<-s.hanging
		for range cap(all) - 1 {
			if g := <-all; g.code != codes.Aborted || g.field("oncegate-kind") != "in-progress" || g.field("oncegate-executed") != "in_progress" || g.field("retry-after") == "" {
				t.Errorf("%+v", g)
			}
		}
		s.let <- struct{}{}
		storm.Wait()
		if g := <-all; g.code != codes.OK || g.field("idempotency-status") != "executed" {
			t.Errorf("%+v", g)
		}
		if g := c.call(keyed...); g.code != codes.OK || g.field("idempotency-status") != "replayed" {
			t.Errorf("%+v", g)
		}
	})
	t.Cleanup(func() {
		if n := s.count(); n != 2 { // one over each edge
			t.Errorf("%d executions", n)
		}
	})
}

// An upstream that dies in the middle of a call, and a client that leaves: nothing is sent again, and the truth is told.
func TestGRPCKeyedInterrupted(t *testing.T) {
	t.Parallel()
	s := calleeOf(t)
	g := begin(t, "upstreams: { rpc: { targets: [grpc://"+s.address+"] } }"+keyedRoute)
	c := client(t, g.address, plainText)
	left := []string{"x-client", "ann", "idempotency-key", "left", "x-hang", "1"}
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan got, 1)
	go func() { done <- c.with(ctx, &testgrpc.SimpleRequest{}, left...) }()
	<-s.hanging
	leave()
	if g := <-done; g.code != codes.Canceled {
		t.Errorf("%+v", g)
	}
	s.let <- struct{}{} // the call goes on without its client
	if g := c.call(left...); g.code != codes.OK || g.text != "call 1" || g.field("idempotency-status") != "replayed" {
		t.Errorf("%+v", g)
	}

	dies := []string{"x-client", "ann", "idempotency-key", "dies", "x-hang", "1"}
	go func() { done <- c.call(dies...) }()
	<-s.hanging
	s.server.Stop()
	if g := <-done; g.code != codes.Aborted || g.field("oncegate-kind") != "outcome-unknown" || g.field("oncegate-executed") != "unknown" {
		t.Errorf("%+v", g)
	}
	c.wants("a duplicate", codes.Aborted, "outcome-unknown", dies...)
	if n := s.count(); n != 2 {
		t.Errorf("%d executions", n)
	}
	// What can't even be sent leaves the key free.
	free := c.wants("no upstream", codes.Unavailable, "upstream-failed", "x-client", "ann", "idempotency-key", "free")
	if free.field("oncegate-executed") != "no" || free.field("oncegate-safe-new-key") != "true" {
		t.Errorf("%v", free.md)
	}
}

// A keyed call is read whole before it is sent. One whose client waits for an answer first ends in the time for a pause.
func TestGRPCKeyedStreams(t *testing.T) {
	t.Parallel()
	s := interopAt(t, "127.0.0.1:0")
	g := prepare(t, "upstreams: { rpc: { targets: [grpc://"+s.address+"] } }"+keyedRoute)
	g.replace("drain:", "limits: { read_timeout: 300ms }, drain:")
	g.start()
	t.Cleanup(g.kill)
	c := client(t, g.address, plainText)
	for _, key := range []string{"first", "first"} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-client", "ann", "idempotency-key", key)
		in, err := c.tc.StreamingInputCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			_ = in.Send(&testgrpc.StreamingInputCallRequest{Payload: &testgrpc.Payload{Body: make([]byte, 10)}})
		}
		if sum, err := in.CloseAndRecv(); err != nil || sum.AggregatedPayloadSize != 30 {
			t.Errorf("%v %v", sum, err)
		}
	}
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "x-client", "ann", "idempotency-key", "both"), 10*time.Second)
	defer cancel()
	both, err := c.tc.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_ = both.Send(&testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: 10}}})
	began := time.Now()
	_, err = both.Recv()
	if status := statusOf(err); status.Code() != codes.DeadlineExceeded || !strings.Contains(status.Message(), "did not arrive in time") || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	if kind := both.Trailer().Get("oncegate-kind"); len(kind) != 1 || kind[0] != "request-timeout" {
		t.Errorf("%v", both.Trailer())
	}
}
