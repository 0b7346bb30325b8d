package e2e

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// T33: a shadow changes nothing but metrics, also when it is alone in having nothing left.
func TestShadowsChangeNothing(t *testing.T) {
	eachScope(t, func(t *testing.T, c *crew) {
		c.calm(func(who string) error {
			for left := 4; left >= 0; left-- {
				a, err := c.ask(left, "GET", "/dark", who)
				if err != nil || a.status != 200 || !alike(a.header.Get("RateLimit"), fmt.Sprintf(`"five";r=%d;t=%d`, left, (5-left)*3600)) || a.header.Get("RateLimit-Policy") != `"five";q=5;w=18000` {
					return fmt.Errorf("%v %d %v %s", err, a.status, a.header, a.body)
				}
			}
			a, err := c.ask(0, "GET", "/dark", who)
			if err != nil || a.status != 429 || a.problem()["policy"] != "five" {
				return fmt.Errorf("%v %d %s", err, a.status, a.body)
			}
			return nil
		})
		dark := 0
		for _, g := range c.gateways {
			dark += gauge(g.metricsText(), `gateway_ratelimit_decisions_total{decision="shadow_refused",policy="dark"}`)
			if n := g.metric(`gateway_ratelimit_decisions_total{decision="refused",policy="dark"}`); n != "" {
				t.Errorf("a shadow refused %s", n)
			}
		}
		if dark < 4 {
			t.Errorf("%d of 4 are counted", dark)
		}
	})
}

// sits sends a request that is held, and waits until its answer has begun. The connection ends with the test.
func (c *crew) sits(turn int, who string) (*stay, error) {
	c.t.Helper()
	conn, err := net.Dial("tcp", c.gateways[turn%len(c.gateways)].address)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	here := &stay{conn, make(chan struct{}), make(chan struct{})}
	c.held.Store(conn.LocalAddr().String(), here)
	_, _ = io.WriteString(conn, line("GET", "/hold", "X-Who: "+who, "X-Hold: "+conn.LocalAddr().String()))
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	head := make([]byte, 12)
	if _, err := io.ReadFull(conn, head); err != nil || string(head) != "HTTP/1.1 200" {
		conn.Close()
		return nil, fmt.Errorf("%q %v", head, err)
	}
	<-here.arrived
	return here, nil
}

// T34: a place is held until the last byte, also of a long stream; a client that leaves frees it at once.
func TestPlacesAreHeldAndFreed(t *testing.T) {
	eachScope(t, func(t *testing.T, c *crew) {
		c.calm(func(who string) error {
			first, err := c.sits(0, who)
			if err != nil {
				return err
			}
			if _, err := c.sits(1, who); err != nil {
				return err
			}
			for i := range 4 {
				a, err := c.ask(i, "GET", "/seat", who)
				if err != nil || a.status != 429 || a.problem()["policy"] != "seats" || a.header.Get("Retry-After") != "1" || a.header.Get("RateLimit") != `"seats";r=0` || a.header.Get("RateLimit-Policy") != `"seats";q=2;qu="concurrent-requests"` {
					return fmt.Errorf("%v %d %v %s", err, a.status, a.header, a.body)
				}
			}
			if a, err := c.ask(0, "GET", "/seat", who+"x"); err != nil || a.status != 200 || a.header.Get("RateLimit") != `"seats";r=1` { // somebody else
				return fmt.Errorf("%v %d %v", err, a.status, a.header)
			}
			first.Close()
			c.passes("the place of a client that left", who)
			var again *stay
			c.gateways[0].eventually("the place of the request before", func() bool { // it is freed after its last byte
				again, err = c.sits(0, who)
				return err == nil
			})
			if a, err := c.ask(1, "GET", "/seat", who); err != nil || a.status != 429 {
				return fmt.Errorf("%v %d", err, a.status)
			}
			close(again.release) // the stream ends
			c.passes("the place of a stream that ended", who)
			return nil
		})
	})
}

func (c *crew) passes(what, who string) {
	c.t.Helper()
	for i, g := range c.gateways {
		g.eventually(what, func() bool {
			a, err := c.ask(i, "GET", "/seat", who)
			return err == nil && a.status == 200
		})
	}
}

