package fleet

import (
	"math"
	"net"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/time/rate"
)

func TestPoissonHasItsRateAndItsSkew(t *testing.T) {
	all := Poisson(7, 4, Stream{Route: 1, PerSecond: 1000, Clients: []int{3, 5}, For: 10 * time.Second, Skew: .6}, Stream{Route: 2, PerSecond: 100, Clients: []int{0}, From: 5 * time.Second, For: 5 * time.Second})
	var first, second, onFirst, three int
	for i, a := range all {
		if i > 0 && a.Due < all[i-1].Due {
			t.Fatal("not in order")
		}
		switch {
		case a.Route == 2 && (a.Due < 5*time.Second || a.Due >= 10*time.Second):
			t.Fatal("out of its time: ", a)
		case a.Route == 2:
			second++
			continue
		}
		first++
		if a.Gateway == 0 {
			onFirst++
		}
		if a.Client == 3 {
			three++
		}
	}
	for _, c := range []struct{ got, want, by float64 }{{float64(first), 10_000, 500}, {float64(second), 500, 120}, {float64(onFirst) / float64(first), .6, .03}, {float64(three) / float64(first), .5, .03}} {
		if math.Abs(c.got-c.want) > c.by {
			t.Errorf("%v, wanted %v", c.got, c.want)
		}
	}
	again := Poisson(7, 4, Stream{Route: 1, PerSecond: 1000, Clients: []int{3, 5}, For: 10 * time.Second, Skew: .6})
	if len(again) != first {
		t.Error("a seed does not repeat its arrivals")
	}
}

// The generator before a limiter that is known to be right must find nothing, and before two that each have the whole limit
// must find it.
func TestLoadOnStubs(t *testing.T) {
	rule := Rule{200, 20}
	one := rate.NewLimiter(200, 20)
	right := []string{stub(t, one), stub(t, one)}
	twice := []string{stub(t, rate.NewLimiter(200, 20)), stub(t, rate.NewLimiter(200, 20))}
	arrivals := Poisson(3, 2, Stream{PerSecond: 800, Clients: []int{0}, For: 2 * time.Second})
	for _, c := range []struct {
		addresses []string
		want      bool
	}{{right, true}, {twice, false}} {
		h := Load{Addresses: c.addresses, Paths: []string{"/"}, Tag: "x", Workers: 16}.Run(t.Context(), arrivals)
		if len(h) != len(arrivals) {
			t.Fatalf("%d of %d were sent", len(h), len(arrivals))
		}
		got := Judge(rule, h)
		if ok := math.Abs(got.Ratio-1) < .02 && got.Excess <= 1; ok != c.want {
			t.Errorf("%+v", got)
		}
		if got.Other[0] != 0 {
			t.Errorf("%d requests got no answer", got.Other[0])
		}
	}
}

func TestLoadReadsAnswers(t *testing.T) {
	address := serve(t, func(ctx *fasthttp.RequestCtx) {
		switch string(ctx.Path()) {
		case "/limited":
			ctx.SetStatusCode(429)
			ctx.Response.Header.Set("Retry-After", "7")
			ctx.Response.Header.Set("RateLimit", `"a";r=12;t=3`)
		case "/down":
			ctx.SetStatusCode(503)
			ctx.SetBodyString(`{"type":"urn:oncegate:problem:store-unavailable"}`)
		case "/client":
			ctx.SetStatusCode(map[string]int{"tag-9": 200}[string(ctx.Request.Header.Peek("X-Client"))])
		case "/closes":
			ctx.SetConnectionClose()
		}
	})
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	l := Load{Addresses: []string{address, gone.Addr().String()}, Paths: []string{"/limited", "/down", "/client", "/closes", "/closes"}, Tag: "tag", Workers: 1}
	var arrivals []Arrival
	for i := range l.Paths {
		arrivals = append(arrivals, Arrival{Route: i, Client: 9})
	}
	arrivals = append(arrivals, Arrival{Gateway: 1, Due: 10 * time.Millisecond})
	h := l.Run(t.Context(), arrivals)
	if len(h) != 6 {
		t.Fatal(h)
	}
	if r := h[0]; r.Status != 429 || r.RetryAfter != 7 || r.Left != 12 || r.StoreDown {
		t.Errorf("%+v", r)
	}
	if r := h[1]; r.Status != 503 || !r.StoreDown || r.Left != -1 {
		t.Errorf("%+v", r)
	}
	for i, want := range []int{2: 200, 3: 200, 4: 200, 5: 0} {
		if i > 1 && h[i].Status != want {
			t.Errorf("%+v, wanted %d", h[i], want)
		}
	}
}

func stub(t *testing.T, l *rate.Limiter) string {
	return serve(t, func(ctx *fasthttp.RequestCtx) {
		if !l.Allow() {
			ctx.SetStatusCode(429)
		}
	})
}

func serve(t *testing.T, handler fasthttp.RequestHandler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, ended := &fasthttp.Server{Handler: handler}, make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() { _ = server.Shutdown(); <-ended })
	return ln.Addr().String()
}
