package e2e

import (
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A target whose ALPN offers both is called over HTTP/2, and over HTTP/1.1 for a WebSocket, which has no other way; one that
// offers HTTP/1.1 only is called so.
func TestUpstreamChoosesByALPN(t *testing.T) {
	t.Parallel()
	for _, both := range []bool{true, false} {
		up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Upgrade") != "" {
				c, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					w.WriteHeader(500)
					return
				}
				defer func() { _ = c.Close() }()
				switches(func(c net.Conn) bool { return echoes(c) })(c)
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, r.Proto)
		}))
		up.EnableHTTP2 = both
		up.StartTLS()
		t.Cleanup(up.Close)
		ca := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: up.Certificate().Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		g := begin(t, fmt.Sprintf("upstreams: { up: { targets: [%q], http2: true, tls: { ca: %q, server_name: example.com } } }\nroutes:\n  - { id: all, match: { path: /** }, auth: none, to: up, websocket: true }\n", up.URL, ca))
		want := map[bool]string{true: "HTTP/2.0", false: "HTTP/1.1"}[both]
		for range 3 {
			if a := g.want(200, "", "POST", "/x", "body"); a.body != want {
				t.Errorf("called over %s, wanted %s", a.body, want)
			}
		}
		d := g.opens(strings.Replace(handed, "/ws", "/socket", 1) + "\r\n")
		d.say(hello).gets(hello)
		if a := g.want(200, "", "GET", "/x", ""); a.body != want {
			t.Errorf("called over %s after a WebSocket, wanted %s", a.body, want)
		}
	}
}
