package e2e

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// T28: a request that looks costs nothing and sees what is left; one that costs more than a bucket holds is a mistake in the
// document; and of what an upstream says of the cost only a sane number counts.
func TestCosts(t *testing.T) {
	eachScope(t, func(t *testing.T, c *crew) {
		c.calm(func(who string) error {
			return c.first().walk(who, // another gateway learns of the level when it draws itself
				step{"/free", 200, `"five";r=5`, nil}, step{"/five", 200, "", nil}, step{"/free", 200, `"five";r=4;t=3600`, nil}, step{"/free", 200, `"five";r=4;t=3600`, nil},
				step{"/five", 200, "", nil}, step{"/five", 200, "", nil}, step{"/five", 200, "", nil}, step{"/five", 200, "", nil},
				step{"/five", 429, "", nil}, step{"/free", 200, `"five";r=0;t=18000`, nil})
		})
		for _, says := range []string{"", "-1", "1e18", "1000000000000000000", "99999999999999999999", "2.5", "+2", "0x2", " ", "2, 2", "two"} {
			c.calm(func(who string) error {
				return c.walk(who, step{"/ten", 200, "", []string{"X-Say-Cost", says}}, step{"/ten", 200, `"ten";r=6;t=14400`, nil})
			})
		}
		for says, left := range map[string]string{"0": "8", "1": "7", "2": "6", "8": "0"} {
			c.calm(func(who string) error {
				a, err := c.ask(0, "GET", "/ten", who, "X-Say-Cost", says)
				if err != nil || a.status != 200 || a.header.Get("X-Cost") != "" {
					return fmt.Errorf("%v %d %v", err, a.status, a.header)
				}
				n, _ := strconv.Atoi(left)
				return c.walk(who, step{"/ten", 200, fmt.Sprintf(`"ten";r=%s;t=%d`, left, (10-n)*3600), nil})
			})
		}
	})
	g := prepare(t, strings.NewReplacer("@UP@", "http://127.0.0.1:1", "SCOPE", "scope: local", "cost: 0", "cost: 6").Replace(counted))
	if code, out, said := command(t, "", "check", "-config", g.file); code != 2 || !strings.Contains(out+said, "a request costs 6 tokens, but a full bucket holds only 5") {
		t.Errorf("%d %s %s", code, out, said)
	}
}

// T29: what is settled afterwards may be owed, but never more than a burst.
func TestDebtIsBounded(t *testing.T) {
	eachScope(t, func(t *testing.T, c *crew) {
		c.calm(func(who string) error {
			for range 3 { // each gateway may have let one in before it knew
				if _, err := c.ask(0, "GET", "/ten", who, "X-Say-Cost", "1000000"); err != nil {
					return err
				}
			}
			var err error
			for i := range c.gateways {
				ready := time.Now().Add(5 * time.Second)
				for err = fmt.Errorf("nothing asked"); err != nil && time.Now().Before(ready); {
					err = owes(c, i, who, 10)
				}
			}
			return err
		})
	})
}

// owes wants a refusal that says how long a debt takes to be paid. In a fleet the debt is brought with the next draw.
func owes(c *crew, turn int, who string, debt int) error {
	a, err := c.ask(turn, "GET", "/ten", who)
	if err != nil {
		return err
	}
	after, _ := strconv.Atoi(a.header.Get("Retry-After"))
	least := (debt + 2) * 3600 // until the two tokens of a request are there
	if a.status != 429 || after < least-30 || after > least+least/10 || !alike(a.header.Get("RateLimit"), fmt.Sprintf(`"ten";r=0;t=%d`, (debt+10)*3600)) {
		return fmt.Errorf("%d %v, wanted about %d", a.status, a.header, least)
	}
	return nil
}

// T30: who waits as long as Retry-After says is let in.
func TestRetryAfterIsHonest(t *testing.T) {
	t.Parallel()
	eachScope(t, func(t *testing.T, c *crew) {
		c.calm(func(who string) error {
			for i := range 3 {
				a, err := c.ask(i, "GET", "/quick", who)
				if err != nil || a.status != 200 {
					return fmt.Errorf("%d: obeyed, and refused: %v %d", i, err, a.status)
				}
				if a, err = c.ask(i, "GET", "/quick", who); err != nil || a.status != 429 {
					return fmt.Errorf("%v %d", err, a.status)
				}
				doc := a.problem()
				if a.header.Get("Content-Type") != "application/problem+json" || a.kind() != "rate-limited" || doc["policy"] != "quick" || doc["executed"] != "no" || doc["instance"] != a.header.Get("X-Request-Id") {
					t.Errorf("%v %s", a.header, a.body)
				}
				after, err := strconv.Atoi(a.header.Get("Retry-After"))
				if err != nil || after < 1 || after > len(c.gateways) { // in a fleet a little more, so that not all come back at once
					t.Fatalf("%v %v", err, a.header)
				}
				time.Sleep(time.Duration(after) * time.Second)
			}
			return nil
		})
	})
}

