package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// What is reserved is refused to all but critical routes, as overload: it is not the client's fault.
func TestReserveIsForCriticalRoutes(t *testing.T) {
	eachScope(t, func(t *testing.T, c *crew) {
		c.calm(func(who string) error {
			if err := c.walk(who, step{"/kept", 200, "", nil}, step{"/kept", 200, "", nil}, step{"/kept", 200, `"kept";r=0;t=10800`, nil}); err != nil {
				return err
			}
			for i := range 3 {
				a, err := c.ask(i, "GET", "/kept", who)
				if err != nil || a.status != 503 || a.kind() != "overloaded" || number(a.header.Get("Retry-After")) < 1 || a.problem()["executed"] != "no" {
					return fmt.Errorf("%v %d %v %s", err, a.status, a.header, a.body)
				}
			}
			return c.walk(who, step{"/vital", 200, `"kept";r=1;t=14400`, nil}, step{"/vital", 200, `"kept";r=0;t=18000`, nil}, step{"/vital", 429, "", nil})
		})
		for i := range 2 {
			if a, err := c.ask(i, "GET", "/kept", fmt.Sprintf("who-%d", c.tries.Load())); err != nil || a.status != 429 {
				t.Errorf("nothing is left for anybody: %v %d %s", err, a.status, a.body)
			}
		}
	})
}

