package upstream

import (
	"io"
	"log"
	"net/http"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// serveTLS answers with the protocol that it was asked by.
func serveTLS(t *testing.T, a *authority, protocols ...string) (url string) {
	t.Helper()
	ln := a.listen(t, "orders.internal", protocols...)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { _, _ = w.Write([]byte(q.Proto)) }),
		Protocols: new(http.Protocols), ErrorLog: log.New(io.Discard, "", 0)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { _ = s.Close() })
	return "https://" + ln.Addr().String()
}

func TestALPNDecides(t *testing.T) {
	a := newAuthority(t)
	for name, tt := range map[string]struct {
		protocols []string
		want      string
	}{
		"h2":             {[]string{"h2", "http/1.1"}, "HTTP/2.0"},
		"HTTP/1.1 alone": {[]string{"http/1.1"}, "HTTP/1.1"},
		"no ALPN":        {nil, "HTTP/1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := defaults(serveTLS(t, a, tt.protocols...))
			cfg.HTTP2, cfg.TLS.CA, cfg.TLS.ServerName = true, a.file, "orders.internal"
			r := newRig(t, cfg)
			for range 3 {
				m := with("POST", "a").WithBody([]byte("{}"))
				body, err := r.do(m)
				if err != nil || string(body) != tt.want || m.Attempt.Count != 1 {
					t.Errorf("%q, %v, %d dispatches; want %s", body, err, m.Attempt.Count, tt.want)
				}
			}
			if open := r.Targets()[0].Open; open != 1 {
				t.Errorf("%d connections", open)
			}
		})
	}
}

// The choice of HTTP/1.1 holds for a minute; a handshake of WebSocket takes HTTP/1.1 in any case.
func TestALPNIsAskedAgain(t *testing.T) {
	x, now := &pipeline.Exchange{}, time.Now()
	c := newConns(endpoint{scheme: "https", addr: "127.0.0.1:1", speaks: overEither}, &tlsIdentity{})
	if !c.multiplexes(x, now) {
		t.Error("HTTP/2 is not asked for")
	}
	c.remember(now)
	if c.multiplexes(x, now.Add(59*time.Second)) || !c.multiplexes(x, now.Add(61*time.Second)) {
		t.Error("not asked again after a minute")
	}
	x.Switch.Granted = true
	if c.multiplexes(x, now.Add(61*time.Second)) {
		t.Error("WebSocket over HTTP/2")
	}
}

// grpcs means HTTP/2: a server without it is not called, and WebSocket is refused before anything is sent.
func TestHTTP2AloneTakesNothingElse(t *testing.T) {
	a := newAuthority(t)
	cfg := defaults("grpcs" + serveTLS(t, a, "http/1.1")[len("https"):])
	cfg.TLS.CA, cfg.TLS.ServerName = a.file, "orders.internal"
	r := newRig(t, cfg)
	m := with("POST", "a")
	_, err := r.do(m)
	if pipeline.KindOf(err) != pipeline.UpstreamFailed || m.Effect != pipeline.EffectNone {
		t.Errorf("%v, effect %v", err, m.Effect)
	}
	m = get("b")
	m.Switch.Granted = true
	if _, err = r.do(m); pipeline.KindOf(err) != pipeline.UpstreamFailed || m.Effect != pipeline.EffectNone {
		t.Errorf("%v, effect %v", err, m.Effect)
	}
}
