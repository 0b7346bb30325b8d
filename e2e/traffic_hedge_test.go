package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A slow upstream is asked a second time; the first good answer is the client's, whole and with all its fields, and the other
// call's connection is closed within a second. The budget bounds how often.
func TestTrafficHedges(t *testing.T) {
	var slow, left atomic.Int64 // calls to hang; calls that were given up
	gaveUp := make(chan time.Time, 100)
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if slow.Add(-1) >= 0 {
			select {
			case <-r.Context().Done():
				left.Add(1)
				gaveUp <- time.Now()
				return
			case <-time.After(8 * time.Second):
			}
		}
		w.Header().Add("Set-Cookie", "a=1; Path=/")
		w.Header().Add("Set-Cookie", "b=2")
		w.Header()["X-odd-CASE"] = []string{"one", "two"}
		w.Header().Set("Content-Type", "text/odd")
		w.Header().Set("Etag", `"e"`)
		if r.URL.Query().Get("long") != "" {
			for range 200 {
				_, _ = io.WriteString(w, strings.Repeat("0123456789", 100))
			}
			return
		}
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "hello")
	})
	g := begin(t, fmt.Sprintf(`upstreams:
  up: { targets: [%[1]q], retry: { hedge: { after: 50ms } }, bulkhead: { in_flight: 50 }, breaker: {} }
  mean: { targets: [%[1]q], retry: { hedge: { after: 50ms }, budget: 0%%, floor: 3 } }
routes:
  - { id: r, match: { path: /r }, auth: none, to: up }
  - { id: mean, match: { path: /mean }, auth: none, to: mean }
`, up.url))
	plain := g.want(200, "", "GET", "/r", "")
	for _, path := range []string{"/r", "/r?long=1"} {
		slow.Store(1)
		began := time.Now()
		got := g.want(200, "", "GET", path, "")
		answered := time.Now()
		if took := answered.Sub(began); took > 2*time.Second {
			t.Errorf("%s took %v", path, took)
		}
		if path == "/r" && got.body != "hello" || path != "/r" && got.body != strings.Repeat("0123456789", 20000) {
			t.Errorf("%s: %d bytes", path, len(got.body))
		}
		for _, name := range []string{"Set-Cookie", "X-Odd-Case", "Content-Type", "Etag"} {
			if fmt.Sprint(got.header[name]) != fmt.Sprint(plain.header[name]) || len(got.header[name]) == 0 {
				t.Errorf("%s: %s is %q, without a race %q", path, name, got.header[name], plain.header[name])
			}
		}
		if at := <-gaveUp; at.Sub(answered) > time.Second {
			t.Errorf("the loser's connection was closed after %v", at.Sub(answered))
		}
	}
	slow.Store(1)
	if got := g.want(200, "", "HEAD", "/r", ""); got.header.Get("Content-Length") != "5" {
		t.Errorf("HEAD in a race: Content-Length is %q", got.header.Get("Content-Length"))
	}
	<-gaveUp
	slow.Store(1)
	count := up.count.Load()
	if _, err := g.call("POST", "/r", "{}", "X-Request-Timeout", "400"); err != nil || up.count.Load() != count+1 {
		t.Errorf("a write was raced: %v, %d calls", err, up.count.Load()-count)
	}
	g.eventually("all places are given back", func() bool { return g.metric(`gateway_bulkhead_in_flight{upstream="up"}`) == "0" })
	if g.metric(`gateway_upstream_hedges_total{result="second",upstream="up"}`) != "3" || !strings.Contains(g.log.String(), `"attempts":2,"retried":"hedge"`) {
		t.Error("races are not told")
	}
	slow.Store(1000)
	before := up.count.Load()
	began := time.Now()
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() { _, _ = g.call("GET", "/mean", "", "X-Request-Timeout", "1500") })
	}
	all.Wait()
	seconds := int64(time.Since(began)/time.Second) + 2
	if extra := up.count.Load() - before - 30; extra > 3*seconds || extra < 1 {
		t.Errorf("%d calls beyond the 30, at most %d are allowed", extra, 3*seconds)
	}
	g.eventually("no call is left behind", func() bool { return left.Load() >= up.count.Load()-before })
}

