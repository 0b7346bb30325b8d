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

// Edge case 21: a name's buckets are those of all routes that use it, local and shared alike; another name has its own.
func TestLimitOfTwoRoutes(t *testing.T) {
	redis := redistest.Start(t)
	url := service(t, hello)
	for _, scope := range []string{"local", "shared"} {
		t.Run(scope, func(t *testing.T) {
			text := fmt.Sprintf(`rate_limits:
  three: { rate: 1/h, burst: 3, by: all, scope: %[1]s }
  own: { rate: 1/h, burst: 3, by: all, scope: %[1]s }
upstreams: { up: { targets: ["@UP@"] } }
routes:
  - { id: a, match: { path: /a }, auth: none, rate_limits: [three], to: up }
  - { id: b, match: { path: /b }, auth: none, rate_limits: [three], to: up }
  - { id: c, match: { path: /c }, auth: none, rate_limits: [own], to: up }
`, scope)
			g := open(t, withRedis(t, url, text, redis))
			for _, path := range []string{"/a", "/b", "/a"} {
				want(t, g, "GET", path, 0)
			}
			want(t, g, "GET", "/b", pipeline.RateLimited)
			want(t, g, "GET", "/c", 0)
			if scope == "shared" {
				other := open(t, withRedis(t, url, text, redis))
				want(t, other, "GET", "/a", pipeline.RateLimited)
			}
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
	g := open(t, withRedis(t, url, fmt.Sprintf(text, ""), redis))
	want(t, g, "GET", "/a", 0)
	for range 3 {
		if err := g.Apply(withRedis(t, url, fmt.Sprintf(text, ", scope: shared"), redis)); err != nil {
			t.Fatal(err)
		}
	}
	want(t, g, "GET", "/a", 0)
	want(t, g, "GET", "/a", 0)
	want(t, g, "GET", "/a", pipeline.RateLimited)
	if err := g.Apply(withRedis(t, url, fmt.Sprintf(text, ""), redis)); err != nil {
		t.Fatal(err)
	}
	want(t, g, "GET", "/a", 0) // what this process counted before is still known
	want(t, g, "GET", "/a", pipeline.RateLimited)
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
