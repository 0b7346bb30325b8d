package fleet

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// Origin is the service behind the gateways: it answers at once; at HoldPath, without a query, when it is told to.
type Origin struct {
	URL  string
	Held atomic.Int64 // requests that wait

	server *fasthttp.Server
	once   sync.Once
	let    chan struct{}
}

// StartOrigin serves until the test ends.
func StartOrigin(t testing.TB) *Origin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &Origin{URL: "http://" + ln.Addr().String(), let: make(chan struct{})}
	o.server = &fasthttp.Server{Handler: o.serve, NoDefaultServerHeader: true}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = o.server.Serve(ln)
	}()
	t.Cleanup(func() {
		o.Release()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = o.server.ShutdownWithContext(ctx)
		<-ended
	})
	return o
}

// Release answers everything that waits, and whatever comes later.
func (o *Origin) Release() { o.once.Do(func() { close(o.let) }) }

var (
	holdPrefix = []byte(HoldPath)
	fine       = []byte("fine\n")
)

func (o *Origin) serve(ctx *fasthttp.RequestCtx) {
	if bytes.HasPrefix(ctx.Path(), holdPrefix) && len(ctx.URI().QueryString()) == 0 {
		o.Held.Add(1)
		defer o.Held.Add(-1)
		select {
		case <-o.let:
		case <-time.After(time.Minute):
		}
	}
	ctx.SetBody(fine)
}
