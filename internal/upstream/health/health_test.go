package health

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type change struct {
	well bool
	why  string
}

type watch chan change

func (w watch) Health(well bool, why string) { w <- change{well, why} }
func (w watch) Checked(bool, time.Time)      {}

func (w watch) next(t *testing.T) change {
	t.Helper()
	select {
	case c := <-w:
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("nothing changed")
		return change{}
	}
}

func settings() Settings {
	s := Settings{Path: "/healthz", Interval: 4 * time.Millisecond, Timeout: 2 * time.Second, Unhealthy: 3, Healthy: 2}
	s.Expect, _ = ParseStatuses("200-299")
	return s
}

// run checks a server until the test ends.
func run(t *testing.T, s Settings, to Target, well bool) watch {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done, w := make(chan struct{}), make(watch, 100)
	go func() { defer close(done); Run(ctx, s, to, well, w) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

func targetOf(srv *httptest.Server) Target {
	addr := srv.Listener.Addr().String()
	return Target{Addr: addr, Host: "orders.internal"}
}

// It takes some answers in a row to change sides, in both directions; a single one in between begins the row anew.
func TestRiseAndFall(t *testing.T) {
	var n atomic.Int32
	// 1-4 good; 2 bad, 1 good: not enough; then 3 bad: out; 1 good, 1 bad: not enough; 2 good: in
	script := []int{200, 200, 200, 204, 500, 500, 200, 500, 301, 404, 200, 500, 200, 200}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "orders.internal" || r.URL.Path != "/healthz" || r.Method != "GET" {
			t.Errorf("asked %s %s%s", r.Method, r.Host, r.URL.Path)
		}
		i := int(n.Add(1)) - 1
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(script[min(i, len(script)-1)])
	}))
	defer srv.Close()
	w := run(t, settings(), targetOf(srv), true)
	if c := w.next(t); c.well || c.why != "status 404" || n.Load() < 10 || n.Load() > 11 {
		t.Errorf("%+v after %d checks", c, n.Load())
	}
	if c := w.next(t); !c.well || c.why != "" || n.Load() < 14 || n.Load() > 15 {
		t.Errorf("%+v after %d checks", c, n.Load())
	}
}

// each notes all checks, and when the target changes sides.
type each struct{ list chan string }

func (e each) Health(well bool, _ string) { e.list <- fmt.Sprint("well ", well) }

func (e each) Checked(passed bool, began time.Time) {
	if began.After(time.Now()) {
		e.list <- "begins later"
	}
	e.list <- fmt.Sprint(passed)
}

// Each check is told, also those that change nothing.
func TestEachCheckIsTold(t *testing.T) {
	var n atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) > 2 {
			w.WriteHeader(500)
		}
	}))
	defer srv.Close()
	s, e := settings(), each{make(chan string, 100)}
	s.Interval = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); Run(ctx, s, targetOf(srv), true, e) }()
	for i, want := range []string{"true", "true", "false", "false", "false", "well false", "false"} {
		if got := <-e.list; got != want {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
	}
	cancel()
	<-done
}

func TestRefusedAndSilentTargets(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String() // takes connections and says nothing
	s := settings()
	s.Timeout = 20 * time.Millisecond
	if c := run(t, s, Target{Addr: addr, Host: "x"}, true).next(t); c.well || c.why != "no answer in time" {
		t.Errorf("silent: %+v", c)
	}
	_ = ln.Close()
	for _, tcp := range []bool{false, true} {
		s.TCP = tcp
		if c := run(t, s, Target{Addr: addr, Host: "x"}, true).next(t); c.well || !strings.Contains(c.why, "refused") || strings.Contains(c.why, "healthz") {
			t.Errorf("refused, tcp %v: %+v", tcp, c)
		}
	}
}

func TestTCPNeedsAConnectionOnly(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := settings()
	s.TCP = true
	if c := run(t, s, Target{Addr: ln.Addr().String()}, false).next(t); !c.well {
		t.Errorf("%+v", c)
	}
}

// The end of the context ends a check that waits.
func TestEndsAtOnce(t *testing.T) {
	asked := make(chan struct{}, 10)
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{}; <-release }))
	defer srv.Close()
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	s, done, w := settings(), make(chan struct{}), make(watch, 1)
	s.Timeout, s.Unhealthy = time.Hour, 1
	go func() { defer close(done); Run(ctx, s, targetOf(srv), true, w) }()
	<-asked
	cancel()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("still waits")
	}
	if len(w) != 0 {
		t.Error("a check that was ended counts as failed")
	}
}

func TestParseStatuses(t *testing.T) {
	for text, want := range map[string][]int{
		"200-299": {200, 204, 299}, "200": {200}, "200,204": {200, 204}, " 200 - 201 , 401": {200, 201, 401}, "100-599": {100, 599}, "500": {500},
	} {
		s, err := ParseStatuses(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		for _, status := range want {
			if !s.Has(status) {
				t.Errorf("%s does not hold %d", text, status)
			}
		}
		if s.Has(302) != (text == "100-599") || s.Has(99) || s.Has(600) || s.Has(-1) {
			t.Errorf("%s holds too much", text)
		}
	}
	for _, text := range []string{"", "ok", "200-", "-200", "300-200", "99", "600", "200-600", "200,,204", "2xx"} {
		if _, err := ParseStatuses(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func FuzzParseStatuses(f *testing.F) {
	f.Add("200-299,301")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseStatuses(text)
		any := false
		for i := range 700 {
			any = any || s.Has(i)
		}
		if err == nil && !any {
			t.Errorf("%q is fine but holds nothing", text)
		}
	})
}
