package config

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// row is one mistake made in the base document, and where and how it must be reported.
type row struct {
	name     string
	old, new string
	at       string   // text on the guilty line, or several of them: a|b
	words    []string // what path and message must say
	meant    string
}

// Keys: unknown, doubled; names that stand for nothing; variables.
var keyRows = []row{
	{"unknown key top", "state: {", "rate_limit: {}\nstate: {", "rate_limit: {}", []string{"rate_limit"}, "rate_limits"},
	{"unknown key listen", "read_timeout: 10s", "read_timeuot: 10s", "read_timeuot", []string{"read_timeuot"}, "read_timeout"},
	{"unknown key route", "    rate_limits: [per-client]", "    rate_limts: [per-client]", "rate_limts", []string{"rate_limts"}, "rate_limits"},
	{"unknown key dedup", "{ key: required }", "{ key: required, methds: [POST] }", "methds", []string{"methds"}, "methods"},
	{"unknown key breaker", "failure_rate:", "failure_rat:", "failure_rat:", []string{"failure_rat"}, "failure_rate"},
	{"unknown key auth", "require: {", "requires: {", "requires:", []string{"requires"}, "require"},
	{"unknown key issuer", "    audiences: [api]", "    audiences: [api]\n    jwk: https://id.test/k", "jwk:", []string{"jwk"}, "jwks"},
	{"unknown key upstream", "    timeout: { connect", "    timeouts: { connect", "timeouts:", []string{"timeouts"}, "timeout"},
	{"unknown key match", "methods: [GET, POST]", "method: [GET, POST]", "method:", []string{"method"}, "methods"},
	{"unknown key limit", "by: client", "by: client, bust: 3", "bust", []string{"bust"}, "burst"},
	{"key in other case", "    timeout: 10s", "    Timeout: 10s", "Timeout: 10s", []string{"Timeout"}, "timeout"},
	{"duplicate key route", "    timeout: 10s", "    timeout: 10s\n    timeout: 5s", "timeout: 5s", []string{"timeout"}, ""},
	{"duplicate key top", "state: {", "version: 1 # again\nstate: {", "# again", []string{"version"}, ""},
	{"duplicate key flow", "burst: 200,", "burst: 200, burst: 300,", "burst: 300", []string{"burst"}, ""},
	{"duplicate upstream", "routes:", "  orders: { targets: [http://127.0.0.1:1] }\nroutes:", "orders: { targets", []string{"orders"}, ""},
	{"duplicate route id", "- id: open", "- id: orders", "- id: orders", []string{"orders"}, ""},
	{"dangling upstream", "    auth: none\n    to: orders", "    auth: none\n    to: ordes", "to: ordes", []string{"ordes"}, "orders"},
	{"dangling limit", "[per-client]", "[per-clint]", "[per-clint]", []string{"per-clint"}, "per-client"},
	{"dangling issuer", "issuers: [main]", "issuers: [mian]", "[mian]", []string{"mian"}, "main"},
	{"undefined variable", "${JWT_SECRET}", "${NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE", []string{"NO_SUCH_VARIABLE"}, ""},
	{"missing secret file", "${JWT_SECRET}", "${file:/no/such/file}", "/no/such/file", []string{"/no/such/file"}, ""},
	{"unclosed variable", "${JWT_SECRET}", "${JWT_SECRET", "${JWT_SECRET", []string{"secret"}, ""},
}

// Units and bounds.
var unitRows = []row{
	{"duration unknown unit", "read_timeout: 10s", "read_timeout: 10sec", "10sec", []string{"read_timeout", "10sec"}, ""},
	{"duration without unit", "    timeout: 10s", "    timeout: 10", "timeout: 10", []string{"timeout"}, ""},
	{"duration negative", "connect: 1s", "connect: -1s", "-1s", []string{"connect"}, ""},
	{"duration with space", "connect: 1s", "connect: 1 s", "1 s", []string{"connect"}, ""},
	{"size unknown unit", "body: 8MiB", "body: 8megs", "8megs", []string{"body", "8megs"}, ""},
	{"size negative", "body: 8MiB", "body: -8MiB", "-8MiB", []string{"body"}, ""},
	{"rate unknown unit", "rate: 100/s", "rate: 100/fortnight", "fortnight", []string{"rate"}, ""},
	{"rate without unit", "rate: 100/s", "rate: 100", "rate: 100,", []string{"rate"}, ""},
	{"rate zero", "rate: 100/s", "rate: 0/s", "0/s", []string{"rate"}, ""},
	{"rate negative", "rate: 100/s", "rate: -5/s", "-5/s", []string{"rate"}, ""},
	{"rate not a number", "rate: 100/s", "rate: NaN/s", "NaN/s", []string{"rate"}, ""},
	{"burst zero", "burst: 200", "burst: 0", "burst: 0", []string{"burst"}, ""},
	{"limit without rate", "rate: 100/s, ", "", "per-client: {", []string{"rate"}, ""},
	{"share without percent", "failure_rate: 50%", "failure_rate: 50", "failure_rate: 50,", []string{"failure_rate"}, ""},
	{"share over hundred", "failure_rate: 50%", "failure_rate: 150%", "150%", []string{"failure_rate"}, ""},
	{"listen port impossible", "127.0.0.1:8080", "127.0.0.1:99999", "99999", []string{"address"}, ""},
	{"cidr impossible", "10.0.0.0/8", "10.0.0.0/33", "/33", []string{"trusted_proxies"}, ""},
	{"wrong type map", "limits: { header: 16KiB, body: 8MiB, read_timeout: 10s }", "limits: 5", "limits: 5", []string{"limits"}, ""},
	{"wrong type number", "minimum: 20", "minimum: many", "minimum: many", []string{"minimum"}, ""},
	{"number too small", "probes: 3", "probes: 0", "probes: 0", []string{"probes"}, ""},
}

