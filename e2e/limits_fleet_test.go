package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oncegate/oncegate/internal/redistest"
)

// counted is a document with a limit of each kind. SCOPE becomes that of the test. Clients name themselves, so that each try
// has buckets of its own; rates are slow, so that no token comes back meanwhile.
const counted = `rate_limits:
  five: { rate: 1/1h, burst: 5, by: "header:X-Who", SCOPE }
  one: { rate: 1/2h, burst: 1, by: "header:X-Who", SCOPE }
  mine: { rate: 1/1h, burst: 1, by: "header:X-Who" }
  ten: { rate: 1/1h, burst: 10, by: "header:X-Who", cost: { base: 2, response_header: X-Cost }, SCOPE }
  quick: { rate: 1/s, burst: 1, by: "header:X-Who", SCOPE }
  day: { quota: 4/d, by: "header:X-Who", SCOPE }
  tier: { rate: 1/1h, burst: 2, by: "header:X-Who", plans: { claim: plan, gold: { rate: 1/1h, burst: 4 }, internal: unlimited, banned: deny }, SCOPE }
  next: { rate: 1/1h, burst: 1, by: ["header:X-Who", "header:X-Tenant"], SCOPE }
  reject: { rate: 1/1h, burst: 1, by: ["header:X-Who", "header:X-Tenant"], on_missing: reject, SCOPE }
  together: { rate: 1/1h, burst: 1, by: ["header:X-Who", "header:X-Tenant"], on_missing: shared, SCOPE }
  dark: { rate: 1/1h, burst: 1, by: "header:X-Who", mode: shadow, SCOPE }
  dark-seats: { in_flight: 1, by: "header:X-Who", mode: shadow, SCOPE }
  kept: { rate: 1/1h, burst: 5, by: "header:X-Who", reserve: 40%, SCOPE }
  seats: { in_flight: 2, by: "header:X-Who", SCOPE }
  logins: { rate: 1/1h, burst: 3, by: ip, SCOPE }
upstreams: { up: { targets: ["@UP@"] } }
defaults: { auth: none }
routes:
  - { id: five, match: { path: /five }, rate_limits: [five], to: up }
  - { id: both, match: { path: /both }, rate_limits: [five, one], to: up }
  - { id: mixed, match: { path: /mixed }, rate_limits: [five, mine], to: up }
  - { id: ten, match: { path: /ten }, rate_limits: [ten], to: up }
  - { id: free, match: { path: /free }, rate_limits: [{ name: five, cost: 0 }], to: up }
  - { id: quick, match: { path: /quick }, rate_limits: [quick], to: up }
  - { id: day, match: { path: /day }, rate_limits: [day], to: up }
  - { id: soon, match: { path: /soon }, rate_limits: [five, day], rate_limit_fields: next, to: up }
  - { id: x, match: { path: /x }, rate_limits: [five, day], rate_limit_fields: x-ratelimit, to: up }
  - { id: quiet, match: { path: /quiet }, rate_limits: [five], rate_limit_fields: "off", to: up }
  - { id: tier, match: { path: /tier }, auth: { issuers: [main] }, rate_limits: [tier], to: up }
  - { id: next, match: { path: /next }, rate_limits: [next], to: up }
  - { id: reject, match: { path: /reject }, rate_limits: [reject], to: up }
  - { id: together, match: { path: /together }, rate_limits: [together], to: up }
  - { id: dark, match: { path: /dark }, rate_limits: [dark, dark-seats, five], to: up }
  - { id: kept, match: { path: /kept }, rate_limits: [kept], to: up }
  - { id: vital, match: { path: /vital }, priority: critical, rate_limits: [kept], to: up }
  - { id: seat, match: { path: /seat }, rate_limits: [seats], to: up }
  - { id: hold, match: { path: /hold }, rate_limits: [seats], to: up }
  - { id: login, match: { path: /login }, auth: { issuers: [main] }, failed_logins: logins, to: up }
  - { id: write, match: { path: /write/** }, auth: { issuers: [main] }, dedup: { key: required }, rate_limits: [five], to: up }
  - { id: write-kept, match: { path: /kept-write/** }, auth: { issuers: [main] }, dedup: { key: required }, rate_limits: [kept], to: up }
`

