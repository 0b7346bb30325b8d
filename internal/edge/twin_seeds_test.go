package edge_test

import (
	"fmt"
	"strings"
	"testing"
)

// seed is one call of FuzzTwins.
type seed struct {
	method, target, authority, fields, trailers, body string
	framing                                           byte
	length                                            string
}

// twinSeeds has each class of the smuggling corpus that can be said in both protocols, and what is odd about fields.
func twinSeeds() (all []seed) {
	add := func(method, target, authority, fields string) {
		all = append(all, seed{method: method, target: target, authority: authority, fields: fields})
	}
	for _, target := range []string{
		"/", "/x?a=1&b=%20", "/a%7Eb", "/%2e%2e/x", "//x", "/a%2Fb", "/%00", "/%zz", "/a%", "/%c0%af", "/a%252fb", "/a/../b", "/a/..;/b", "/x#y", "/x?#", "\\x", "x", "*", "", "/a b", "/a\tb", "/\x7f", "/\xff", "/%ff", "/%e2%82%ac", "/x?\xff", "/x?%zz",
		"http://a/x", "http://evil/x", "http://u@a/x", "HTTP://A/x", "a:80", "/x\r\nX: y", "/\\x", "/a;b=c", "/.", "/..", "/?", "/x?a?b", "/" + strings.Repeat("p", 2<<10),
	} {
		add("GET", target, "a", "")
	}
	for _, method := range []string{"HEAD", "OPTIONS", "PURGE", "get", "TRACE", "trace", "CONNECT", "connect", "", "G T", "G\x00T", "G\xffT", "GET:", "PRI", "A-B_C!", strings.Repeat("M", 300)} {
		add(method, "/x", "a", "")
	}
	for _, authority := range []string{
		"", "A.Example:80", "a.", "a b", "a, b", "a/b", "a?b", "a#b", "u@a", "a:b", "a:-1", "a:99999", "a:80:80", "[::1]:80", "[::1", "::1", "a\x00", "a\xff", "a\tb", "http://a", "a\\b", "a%00", "a;b", "a\"", "<a>", " a", "a ", strings.Repeat("h", 254),
	} {
		add("GET", "/", authority, "")
	}
	for _, fields := range []string{
		"host:a", "host:A", "host:b", "host:a\nhost:a", "host:", "a:", "a: ", "a:b\na:c", "a: b , c ,,d", "a:\xff\xfe", "a:b\x00", "a:\x1b", "a:b\tc", "a:b\rc", "a:b\n c", "a:\x7f", "a b:c", "a :b", ":b", ":path:/y", "\xc3\x84:b", "a(b):c", "a_b:c", "!#$%&'*+-.^`|~:c",
		"cookie:a=b\ncookie:c=d", "cookie:a=b; c=d\ncookie:\ncookie:e", "te:trailers", "te:gzip", "te:trailers\nte:trailers", "te:", "te:trailers, deflate", "connection:close", "connection:a\na:b", "keep-alive:x", "proxy-connection:close", "upgrade:websocket\nconnection:upgrade", "upgrade:h2c",
		"transfer-encoding:chunked", "transfer-encoding:identity", "expect:100-continue", "expect:100-Continue", "expect:wonders", "expect:100-continue, x", "expect:100-continue\nexpect:100-continue", "expect:", "authorization:Bearer a\nauthorization:Bearer b", "trailer:x", "trailer:content-length", "http2-settings:AAA",
		"x-forwarded-for:1.2.3.4\nx-forwarded-for:5.6.7.8, 10.0.0.1", "x-forwarded-proto:https", "x-forwarded-host:b", "forwarded:for=1.1.1.1", "x-request-id:abc", "x-request-id:a\nx-request-id:b", "x-request-id:\xff", "x-original-url:/admin", "x-http-method-override:PUT", "proxy:x", "range:bytes=0-1", "if-match:*", "content-type:application/grpc",
		"x-long:" + strings.Repeat("l", 1900), "x-long:" + strings.Repeat("l", 2100), "x-long:" + strings.Repeat("l", 40<<10), strings.Repeat("x-many:m\n", 19), strings.Repeat("x-many:m\n", 20), strings.Repeat("x-many:m\n", 50), strings.Repeat("cookie:m\n", 50), "idempotency-key:\"a\"", "content-length:5",
	} {
		add("GET", "/x", "a", fields)
	}
	for i := range 24 { // about the limit, byte by byte
		add("GET", "/", "a", "x-long:"+strings.Repeat("l", 1988+i*2)+"\n")
	}
	for _, framing := range []byte{framedNone, framedSized, framedUnknown} {
		for _, n := range []int{0, 1, 511, 512, 513, 5000} {
			all = append(all, seed{method: "POST", target: "/x", authority: "a", fields: "content-type:text/plain\nexpect:100-continue", body: strings.Repeat("b", n), framing: framing})
		}
	}
	for _, length := range []string{"5", "05", "+5", "-5", "5,5", "5\n5", "5\n6", "4", "6", "0", "", "0x5", "5 5", "5;", "18446744073709551621", "000000000000000000005", "\x35\x00"} {
		all = append(all, seed{method: "POST", target: "/x", authority: "a", body: "hello", framing: framedAs, length: length}, seed{method: "GET", target: "/x", authority: "a", framing: framedAs, length: length})
	}
	for _, trailers := range []string{"x-sum:1", "x-sum: 1 \t", "x-sum:1\nx-sum:2\nother:", "content-length:5", "authorization:x", "host:b", "cookie:a", "if-match:x", "x-forwarded-for:1.1.1.1", "idempotency-key:k", "a b:c", "a:\x01", "a_b:c", "content-digest:x", "te:trailers", "grpc-status:0", "x-real-ip:1", "range:x", "cache-control:x", ":status:200", "A:b", strings.Repeat("t:1\n", 40), strings.Repeat("t", 60) + ":1"} {
		for _, framing := range []byte{framedUnknown, framedUnknown | 0x40, framedUnknown | 0x80} {
			all = append(all, seed{method: "POST", target: "/x", authority: "a", trailers: trailers, body: "hello", framing: framing})
		}
	}
	return append(all, seed{method: "GET", target: "/x", authority: "a", fields: "X-Upper:1", framing: 0x80})
}

// Each seed as a test of its own name, so that a run without fuzzing says which it was.
func TestTwinSeedsAreMany(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range twinSeeds() {
		seen[fmt.Sprintf("%+v", s)] = true
	}
	if len(seen) < 200 {
		t.Errorf("%d seeds", len(seen))
	}
}
