package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// callee is the service behind the gRPC scenario: grpc-go's own interop server, in a process of its own.
func callee(listen string) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	return server.Serve(ln)
}

// calleeAddress starts it when it is first asked for.
func calleeAddress(b *bench) string {
	if b.callee == nil {
		self, err := os.Executable()
		fail(err)
		address := freeAddress()
		b.callee, err = spawn(address, os.DevNull, self, "callee", address)
		fail(err)
	}
	return b.callee.address
}

// loadGRPC makes n unary calls with grpc-go's client, 64 at a time on a few connections.
func loadGRPC(address string, n int) error {
	var left atomic.Int64
	left.Store(int64(n))
	errs := make(chan error, connections)
	var group sync.WaitGroup
	for range http2Connections {
		cc, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer cc.Close()
		for range connections / http2Connections {
			group.Go(func() { errs <- call(testgrpc.NewTestServiceClient(cc), &left) })
		}
	}
	group.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

func call(service testgrpc.TestServiceClient, left *atomic.Int64) error {
	question := &testgrpc.SimpleRequest{ResponseSize: 1 << 10, Payload: &testgrpc.Payload{Body: kilobyte}}
	for left.Add(-1) >= 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		answer, err := service.UnaryCall(ctx, question)
		cancel()
		if err != nil {
			return err
		}
		if n := len(answer.GetPayload().GetBody()); n != 1<<10 {
			return fmt.Errorf("%d bytes came", n)
		}
	}
	return nil
}
