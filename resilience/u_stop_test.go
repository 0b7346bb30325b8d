package resilience

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Edge case 54: between SIGTERM and the end of the notice everything is served, with Connection: close, also on new connections.
func TestU54ServesDuringTheNotice(t *testing.T) {
	t.Parallel()
	o := scripted(t, gives(fine))
	g := begin(t, "drain: { notice: 1s, timeout: 5s },", up("up", "", o.url), route("all", "/**", "", "up"))
	kept := g.dialog().say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
	if a, err := kept.hear("GET"); err != nil || a.header.Get("Connection") != "" {
		t.Fatalf("%v, %v", a, err)
	}
	g.signal(syscall.SIGTERM)
	g.eventually("readiness to fail", func() bool { code, _ := g.ask("GET", "/readyz", ""); return code == 503 })
	for _, d := range []*dialog{kept, g.dialog()} {
		a, err := d.say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").hear("GET")
		if err != nil || a.status != 200 || !strings.EqualFold(a.header.Get("Connection"), "close") {
			t.Errorf("%+v, %v", a, err)
		}
		if rest, err := d.rest(); rest != "" || err != nil {
			t.Errorf("after the answer: %q, %v", rest, err)
		}
	}
	if code := g.exit(); code != 0 {
		t.Errorf("exit %d: %.2000s", code, g.log)
	}
}

// Edge case 55: a request that comes on a kept connection while the gateway stops is served and then closed, or finds the
// connection closed before a byte of it was taken; it is never reset.
func TestU55RequestsInTheLastMoment(t *testing.T) {
	t.Parallel()
	o := scripted(t, gives(fine))
	for round := range soaking(4, 40) {
		g := begin(t, "drain: { notice: 30ms, timeout: 5s },", up("up", "", o.url), route("all", "/**", "", "up"))
		const clients = 16
		done := make(chan error, clients)
		for range clients {
			d := g.dialog()
			if _, err := d.say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").hear("GET"); err != nil {
				t.Fatal(err)
			}
			go func() { done <- untilClosed(d) }()
		}
		g.signal(syscall.SIGTERM)
		for range clients {
			if err := <-done; err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		if code := g.exit(); code != 0 {
			t.Errorf("exit %d", code)
		}
	}
}

// untilClosed asks and asks until the gateway says that it closes.
func untilClosed(d *dialog) error {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if _, err := io.WriteString(d, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			return err
		}
		a, err := d.hear("GET")
		switch {
		case err != nil:
			return err
		case a.status != 200:
			return errors.New(a.body)
		case strings.EqualFold(a.header.Get("Connection"), "close"):
			return nil
		}
	}
	return errors.New("the gateway did not close")
}
