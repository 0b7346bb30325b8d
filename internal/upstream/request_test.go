package upstream

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// sentHead gives the head that the upstream got for m.
func sentHead(t *testing.T, m *pipeline.Memory) (string, error) {
	t.Helper()
	f := newFake(t, answering(okAnswer))
	r := newRig(t, defaults(f.url))
	_, err := r.do(m)
	if got := f.requests(); len(got) == 1 {
		return strings.ReplaceAll(got[0].raw, f.ln.Addr().String(), "TARGET"), err
	}
	return "", err
}

const ownFields = "X-Request-Id: id\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: api.example.com\r\n"

func TestRequestHead(t *testing.T) {
	tests := []struct {
		name  string
		build func(m *pipeline.Memory)
		want  string
	}{
		{"plain", func(*pipeline.Memory) {}, "GET /a?x=1 HTTP/1.1\r\nHost: api.example.com\r\n" + ownFields},
		{"order, case and repetition", func(m *pipeline.Memory) {
			m.WithHeader("b", "1").WithHeader("A", "2").WithHeader("b", "").WithHeader("User-Agent", "x")
		},
			"GET /a?x=1 HTTP/1.1\r\nHost: api.example.com\r\nb: 1\r\nA: 2\r\nb: \r\nUser-Agent: x\r\n" + ownFields},
		{"what never passes", func(m *pipeline.Memory) {
			for _, name := range []string{"HOST", "connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Proxy-Connection", "Proxy-Authorization", "Transfer-Encoding",
				"Expect", "Authorization", "X-Request-Id", "x_request_id", "Traceparent", "tracestate", "X-Forwarded-For", "x_forwarded_proto", "X-Forwarded-Host", "Forwarded", "X-Real-IP"} {
				m.WithHeader(name, "evil")
			}
		}, "GET /a?x=1 HTTP/1.1\r\nHost: api.example.com\r\n" + ownFields},
		{"authorization on demand", func(m *pipeline.Memory) { m.WithHeader("authorization", "Bearer x"); m.Outgoing.Authorization = true },
			"GET /a?x=1 HTTP/1.1\r\nHost: api.example.com\r\nauthorization: Bearer x\r\n" + ownFields},
		{"stripped by a layer", func(m *pipeline.Memory) { m.WithHeader("A", "1").WithHeader("B", "2"); m.Request.Strip(only("A")) },
			"GET /a?x=1 HTTP/1.1\r\nHost: api.example.com\r\nB: 2\r\n" + ownFields},
		{"set and removed", func(m *pipeline.Memory) {
			m.WithHeader("a", "client").WithHeader("X_User", "client").WithHeader("C", "client")
			m.Outgoing.Set("A", []byte("ours"))
			m.Outgoing.Set("X-User", []byte("ours"))
			m.Outgoing.Remove("C")
		}, "GET /a?x=1 HTTP/1.1\r\nHost: api.example.com\r\n" + ownFields + "A: ours\r\nX-User: ours\r\n"},
		{"layers replace ours", func(m *pipeline.Memory) {
			m.Outgoing.Set("x-forwarded-for", []byte("198.51.100.7, 192.0.2.1"))
			m.Outgoing.Remove("X-Forwarded-Host")
		}, "GET /a?x=1 HTTP/1.1\r\nHost: api.example.com\r\nX-Request-Id: id\r\nX-Forwarded-Proto: http\r\nx-forwarded-for: 198.51.100.7, 192.0.2.1\r\n"},
		{"rewritten", func(m *pipeline.Memory) { m.Outgoing.Path, m.Outgoing.Host = []byte("/b"), []byte("b.example.com") },
			"GET /b?x=1 HTTP/1.1\r\nHost: b.example.com\r\n" + ownFields},
		{"the target's host", func(m *pipeline.Memory) { m.Outgoing.Host = []byte{} }, "GET /a?x=1 HTTP/1.1\r\nHost: TARGET\r\n" + ownFields},
		{"https and IPv6", func(m *pipeline.Memory) { m.Secure, m.ClientIP = true, netip.MustParseAddr("2001:db8::1") },
			"GET /a?x=1 HTTP/1.1\r\nHost: api.example.com\r\nX-Request-Id: id\r\nX-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: api.example.com\r\n"},
		{"behind proxies", func(m *pipeline.Memory) {
			m.Peer, m.ClientIP = netip.MustParseAddrPort("10.0.0.9:4711"), netip.MustParseAddr("198.51.100.7")
			m.Hops, m.Asked = []byte("198.51.100.7, 10.0.0.8"), []byte("shop.example.com:8443")
		}, "GET /a?x=1 HTTP/1.1\r\nHost: api.example.com\r\nX-Request-Id: id\r\nX-Forwarded-For: 198.51.100.7, 10.0.0.8, 10.0.0.9\r\n" +
			"X-Forwarded-Proto: http\r\nX-Forwarded-Host: shop.example.com:8443\r\n"},
		{"trace", func(m *pipeline.Memory) {
			m.Trace = pipeline.Trace{ID: [16]byte{15: 1}, Span: [8]byte{7: 2}, Flags: 1, State: []byte("a=b")}
		}, "GET /a?x=1 HTTP/1.1\r\nHost: api.example.com\r\nX-Request-Id: id\r\ntraceparent: 00-00000000000000000000000000000001-0000000000000002-01\r\ntracestate: a=b\r\n" + ownFields[len("X-Request-Id: id\r\n"):]},
		{"declared empty body", func(m *pipeline.Memory) { m.WithHeader("content-length", "0") },
			"GET /a?x=1 HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 0\r\n" + ownFields},
		{"sized body", func(m *pipeline.Memory) { m.WithHeader("Content-Length", "9").WithBody([]byte("hello")) },
			"GET /a?x=1 HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 5\r\n" + ownFields},
		{"chunked body", func(m *pipeline.Memory) { m.WithHeader("Content-Length", "9").WithChunkedBody([]byte("hello")) },
			"GET /a?x=1 HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n" + ownFields},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := get("id")
			tt.build(m)
			got, err := sentHead(t, m)
			if err != nil || got != tt.want {
				t.Errorf("%v\n%s\nwant\n%s", err, got, tt.want)
			}
		})
	}
}

