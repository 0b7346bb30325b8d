package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// reverse is what the HTTP/2 edge is compared with: the standard library's proxy for HTTP/2 on clear text.
func reverse(listen, origin string) error {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	target := &url.URL{Scheme: "http", Host: origin}
	server := &http.Server{
		Addr: listen, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second,
		Handler: &httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() },
			Transport: &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true},
		},
	}
	return server.ListenAndServe()
}

func reverseStart(b *bench) (*process, error) {
	address := freeAddress()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return spawn(address, os.DevNull, self, "reverse", address, b.origin.address)
}

// http2Connections share the 64 requests that are under way at once.
const http2Connections = 4

// load2 sends n GETs over HTTP/2 and wants status 200 each time.
func load2(address string, n int) error {
	var left atomic.Int64
	left.Store(int64(n))
	errs := make(chan error, connections)
	var group sync.WaitGroup
	for range http2Connections {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: protocols, DisableCompression: true}
		defer transport.CloseIdleConnections()
		for range connections / http2Connections {
			group.Go(func() { errs <- load2One(transport, address, &left) })
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

func load2One(transport *http.Transport, address string, left *atomic.Int64) error {
	for left.Add(-1) >= 0 {
		r, err := http.NewRequest("GET", "http://"+address+"/api/orders/42?full=1", nil)
		if err != nil {
			return err
		}
		r.Header = http.Header{"User-Agent": {"bench/1"}, "Accept": {"application/json"}, "X-Client-Version": {"7.1.3"}, "Cache-Control": {"no-cache"}}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if err = errors.Join(err, answer.Body.Close()); err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", answer.StatusCode)
		}
	}
	return nil
}
