package gateway

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/redistest"
)

// calls are requests in order and what they are answered.
type call struct {
	gateway *Gateway
	path    string
	kind    pipeline.Refusal
}

// calmly plays a scene until Redis answered every time within its 20 ms, which a busy machine does not always allow: limits that deny
// without it tell. Each try counts under names of its own.
func calmly(t *testing.T, scene func(prefix string) bool) {
	t.Helper()
	for try := range 20 {
		if scene(fmt.Sprintf("try%d", try)) {
			return
		}
	}
	t.Fatal("Redis was never quick enough for a whole scene")
}

// answered reports false when Redis was too slow.
func answered(t *testing.T, calls ...call) bool {
	t.Helper()
	for i, c := range calls {
		_, err := ask(t, c.gateway, "GET", c.path)
		switch kind := pipeline.KindOf(err); {
		case kind == pipeline.StoreUnavailable:
			return false
		case kind != c.kind:
			t.Errorf("call %d, GET %s: %v, wanted %v", i, c.path, err, c.kind)
		}
	}
	return true
}

// Edge case 21: a name's buckets are those of all routes that use it, local and shared alike; another name has its own.
func TestLimitOfTwoRoutes(t *testing.T) {
	redis := redistest.Start(t)
	url := service(t, hello)
	for _, scope := range []string{"local", "shared"} {
		t.Run(scope, func(t *testing.T) {
			calmly(t, func(prefix string) bool {
				text := fmt.Sprintf(`rate_limits:
  three: { rate: 1/h, burst: 3, by: all, scope: %[1]s, on_store_failure: deny }
  own: { rate: 1/h, burst: 3, by: all, scope: %[1]s, on_store_failure: deny }
upstreams: { up: { targets: ["@UP@"] } }
routes:
  - { id: a, match: { path: /a }, auth: none, rate_limits: [three], to: up }
  - { id: b, match: { path: /b }, auth: none, rate_limits: [three], to: up }
  - { id: c, match: { path: /c }, auth: none, rate_limits: [own], to: up }
`, scope)
				g := open(t, withRedis(t, url, text, redis, prefix))
				other := g
				if scope == "shared" {
					other = open(t, withRedis(t, url, text, redis, prefix))
				}
				no := pipeline.RateLimited
				return answered(t, call{g, "/a", 0}, call{g, "/b", 0}, call{g, "/a", 0}, call{g, "/b", no}, call{g, "/c", 0}, call{other, "/a", no})
			})
		})
	}
}

// A reload may be the first to share a limit, and the stores of limits stay the same over all of them.
func TestReloadSharesALimit(t *testing.T) {
	redis := redistest.Start(t)
	url := service(t, hello)
	const text = `rate_limits: { two: { rate: 1/h, burst: 2, by: all%s } }
upstreams: { up: { targets: ["@UP@"] } }
routes: [ { id: a, match: { path: /a }, auth: none, rate_limits: [two], to: up } ]
`
	calmly(t, func(prefix string) bool {
		local := withRedis(t, url, fmt.Sprintf(text, ""), redis, prefix)
		g := open(t, local)
		answered(t, call{g, "/a", 0})
		for range 3 {
			if err := g.Apply(withRedis(t, url, fmt.Sprintf(text, ", scope: shared, on_store_failure: deny"), redis, prefix)); err != nil {
				t.Fatal(err)
			}
		}
		if !answered(t, call{g, "/a", 0}, call{g, "/a", 0}, call{g, "/a", pipeline.RateLimited}) {
			return false
		}
		if err := g.Apply(local); err != nil {
			t.Fatal(err)
		}
		return answered(t, call{g, "/a", 0}, call{g, "/a", pipeline.RateLimited}) // what this process counted before is still known
	})
}

// The least important go first; who is critical fills the process.
func TestSheddingByPriority(t *testing.T) {
	inside, leave := make(chan struct{}, 8), make(chan struct{})
	url := service(t, func(w http.ResponseWriter, r *http.Request) {
		inside <- struct{}{}
		<-leave
		_, _ = io.WriteString(w, "ok")
	})
	g := open(t, document(t, url, `shedding: { in_flight: 4, high: 75%, normal: 50%, low: 25% }
upstreams: { up: { targets: ["@UP@"] } }
routes:
  - { id: c, match: { path: /c }, auth: none, priority: critical, to: up }
  - { id: h, match: { path: /h }, auth: none, priority: high, to: up }
  - { id: n, match: { path: /n }, auth: none, to: up }
  - { id: l, match: { path: /l }, auth: none, priority: low, to: up }
`))
	var group sync.WaitGroup
	enter := func(path string) {
		group.Go(func() { want(t, g, "GET", path, 0) })
		<-inside
	}
	enter("/l")
	want(t, g, "GET", "/l", pipeline.Overloaded)
	enter("/n")
	want(t, g, "GET", "/n", pipeline.Overloaded)
	enter("/h")
	want(t, g, "GET", "/h", pipeline.Overloaded)
	enter("/c")
	want(t, g, "GET", "/c", pipeline.Overloaded)
	close(leave)
	group.Wait()
	want(t, g, "GET", "/l", 0)
	<-inside
}