// crew are gateways in front of one upstream, with one Redis when they share their limits.
type crew struct {
	t        *testing.T
	gateways []*gateway
	redis    *redistest.Server
	up       *service
	tries    atomic.Int64
	held     *sync.Map // by X-Hold: a stay, of each request that is held
}

// eachScope runs f with limits that one gateway counts alone, and with those that two share.
func eachScope(t *testing.T, f func(t *testing.T, c *crew)) {
	t.Run("local", func(t *testing.T) { f(t, gather(t, counted, "scope: local", nil, 1)) })
	t.Run("shared", func(t *testing.T) {
		f(t, gather(t, counted, "scope: shared, on_store_failure: deny", startRedis(t), 2))
	})
}

func gather(t *testing.T, body, scope string, redis *redistest.Server, n int) *crew {
	t.Helper()
	c := &crew{t: t, redis: redis, held: &sync.Map{}}
	c.up = serve(t, c.answer)
	for range n {
		g := prepare(t, strings.NewReplacer("@UP@", c.up.url, "SCOPE", scope).Replace(body))
		g.replace("listen: {", "listen: { trusted_proxies: [127.0.0.1/32],")
		if redis != nil {
			g.replace("store: embedded", fmt.Sprintf("store: embedded, redis: { addresses: [%q] }", redis.Addr))
		}
		g.start()
		t.Cleanup(g.kill)
		c.gateways = append(c.gateways, g)
	}
	return c
}

// stay is a request that is held at the upstream.
type stay struct {
	net.Conn
	arrived, release chan struct{}
}

// answer says what a request did cost when it asks for that, and holds what goes to /hold until it is released.
func (c *crew) answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if cost := r.Header.Get("X-Say-Cost"); cost != "" {
		w.Header().Set("X-Cost", cost)
	}
	_, _ = io.WriteString(w, "ok")
	if r.URL.Path != "/hold" {
		return
	}
	_ = http.NewResponseController(w).Flush()
	found, _ := c.held.Load(r.Header.Get("X-Hold"))
	here := found.(*stay)
	close(here.arrived)
	select {
	case <-here.release:
	case <-r.Context().Done():
	}
}

// first is the crew with one gateway only.
func (c *crew) first() *crew {
	return &crew{t: c.t, gateways: c.gateways[:1], redis: c.redis, up: c.up, held: c.held}
}

// calm runs f until it is content. On a machine that is too busy for Redis to answer in 20 ms a shared limit does what
// on_store_failure says: then f is tried again, with another client.
func (c *crew) calm(f func(who string) error) {
	c.t.Helper()
	for range 8 {
		before := c.disturbed()
		err := f(fmt.Sprintf("who-%d", c.tries.Add(1)))
		if err == nil {
			return
		}
		if c.disturbed() == before {
			c.t.Fatal(err)
		}
		c.t.Logf("disturbed: %v", err)
		c.gateways[0].eventually("Redis", func() bool {
			a, err := c.gateways[0].call("GET", "/day", "", "X-Who", fmt.Sprintf("who-%d", c.tries.Add(1)))
			return err == nil && a.status == 200
		})
	}
	c.t.Fatal("disturbed each time")
}

// disturbed tells what went wrong between the gateways and Redis.
func (c *crew) disturbed() (all string) {
	for _, g := range c.gateways {
		for line := range strings.Lines(g.metricsText()) {
			if strings.HasPrefix(line, "gateway_ratelimit_fallback_total") || strings.HasPrefix(line, `gateway_ratelimit_leases_total{event="failed"}`) || strings.HasPrefix(line, `gateway_ratelimit_store_calls_total`) && !strings.Contains(line, `"ok"`) {
				all += line
			}
		}
	}
	return all
}

// step is a request and what it is answered; the gateways take turns.
type step struct {
	path   string
	status int
	limit  string // RateLimit; "" is any, "-" none
	fields []string
}

func (c *crew) walk(who string, steps ...step) error {
	for i, s := range steps {
		a, err := c.ask(i, "GET", s.path, who, s.fields...)
		if err != nil {
			return err
		}
		limit := a.header.Get("RateLimit")
		if a.status != s.status || s.limit == "-" && limit != "" || s.limit != "" && s.limit != "-" && !alike(limit, s.limit) {
			return fmt.Errorf("step %d, %s %v: %d %s, wanted %d %s: %s", i, s.path, s.fields, a.status, limit, s.status, s.limit, a.body)
		}
		if a.status == 429 && (a.kind() != "rate-limited" || a.header.Get("Content-Type") != "application/problem+json") {
			return fmt.Errorf("step %d, %s: %v %s", i, s.path, a.header, a.body)
		}
	}
	return nil
}

