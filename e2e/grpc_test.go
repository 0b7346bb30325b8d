package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// interopService is grpc-go's own interop server, which also counts what reached it and what its clients cancelled.
type interopService struct {
	testgrpc.TestServiceServer
	unary, cancelled atomic.Int64
	streams          atomic.Int64 // that were begun
	timeout          atomic.Value // grpc-timeout of the last call, as a time left
	health           *health.Server
	server           *grpc.Server
	address          string
}

func (s *interopService) UnaryCall(ctx context.Context, in *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	s.unary.Add(1)
	if end, bounded := ctx.Deadline(); bounded {
		s.timeout.Store(time.Until(end))
	}
	if md, _ := metadata.FromIncomingContext(ctx); len(md.Get("x-hang")) > 0 {
		<-ctx.Done()
		s.cancelled.Add(1)
		return nil, ctx.Err()
	}
	return s.TestServiceServer.UnaryCall(ctx, in)
}

func interopAt(t *testing.T, address string, options ...grpc.ServerOption) *interopService {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &interopService{TestServiceServer: interop.NewTestServer(), health: health.NewServer(), address: ln.Addr().String()}
	counted := grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		s.streams.Add(1)
		return next(srv, stream)
	})
	s.server = grpc.NewServer(append(options, counted)...)
	testgrpc.RegisterTestServiceServer(s.server, s)
	healthpb.RegisterHealthServer(s.server, s.health)
	go func() { _ = s.server.Serve(ln) }()
	t.Cleanup(s.server.Stop)
	return s
}

const grpcRoute = `
routes:
  - { id: rpc, match: { path: /grpc.testing.TestService/** }, auth: none, timeout: 20s, to: rpc }
  - { id: none, match: { path: /grpc.testing.UnimplementedService/** }, auth: none, to: rpc }
  - { id: closed, match: { path: /grpc.testing.ReconnectService/** }, auth: { issuers: [main] }, to: rpc }
`

func grpcClient(t *testing.T, address string, security credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient(address, grpc.WithTransportCredentials(security))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// The cases of grpc-go's interop client, as far as they need no clouds. The client ends the process when one fails.
func interopCases(t *testing.T, cc *grpc.ClientConn) {
	t.Helper()
	tc := testgrpc.NewTestServiceClient(cc)
	for _, c := range []struct {
		name string
		run  func(context.Context)
	}{
		{"empty_unary", func(ctx context.Context) { interop.DoEmptyUnaryCall(ctx, tc) }},
		{"large_unary", func(ctx context.Context) { interop.DoLargeUnaryCall(ctx, tc) }},
		{"client_streaming", func(ctx context.Context) { interop.DoClientStreaming(ctx, tc) }},
		{"server_streaming", func(ctx context.Context) { interop.DoServerStreaming(ctx, tc) }},
		{"ping_pong", func(ctx context.Context) { interop.DoPingPong(ctx, tc) }},
		{"empty_stream", func(ctx context.Context) { interop.DoEmptyStream(ctx, tc) }},
		{"timeout_on_sleeping_server", func(ctx context.Context) { interop.DoTimeoutOnSleepingServer(ctx, tc) }},
		{"cancel_after_begin", func(ctx context.Context) { interop.DoCancelAfterBegin(ctx, tc) }},
		{"cancel_after_first_response", func(ctx context.Context) { interop.DoCancelAfterFirstResponse(ctx, tc) }},
		{"custom_metadata", func(ctx context.Context) { interop.DoCustomMetadata(ctx, tc) }},
		{"status_code_and_message", func(ctx context.Context) { interop.DoStatusCodeAndMessage(ctx, tc) }},
		{"special_status_message", func(ctx context.Context) { interop.DoSpecialStatusMessage(ctx, tc) }},
		{"unimplemented_method", func(context.Context) { interop.DoUnimplementedMethod(t.Context(), cc) }},
		{"unimplemented_service", func(ctx context.Context) {
			interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(cc))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			c.run(ctx)
		})
	}
}

func TestGRPCInteropH2C(t *testing.T) {
	s := interopAt(t, "127.0.0.1:0")
	g := begin(t, "upstreams: { rpc: { targets: [grpc://"+s.address+"] } }"+grpcRoute)
	interopCases(t, grpcClient(t, g.address, insecure.NewCredentials()))
}

