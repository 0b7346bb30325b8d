package main

import (
	"github.com/valyala/fasthttp"
)

// bare is the baseline: a fasthttp server and a HostClient, with nothing in between.
func bare(listen, origin string) error {
	client := &fasthttp.HostClient{Addr: origin, MaxConns: 1024, StreamResponseBody: true, DisablePathNormalizing: true, NoDefaultUserAgentHeader: true}
	server := &fasthttp.Server{
		NoDefaultServerHeader: true, StreamRequestBody: true, MaxRequestBodySize: 1 << 30, ReadBufferSize: 16 << 10,
		Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.Request.Header.Del("Connection")
			if err := client.Do(&ctx.Request, &ctx.Response); err != nil {
				ctx.Error("bad gateway", fasthttp.StatusBadGateway)
			}
		},
	}
	return server.ListenAndServe(listen)
}
