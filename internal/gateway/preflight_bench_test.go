package gateway

import (
	"net"
	"testing"
	"time"
)

// BenchmarkOptions is what a preflight costs from socket to socket, beside a refused request and one that no route takes.
func BenchmarkOptions(b *testing.B) {
	address, _ := serveWhole(b)
	for _, c := range []struct{ name, request string }{
		{"preflight", "OPTIONS /browsers/17 HTTP/1.1\r\nHost: a\r\nOrigin: https://app.test\r\nAccess-Control-Request-Method: GET\r\n\r\n"},
		{"foreign", "OPTIONS /browsers/17 HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.test\r\nAccess-Control-Request-Method: GET\r\n\r\n"},
		{"no route takes it", "OPTIONS /browsers/17 HTTP/1.1\r\nHost: a\r\nOrigin: https://app.test\r\n\r\n"},
		{"401", "GET /browsers/17 HTTP/1.1\r\nHost: a\r\nOrigin: https://app.test\r\n\r\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			buf := make([]byte, 8<<10)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write([]byte(c.request)); err != nil {
					b.Fatal(err)
				}
				for got := 0; !whole(buf[:got]); {
					n, err := conn.Read(buf[got:])
					if got += n; err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
