package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/oncegate/oncegate/internal/upstream/dnstest"
)

const targetRoutes = `upstreams: { up: { %s } }
routes: [{ id: a, match: { path: /** }, auth: none, to: up }]
`

// targetView is a target as the admin API tells it.
type targetView struct {
	N             int
	URL           string
	State, Reason string
	Until         string
	Healthy       bool
	Ejections     int
}

func (g *gateway) targets() (list []targetView) {
	var ups []struct{ Targets []targetView }
	g.asks(200, &ups, "GET", "/api/v1/upstreams")
	if len(ups) == 1 {
		list = ups[0].Targets
	}
	return list
}

func (g *gateway) states() string {
	var list []string
	for _, t := range g.targets() {
		list = append(list, t.State)
	}
	return strings.Join(list, " ")
}

func (g *gateway) failures(n int) (bad int) {
	g.t.Helper()
	for i := range n {
		if got := g.mustCall("POST", "/x"+strconv.Itoa(i), "{}"); got.status != 200 {
			bad++
		}
	}
	return bad
}

func unavailable(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }

func hostPort(url string) string { return strings.TrimPrefix(url, "http://") }

// One of two targets answers 503: five calls, then it is out, and log, metrics and admin API say why. It comes back by time.
func TestTargetIsEjectedAndComesBack(t *testing.T) {
	var failing atomic.Bool
	failing.Store(true)
	bad := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if failing.Load() {
			unavailable(w, r)
			return
		}
		ok(w, r)
	})
	good := serve(t, ok)
	g := begin(t, fmt.Sprintf(targetRoutes, fmt.Sprintf("targets: [%q, %q], ejection: { time: 2s }", bad.url, good.url)))
	if n := g.failures(200); n != 5 {
		t.Errorf("%d of 200 calls failed, want 5", n)
	}
	target := fmt.Sprintf(`{target=%q,upstream="up"}`, hostPort(bad.url))
	if list := g.targets(); list[0].State == "ejected" {
		if list[0].Reason == "" || list[0].Until == "" || list[0].Ejections != 1 || list[1].State != "up" {
			t.Errorf("%+v", list)
		}
		if up, n := g.metric("gateway_target_up"+target), g.metric(fmt.Sprintf(`gateway_target_ejections_total{reason="errors",target=%q,upstream="up"}`, hostPort(bad.url))); n != "1" {
			t.Errorf("up %s, ejections %s", up, n)
		}
	}
	if !strings.Contains(g.log.String(), `"msg":"target is ejected"`) {
		t.Error("the log does not say it")
	}
	failing.Store(false)
	g.eventually("it is back", func() bool { return g.states() == "up up" && g.metric("gateway_target_up"+target) == "1" })
	if n := g.failures(50); n != 0 {
		t.Errorf("%d failures", n)
	}
	if !strings.Contains(g.log.String(), `"msg":"target is back from ejection"`) {
		t.Error("the log does not say that it is back")
	}
}

// A reload keeps what is known of targets, and drained ones drained.
func TestTargetsOutliveReloads(t *testing.T) {
	bad, good, third := serve(t, unavailable), serve(t, ok), serve(t, ok)
	words := fmt.Sprintf("targets: [%q, %q, %q], ejection: { time: 5m }", bad.url, good.url, third.url)
	g := begin(t, fmt.Sprintf(targetRoutes, words))
	g.failures(40)
	g.asks(200, nil, "POST", "/api/v1/upstreams/up/targets/2/drain")
	if got := g.states(); got != "ejected up drained" {
		t.Errorf("before: %s", got)
	}
	g.write(fmt.Sprintf(targetRoutes, words+", balance: least_request"))
	g.reloaded(g.hup)
	before := third.count.Load()
	if got, n := g.states(), g.failures(30); got != "ejected up drained" || n != 0 || third.count.Load() != before {
		t.Errorf("after: %s, %d failures, %d calls at the drained one", got, n, third.count.Load()-before)
	}
	g.asks(200, nil, "DELETE", "/api/v1/upstreams/up/targets/"+hostPort(third.url)+"/drain")
	if got := g.states(); got != "ejected up up" {
		t.Errorf("taken back: %s", got)
	}
	for _, path := range []string{"/upstreams/up/targets/3/drain", "/upstreams/up/targets/-1/drain", "/upstreams/no/targets/0/drain", "/upstreams/up/targets/x/drain"} {
		g.asks(404, nil, "POST", "/api/v1"+path)
	}
	if !strings.Contains(g.log.String(), `"change":"drain"`) {
		t.Error("who drained is not in the log")
	}
}

// Checks take a target out that answers calls but is not well, and bring it back.
func TestHealthChecks(t *testing.T) {
	var sick atomic.Bool
	a := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && sick.Load() {
			w.WriteHeader(500)
			return
		}
		_, _ = io.WriteString(w, "ok")
	})
	b := serve(t, ok)
	g := begin(t, fmt.Sprintf(targetRoutes, fmt.Sprintf("targets: [%q, %q], health: { interval: 100ms }", a.url, b.url)))
	sick.Store(true)
	g.eventually("it is out", func() bool { return g.states() == "unhealthy up" })
	if list := g.targets(); list[0].Healthy || list[0].Reason != "status 500" {
		t.Errorf("%+v", list)
	}
	if g.metric(fmt.Sprintf(`gateway_target_healthy{target=%q,upstream="up"}`, hostPort(a.url))) != "0" {
		t.Error("the metric does not say it")
	}
	sick.Store(false)
	g.eventually("it is back", func() bool { return g.states() == "up up" })
}

