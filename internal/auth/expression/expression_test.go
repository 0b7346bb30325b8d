package expression

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

type claimMap map[string]any

func (c claimMap) Value(name string) (any, bool) {
	v, ok := c[name]
	return v, ok
}

var alice = claimMap{
	"sub": "alice", "tenant": "acme", "level": int64(5), "ratio": 2.5, "whole": 5.0, "big": uint64(1) << 63, "admin": true,
	"roles": []string{"orders:read", "admin"}, "mixed": []any{int64(1), "x", nil}, "huge": errors.New("the number is too large"),
	"realm": map[string]any{"access": map[string]any{"roles": []any{"ops"}}}, "auth_time": int64(1_800_000_000),
	"https://x.test/team": "blue", "cidr": "10.0.0.0/8", "empty": []string{},
}

// exchange is a request with everything that an expression can read.
func exchange() *pipeline.Exchange {
	m := pipeline.NewMemory("POST", "http://api.test/orders/7?state=open&n=1&n=2&q=a%20b+c&bad=%zz").
		WithHeader("X-Version", "3").WithHeader("X-Twice", "a").WithHeader("x-twice", "a").WithHeader("X-Latin", "\xe9").WithHeader("X-Empty", "")
	m.Params.Names = []string{"id"}
	m.Params.Values[0] = []byte("7")
	m.Client = pipeline.Client{Identity: "i", Subject: "alice", Issuer: "main"}
	m.Start = time.Unix(1_800_000_060, 0)
	return &m.Exchange
}