// A guesser is told 429 in place of 401 when the budget of its address is spent; a good token passes from there all the same.
func TestFailedLogins(t *testing.T) {
	eachScope(t, func(t *testing.T, c *crew) {
		bad, good := "Bearer "+hs(t)+"x", "Bearer "+hs(t)
		turn := 0
		try := func(status int, kind, from, credential string) error {
			turn++
			fields := []string{"X-Forwarded-For", from}
			if credential != "" {
				fields = append(fields, "Authorization", credential)
			}
			a, err := c.ask(turn, "GET", "/login", "", fields...)
			if err != nil || a.status != status || a.kind() != kind || (a.header.Get("WWW-Authenticate") != "") != (status == 401) {
				return fmt.Errorf("%s %.20s: %v %d %v %s", from, credential, err, a.status, a.header, a.body)
			}
			if status == 429 && (a.problem()["policy"] != "logins" || number(a.header.Get("Retry-After")) < 3500) {
				return fmt.Errorf("%v %s", a.header, a.body)
			}
			return nil
		}
		c.calm(func(string) error {
			from, other := fmt.Sprintf("192.0.2.%d", c.tries.Load()), fmt.Sprintf("198.51.100.%d", c.tries.Load())
			for _, s := range [][4]string{
				{"401", "unauthenticated", from, ""}, {"401", "unauthenticated", from, ""}, {"200", "", from, good},
				{"401", "unauthenticated", from, bad}, {"401", "unauthenticated", from, "Bearer x.y.z"}, {"401", "unauthenticated", from, bad},
				{"429", "rate-limited", from, bad}, {"429", "rate-limited", "::ffff:" + from, "Basic YTpi"}, {"200", "", from, good}, {"401", "unauthenticated", from, ""},
				{"401", "unauthenticated", other, bad}, {"200", "", from, good},
			} {
				status, _ := strconv.Atoi(s[0])
				if err := try(status, s[1], s[2], s[3]); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

const sheds = `shedding: { in_flight: 10 }
upstreams: { up: { targets: ["@UP@"] } }
defaults: { auth: none }
routes:
  - { id: hold, match: { path: /hold }, priority: critical, to: up }
  - { id: critical, match: { path: /critical }, priority: critical, to: up }
  - { id: high, match: { path: /high }, priority: high, to: up }
  - { id: normal, match: { path: /normal }, to: up }
  - { id: low, match: { path: /low }, priority: low, to: up }
  - { id: write, match: { path: /write }, auth: { issuers: [main] }, dedup: { key: required }, priority: low, to: up }
`

// A process that is full refuses low before normal before high; critical fills it.
func TestSheddingByPriority(t *testing.T) {
	c := gather(t, sheds, "", nil, 1)
	g := c.gateways[0]
	var held []*stay
	for _, full := range []struct {
		n        int
		refuses  []string
		lets     []string
		critical int
	}{{4, nil, []string{"/low", "/normal", "/high"}, 200}, {5, []string{"/low"}, []string{"/normal", "/high"}, 200}, {8, []string{"/low", "/normal"}, []string{"/high"}, 200}, {9, []string{"/low", "/normal", "/high"}, nil, 200}, {10, []string{"/low", "/normal", "/high", "/critical"}, nil, 503}} {
		for len(held) < full.n {
			conn, err := c.sits(0, "w")
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, conn)
		}
		for _, path := range full.refuses {
			a := g.want(503, "overloaded", "GET", path, "")
			if after := number(a.header.Get("Retry-After")); after < 1 || after > 3 || a.problem()["executed"] != "no" || a.problem()["safe_same_key_retry"] != nil {
				t.Errorf("%v %s", a.header, a.body)
			}
		}
		for _, path := range append(full.lets, "/critical") { // the request before may not have ended to the last
			if path != "/critical" || full.critical == 200 {
				g.eventually(path, func() bool { a, err := c.ask(0, "GET", path, ""); return err == nil && a.status == 200 })
			}
		}
	}
	a := g.want(503, "overloaded", "POST", "/write", "{}", "Authorization", "Bearer "+hs(t), "Idempotency-Key", "k1")
	if doc := a.problem(); doc["executed"] != "no" || doc["safe_same_key_retry"] != true || doc["safe_new_key"] != false {
		t.Error(a.body)
	}
	if n := g.metric(`gateway_shed_total{priority="low"}`); number(n) < 5 {
		t.Errorf("%s of priority low are counted", n)
	}
	for _, conn := range held {
		conn.Close()
	}
	g.eventually("room", func() bool { a, err := c.ask(0, "GET", "/low", ""); return err == nil && a.status == 200 })
	a = g.want(200, "", "POST", "/write", "{}", "Authorization", "Bearer "+hs(t), "Idempotency-Key", "k1")
	if a.header.Get("Idempotency-Status") != "executed" {
		t.Errorf("what was shed held its key: %v", a.header)
	}
}

// A spent limit stands before new writes only: what was executed is replayed, costs nothing, and a refused key is free.
func TestKeyedWritesOnSpentLimits(t *testing.T) {
	eachScope(t, func(t *testing.T, c *crew) {
		c = c.first()
		credential := "Bearer " + hs(t)
		write := func(path, key, who string, status int, said, kind string) (answer, error) {
			a, err := c.ask(0, "POST", path, who, "Authorization", credential, "Idempotency-Key", key)
			if err != nil || a.status != status || a.header.Get("Idempotency-Status") != said || a.kind() != kind {
				err = fmt.Errorf("%s %s: %v %d %v %s", path, key, err, a.status, a.header, a.body)
			}
			return a, err
		}
		c.calm(func(who string) error {
			for i := range 5 {
				if _, err := write("/write/a", fmt.Sprint(who, i), who, 200, "executed", ""); err != nil {
					return err
				}
			}
			for range 2 {
				if a, err := write("/write/a", who+"-late", who, 429, "", "rate-limited"); err != nil || a.problem()["executed"] != "no" || a.problem()["policy"] != "five" {
					return fmt.Errorf("%v %s", err, a.body)
				}
				before := c.up.count.Load()
				a, err := write("/write/a", fmt.Sprint(who, 0), who, 200, "replayed", "")
				if err != nil || c.up.count.Load() != before || a.header.Get("Retry-After") != "" || !alike(a.header.Get("RateLimit"), `"five";r=0;t=18000`) {
					return fmt.Errorf("%v %v", err, a.header)
				}
			}
			c.gateways[0].operate(204, nil, "DELETE", "limits/five/usage?header="+who, "")
			var err error
			c.gateways[0].eventually("the key is free", func() bool { // a gateway may know for a second that nothing is left
				_, err = write("/write/a", who+"-late", who, 200, "executed", "")
				return err == nil
			})
			return err
		})
		c.calm(func(who string) error {
			for i := range 3 {
				if _, err := write("/kept-write/a", fmt.Sprint(who, i), who, 200, "executed", ""); err != nil {
					return err
				}
			}
			a, err := write("/kept-write/a", who+"-late", who, 503, "", "overloaded")
			doc := a.problem()
			if err != nil || doc["executed"] != "no" || doc["safe_same_key_retry"] != true || a.header.Get("Retry-After") == "" {
				return fmt.Errorf("%v %v %s", err, a.header, a.body)
			}
			if _, err := write("/kept-write/a", fmt.Sprint(who, 1), who, 200, "replayed", ""); err != nil {
				return err
			}
			c.gateways[0].operate(204, nil, "DELETE", "limits/kept/usage?header="+who, "")
			_, err = write("/kept-write/a", who+"-late", who, 200, "executed", "")
			return err
		})
	})
}

type usageSeen struct {
	Name, Kind, Scope, Plan string
	Limit, Left             float64
	Taken, Held, Reset      *float64
	RetryAfter              *float64 `json:"retry_after"`
	Reached                 *bool    `json:"store_reached"`
}

// The operator sees one client's part of a limit, wherever it was spent, and gives it back.
func TestOperatorSeesAndResets(t *testing.T) {
	eachScope(t, func(t *testing.T, c *crew) {
		shared := c.redis != nil
		look := func(turn int, limit, query string) (u usageSeen) {
			t.Helper()
			c.gateways[turn%len(c.gateways)].operate(200, &u, "GET", "limits/"+limit+"/usage?"+query, "")
			if u.Name != limit || (u.Scope == "shared") != shared || (u.Reached != nil) != shared || shared && !*u.Reached {
				t.Errorf("%s %s: %+v", limit, query, u)
			}
			return u
		}
		c.calm(func(who string) error {
			of := "header=" + url.QueryEscape(who)
			if u := look(0, "five", of); u.Left != 5 || u.Limit != 5 || u.Kind != "rate" || u.Reset != nil || u.RetryAfter != nil {
				return fmt.Errorf("%+v", u)
			}
			for range 5 {
				if err := c.walk(who, step{"/five", 200, "", nil}); err != nil {
					return err
				}
			}
			if err := c.walk(who, step{"/five", 429, "", nil}); err != nil { // this gateway knows that nothing is left
				return err
			}
			for i := range 2 {
				if u := look(i, "five", of); u.Left != 0 || u.Reset == nil || *u.Reset < 17900 || u.RetryAfter == nil || *u.RetryAfter < 3500 {
					return fmt.Errorf("%+v", u)
				}
			}
			c.gateways[0].operate(204, nil, "DELETE", "limits/five/usage?"+of, "")
			for i := range 2 {
				if u := look(i, "five", of); u.Left != 5 {
					return fmt.Errorf("%+v", u)
				}
			}
			return c.walk(who, step{"/five", 200, "", nil}, step{"/five", 200, "", nil}, step{"/five", 200, "", nil}, step{"/five", 200, "", nil}, step{"/five", 200, "", nil}, step{"/five", 429, "", nil})
		})
		c.calm(func(who string) error {
			if err := c.walk(who, step{"/day", 200, "", nil}, step{"/day", 200, "", nil}, step{"/next", 200, "", []string{"X-Tenant", "t"}}); err != nil {
				return err
			}
			if u := look(1, "day", "header="+who); u.Left != 2 || u.Kind != "quota" || u.Reset == nil || *u.Reset > 86400 {
				return fmt.Errorf("%+v", u)
			}
			if u := look(1, "next", "header:X-Who="+who+"&header:X-Tenant=t"); u.Left != 0 {
				return fmt.Errorf("%+v", u)
			}
			if u := look(1, "next", "header:X-Who="+who+"&header:X-Tenant=&ip=127.0.0.1"); u.Left != 1 {
				return fmt.Errorf("%+v", u)
			}
			c.gateways[0].operate(204, nil, "DELETE", "limits/day/usage?header="+who, "")
			if u := look(1, "day", "header="+who); u.Left != 4 {
				return fmt.Errorf("%+v", u)
			}
			if _, err := c.sits(0, who); err != nil {
				return err
			}
			if u := look(1, "seats", "header="+who); u.Left != 1 || u.Taken == nil || *u.Taken != 1 || u.Kind != "in_flight" {
				return fmt.Errorf("%+v", u)
			}
			c.gateways[0].operate(409, nil, "DELETE", "limits/seats/usage?header="+who, "")
			return nil
		})
		g := c.gateways[0]
		g.operate(404, nil, "GET", "limits/nobody/usage", "")
		var doc map[string]any
		if _ = json.Unmarshal([]byte(g.operate(400, nil, "GET", "limits/five/usage?ip=127.0.0.1", "")), &doc); !strings.Contains(fmt.Sprint(doc["detail"]), "header:X-Who is missing") {
			t.Error(doc)
		}
		if !strings.Contains(g.log.String(), `"change":"reset limit","by":"127.0.0.1:`) {
			t.Error("a reset is not logged")
		}
		if shared {
			c.redis.Kill()
			var u usageSeen
			if g.operate(200, &u, "GET", "limits/five/usage?header=w", ""); u.Reached == nil || *u.Reached {
				t.Errorf("%+v", u)
			}
			g.operate(503, nil, "DELETE", "limits/five/usage?header=w", "")
		}
	})
}