// twoAddresses listens at 127.0.0.1 and 127.0.0.2, at one port.
func twoAddresses(t *testing.T) (first, second net.Listener, port int) {
	t.Helper()
	for range 50 { // the port may be taken at one of them
		var err error
		if first, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		port = first.Addr().(*net.TCPAddr).Port
		if second, err = net.Listen("tcp", "127.0.0.2:"+strconv.Itoa(port)); err == nil {
			return first, second, port
		}
		_ = first.Close()
	}
	if runtime.GOOS == "linux" {
		t.Fatal("no port is free at both")
	}
	t.Skip("this machine has no 127.0.0.2")
	return nil, nil, 0
}

// A target that was down and ejected for 30 s is called again as soon as its checks pass.
func TestHealthChecksEndAnEjection(t *testing.T) {
	a, down := serve(t, ok), freePort(t)
	g := begin(t, fmt.Sprintf(targetRoutes, fmt.Sprintf("targets: [%q, %q], health: { interval: 200ms, timeout: 150ms, unhealthy: 8, healthy: 2 }", a.url, "http://"+down)))
	if n := g.failures(20); n != 0 {
		t.Errorf("%d calls failed", n)
	}
	if got := g.states(); got != "up ejected" {
		t.Errorf("before: %s", got)
	}
	g.eventually("its checks fail, too", func() bool { return !g.targets()[1].Healthy })
	ln, err := net.Listen("tcp", down)
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			calls.Add(1)
		}
		ok(w, r)
	})}
	go server.Serve(ln) //nolint:errcheck // ends with the test
	t.Cleanup(func() { _ = server.Close() })
	g.eventually("it is back", func() bool { return g.states() == "up up" }) // in 15 s
	if n := g.failures(20); n != 0 || calls.Load() != 10 {
		t.Errorf("%d failures, %d of 20 calls at the target that is back", n, calls.Load())
	}
	labels := fmt.Sprintf(`target=%q,upstream="up"}`, down)
	if up, out := g.metric("gateway_target_up{"+labels), g.metric(`gateway_target_ejections_total{reason="connect",`+labels); up != "1" || out != "1" {
		t.Errorf("up %s, ejections %s", up, out)
	}
	if list := g.targets(); list[1].Until != "" || list[1].Ejections != 1 || !strings.Contains(g.log.String(), `"msg":"target is back from ejection","upstream":"up","target":"`+down+`","by":"checks"`) {
		t.Errorf("%+v", list)
	}
}

// Names are looked up again, answers that fail take nothing away, and what is gone gets nothing.
func TestTargetsByDNS(t *testing.T) {
	first, second, port := twoAddresses(t)
	var calls [2]atomic.Int32
	for i, ln := range []net.Listener{first, second} {
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { calls[i].Add(1); ok(w, r) })}
		go server.Serve(ln) //nolint:errcheck // ends with the test
		t.Cleanup(func() { _ = server.Close() })
	}
	dns := dnstest.New(t)
	dns.Says(dnstest.NoError, "127.0.0.1")
	g := begin(t, fmt.Sprintf(targetRoutes, fmt.Sprintf("dns: { name: orders.test, port: %d, refresh: 100ms, family: ipv4, resolver: %q }", port, dns.Addr)))
	if n := g.failures(5); n != 0 || calls[0].Load() != 5 {
		t.Errorf("%d failures, %d calls", n, calls[0].Load())
	}
	dns.Says(dnstest.ServFail)
	g.eventually("look-ups fail", func() bool { return g.metric(`gateway_dns_stale{upstream="up"}`) == "1" })
	if n := g.failures(5); n != 0 {
		t.Errorf("%d failures while DNS fails", n)
	}
	dns.Says(dnstest.NoError, "127.0.0.2")
	g.eventually("the other address is used", func() bool {
		list := g.targets()
		return len(list) == 1 && list[0].URL == fmt.Sprintf("http://127.0.0.2:%d", port)
	})
	before := calls[0].Load()
	if n := g.failures(5); n != 0 || calls[0].Load() != before || calls[1].Load() != 5 {
		t.Errorf("%d failures, %d and %d calls", n, calls[0].Load()-before, calls[1].Load())
	}
	if text := g.metricsText(); strings.Contains(text, `target="127.0.0.1:`) {
		t.Error("series of an address that is gone")
	}
}

// explain says how targets are picked and when they are taken out.
func TestExplainTellsOfTargets(t *testing.T) {
	g := prepare(t, fmt.Sprintf(targetRoutes, `targets: ["http://127.0.0.1:1", "http://127.0.0.1:2"], balance: hash, hash_by: ip, health: {}`))
	if _, err := os.Stat(g.file); err != nil {
		t.Fatal(err)
	}
	wants(t, 0, "up: http://127.0.0.1:1 http://127.0.0.1:2, hash by ip, ejection after 5 errors or 3 failed connections for 30s, checked at /healthz every 5s", "",
		"explain", "-config", g.file)
}
