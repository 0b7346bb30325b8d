package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

// An upstream that dies in the middle of a stream is UNAVAILABLE for every kind of stream, on both edges; when it is back, the
// next call works.
func TestGRPCStreamsKilled(t *testing.T) {
	ca := newAuthority(t, "servers", nil)
	cert, key := pairFiles(t, ca, filepath.Join(t.TempDir(), "server"), nil)
	for edge, security := range map[string]credentials.TransportCredentials{
		"h2c": insecure.NewCredentials(),
		"TLS": credentials.NewTLS(&tls.Config{RootCAs: poolOf(ca), ServerName: "rpc.internal"}),
	} {
		t.Run(edge, func(t *testing.T) {
			s := interopAt(t, "127.0.0.1:0")
			g := prepare(t, "upstreams: { rpc: { targets: [grpc://"+s.address+"] } }"+grpcRoute)
			if edge == "TLS" {
				g.replace("drain:", fmt.Sprintf("tls: { certificates: [{ cert: %s, key: %s }] }, drain:", cert, key))
			}
			g.start()
			t.Cleanup(g.kill)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			tc := testgrpc.NewTestServiceClient(grpcClient(t, g.address, security))
			pause := []*testgrpc.ResponseParameters{{Size: 10}, {Size: 10, IntervalUs: 30e6}}
			down, err := tc.StreamingOutputCall(ctx, &testgrpc.StreamingOutputCallRequest{ResponseParameters: pause})
			if err == nil {
				_, err = down.Recv()
			}
			both, also := tc.FullDuplexCall(ctx)
			if also == nil {
				also = both.Send(&testgrpc.StreamingOutputCallRequest{ResponseParameters: pause[:1]})
			}
			if also == nil {
				_, also = both.Recv()
			}
			up, third := tc.StreamingInputCall(ctx)
			if third == nil {
				third = up.Send(&testgrpc.StreamingInputCallRequest{Payload: &testgrpc.Payload{Body: make([]byte, 100)}})
			}
			if err != nil || also != nil || third != nil {
				t.Fatal(err, also, third)
			}
			g.eventually("all streams to be there", func() bool { return s.streams.Load() == 3 })
			s.server.Stop()
			_, err = down.Recv()
			_, also = both.Recv()
			_, third = up.CloseAndRecv()
			for kind, err := range map[string]error{"server": err, "bidi": also, "client": third} {
				if status.Code(err) != codes.Unavailable {
					t.Errorf("%s streaming: %v", kind, err)
				}
			}
			interopAt(t, s.address)
			if _, err := tc.UnaryCall(ctx, &testgrpc.SimpleRequest{}); err != nil {
				t.Errorf("the first call after the restart: %v", err)
			}
		})
	}
}