type only string

func (o only) Has(name []byte) bool { return string(name) == string(o) }

func TestBareQuestionMark(t *testing.T) {
	m := pipeline.NewMemory("GET", "http://api.example.com/a?")
	if got, _ := sentHead(t, m); !strings.HasPrefix(got, "GET /a? HTTP/1.1\r\n") {
		t.Error(got)
	}
}

// Nothing that changes the meaning of the head is ever sent; the exchange is refused and the connection kept.
func TestForbiddenBytesSendNothing(t *testing.T) {
	for name, build := range map[string]func(m *pipeline.Memory){
		"CRLF in a value":      func(m *pipeline.Memory) { m.Outgoing.Set("A", []byte("b\r\nC: d")) },
		"LF in a value":        func(m *pipeline.Memory) { m.Outgoing.Set("A", []byte("b\nC: d")) },
		"NUL in a value":       func(m *pipeline.Memory) { m.Outgoing.Set("A", []byte("b\x00")) },
		"colon in a name":      func(m *pipeline.Memory) { m.Outgoing.Set("A: b\r\nC", []byte("d")) },
		"empty name":           func(m *pipeline.Memory) { m.Outgoing.Set("", []byte("d")) },
		"framing by a layer":   func(m *pipeline.Memory) { m.Outgoing.Set("content-length", []byte("0")) },
		"coding by a layer":    func(m *pipeline.Memory) { m.Outgoing.Set("Transfer-Encoding", []byte("chunked")) },
		"space in the path":    func(m *pipeline.Memory) { m.Outgoing.Path = []byte("/a HTTP/1.1") },
		"path without a slash": func(m *pipeline.Memory) { m.Outgoing.Path = []byte("a") },
		"CRLF in the path":     func(m *pipeline.Memory) { m.Outgoing.Path = []byte("/a\r\n") },
		"CRLF in the host":     func(m *pipeline.Memory) { m.Outgoing.Host = []byte("a\r\nB: c") },
		"CRLF from the client": func(m *pipeline.Memory) { m.WithHeader("A", "b\r\nC: d") },
	} {
		t.Run(name, func(t *testing.T) {
			m := get("id")
			build(m)
			got, err := sentHead(t, m)
			wantKind(t, err, pipeline.Internal)
			if got != "" || m.Effect != pipeline.EffectNone {
				t.Errorf("sent %q, effect %v", got, m.Effect)
			}
		})
	}
}