// Fault injection 17: what is announced falls with each try, and is bounded by what the client waits; the client's own retry
// is not multiplied. A client that leaves less time gets its 504 in that time, and Proxy-Status says what failed.
func TestTrafficDeadlines(t *testing.T) {
	var mu sync.Mutex
	var attempts, timeouts []string
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		attempts, timeouts = append(attempts, r.Header.Get("X-Request-Attempt")), append(timeouts, r.Header.Get("X-Request-Timeout"))
		mu.Unlock()
		if r.URL.Path == "/again" {
			time.Sleep(120 * time.Millisecond)
			panic(http.ErrAbortHandler)
		}
		select {
		case <-r.Context().Done():
		case <-time.After(5 * time.Second):
		}
	})
	g := begin(t, fmt.Sprintf(`upstreams:
  up: { targets: [%q], retry: { attempts: 3, announce: true, backoff: { base: 30ms, max: 30ms } } }
  gone: { targets: [%q] }
routes:
  - { id: r, match: { path: /** }, auth: none, timeout: 3s, to: up }
  - { id: gone, match: { path: /gone }, auth: none, to: gone }
`, up.url, "http://"+freePort(t)))
	g.replace("drain: {", "proxy_status: true, drain: {")
	g.signalRestart()
	if got := g.want(502, "upstream-failed", "GET", "/again", "", "X-Request-Timeout", "1000"); got.header.Get("Proxy-Status") != "oncegate; error=connection_terminated" {
		t.Error(got.header)
	}
	mu.Lock()
	if strings.Join(attempts, " ") != "1 2 3" || len(timeouts) != 3 {
		t.Fatalf("announced %q, %q", attempts, timeouts)
	}
	last := 1001
	for _, text := range timeouts {
		n, err := strconv.Atoi(text)
		if err != nil || n >= last || last <= 1000 && last-n < 100 {
			t.Errorf("what is left does not fall as time passes: %q", timeouts)
		}
		last = n
	}
	attempts = nil
	mu.Unlock()
	g.want(502, "upstream-failed", "GET", "/again", "", "X-Request-Attempt", "2")
	mu.Lock()
	if len(attempts) != 1 {
		t.Errorf("a retry of the caller's was sent %d times", len(attempts))
	}
	mu.Unlock()
	began := time.Now()
	if got := g.want(504, "upstream-timeout", "GET", "/wait", "", "X-Request-Timeout", "300"); got.header.Get("Proxy-Status") != "oncegate; error=http_response_timeout" {
		t.Error(got.header)
	}
	if took := time.Since(began); took < 290*time.Millisecond || took > 800*time.Millisecond {
		t.Errorf("300 ms took %v", took)
	}
	count := up.count.Load()
	if g.want(504, "upstream-timeout", "GET", "/wait", "", "X-Request-Timeout", "0"); up.count.Load() != count {
		t.Error("a call without time was made")
	}
	began = time.Now()
	g.want(504, "upstream-timeout", "GET", "/wait", "", "X-Request-Timeout", "99999999")
	if took := time.Since(began); took > 4500*time.Millisecond {
		t.Errorf("a client made its deadline longer: %v", took)
	}
	if got := g.want(502, "upstream-failed", "GET", "/gone", ""); got.header.Get("Proxy-Status") != "oncegate; error=connection_refused" {
		t.Error(got.header)
	}
	if !strings.Contains(g.log.String(), `"retried":"reset"`) || g.metric(`gateway_upstream_retries_total{reason="reset",upstream="up"}`) != "2" {
		t.Error("nobody says why it was tried again")
	}
}

// signalRestart has what only a restart changes take effect.
func (g *gateway) signalRestart() {
	g.t.Helper()
	g.kill()
	g.start()
}