// item is a String with parameters, of a structured field (RFC 9651).
const item = `"(?:[ !#-\[\]-~]|\\["\\])*"(?:;[a-z*][a-z0-9_.*-]*=(?:-?[0-9]{1,15}|"[ !#-\[\]-~]*"))*`

var itemList = regexp.MustCompile(`^` + item + `(?:, ` + item + `)*$`)

// T30: each of the four forms, of a bucket and a quota.
func TestEveryFormOfTheFields(t *testing.T) {
	eachScope(t, func(t *testing.T, c *crew) {
		c.calm(func(who string) error {
			left := time.Until(time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)).Seconds()
			var failed error
			asked := func(path string, status int) http.Header {
				t.Helper()
				a, err := c.ask(0, "GET", path, who)
				if err != nil || a.status != status {
					failed = fmt.Errorf("%s: %v %d", path, err, a.status)
				}
				for _, name := range []string{"RateLimit", "RateLimit-Policy"} {
					if v := a.header.Get(name); v != "" && !itemList.MatchString(v) {
						t.Errorf("%s: %s: %q is no structured field", path, name, v)
					}
				}
				return a.header
			}
			day := regexp.MustCompile(`"day";r=3;t=([0-9]+)`)
			h := asked("/day", 200)
			if m := day.FindStringSubmatch(h.Get("RateLimit")); m == nil || math.Abs(number(m[1])-left) > 30 || h.Get("RateLimit-Policy") != `"day";q=4;w=86400` {
				return fmt.Errorf("draft-10: %v, the day has %v s left", h, left)
			}
			if h = asked("/five", 200); h.Get("RateLimit") != `"five";r=4;t=3600` || h.Get("RateLimit-Policy") != `"five";q=5;w=18000` {
				return fmt.Errorf("draft-10: %v", h)
			}
			next := regexp.MustCompile(`^"five";a=3;w=[0-9]+, "day";a=2;w=[0-9]+$`)
			if h = asked("/soon", 200); !next.MatchString(h.Get("RateLimit")) || h.Get("RateLimit-Policy") != `"five";q=5;w=18000, "day";q=4;w=86400` {
				return fmt.Errorf("next: %v", h)
			}
			h = asked("/x", 200)
			if h.Get("RateLimit")+h.Get("RateLimit-Policy") != "" || h.Get("X-RateLimit-Limit") != "4" || h.Get("X-RateLimit-Remaining") != "1" || math.Abs(number(h.Get("X-RateLimit-Reset"))-left) > 30 {
				return fmt.Errorf("x-ratelimit: %v", h)
			}
			for _, status := range []int{200, 429} {
				h = asked("/quiet", status)
				for name := range h {
					if strings.Contains(strings.ToLower(name), "ratelimit") {
						return fmt.Errorf("off: %v", h)
					}
				}
				asked("/five", status)
			}
			return failed
		})
	})
}

func number(text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return math.Inf(-1)
	}
	return v
}

// T31: a browser's question whether it may ask is free, and never refused.
func TestPreflightsAreFree(t *testing.T) {
	eachScope(t, func(t *testing.T, c *crew) {
		c.calm(func(who string) error {
			if err := c.walk(who, step{"/one-shot", 404, "-", nil}); err != nil {
				return err
			}
			preflight := []string{"Origin", "https://app.test", "Access-Control-Request-Method", "POST"}
			for i := range 12 {
				a, err := c.ask(i, "OPTIONS", "/five", who, preflight...)
				if err != nil || a.status != 200 || a.header.Get("RateLimit") != "" {
					return fmt.Errorf("%v %d %v", err, a.status, a.header)
				}
			}
			if a, err := c.ask(0, "OPTIONS", "/five", who, preflight[:2]...); err != nil || a.header.Get("RateLimit") == "" { // it asks for no method: no preflight
				return fmt.Errorf("%v %v", err, a.header)
			}
			return c.walk(who, step{"/five", 200, `"five";r=3;t=7200`, nil})
		})
	})
}