// pairFiles writes a certificate that the authority signs, and its key.
func pairFiles(t *testing.T, by *authority, file string, change func(*x509.Certificate)) (cert, key string) {
	t.Helper()
	c := &x509.Certificate{DNSNames: []string{"rpc.internal"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if change != nil {
		change(c)
	}
	der, private := signed(t, c, by)
	bits, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = file+".pem", file+".key"
	for name, text := range map[string]string{cert: pemText(der), key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bits}))} {
		if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func poolOf(a *authority) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// TLS on both sides, with a client certificate to the upstream.
func TestGRPCInteropTLS(t *testing.T) {
	dir, ca, clients := t.TempDir(), newAuthority(t, "servers", nil), newAuthority(t, "clients", nil)
	cert, key := pairFiles(t, ca, filepath.Join(dir, "server"), nil)
	own, ownKey := pairFiles(t, clients, filepath.Join(dir, "own"), nil)
	roots := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(roots, []byte(ca.pem()), 0o600); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := interopAt(t, "127.0.0.1:0", grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: poolOf(clients)})))
	g := prepare(t, fmt.Sprintf("upstreams: { rpc: { targets: [grpcs://%s], tls: { ca: %s, cert: %s, key: %s, server_name: rpc.internal } } }", s.address, roots, own, ownKey)+grpcRoute)
	g.replace("drain:", fmt.Sprintf("tls: { certificates: [{ cert: %s, key: %s }] }, drain:", cert, key))
	g.start()
	t.Cleanup(g.kill)
	security := credentials.NewTLS(&tls.Config{RootCAs: poolOf(ca), ServerName: "rpc.internal"})
	interopCases(t, grpcClient(t, g.address, security))

	// A certificate that the upstream does not accept: nothing was sent, and the client may know.
	strangers := newAuthority(t, "strangers", nil)
	pairFiles(t, strangers, filepath.Join(dir, "own"), nil)
	g.signal(syscall.SIGHUP)
	before := s.unary.Load()
	g.eventually("the upstream to refuse the certificate", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := testgrpc.NewTestServiceClient(grpcClient(t, g.address, security)).UnaryCall(ctx, &testgrpc.SimpleRequest{})
		if err == nil {
			before = s.unary.Load()
		}
		return status.Code(err) == codes.Unavailable
	})
	if s.unary.Load() != before {
		t.Error("a call was executed though its certificate was refused")
	}
	// And back again, without a reload: the files are read again.
	pairFiles(t, clients, filepath.Join(dir, "own"), nil)
	g.eventually("the new certificate to be shown", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := testgrpc.NewTestServiceClient(grpcClient(t, g.address, security)).UnaryCall(ctx, &testgrpc.SimpleRequest{})
		return err == nil
	})
}

func TestGRPCRefusals(t *testing.T) {
	s := interopAt(t, "127.0.0.1:0")
	dead := freePort(t)
	g := begin(t, `
upstreams: { rpc: { targets: [grpc://`+s.address+`] }, dead: { targets: [grpc://`+dead+`] } }
rate_limits: { few: { rate: 1/h, burst: 1, by: all } }
routes:
  - { id: auth, match: { path: /grpc.testing.TestService/EmptyCall }, auth: { issuers: [main] }, to: rpc }
  - { id: few, match: { path: /grpc.testing.TestService/UnaryCall, headers: { X-Few: "1" } }, auth: none, rate_limits: [few], to: rpc }
  - { id: dead, match: { path: /grpc.testing.TestService/UnaryCall, headers: { X-Dead: "1" } }, auth: none, to: dead }
  - { id: small, match: { path: /grpc.testing.TestService/UnaryCall, headers: { X-Small: "1" } }, auth: none, body: 100B, to: rpc }
  - { id: slow, match: { path: /grpc.testing.TestService/UnaryCall, headers: { X-Hang: "1" } }, auth: none, timeout: 200ms, to: rpc }
  - { id: rpc, match: { path: /grpc.testing.TestService/UnaryCall }, auth: none, to: rpc }
`)
	tc := testgrpc.NewTestServiceClient(grpcClient(t, g.address, insecure.NewCredentials()))
	call := func(in *testgrpc.SimpleRequest, pairs ...string) codes.Code {
		t.Helper()
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), pairs...), 10*time.Second)
		defer cancel()
		_, err := tc.UnaryCall(ctx, in)
		return status.Code(err)
	}
	want := func(what string, got, want codes.Code) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	_, err := tc.EmptyCall(t.Context(), &testgrpc.Empty{})
	want("no token", status.Code(err), codes.Unauthenticated)
	if text := status.Convert(err).Message(); !strings.Contains(text, "credentials are required") {
		t.Errorf("message %q", text)
	}
	_, err = tc.EmptyCall(metadata.AppendToOutgoingContext(t.Context(), "authorization", g.token()), &testgrpc.Empty{})
	want("token", status.Code(err), codes.OK)
	_, err = tc.UnimplementedCall(t.Context(), &testgrpc.Empty{})
	want("no route", status.Code(err), codes.Unimplemented)
	small := &testgrpc.SimpleRequest{}
	want("first", call(small, "x-few", "1"), codes.OK)
	want("limit", call(small, "x-few", "1"), codes.ResourceExhausted)
	want("dead target", call(small, "x-dead", "1"), codes.Unavailable)
	want("too large", call(&testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, 1000)}}, "x-small", "1"), codes.ResourceExhausted)
	want("time-out of the route", call(small, "x-hang", "1"), codes.DeadlineExceeded)
	g.eventually("the upstream's call to be cancelled", func() bool { return s.cancelled.Load() == 1 })
}