// T34: when a gateway is killed its places are free within the heartbeat.
func TestPlacesOfAKilledGateway(t *testing.T) {
	t.Parallel()
	c := gather(t, counted, "scope: shared, on_store_failure: deny", startRedis(t), 2)
	c.calm(func(who string) error {
		for range 2 {
			if _, err := c.sits(1, who); err != nil {
				return err
			}
		}
		if a, err := c.ask(0, "GET", "/seat", who); err != nil || a.status != 429 {
			return fmt.Errorf("%v %d", err, a.status)
		}
		c.gateways[1].kill()
		c.gateways = c.gateways[:1]
		c.passes("the places of a gateway that was killed", who)
		return nil
	})
}

const failing = `rate_limits:
  deny: { rate: 1/1h, burst: 4, by: "header:X-Who", scope: shared, on_store_failure: deny }
  local: { rate: 1/1h, burst: 4, by: "header:X-Who", scope: shared }
  allow: { rate: 1/1h, burst: 4, by: "header:X-Who", scope: shared, on_store_failure: allow }
  dark: { rate: 1/1h, burst: 4, by: "header:X-Who", scope: shared, on_store_failure: deny, mode: shadow }
  seats: { in_flight: 4, by: "header:X-Who", scope: shared, on_store_failure: deny }
  day: { quota: 100000/d, by: "header:X-Who", scope: shared, on_store_failure: deny }
  here: { rate: 1/1h, burst: 4, by: "header:X-Who" }
upstreams: { up: { targets: ["@UP@"] } }
defaults: { auth: none }
routes:
  - { id: deny, match: { path: /deny }, rate_limits: [deny], to: up }
  - { id: local, match: { path: /local }, rate_limits: [local], to: up }
  - { id: allow, match: { path: /allow }, rate_limits: [allow], to: up }
  - { id: dark, match: { path: /dark }, rate_limits: [dark], to: up }
  - { id: seats, match: { path: /seats }, rate_limits: [seats], to: up }
  - { id: day, match: { path: /day }, rate_limits: [day], to: up }
  - { id: mixed, match: { path: /mixed }, rate_limits: [here, deny], to: up }
  - { id: here, match: { path: /here }, rate_limits: [here], to: up }
`

// T35: without Redis each shared limit does what it says, nothing waits long, nothing is a 500, and what was refused so is not
// charged anywhere. Afterwards all is as before.
func TestWithoutRedis(t *testing.T) {
	redis := startRedis(t)
	c := gather(t, failing, "", redis, 2)
	for what, round := range map[string][2]func(){"stopped": {redis.Pause, redis.Resume}, "killed": {redis.Kill, redis.Restart}} {
		t.Run(what, func(t *testing.T) {
			who := what
			round[0]()
			c.denied(t, who)
			passed := 0
			for i := range 20 {
				for path, want := range map[string]int{"/allow": 200, "/dark": 200, "/local": 0} {
					a, err := c.ask(i, "GET", path, who)
					if err != nil || want != 0 && a.status != want || a.status != 200 && a.status != 429 {
						t.Errorf("%s: %v %d %s", path, err, a.status, a.body)
					}
					if path == "/local" && a.status == 200 {
						passed++
					}
				}
			}
			if passed < 2 || passed > 8 { // of each gateway its part, or all while it thinks that it is alone
				t.Errorf("%d passed in two gateways that count alone", passed)
			}
			if a, err := c.ask(0, "GET", "/here", who); err != nil || a.header.Get("RateLimit") != `"here";r=3;t=3600` {
				t.Errorf("a refusal was charged: %v %v", err, a.header)
			}
			round[1]()
			for i, g := range c.gateways {
				for _, path := range []string{"/deny", "/seats", "/day"} {
					g.eventually(path+" after it is back", func() bool {
						a, err := c.ask(i, "GET", path, who+"-after")
						if err != nil || a.status == 500 {
							t.Errorf("%v %s", err, a.body)
						}
						return a.status == 200 || a.status == 429
					})
				}
			}
		})
	}
	for _, g := range c.gateways {
		if strings.Contains(g.metricsText(), `kind="internal"`) {
			t.Error("an internal error")
		}
	}
}

// denied wants all that fails closed to say so, quickly.
func (c *crew) denied(t *testing.T, who string) {
	t.Helper()
	for i := range 20 {
		for _, path := range []string{"/deny", "/seats", "/day", "/mixed"} {
			began := time.Now()
			a, err := c.ask(i, "GET", path, who)
			if took := time.Since(began); err != nil || a.status != 503 || a.kind() != "store-unavailable" || a.header.Get("Retry-After") != "1" || a.problem()["executed"] != "no" || took > time.Second {
				t.Errorf("%s after %v: %v %d %v %s", path, took, err, a.status, a.header, a.body)
			}
		}
	}
}
