package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// branded is an upstream that says who it is, and what it was asked for.
func branded(t *testing.T, name string) *service {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-From", name)
		w.Header().Set("X-Path", r.RequestURI)
		w.Header().Set("X-Host", r.Host)
		ok(w, r)
	})
}

// blueGreen is two upstreams and how a document names them.
func blueGreen(t *testing.T) (blue, green *service, upstreams string) {
	blue, green = branded(t, "blue"), branded(t, "green")
	return blue, green, fmt.Sprintf("upstreams: { blue: { targets: [%q] }, green: { targets: [%q] } }\n", blue.url, green.url)
}

func (g *gateway) from(method, path string, headers ...string) string {
	g.t.Helper()
	return g.want(200, "", method, path, "", headers...).header.Get("X-From")
}

// put sends JSON to the admin API.
func (g *gateway) put(path, body string) (int, string) {
	g.t.Helper()
	r, err := http.NewRequest("PUT", "http://"+g.admin+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer got.Body.Close()
	text, _ := io.ReadAll(got.Body)
	return got.StatusCode, string(text)
}

// weights are those in force, by the admin API.
func (g *gateway) weights(route string) string {
	_, text := g.get(g.admin, "/api/v1/routes")
	var rows []struct {
		ID    string         `json:"id"`
		Split map[string]int `json:"split"`
	}
	_ = json.Unmarshal([]byte(text), &rows)
	for _, r := range rows {
		if r.ID == route {
			return fmt.Sprint(r.Split)
		}
	}
	return text
}

// Requests are shared by weight; a client stays at its arm, and only raising an arm's weight moves clients, only to it
// (fault injection 24). The weights of the admin API hold until the next reload.
func TestTrafficSplits(t *testing.T) {
	_, _, upstreams := blueGreen(t)
	doc := upstreams + `routes:
  - { id: drawn, match: { path: /drawn }, auth: none, to: { split: [{ upstream: blue, weight: 80 }, { upstream: green, weight: 20 }] } }
  - { id: tenants, match: { path: /tenants }, auth: none, to: { sticky: "header:X-Tenant", split: [{ upstream: blue, weight: 80 }, { upstream: green, weight: 20 }] } }
  - { id: visitors, match: { path: /visitors }, auth: none, to: { sticky: "cookie:visitor", split: [{ upstream: blue }, { upstream: green }] } }
  - { id: clients, match: { path: /clients }, auth: { issuers: [main] }, to: { sticky: client, split: [{ upstream: blue }, { upstream: green }] } }
`
	g := begin(t, doc)
	const n = 1000
	count := 0
	for range n {
		if g.from("GET", "/drawn") == "green" {
			count++
		}
	}
	if sigma := math.Sqrt(n * 0.2 * 0.8); math.Abs(float64(count)-n*0.2) > 5*sigma {
		t.Errorf("%d of %d went to an arm of 20 %%", count, n)
	}
	arms := func(name string) map[string]string {
		at := map[string]string{}
		for i := range 100 {
			id := fmt.Sprintf("%d", i)
			headers := map[string][]string{"/tenants": {"X-Tenant", id}, "/visitors": {"Cookie", "a=b; visitor=" + id}}[name]
			at[id] = g.from("GET", name, headers...)
			if again := g.from("GET", name, headers...); again != at[id] {
				t.Fatalf("%s %s moved from %s to %s", name, id, at[id], again)
			}
		}
		return at
	}
	arms("/visitors")
	alice := g.token()
	for arm := range 5 {
		if first := g.from("GET", "/clients", "Authorization", alice); first != g.from("GET", "/clients", "Authorization", g.token("-claim", fmt.Sprintf("n=%d", arm))) {
			t.Error("another token of the same client goes to another arm")
		}
	}
	before := arms("/tenants")
	if status, text := g.put("/api/v1/routes/tenants/split", `{"blue": 40, "green": 60}`); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	if got := g.weights("tenants"); got != "map[blue:40 green:60]" {
		t.Errorf("the API shows %s", got)
	}
	after, moved := arms("/tenants"), 0
	for id, arm := range before {
		if arm == "green" && after[id] == "blue" {
			t.Errorf("tenant %s moved back", id)
		}
		if arm != after[id] {
			moved++
		}
	}
	if moved < 15 || moved > 65 {
		t.Errorf("%d of 100 tenants moved from 20 %% to 60 %%", moved)
	}
	for body, want := range map[string]int{`{"blue": 1}`: 400, `{"blue": -1, "green": 2}`: 400, `{"blue": 0, "green": 0}`: 400, `{"blue": 1, "green": 1, "red": 1}`: 400, `[1]`: 400, `{"blue": 1.5, "green": 1}`: 400} {
		if status, _ := g.put("/api/v1/routes/tenants/split", body); status != want {
			t.Errorf("%s: %d", body, status)
		}
	}
	if status, _ := g.put("/api/v1/routes/nobody/split", `{"blue": 1}`); status != 404 {
		t.Errorf("an unknown route: %d", status)
	}
	if got := g.weights("tenants"); got != "map[blue:40 green:60]" {
		t.Errorf("a refused change took effect: %s", got)
	}
	if !strings.Contains(g.log.String(), `"before":{"blue":80,"green":20}`) {
		t.Error("the change is not in the log")
	}
	g.write(doc + "# reloaded\n")
	g.eventually("the document's weights are back", func() bool { return g.weights("tenants") == "map[blue:80 green:20]" })
	for id, arm := range arms("/tenants") {
		if arm != before[id] {
			t.Errorf("tenant %s is not back", id)
		}
	}
}

// What meets a condition goes to its arm, whatever the weights; two fields of a name meet none.
func TestTrafficConditions(t *testing.T) {
	_, _, upstreams := blueGreen(t)
	file := filepath.Join(t.TempDir(), "flags.yaml")
	if err := os.WriteFile(file, []byte("new: { on: false }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := begin(t, upstreams+"flags: { file: "+file+", refresh: 100ms }\n"+`routes:
  - { id: header, match: { path: /header }, auth: none, to: { split: [{ upstream: blue }, { upstream: green, weight: 0, when: { headers: { X-Canary: "1" } } }] } }
  - { id: cookie, match: { path: /cookie }, auth: none, to: { split: [{ upstream: blue }, { upstream: green, weight: 0, when: { cookies: { beta: "on" } } }] } }
  - { id: claim, match: { path: /claim }, auth: { issuers: [main], optional: true }, to: { split: [{ upstream: blue }, { upstream: green, weight: 0, when: { claims: { plan: gold }, headers: { X-Canary: "1" } } }] } }
  - { id: flag, match: { path: /flag }, auth: none, to: { sticky: "header:X-Tenant", split: [{ upstream: blue }, { upstream: green, weight: 0, when: { flag: new } }] } }
`)
	gold := g.token("-claim", "plan=gold")
	for _, c := range []struct {
		path, want string
		headers    []string
	}{
		{"/header", "blue", nil}, {"/header", "green", []string{"X-Canary", "1"}}, {"/header", "blue", []string{"X-Canary", "10"}}, {"/header", "blue", []string{"X-Canary", ""}},
		{"/cookie", "green", []string{"Cookie", "x=y; beta=on"}}, {"/cookie", "blue", []string{"Cookie", "xbeta=on; beta=off"}},
		{"/claim", "green", []string{"Authorization", gold, "X-Canary", "1"}}, {"/claim", "blue", []string{"Authorization", gold}}, {"/claim", "blue", []string{"X-Canary", "1"}},
	} {
		if got := g.from("GET", c.path, c.headers...); got != c.want {
			t.Errorf("%s %q went to %s", c.path, c.headers, got)
		}
	}
	c, err := net.Dial("tcp", g.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET /header HTTP/1.1\r\nHost: a\r\nX-Canary: 0\r\nx-canary: 1\r\n\r\n")
	if got, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || got.Header.Get("X-From") != "blue" {
		t.Errorf("a repeated field: %v %v", got, err)
	}
	green := func() (n int) {
		for i := range 200 {
			if g.from("GET", "/flag", "X-Tenant", fmt.Sprint(i)) == "green" {
				n++
			}
		}
		return n
	}
	set := func(text string) {
		reads := func() string {
			return g.metric(`gateway_flags_reads_total{result="success"}`) + " " + g.metric(`gateway_flags_reads_total{result="failure"}`)
		}
		before := reads()
		_ = os.WriteFile(file+".new", []byte(text), 0o600)
		_ = os.Rename(file+".new", file)
		g.eventually("the flags are read", func() bool { return reads() != before })
	}
	if n := green(); n != 0 {
		t.Errorf("%d of 200 see a flag that is off", n)
	}
	set("new: { on: true, percent: 25 }\n")
	if n := green(); n < 25 || n > 78 {
		t.Errorf("%d of 200 see a flag of 25 %%", n)
	}
	set("new: { on: tru")
	if n := green(); n < 25 || n > 78 {
		t.Errorf("%d of 200 after a broken file", n)
	}
	set("new: { on: false, percent: 25 }\n")
	if n := green(); n != 0 {
		t.Errorf("%d of 200 after the kill switch", n)
	}
}

// Blue and green by one call, back and forth under load: no request fails, and after the last switch blue is silent. A keyed
// write that blue executed is not executed by green.
func TestTrafficBlueGreen(t *testing.T) {
	blue, green, upstreams := blueGreen(t)
	g := begin(t, upstreams+`routes:
  - { id: r, match: { path: /r }, auth: none, to: { split: [{ upstream: blue, weight: 1 }, { upstream: green, weight: 0 }] } }
  - { id: w, match: { path: /w }, auth: none, dedup: { key: required, client: "header:X-Tenant" }, to: { split: [{ upstream: blue, weight: 1 }, { upstream: green, weight: 0 }] } }
`)
	keyed := []string{"Idempotency-Key", "a-key-of-sixteen-letters", "X-Tenant", "t"}
	if got := g.want(200, "", "POST", "/w", "{}", keyed...); got.header.Get("X-From") != "blue" {
		t.Fatal("blue is first")
	}
	var failed, served atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := client.Get("http://" + g.address + "/r")
				if err != nil || got.StatusCode != 200 {
					failed.Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, got.Body)
				got.Body.Close()
				served.Add(1)
			}
		})
	}
	for i := range 40 {
		body := `{"blue": 0, "green": 1}`
		if i%2 == 1 {
			body = `{"blue": 1, "green": 0}`
		}
		if status, text := g.put("/api/v1/routes/r/split", body); status != 200 {
			t.Errorf("%d %s", status, text)
		}
		time.Sleep(20 * time.Millisecond)
	}
	close(stop)
	load.Wait()
	if failed.Load() > 0 || served.Load() < 100 {
		t.Errorf("%d failed of %d", failed.Load(), served.Load())
	}
	for _, route := range []string{"r", "w"} {
		if status, _ := g.put("/api/v1/routes/"+route+"/split", `{"blue": 0, "green": 1}`); status != 200 {
			t.Error(status)
		}
	}
	before := blue.count.Load()
	for range 50 {
		g.from("GET", "/r")
	}
	executed := green.count.Load()
	if again := g.want(200, "", "POST", "/w", "{}", keyed...); again.header.Get("Idempotent-Replayed") != "true" || green.count.Load() != executed {
		t.Error("green executed what blue had")
	}
	if blue.count.Load() != before {
		t.Error("blue is not silent")
	}
}
