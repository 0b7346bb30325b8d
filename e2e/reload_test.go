package e2e

import (
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const limited = `rate_limits: { tight: { rate: %s, burst: 3, by: ip } }
upstreams: { up: { targets: [%q] } }
routes: [ { id: all, match: { path: /** }, auth: none, rate_limits: [tight], to: up } ]
`

const (
	reloadsOK     = `gateway_config_reloads_total{result="success"}`
	reloadsFailed = `gateway_config_reloads_total{result="failure"}`
	lastReload    = `gateway_config_last_reload_success`
)

func TestReloadKeepsBuckets(t *testing.T) {
	up := serve(t, ok)
	g := begin(t, fmt.Sprintf(limited, "1/1h", up.url))
	for range 3 {
		g.want(200, "", "GET", "/x", "")
	}
	g.want(429, "rate-limited", "GET", "/x", "")
	g.write(fmt.Sprintf(limited, "2/1h", up.url)) // the file's change alone reloads
	g.eventually("the new rate", func() bool {
		a, _ := g.call("GET", "/x", "")
		return a.header.Get("RateLimit-Policy") == `"tight";q=3;w=5400`
	})
	g.want(429, "rate-limited", "GET", "/x", "")
}

func TestBadReloadKeepsTheOldDocument(t *testing.T) {
	up := serve(t, ok)
	g := begin(t, fmt.Sprintf(plain, up.url))
	if g.metric(lastReload) != "1" {
		t.Fatalf("%s is %q at start", lastReload, g.metric(lastReload))
	}
	g.write("routs: []\n")
	g.signal(syscall.SIGHUP)
	g.eventually("the failure in the metrics", func() bool { return g.metric(lastReload) == "0" })
	g.want(200, "", "GET", "/x", "")
	status, text := g.get(g.admin, "/api/v1/config/errors")
	if status != 200 || text == "[]" {
		t.Errorf("config/errors: %d %s", status, text)
	}
	g.write(fmt.Sprintf(plain, up.url))
	g.signal(syscall.SIGHUP)
	g.eventually("the success in the metrics", func() bool { return g.metric(lastReload) == "1" })
	if g.metric(reloadsFailed) == "" || g.metric(reloadsFailed) == "0" {
		t.Errorf("%s is %q", reloadsFailed, g.metric(reloadsFailed))
	}
	_, text = g.get(g.admin, "/api/v1/config/errors")
	if text != "[]" {
		t.Errorf("errors stay after a good reload: %s", text)
	}
}

func TestReloadCannotMoveThePort(t *testing.T) {
	up := serve(t, ok)
	g := begin(t, fmt.Sprintf(plain, up.url))
	old := g.address
	g.address = freePort(t)
	g.write(fmt.Sprintf(plain, up.url))
	g.address = old
	g.signal(syscall.SIGHUP)
	g.eventually("the refusal", func() bool { return g.metric(lastReload) == "0" })
	if _, text := g.get(g.admin, "/api/v1/config/errors"); !contains(text, "restart") {
		t.Errorf("the message does not say restart: %s", text)
	}
	g.want(200, "", "GET", "/x", "")
}

// steady sends keep-alive requests from four workers until stop is called, which gives the failures and the count.
func (g *gateway) steady(method, path string) (stop func() (failures []string, sent int64)) {
	var mu sync.Mutex
	var failures []string
	var sent atomic.Int64
	done := make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-done:
					return
				default:
				}
				r, _ := http.NewRequest(method, "http://"+g.address+path, http.NoBody)
				a, err := client.Do(r)
				sent.Add(1)
				if err == nil {
					a.Body.Close()
				}
				if err != nil || a.StatusCode != 200 {
					mu.Lock()
					failures = append(failures, fmt.Sprint(err, a))
					mu.Unlock()
					return
				}
			}
		})
	}
	return func() ([]string, int64) {
		close(done)
		group.Wait()
		return failures, sent.Load()
	}
}

func TestReloadsDropNoRequest(t *testing.T) {
	up := serve(t, ok)
	g := begin(t, fmt.Sprintf(plain, up.url))
	stop := g.steady("GET", "/x")
	before := g.metric(reloadsOK)
	for range 20 {
		g.signal(syscall.SIGHUP)
		g.eventually("the reload", func() bool { now := g.metric(reloadsOK); changed := now != before; before = now; return changed })
	}
	failures, sent := stop()
	if len(failures) > 0 || sent < 100 {
		t.Fatalf("%d of %d requests failed: %v", len(failures), sent, failures)
	}
}

func TestSoak(t *testing.T) {
	length := 3 * time.Second
	if s := os.Getenv("ONCEGATE_SOAK"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	up := serve(t, ok)
	g := begin(t, fmt.Sprintf(plain, up.url))
	stop := g.steady("GET", "/x")
	warm := func(n int) {
		for range n {
			before := g.metric(reloadsOK)
			g.signal(syscall.SIGHUP)
			g.eventually("the reload", func() bool { return g.metric(reloadsOK) != before })
		}
	}
	warm(10)
	base := g.resident()
	for end := time.Now().Add(length); time.Now().Before(end); {
		warm(1)
	}
	failures, sent := stop()
	if len(failures) > 0 {
		t.Fatalf("%d of %d requests failed: %v", len(failures), sent, failures)
	}
	if grown := g.resident() - base; grown > 32<<10 {
		t.Errorf("resident memory grew by %d KiB over %d requests with reloads", grown, sent)
	}
}