func compiled(t testing.TB, text string) *Program {
	t.Helper()
	p, err := New().Compile(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

func TestTrue(t *testing.T) {
	for _, text := range []string{
		`true`, `claims.tenant == "acme"`, `claims["tenant"] == "acme"`, `claims["https://x.test/team"] == "blue"`,
		`"tenant" in claims`, `!("other" in claims)`, `has(claims.tenant) && !has(claims.other)`,
		`claims.level == 5`, `claims.level == 5.0`, `claims.whole == 5`, `claims.level >= 5 && claims.level < 5.5`, `claims.ratio > 2`,
		`claims.big == 9223372036854775808u`, `claims.admin` + ` == true`, `claims.admin && true`,
		`"admin" in claims.roles`, `claims.roles.exists(r, r.startsWith("orders:"))`, `claims.roles.all(r, r != "root")`, `size(claims.roles) == 2`,
		`claims.mixed[0] == 1 && claims.mixed[1] == "x" && claims.mixed[2] == null`, `"ops" in claims.realm.access.roles`, `claims.empty.all(r, false)`,
		`request.method == "POST"`, `request.method in ["POST", "PUT"]`, `request.host == "api.test"`, `request.path == "/orders/7"`, `request.path.matches("^/orders/[0-9]+$")`,
		`request.params.id == "7"`, `request.params["id"] == "7"`, `request.query.state == "open"`, `request.query["q"] == "a b c"`, `!("none" in request.query)`,
		`request.headers["x-version"] == "3"`, `"x-version" in request.headers && !("x-none" in request.headers)`, `request.headers["x-empty"] == ""`,
		`client.subject == claims.sub && client.issuer == "main"`, `client.ip == "192.0.2.1"`,
		`inCIDR(client.ip, "192.0.2.0/24") && !inCIDR(client.ip, "10.0.0.0/8")`, `inCIDR(client.ip, "192.0.2.1")`, `inCIDR("::ffff:10.0.0.1", "10.0.0.0/8")`,
		`now - timestamp(claims.auth_time) <= duration("1m")`, `now.getHours("Europe/Berlin") == 9`, `now.getFullYear() == 2027`,
		`claims.other == 1 || claims.tenant == "acme"`, // CEL forgives an error where the other side decides
	} {
		for range 2 { // facts are pooled
			if ok, err := compiled(t, text).Allows(exchange(), alice); !ok || err != nil {
				t.Errorf("%s: %v %v", text, ok, err)
			}
		}
	}
}

// Case 51: what is false, fails or is of another type denies.
func TestCase51Denied(t *testing.T) {
	for text, fails := range map[string]string{
		`false`: "", `claims.tenant == "other"`: "", `claims.tenant == 5`: "", `claims.level == "5"`: "", `claims.admin == "true"`: "",
		`claims.other == 1`: "no such key", `!(claims.other == 1)`: "no such key", `claims.other != 1`: "no such key", `claims.tenant.name == "x"`: "no such key",
		`claims.level > "a"`: "no such overload", `claims.tenant && true`: "no such overload", `claims.tenant.exists(r, r == "x")`: "", `claims.huge > 5`: "too large", `"huge" in claims && true`: "too large",
		`claims[request.params.id] == 1`: "no such key", `claims.roles[2] == "x"`: "index",
		`request.headers["x-none"] == ""`: "no such key", `request.headers["x-twice"] == "a"`: "2 times", `"x-twice" in request.headers`: "2 times", `request.headers["x-latin"] == ""`: "UTF-8",
		`request.query.n == "1"`: "twice", `request.query.bad == "x"`: "escaped", `request.query.none == ""`: "no such key", `request.params.none == ""`: "no such key",
		`inCIDR(claims.tenant, "10.0.0.0/8")`: "not an address", `timestamp(claims.tenant) < now`: "", `duration(claims.tenant) > duration("1s")`: "", `int(claims.tenant) == 1`: "", `1 / (claims.level - 5) == 1`: "division",
	} {
		ok, err := compiled(t, text).Allows(exchange(), alice)
		if ok || (fails != "") && (err == nil || !strings.Contains(err.Error(), fails)) {
			t.Errorf("%s: %v %v, want %q", text, ok, err, fails)
		}
		if fails == "" && err != nil && strings.Contains(err.Error(), "internal") {
			t.Errorf("%s: %v", text, err)
		}
	}
	nobody := exchange()
	nobody.ClientIP = netip.Addr{}
	if ok, err := compiled(t, `client.ip == ""`).Allows(nobody, alice); ok || err == nil {
		t.Errorf("an address that nobody knows: %v %v", ok, err)
	}
}

func TestRefusedAtLoad(t *testing.T) {
	for text, want := range map[string]string{
		"":                                                           "1:1:",
		"claims.a ==":                                                "1:12: Syntax error",
		"claims.a == 1 &&\n  nope == 2":                              "2:3: undeclared reference to 'nope'",
		"1 == \"a\"":                                                 "1:3: found no matching overload",
		"claims.a":                                                   "gives dyn, not bool",
		"request.path":                                               "gives string, not bool",
		"size(claims) > 1":                                           "1:6: claims can only be read by the name of a member",
		"claims == {}":                                               "claims can only be read",
		"dyn(claims).a == 1":                                         "claims can only be read",
		"[claims].size() == 1":                                       "claims can only be read",
		"claims.exists(k, k == \"a\")":                               "claims can only be read",
		"request.headers == {}":                                      "request.headers can only be read",
		"request.headers[claims.x] == \"\"":                          "has to be written out",
		"claims.x in request.headers":                                "has to be written out",
		"request.query[claims.x] == \"\"":                            "has to be written out",
		"request.params[claims.x] == \"\"":                           "has to be written out",
		"request.headers[\"X-A\"] == \"\"":                           "in lower case",
		"request.headers[\"authorization\"] == \"\"":                 "carries credentials",
		"\"cookie\" in request.headers":                              "carries credentials",
		"has(request.headers.dpop)":                                  "carries credentials",
		"request.headers[\"proxy-authorization\"] == \"\"":           "carries credentials",
		"request.headers.x_a == \"\"":                                "ever arrives",
		"inCIDR(client.ip, \"10.0.0.1/8\")":                          "is not a network",
		"inCIDR(client.ip, claims.cidr)":                             "the network of inCIDR has to be written out",
		"request.path.matches(claims.p)":                             "the pattern of matches has to be written out",
		"request.path.matches(\"(\")":                                "1:22: invalid matches argument",
		"matches(request.path, claims.p)":                            "the pattern of matches has to be written out",
		"request.path.matches(\"(a{500}){500}\")":                    "1:",
		"now.getHours(claims.tz) == 1":                               "the time zone has to be written out",
		"now.getHours(\"Mars/Phobos\") == 1":                         "unknown time zone",
		"duration(\"5 fortnights\") < duration(\"1s\")":              "invalid",
		"claims.a.exists(x, claims.b.exists(y, x == y))":             "cost too much",
		"claims.a.b.c.d.all(x, x == 1)":                              "cost too much",
		"request.body == \"\"":                                       "undeclared reference",
		"claims.a == 1 " + strings.Repeat("&& true ", 600):           "longer than 4096 bytes",
		strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200): "1:",
		"[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))":       "1:",
		"[1" + strings.Repeat(",1", 1990) + "].all(a, a == 1)":       "1:",
		"a + " + strings.Repeat("b + ", 20) + "c == 1":               "undeclared",
	} {
		p, err := New().Compile(text)
		var list *Error
		if err == nil || p != nil || !errors.As(err, &list) || !strings.Contains(err.Error(), want) || len(list.Problems) > maxProblems {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
}

func TestUses(t *testing.T) {
	p := compiled(t, `request.headers["x-b"] == "" && ("x-a" in request.headers || has(request.headers.b)) && request.headers["x-b"] == request.params.id && request.params["a"] == ""`)
	if got := fmt.Sprint(p.Uses); got != "{[b x-a x-b] [a id]}" {
		t.Error(got)
	}
}

func TestEqualTextsAreOneProgram(t *testing.T) {
	c := New()
	a, _ := c.Compile("true")
	b, _ := c.Compile("true")
	if a == nil || a != b {
		t.Error("compiled twice")
	}
}

// What a request may cost is bounded while it runs, too: the claims of a request can be larger than a token's.
func TestRuntimeBounds(t *testing.T) {
	many := make([]string, 100_000)
	p := compiled(t, `claims.roles.exists(r, r == "x" && request.path == "/orders/7")`)
	begin := time.Now()
	ok, err := p.Allows(exchange(), claimMap{"roles": many})
	if ok || err == nil || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("%v %v", ok, err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	if ok, err := p.Allows(exchange(), claimMap{"roles": append(many[:200:200], "x")}); !ok || err != nil {
		t.Errorf("a long list of a token: %v %v", ok, err)
	}
}

func TestWhy(t *testing.T) {
	for text, want := range map[string]string{
		`claims.tenant == "acme"`:  "is true",
		`claims.tenant == "other"`: "is false",
		`claims.tenant == "acme" && claims.level > 7 && request.path.startsWith("/x")`: `is false: claims.level > 7 is false, request.path.startsWith("/x") is false`,
		`claims.other == 1`:                                                     "fails: no such key: other",
		`claims.other == 1 && claims.level == 5`:                                "fails: no such key: other: claims.other == 1 fails (no such key: other)",
		`claims.roles.exists(r, r == "x") && claims.admin`:                      `is false: claims.roles.exists(r, r == "x") is false`,
		`claims.roles.exists(r, r == "admin") && claims.tenant && claims.admin`: "fails",
	} {
		if got := compiled(t, text).Why(exchange(), alice); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// An introspection answer may be 64 KiB, eight times a token. A search through such a text, which nothing interrupts, is short all
// the same, and a loop over such a list ends early.
func TestClaimsOfAnIntrospectionAnswer(t *testing.T) {
	text, list := strings.Repeat("ab", 32<<10), slices.Repeat([]string{"a"}, 16<<10)
	for rule, claims := range map[string]claimMap{
		`claims.text.matches("(a|b|ab)*c")`:                                         {"text": text},
		`claims.text.matches("^(.*a.*b){8}c$") || claims.text.contains(claims.end)`: {"text": text, "end": strings.Repeat("ab", 999) + "c"},
		`claims.list.exists(x, claims.text.contains(x + "c"))`:                      {"text": text, "list": list},
		`claims.list.all(x, x in claims.list)`:                                      {"list": list},
	} {
		p, err := New().Compile(rule)
		if err != nil {
			continue // refused beforehand is as good
		}
		begin := time.Now()
		if ok, _ := p.Allows(exchange(), claims); ok {
			t.Errorf("%s is true", rule)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%s took %v", rule, took)
		}
	}
}
