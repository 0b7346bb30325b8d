package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/redistest"
)

// shared is a document with a route for each way in which an outcome is waited for, asked for or settled. One route takes
// every path, also that of the questions.
const shared = `upstreams: { up: { targets: [%[1]q], timeout: { connect: 300ms, first_byte: 4s } } }
defaults: { auth: { issuers: [main] } }
routes:
  - { id: all, match: { path: /** }, dedup: { key: optional }, to: up }
  - { id: allow, match: { path: /allow/** }, dedup: { on_store_failure: allow }, to: up }
  - { id: plain, match: { path: /plain }, to: up }
  - { id: wait, match: { path: /wait/** }, dedup: { wait: 10s }, to: up }
  - { id: brief, match: { path: /brief/** }, dedup: { wait: 400ms }, to: up }
  - { id: again, match: { path: /again/** }, dedup: { upstream_dedup: true }, to: up }
  - { id: asked, match: { path: /asked/** }, dedup: { status_check: { url: "http://up/made/{key}", settle: 1500ms } }, to: up }
  - { id: few, match: { path: /few/** }, dedup: { per_client: { new_keys: 3/h } }, to: up }
  - { id: small, match: { path: /small/** }, dedup: { per_client: { stored: 1KiB } }, to: up }
  - { id: open, match: { path: /open/** }, auth: none, dedup: { key: required, client: "header:X-Client" }, to: up }
`

// durable is how a Redis has to be set up so that it loses nothing when it is killed.
var durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

// openShared starts gateways on one store: one on an embedded store, or n on the Redis. A document names the upstream as %[1]q.
func openShared(t *testing.T, redis *redistest.Server, body string, n int) []*desk {
	t.Helper()
	up := script(t)
	all := make([]*desk, n)
	for i := range all {
		d := &desk{up: up, gateway: prepare(t, fmt.Sprintf(body, up.url))}
		if redis != nil {
			d.replace("store: embedded", fmt.Sprintf("store: redis, redis: { addresses: [%q] }", redis.Addr))
		}
		d.start()
		t.Cleanup(d.kill)
		d.alice, d.bob = "Authorization: "+d.token("-ttl", "1h"), "Authorization: "+d.token("-sub", "bob", "-ttl", "1h")
		all[i] = d
	}
	return all
}

// eachFleet runs f on one gateway with an embedded store, given twice, and on two gateways with one Redis.
func eachFleet(t *testing.T, body string, f func(t *testing.T, one, other *desk)) {
	t.Run("embedded", func(t *testing.T) {
		d := openShared(t, nil, body, 1)[0]
		f(t, d, d)
	})
	t.Run("redis", func(t *testing.T) {
		fleet := openShared(t, startRedis(t), body, 2)
		f(t, fleet[0], fleet[1])
	})
}

func startRedis(t *testing.T) *redistest.Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not on PATH")
	}
	return redistest.Start(t, durable...)
}

// inquire asks for a keyed write without sending it again.
func (d *desk) inquire(ref string, fields ...string) reply {
	d.t.Helper()
	return d.raw(post("GET", "/-/executions/"+ref, "", fields...))
}

// stands wants the owner to be told a state, and that it is told whole.
func (d *desk) stands(r reply, state, executed string) reply {
	d.t.Helper()
	var doc map[string]any
	err := json.Unmarshal([]byte(r.body), &doc)
	if r.err != nil || r.status != 200 || err != nil || r.get("Content-Type") != "application/json" || r.get("Cache-Control") != "no-store" {
		d.t.Errorf("%d %v %v %v: %s", r.status, r.fields, r.err, err, r.body)
	}
	if doc["state"] != state || doc["executed"] != executed || doc["safe_same_key_retry"] != true || doc["safe_new_key"] != false {
		d.t.Errorf("wanted %s, executed %s: %s", state, executed, r.body)
	}
	for _, at := range []string{"first_seen", "key_until"} {
		if _, err := time.Parse(time.RFC3339, r.member(at)); err != nil {
			d.t.Errorf("%s: %s", at, r.body)
		}
	}
	return r
}

// operate sends a request to the admin API and reads the answer into to, when to is not nil.
func (g *gateway) operate(status int, to any, method, path, body string) string {
	g.t.Helper()
	r, err := http.NewRequest(method, "http://"+g.admin+"/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	got, err := client.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil || got.StatusCode != status {
		g.t.Errorf("%s %s: %d, wanted %d: %v %s", method, path, got.StatusCode, status, err, text)
	}
	if to != nil {
		if err := json.Unmarshal(text, to); err != nil {
			g.t.Errorf("%s %s: %v: %s", method, path, err, text)
		}
	}
	return string(text)
}

// waiters awaits that n duplicates wait in this gateway.
func (g *gateway) waiters(n int) {
	g.t.Helper()
	g.eventually(fmt.Sprintf("%d waiters", n), func() bool { return g.metric("gateway_dedup_waiting") == strconv.Itoa(n) })
}

// leaver sends a request on a connection that is closed when the function is called.
func (g *gateway) leaver(text string) (leave func()) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		g.t.Fatal(err)
	}
	return func() { c.Close() }
}