var untilFull = regexp.MustCompile(`;t=[0-9]+`)

// alike reports that two values of RateLimit differ by at most the seconds that a test takes.
func alike(got, want string) bool {
	a, b := untilFull.FindAllString(got, -1), untilFull.FindAllString(want, -1)
	if untilFull.ReplaceAllString(got, "") != untilFull.ReplaceAllString(want, "") || len(a) != len(b) {
		return false
	}
	for i := range a {
		is, _ := strconv.Atoi(a[i][3:])
		was, _ := strconv.Atoi(b[i][3:])
		if is > was || is < was-30 {
			return false
		}
	}
	return true
}

func (c *crew) ask(turn int, method, path, who string, fields ...string) (answer, error) {
	return c.gateways[turn%len(c.gateways)].call(method, path, "", append([]string{"X-Who", who}, fields...)...)
}

// T7: of ten at the same time exactly five pass, wherever they come in.
func TestTenAtOnceOfFive(t *testing.T) {
	eachScope(t, func(t *testing.T, c *crew) {
		c.calm(func(who string) error {
			before := c.up.count.Load()
			var group sync.WaitGroup
			var passed, refused atomic.Int64
			for i := range 10 {
				group.Go(func() {
					switch a, err := c.ask(i, "GET", "/five", who); {
					case err != nil:
						t.Error(err)
					case a.status == 200:
						passed.Add(1)
					case a.status == 429:
						refused.Add(1)
					}
				})
			}
			group.Wait()
			if n := passed.Load(); n > 5 || c.up.count.Load()-before != n {
				t.Errorf("%d of 5 passed, the upstream saw %d", n, c.up.count.Load()-before)
			} else if n != 5 || refused.Load() != 5 {
				return fmt.Errorf("%d passed, %d were refused", n, refused.Load())
			}
			return nil
		})
	})
}

// T16: a limit that is edited keeps its level, up and down, in all gateways.
func TestEditedLimitKeepsItsLevel(t *testing.T) {
	eachScope(t, func(t *testing.T, c *crew) {
		edit := func(old, with string) {
			t.Helper()
			for _, g := range c.gateways {
				g.becomes(old, with)
			}
		}
		c.calm(func(who string) error {
			err := c.walk(who, step{"/five", 200, `"five";r=4;t=3600`, nil}, step{"/five", 200, `"five";r=3;t=7200`, nil})
			if err != nil {
				return err
			}
			edit("five: { rate: 1/1h, burst: 5", "five: { rate: 1/1h, burst: 50")
			err = c.walk(who, step{"/five", 200, `"five";r=2;t=172800`, nil}, step{"/five", 200, `"five";r=1;t=176400`, nil})
			edit("five: { rate: 1/1h, burst: 50", "five: { rate: 1/2h, burst: 2")
			if err == nil {
				err = c.walk(who, step{"/five", 200, `"five";r=0;t=14400`, nil}, step{"/five", 429, `"five";r=0;t=14400`, nil})
			}
			edit("five: { rate: 1/2h, burst: 2", "five: { rate: 1/1h, burst: 5")
			if err == nil {
				err = c.walk(who, step{"/five", 429, `"five";r=0;t=18000`, nil})
			}
			if err == nil { // a full bucket that is cut
				edit("five: { rate: 1/1h, burst: 5", "five: { rate: 1/1h, burst: 2")
				who += "x"
				err = c.walk(who, step{"/five", 200, `"five";r=1;t=3600`, nil}, step{"/five", 200, "", nil}, step{"/five", 429, "", nil})
				edit("five: { rate: 1/1h, burst: 2", "five: { rate: 1/1h, burst: 5")
			}
			return err
		})
	})
}

