package wire

import "testing"

// The price of knowing an unreadable head's request id: it is paid for every head.
func BenchmarkFindRequestID(b *testing.B) {
	without := []byte("GET /api/orders/1 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: load/1.0\r\nAccept: */*\r\nAccept-Encoding: identity\r\nAuthorization: Bearer x\r\nX-A: b\r\nX-B: c\r\nX-C: d\r\nCookie: a=b\r\n\r\n")
	b.Run("without", func(b *testing.B) {
		for b.Loop() {
			FindRequestID(without)
		}
	})
	with := append(without[:len(without)-2:len(without)-2], "X-Request-Id: 0123456789abcdef\r\n\r\n"...)
	b.Run("with", func(b *testing.B) {
		for b.Loop() {
			FindRequestID(with)
		}
	})
}
