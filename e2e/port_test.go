package e2e

import (
	"strings"
	"testing"
	"time"
)

// What ends before it can be routed is seen in a metric: over TLS, on the port, in HTTP/2.
func TestPortFaultsAreSeen(t *testing.T) {
	t.Parallel()
	g := edged(t, newOrigin(t), "limits: { read_timeout: 200ms }", "")
	fault := func(at, fault string) string {
		return g.metric(`gateway_connection_faults_total{at="` + at + `",fault="` + fault + `"}`)
	}
	if n := fault("tls", "certificate"); n != "0" {
		t.Errorf("%q before anything happened: every kind has a series", n)
	}
	if a := g.dialog().hear("GET"); a.status != 408 {
		t.Errorf("silence: %d", a.status)
	}
	g.eventually("silence to be counted", func() bool { return fault("port", "silent") == "1" })
	g.dialog().say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x04\x03\x00\x00\x00\x00\x07\x00\x00\x00\x08").rest() // a reset of a stream that never was
	g.eventually("a wrong frame to be counted", func() bool { return fault("http2", "frame") == "1" && fault("http2", "connection") == "1" })
}

// listen.limits.connection_age has the first answer behind it be the last.
func TestConnectionAgeEndsConnections(t *testing.T) {
	t.Parallel()
	o := newOrigin(t)
	o.at("/ws", switches(echoes))
	g := socketed(t, o, "true", "")
	g.kill()
	g.replace("listen: {", "listen: { limits: { connection_age: 300ms },")
	g.start()
	ask := "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
	kept, socket := g.dialog(), g.opens(handed+"\r\n")
	began := time.Now()
	for {
		before := time.Since(began)
		got := kept.say(ask).head()
		kept.gets("ok")
		if strings.Contains(got, "\r\nConnection: close\r\n") {
			if time.Since(began) < 270*time.Millisecond {
				t.Errorf("closed after %v", time.Since(began))
			}
			break
		}
		if before > 400*time.Millisecond {
			t.Fatalf("not closed after %v", before)
		}
	}
	if rest := kept.rest(); rest != "" {
		t.Errorf("%q behind the last answer", rest)
	}
	socket.say(hello).gets(hello)
}
