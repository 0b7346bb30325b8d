package main

import (
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// origin is the service behind every contestant: 1 KiB for a GET, an echo of the length for a POST, and bodies of any size.
type origin struct {
	address string
	server  *fasthttp.Server
}

var kilobyte = make([]byte, 1024)

func startOrigin() (*origin, error) {
	for i := range kilobyte {
		kilobyte[i] = 'x'
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &origin{address: ln.Addr().String()}
	o.server = &fasthttp.Server{Handler: answer, StreamRequestBody: true, MaxRequestBodySize: 1 << 30, NoDefaultServerHeader: true}
	go o.server.Serve(ln) //nolint:errcheck // ends with stop
	return o, nil
}

func (o *origin) stop() {
	_ = o.server.ShutdownWithContext(timeout(time.Second))
}

func answer(ctx *fasthttp.RequestCtx) {
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
	ctx.SetBody(kilobyte)
}
