package main

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// asStream is a GET over HTTP/2.
func asStream() string {
	var buf, block bytes.Buffer
	buf.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(&buf, nil)
	_ = fr.WriteSettings()
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "bench.test"}, {":path", "/"}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	return buf.String()
}

// slow has a client in every phase say a byte every 10 ms until stop.
func slow(address string, secure bool) (stop func()) {
	head := "POST / HTTP/1.1\r\nHost: a\r\n"
	noWindow := strings.Replace(asStream(), "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00", 1)
	phases := [][2]string{
		{"", ""}, {"", http2.ClientPreface}, {head, "X-Slow: " + strings.Repeat("s", 4000)}, {head + "Content-Length: 5000\r\n\r\n", strings.Repeat("b", 4999)},
		{"GET /big HTTP/1.1\r\nHost: a\r\n\r\n", ""}, {asStream()[:35], asStream()[35:]}, {noWindow, ""},
	}
	if secure { // before there is TLS
		phases = append(phases, [2]string{"\x16\x03\x01\x10\x00\x01\x00\x0f\xfc\x03\x03", strings.Repeat("\x00", 4000)})
	}
	done := make(chan struct{})
	var group sync.WaitGroup
	for i, phase := range phases {
		group.Go(func() {
			c, err := connect(address, secure && i < 7, i == 1 || i > 4)
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, phase[0])
			for _, one := range []byte(phase[1]) {
				select {
				case <-done:
					return
				case <-time.After(10 * time.Millisecond):
					_, _ = c.Write([]byte{one})
				}
			}
			<-done
		})
	}
	return func() { close(done); group.Wait() }
}