// What a client leaves of its time is what the upstream gets; a client that leaves ends the call there.
func TestGRPCDeadlinesAndCancellation(t *testing.T) {
	s := interopAt(t, "127.0.0.1:0")
	g := begin(t, "upstreams: { rpc: { targets: [grpc://"+s.address+"] } }"+grpcRoute)
	tc := testgrpc.NewTestServiceClient(grpcClient(t, g.address, insecure.NewCredentials()))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	if _, err := tc.UnaryCall(ctx, &testgrpc.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if left := s.timeout.Load().(time.Duration); left <= time.Second || left > 3*time.Second {
		t.Errorf("the upstream was given %v", left)
	}
	ctx, cancel = context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), "x-hang", "1"))
	ended := make(chan error, 1)
	go func() {
		_, err := tc.UnaryCall(ctx, &testgrpc.SimpleRequest{})
		ended <- err
	}()
	g.eventually("the call to arrive", func() bool { return s.unary.Load() == 2 })
	left := time.Now()
	cancel()
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
	g.eventually("the upstream's call to be cancelled", func() bool { return s.cancelled.Load() == 1 })
	if took := time.Since(left); took > time.Second {
		t.Errorf("the upstream heard of it after %v", took)
	}
}

// An upstream that dies in the middle of a stream is UNAVAILABLE, not INTERNAL; and before its first message, too.
func TestGRPCUpstreamDies(t *testing.T) {
	s := interopAt(t, "127.0.0.1:0")
	g := begin(t, "upstreams: { rpc: { targets: [grpc://"+s.address+"] } }"+grpcRoute)
	tc := testgrpc.NewTestServiceClient(grpcClient(t, g.address, insecure.NewCredentials()))
	stream, err := tc.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: 10}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	s.server.Stop()
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("in the middle: %v", err)
	}
	if _, err := tc.UnaryCall(t.Context(), &testgrpc.SimpleRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("afterwards: %v", err)
	}
	back := interopAt(t, s.address)
	g.eventually("calls to go on", func() bool {
		_, err := tc.UnaryCall(t.Context(), &testgrpc.SimpleRequest{})
		return err == nil
	})
	if back.unary.Load() == 0 {
		t.Error("nobody was called")
	}
}

// A bidirectional stream rests for longer than any read or first-byte limit, as long as its client does.
func TestGRPCStreamRests(t *testing.T) {
	t.Parallel()
	s := interopAt(t, "127.0.0.1:0")
	g := prepare(t, "upstreams: { rpc: { targets: [grpc://"+s.address+"], timeout: { first_byte: 300ms } } }"+grpcRoute)
	g.replace("drain:", "limits: { read_timeout: 300ms }, drain:")
	g.start()
	t.Cleanup(g.kill)
	tc := testgrpc.NewTestServiceClient(grpcClient(t, g.address, insecure.NewCredentials()))
	stream, err := tc.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		time.Sleep(500 * time.Millisecond) // the rest
		if err := stream.Send(&testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: 10}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	_ = stream.CloseSend()
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// A target that says NOT_SERVING gets no calls; streams are spread one by one over one client connection.
func TestGRPCHealthAndBalance(t *testing.T) {
	a, b := interopAt(t, "127.0.0.1:0"), interopAt(t, "127.0.0.1:0")
	g := begin(t, `
upstreams: { rpc: { targets: [grpc://`+a.address+`, grpc://`+b.address+`], panic: 0%, health: { type: grpc, interval: 100ms, unhealthy: 1, healthy: 1 } } }`+grpcRoute)
	tc := testgrpc.NewTestServiceClient(grpcClient(t, g.address, insecure.NewCredentials()))
	call := func(n int) {
		for range n {
			if _, err := tc.UnaryCall(t.Context(), &testgrpc.SimpleRequest{}); err != nil {
				t.Error(err)
			}
		}
	}
	call(20)
	if a.unary.Load() != 10 || b.unary.Load() != 10 {
		t.Errorf("%d and %d", a.unary.Load(), b.unary.Load())
	}
	a.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	g.eventually("the target to be out", func() bool {
		before := a.unary.Load()
		call(4)
		return a.unary.Load() == before
	})
	a.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	g.eventually("the target to be back", func() bool {
		before := a.unary.Load()
		call(4)
		return a.unary.Load() > before
	})
}