// T25: what becomes of a request without the identity is what on_missing says.
func TestMissingIdentity(t *testing.T) {
	elsewhere, tenant := []string{"X-Forwarded-For", "192.0.2.77"}, []string{"X-Tenant", "t"}
	eachScope(t, func(t *testing.T, c *crew) {
		c.calm(func(who string) error {
			return c.walk(who,
				step{"/next", 200, "", tenant}, step{"/next", 429, "", tenant}, step{"/next", 429, "", append(tenant[:2:2], elsewhere...)},
				step{"/next", 200, "", nil}, step{"/next", 429, "", nil}, step{"/next", 200, "", elsewhere}, step{"/next", 429, "", elsewhere},
				step{"/together", 200, "", tenant}, step{"/together", 200, "", nil}, step{"/together", 429, "", nil}, step{"/together", 429, "", elsewhere},
				step{"/reject", 200, "", tenant}, step{"/reject", 401, "-", nil}, step{"/reject", 401, "-", []string{"X-Tenant", ""}}, step{"/reject", 429, "", tenant})
		})
	})
}

// T26: only a verified claim chooses a plan, and only one that the document names.
func TestPlansByVerifiedClaim(t *testing.T) {
	eachScope(t, func(t *testing.T, c *crew) {
		as := func(plan any) []string { return []string{"Authorization", "Bearer " + hs(t, "plan", plan)} }
		forged := "Bearer " + mint(t, "HS256", []byte(strings.Repeat("another-secret-", 4)), object{"alg": "HS256"}, sound("plan", "gold"))
		gold := as("gold")
		c.calm(func(who string) error {
			return c.walk(who,
				step{"/tier", 401, "-", []string{"Authorization", forged}},
				step{"/tier", 200, `"tier";r=3;t=3600`, gold}, step{"/tier", 200, `"tier";r=2;t=7200`, gold},
				step{"/tier", 200, `"tier";r=1;t=3600`, as("iron")}, // another plan, the same bucket, cut to what it may hold
				step{"/tier", 200, `"tier";r=0;t=7200`, []string{"Authorization", "Bearer " + hs(t)}},
				step{"/tier", 429, `"tier";r=0;t=7200`, as("GOLD")}, step{"/tier", 429, "", as([]string{"gold"})}, step{"/tier", 429, "", as(5)},
				step{"/tier", 429, `"tier";r=0;t=14400`, gold},
				step{"/tier", 200, "-", as("internal")}, step{"/tier", 200, "-", as("internal")})
		})
		n := 0
		for _, g := range c.gateways {
			var here int
			_, _ = fmt.Sscan(g.metric(`gateway_ratelimit_decisions_total{decision="no_plan",policy="tier"}`), &here)
			n += here
		}
		if n < 5 {
			t.Errorf("%d requests without a known plan are counted, wanted 5", n)
		}
		for i := range 3 {
			a, err := c.ask(i, "GET", "/tier", "nobody", as("banned")...)
			if err != nil || a.status != 429 || a.problem()["policy"] != "tier" || a.header.Get("Retry-After") != "" {
				t.Errorf("denied: %v %v %s", err, a.header, a.body)
			}
		}
	})
}

// T27: of several limits, whoever counts them, all are charged or none.
func TestExhaustedLimitChargesNoOther(t *testing.T) {
	eachScope(t, func(t *testing.T, c *crew) {
		c.calm(func(who string) error {
			known := `"five";r=4;t=3600, "one";r=0;t=7200`
			if err := c.walk(who, step{"/both", 200, known, nil}); err != nil {
				return err
			}
			if c.redis != nil {
				known = "" // what the other gateway drew in vain is on its way back
			}
			if err := c.walk(who, step{"/both", 429, "", nil}, step{"/both", 429, known, nil}, step{"/both", 429, "", nil}); err != nil {
				return err
			}
			c.gateways[0].eventually("nothing but one token of five is gone", func() bool {
				var u usageSeen
				c.gateways[0].operate(200, &u, "GET", "limits/five/usage?header="+who, "")
				return u.Left == 4
			})
			return c.walk(who, step{"/five", 200, `"five";r=3;t=7200`, nil})
		})
		c.calm(func(who string) error {
			n := len(c.gateways)
			for i := range 4 * n { // mine is each gateway's own
				want := 200
				if i >= n {
					want = 429
				}
				if a, err := c.ask(i, "GET", "/mixed", who); err != nil || a.status != want {
					return fmt.Errorf("%d: %v %d %s", i, err, a.status, a.body)
				}
			}
			return c.walk(who, step{"/five", 200, fmt.Sprintf(`"five";r=%d;t=%d`, 4-n, (1+n)*3600), nil})
		})
	})
}
