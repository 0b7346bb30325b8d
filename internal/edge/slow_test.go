package edge_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// slowPhase is where a client is slow: what it says at once, and then byte by byte.
type slowPhase struct {
	name, at, then string
	tls            bool
}

// stream is a request over HTTP/2 after these settings, without the end of its body when open.
func stream(path string, open bool, settings ...http2.Setting) string {
	var buf, block bytes.Buffer
	buf.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(&buf, nil)
	_ = fr.WriteSettings(settings...)
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "a"}, {":path", path}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: !open, EndHeaders: true})
	return buf.String()
}

func slowPhases() []slowPhase {
	head := "POST / HTTP/1.1\r\nHost: a\r\n"
	return []slowPhase{
		{"silent", "", "", false},
		{"silent before TLS", "", "", true},
		{"hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", strings.Repeat("\x00", 500), true},
		{"preface", "", http2.ClientPreface, false},
		{"head", head, "X-Slow: " + strings.Repeat("s", 1000), false},
		{"body", head + "Content-Length: 500\r\n\r\n", strings.Repeat("b", 499), false},
		{"chunks", head + "Transfer-Encoding: chunked\r\n\r\n1f4\r\n", strings.Repeat("b", 499), false},
		{"an answer unread", "GET /big HTTP/1.1\r\nHost: a\r\n\r\n", "", false},
		{"head of HTTP/2", stream("/", true)[:35], stream("/", true)[35:], false},
		{"body of HTTP/2", stream("/", true), "\x00\x01\xf4\x00\x00\x00\x00\x00\x01" + strings.Repeat("b", 400), false},
		{"no window", stream("/big", false, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}), "", false},
	}
}

// Clients that are slow in every phase, and idle ones, keep nobody waiting: from accept to the first byte others need as long as
// without them, or less than 50 ms for 99 of 100.
func TestSlowClientsBlockNobody(t *testing.T) {
	cfg := twinConfig()
	cfg.Limits.Connections = 5000
	cfg.Limits.ReadTimeout, cfg.Limits.WriteTimeout, cfg.Limits.IdleTimeout = units.Duration(time.Minute), units.Duration(time.Minute), units.Duration(time.Minute)
	large := bytes.Repeat([]byte("l"), 8<<20)
	h := pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		if string(x.Request.Path()) == "/big" {
			x.Response.SetBody(large)
			return nil
		}
		if body := x.Request.Body(); body != nil {
			_, _ = io.Copy(io.Discard, body)
		}
		x.Response.SetBody([]byte("ok"))
		return nil
	})
	clear := openTwins(t, cfg, h)
	cfg.TLS = &edge.TLSConfig{Certificates: []edge.CertificateConfig{edge.CertificateFor(t)}}
	secure := openTwins(t, cfg, h)
	cfg.TLS = nil
	calm := openTwins(t, cfg, h) // no slow client ever comes here

	stop, ended := make(chan struct{}), make(chan struct{})
	var dripping []drip
	for _, phase := range slowPhases() {
		for range 25 {
			p := clear
			if phase.tls {
				p = secure
			}
			c := p.dial(t)
			defer c.Close()
			_, _ = io.WriteString(c, phase.at)
			dripping = append(dripping, drip{c, phase.then})
		}
	}
	for i := range 250 { // idle after a request
		c := clear.dial(t)
		defer c.Close()
		said := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
		if i%2 == 0 {
			said = stream("/", false)
		}
		_, _ = io.WriteString(c, said)
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		defer close(ended)
		trickle(dripping, stop)
	}()
	var got, beside time.Duration
	for range 5 { // a busy machine is not the gateway's fault
		beside = calm.firstBytes(t, false)
		got = max(clear.firstBytes(t, false), secure.firstBytes(t, true))
		if beside = max(beside, calm.firstBytes(t, false)); got < max(50*time.Millisecond, 3*beside) {
			break
		}
	}
	close(stop)
	<-ended
	t.Logf("99 of 100 within %v, %v beside it without slow clients", got, beside)
	if got >= max(50*time.Millisecond, 3*beside) {
		t.Errorf("99 of 100 within %v, %v beside it without slow clients", got, beside)
	}
}

type drip struct {
	net.Conn
	rest string
}

// trickle sends a byte of each every 10 ms, until stop.
func trickle(all []drip, stop <-chan struct{}) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		for i := range all {
			if d := &all[i]; d.rest != "" {
				_, _ = io.WriteString(d, d.rest[:1])
				d.rest = d.rest[1:]
			}
		}
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}

// firstBytes is how long 99 of 100 new clients wait for the first byte of their answer, handshake included.
func (p *twinPort) firstBytes(t *testing.T, secure bool) time.Duration {
	t.Helper()
	var took []time.Duration
	for range 200 {
		begun := time.Now()
		c := p.dial(t)
		if secure {
			c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		}
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begun))
		_ = c.Close()
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}
