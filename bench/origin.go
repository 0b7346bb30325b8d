package main

import (
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// origin is the service behind every contestant: 1 KiB for a GET, an echo of the length for a POST, and bodies of any size. A
// write below /w/ is answered by 2 KiB that differ each time, one to /storm after 300 ms.
type origin struct {
	address string
	server  *fasthttp.Server
	pool    []byte
	storms  atomic.Int64 // writes to /storm that were executed
}

const (
	answerSize = 2 << 10
	poolSize   = 8 << 20
	stormPause = 300 * time.Millisecond
)

var kilobyte = make([]byte, 1024)

func startOrigin() (*origin, error) {
	for i := range kilobyte {
		kilobyte[i] = 'x'
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &origin{address: ln.Addr().String(), pool: noise(poolSize)}
	o.server = &fasthttp.Server{Handler: o.answer, StreamRequestBody: true, MaxRequestBodySize: 1 << 30, NoDefaultServerHeader: true}
	go o.server.Serve(ln) //nolint:errcheck // ends with stop
	return o, nil
}

func (o *origin) stop() {
	_ = o.server.ShutdownWithContext(timeout(time.Second))
}

// some is an answer to a write.
func (o *origin) some() []byte {
	at := rand.IntN(len(o.pool) - answerSize)
	return o.pool[at : at+answerSize : at+answerSize]
}

func (o *origin) answer(ctx *fasthttp.RequestCtx) {
	ctx.SetContentType("application/octet-stream")
	if string(ctx.Path()) == "/big" {
		if body := ctx.RequestBodyStream(); body != nil && ctx.IsPost() {
			n, _ := discard(body)
			ctx.SetBodyString(itoa(n))
			return
		}
		ctx.SetBodyStream(&zeros{left: bigBody}, bigBody)
		return
	}
	if body := ctx.RequestBodyStream(); body != nil {
		_, _ = discard(body)
	}
	switch string(ctx.Path()) {
	case keyedPath, plainPath:
		ctx.SetBody(o.some())
	case stormPath:
		o.storms.Add(1)
		time.Sleep(stormPause)
		ctx.SetBody(o.some())
	default:
		ctx.SetBody(kilobyte)
	}
}