// Rules of one policy, and between policies.
var policyRows = []row{
	{"route without auth", "    auth: none\n", "", "- id: open", []string{"auth"}, ""},
	{"route without target", "    auth: none\n    to: orders", "    auth: none", "- id: open", []string{"to"}, ""},
	{"auth empty", "    auth: none", "    auth: {}", "auth: {}", []string{"auth"}, ""},
	{"auth unknown word", "    auth: none", "    auth: public", "auth: public", []string{"auth"}, ""},
	{"enum by", "by: client", "by: clients", "by: clients", []string{"clients"}, "client"},
	{"enum dedup key", "{ key: required }", "{ key: requird }", "requird", []string{"requird"}, "required"},
	{"enum store", "store: memory", "store: memmory", "memmory", []string{"memmory"}, "memory"},
	{"alg unknown", "algorithms: [HS256]", "algorithms: [HS265]", "HS265", []string{"HS265"}, "HS256"},
	{"alg none", "algorithms: [HS256]", "algorithms: [none]", "[none]", []string{"none"}, ""},
	{"alg missing", "    algorithms: [HS256]\n", "", "  main:|issuer: https", []string{"algorithms"}, ""},
	{"alg empty", "algorithms: [HS256]", "algorithms: []", "algorithms: []", []string{"algorithms"}, ""},
	{"alg two families", "algorithms: [HS256]", "algorithms: [HS256, RS256]", "RS256|secret:", []string{"algorithms"}, ""},
	{"alg not for secret", "algorithms: [HS256]", "algorithms: [RS256]", "RS256|secret:", []string{"RS256"}, ""},
	{"issuer empty", "issuer: https://id.test/", `issuer: ""`, `issuer: ""`, []string{"issuer"}, ""},
	{"audiences empty", "audiences: [api]", "audiences: []", "audiences: []", []string{"audiences"}, ""},
	{"secret short", "${JWT_SECRET}", "short", "secret: short", []string{"secret"}, ""},
	{"secret and jwks", "    audiences: [api]", "    audiences: [api]\n    jwks: https://id.test/k", "jwks:|secret:|  main:", []string{"jwks"}, ""},
	{"target bad scheme", "http://127.0.0.1:9001", "ftp://127.0.0.1:9001", "ftp:", []string{"targets"}, ""},
	{"target without host", "http://127.0.0.1:9001", "http://", "http://]", []string{"targets"}, ""},
	{"targets empty", "[http://127.0.0.1:9001]", "[]", "targets: []", []string{"targets"}, ""},
	{"version unknown", "version: 1", "version: 2", "version: 2", []string{"version"}, ""},
	{"version missing", "version: 1\n", "", "listen:", []string{"version"}, ""},
	{"admin open without token", "127.0.0.1:9901", "0.0.0.0:9901", "0.0.0.0|admin:", []string{"token"}, ""},
	{"path without slash", "path: /open", "path: open", "path: open", []string{"path"}, ""},
	{"path subtree in middle", "path: /open", "path: /a/**/b", "/a/**/b", []string{"path"}, ""},
	{"path unclosed parameter", "path: /open", `path: "/u/{id"`, "/u/{id", []string{"path"}, ""},
	{"path not canonical", "path: /open", "path: /a/../b", "/a/../b", []string{"path"}, ""},
	{"path parameter twice", "path: /open", `path: "/u/{id}/{id}"`, "/u/{id}", []string{"path"}, ""},
	{"same match twice", "path: /open", "path: /v1/orders/**, methods: [GET, POST]", "path: /v1/orders/**, methods: [GET, POST]", []string{"orders"}, ""},
	{"dedup without client", "    auth: none", "    auth: none\n    dedup: { key: optional }", "dedup: { key: optional }", []string{"client"}, ""},
	{"keep key before answer", "{ key: required }", "{ key: required, keep: { answer: 72h, key: 24h } }", "72h", []string{"keep"}, ""},
}

func TestOneMistake(t *testing.T) {
	for _, rows := range [][]row{keyRows, unitRows, policyRows} {
		for _, r := range rows {
			t.Run(r.name, func(t *testing.T) { oneMistake(t, r) })
		}
	}
}

func oneMistake(t *testing.T, r row) {
	text := change(t, base(t), r.old, r.new)
	lines := strings.Split(text, "\n")
	guilty := make(map[int]bool)
	for _, at := range strings.Split(r.at, "|") {
		last := 0
		for i, line := range lines {
			if strings.Contains(line, at) {
				last = i + 1
			}
		}
		guilty[last] = true
	}
	found := problemsOf(t, text)
	var mine []string
	for _, p := range found {
		if guilty[p.Line] && p.Column >= 1 && p.Column <= utf8.RuneCountInString(lines[p.Line-1])+1 {
			mine = append(mine, p.String())
		}
	}
	if len(mine) == 0 {
		t.Fatalf("no problem on the line of %q, but:\n%s", r.at, linesOf(found))
	}
	mustContain(t, strings.Join(mine, "\n"), r.words...)
	if r.meant != "" {
		mustContain(t, strings.Join(mine, "\n"), `(did you mean "`+r.meant+`"?)`)
	}
	mustNotContain(t, linesOf(found), secret)
}
