package wire

import (
	"net/netip"
	"testing"
)

var typical = []byte("Host: api.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
	"Accept: application/json, text/plain, */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Content-Type: application/json\r\nContent-Length: 348\r\nAuthorization: Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ." +
	"eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tLyIsInN1YiI6IjEyMzQ1Njc4OTAifQ.c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmU\r\n" +
	"Idempotency-Key: 8e03978e-40d5-43e8-bc93-6894a57f9324\r\nConnection: keep-alive\r\n\r\n")

var (
	post   = []byte("POST")
	target = []byte("/v1/orders/12345/items?expand=lines&limit=20")
	http11 = []byte("HTTP/1.1")
)

func BenchmarkHeadCheck(b *testing.B) {
	h := &Head{}
	b.ReportAllocs()
	b.SetBytes(int64(len(typical)))
	for b.Loop() {
		if err := h.Check(post, target, http11, typical, Limits{Headers: 100}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHeadCheckEscaped(b *testing.B) {
	h, escaped := &Head{}, []byte("/v1/%6frders/a%20b/%c3%a9t%c3%a9?x=1")
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Check(post, escaped, http11, typical, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	f := &Fields{}
	_ = f.Parse(typical, 100)
	for b.Loop() {
		if f.Get("Idempotency-Key") == nil {
			b.Fatal("not found")
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	p, _ := ParseProxies([]string{"10.0.0.0/8", "fd00::/8"})
	f := &Fields{}
	peer := netip.MustParseAddr("10.0.0.1")
	raw := []byte("X-Forwarded-For: 203.0.113.9, 10.1.2.3\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: api.example.com\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		_ = f.Parse(raw, 100)
		if p.Resolve(peer, f).Proto != "https" {
			b.Fatal("not resolved")
		}
	}
}

// The accepting path and the refusing path of everything that runs per request allocate nothing.
func TestNothingIsAllocated(t *testing.T) {
	h, bad := &Head{}, []byte("Host: u@evil\r\n\r\n")
	mixed := []byte("HOST: API.Example.COM.:80\r\nTransfer-Encoding: chunked\r\nConnection: x-a\r\nX-A: 1\r\nX_B: 2\r\n\r\n")
	escaped := []byte("/%61/%c3%a9")
	proxies, _ := ParseProxies([]string{"10.0.0.0/8", "fd00::/8"})
	peer := netip.MustParseAddr("::ffff:10.0.0.1")
	forwarded := []byte("X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: [fd00::1]:80, 10.1.2.3\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\n\r\n")
	f, names := &Fields{}, NewNames("X-A", "X-User-Id")
	name, key, query := []byte("x-user-id"), []byte(`"abc"`), []byte("a=1&bet%61=%31+")
	parent := []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	buffer := make([]byte, 0, 128)
	for what, run := range map[string]func(){
		"Check":     func() { _ = h.Check(post, target, http11, typical, Limits{}) },
		"mixed":     func() { _ = h.Check(post, escaped, http11, mixed, Limits{}) },
		"refused":   func() { _ = h.Check(post, target, http11, bad, Limits{}) },
		"Resolve":   func() { _ = f.Parse(forwarded, 10); proxies.Resolve(peer, f) },
		"Drop":      func() { _ = f.Parse(mixed, 10); f.DropNames(names); f.Get("Absent") },
		"names":     func() { names.Has(name); HopByHop(name) },
		"ids":       func() { AppendRequestID(buffer); NewSpanID(); AppendTraceparent(buffer, NewTraceID(), NewSpanID(), 1) },
		"parse ids": func() { ParseTraceparent(parent); ValidRequestID(parent) },
		"key":       func() { ParseKey(key); AppendString(buffer, "per-client") },
		"query":     func() { QueryHas(query, "beta", "1 ") },
	} {
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}
