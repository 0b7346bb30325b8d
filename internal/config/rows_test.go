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

// Limits: numbers, plans, costs, identities, and what routes say of them.
var limitRows = []row{
	{"rate word", "rate: 100/s, burst: 200", "rate: unlimted", "unlimted", []string{"rate"}, "unlimited"},
	{"rate and quota", "rate: 100/s,", "rate: 100/s, quota: 5/d,", "5/d", []string{"quota", "one of rate, quota and in_flight"}, ""},
	{"rate and in_flight", "rate: 100/s,", "rate: 100/s, in_flight: 5,", "in_flight: 5", []string{"in_flight", "one of"}, ""},
	{"deny with burst", "rate: 100/s,", "rate: deny,", "rate: deny", []string{"burst"}, ""},
	{"quota with burst", "rate: 100/s,", "quota: 5/d,", "quota: 5/d", []string{"burst"}, ""},
	{"quota long unit", "rate: 100/s, burst: 200", "quota: 10000/day", "10000/day", []string{"quota", "10000/day"}, "10000/d"},
	{"quota in years", "rate: 100/s, burst: 200", "quota: 10000/y", "10000/y", []string{"quota"}, ""},
	{"quota zero", "rate: 100/s, burst: 200", "quota: 0/d", "quota: 0/d", []string{"quota"}, ""},
	{"quota alone", "rate: 100/s, burst: 200", "quota: 5", "quota: 5,", []string{"quota"}, ""},
	{"quota unknown zone", "rate: 100/s, burst: 200", "quota: 5/d, zone: Europe/Berlim", "Berlim", []string{"zone", "Europe/Berlim"}, ""},
	{"quota local zone", "rate: 100/s, burst: 200", "quota: 5/d, zone: Local", "Local", []string{"zone"}, ""},
	{"zone of a rate", "burst: 200", "zone: Europe/Berlin", "zone:", []string{"zone", "quota"}, ""},
	{"zone of rolling", "rate: 100/s, burst: 200", "quota: 5/d, rolling: true, zone: Europe/Berlin", "zone:", []string{"zone"}, ""},
	{"rolling rate", "burst: 200", "rolling: true", "rolling:", []string{"rolling", "quota"}, ""},
	{"in_flight zero", "rate: 100/s, burst: 200", "in_flight: 0", "in_flight: 0", []string{"in_flight"}, ""},
	{"in_flight cost", "rate: 100/s, burst: 200", "in_flight: 5, cost: 2", "cost: 2", []string{"cost", "one place"}, ""},
	{"by unknown in a list", "by: client", "by: [client, rout]", "rout]", []string{"by[1]", "rout"}, "route"},
	{"by twice", "by: client", "by: [client, client]", "by: [", []string{"by[1]", "twice"}, ""},
	{"by nobody", "by: client", "by: []", "by: []", []string{"by"}, ""},
	{"by too many", "by: client", "by: [client, ip, route, all, header:A]", "header:A", []string{"by", "at most 4"}, ""},
	{"scope misspelt", "by: client", "by: client, scope: share", "share", []string{"scope"}, "shared"},
	{"scope without redis", "by: client", "by: client, scope: shared", "scope: shared", []string{"per-client.scope", "state.redis.addresses"}, ""},
	{"store failure", "by: client", "by: client, on_store_failure: open", "on_store_failure: open", []string{"on_store_failure"}, ""},
	{"cost negative", "by: client", "by: client, cost: -1", "cost: -1", []string{"cost", "-1"}, ""},
	{"cost not a number", "by: client", "by: client, cost: dear", "dear", []string{"cost", "dear"}, ""},
	{"cost above burst", "by: client", "by: client, cost: 201", "cost: 201", []string{"cost", "201", "holds only 200"}, ""},
	{"cost of a method", "by: client", "by: client, cost: { methods: { POST: 201 } }", "POST: 201", []string{"cost.methods.POST", "holds only 200"}, ""},
	{"cost of no method", "by: client", "by: client, cost: { methods: { PSOT: 2 } }", "PSOT", []string{"PSOT"}, "POST"},
	{"cost of a body", "by: client", "by: client, cost: { body: { 1MiB: 300 } }", "1MiB", []string{"cost.body.1MiB", "holds only 200"}, ""},
	{"cost of no size", "by: client", "by: client, cost: { body: { big: 3 } }", "big", []string{"cost.body.big", "size"}, ""},
	{"cost header", "by: client", "by: client, cost: { response_header: X Cost }", "X Cost", []string{"response_header"}, ""},
	{"cost above a plan's burst", "by: client", "by: client, cost: 9, plans: { claim: plan, small: { rate: 1/s, burst: 5 } }", "cost: 9", []string{"cost", "of plan small", "holds only 5"}, ""},
	{"cost of a route", "[per-client]", "[{ name: per-client, cost: 201 }]", "cost: 201", []string{"rate_limits[0].cost", "holds only 200"}, ""},
	{"limit of a route misspelt", "[per-client]", "[{ name: per-clint, cost: 2 }]", "per-clint", []string{"rate_limits[0].name"}, "per-client"},
	{"limit of a route without name", "[per-client]", "[{ cost: 2 }]", "cost: 2", []string{"rate_limits[0].name"}, ""},
	{"limit of a route twice", "[per-client]", "[per-client, { name: per-client, cost: 2 }]", "cost: 2", []string{"rate_limits[1]", "twice"}, ""},
	{"plans without claim", "by: client", "by: client, plans: { gold: unlimited }", "plans:", []string{"plans.claim"}, ""},
	{"plans claim misspelt", "by: client", "by: client, plans: { clam: plan, gold: unlimited }", "clam:", []string{"plans.clam"}, "claim"},
	{"plans claim is no name", "by: client", "by: client, plans: { claim: { rate: 1/s }, gold: deny }", "plans:", []string{"plans.claim"}, ""},
	{"plans of nobody", "by: client", "by: client, plans: { claim: plan }", "plans:", []string{"plans"}, ""},
	{"plan unknown word", "by: client", "by: client, plans: { claim: plan, gold: unlimted }", "unlimted", []string{"plans.gold"}, "unlimited"},
	{"plan of another kind", "by: client", "by: client, plans: { claim: plan, gold: { quota: 5/d } }", "quota: 5/d", []string{"plans.gold", "rate"}, ""},
	{"plan without numbers", "by: client", "by: client, plans: { claim: plan, gold: {} }", "gold:", []string{"plans.gold.rate"}, ""},
	{"plan unknown key", "by: client", "by: client, plans: { claim: plan, gold: { rat: 5/s } }", "rat:", []string{"plans.gold.rat"}, "rate"},
	{"plan rate zero", "by: client", "by: client, plans: { claim: plan, gold: { rate: 0/s } }", "0/s", []string{"plans.gold.rate"}, ""},
	{"reserve of a quota", "rate: 100/s, burst: 200", "quota: 5/d, reserve: 20%", "reserve: 20%", []string{"reserve", "rate"}, ""},
	{"reserve of nothing", "burst: 200", "burst: 4, reserve: 20%", "reserve: 20%", []string{"reserve", "less than one token"}, ""},
	{"reserve of all", "by: client", "by: client, reserve: 100%", "reserve: 100%", []string{"reserve", "99%"}, ""},
	{"reserve leaves too little", "by: client", "by: client, cost: 150, reserve: 50%", "rate_limits: [per-client]", []string{"rate_limits[0]", "holds only 100"}, ""},
	{"fields unknown", "    timeout: 10s", "    rate_limit_fields: draft10", "draft10", []string{"rate_limit_fields"}, "draft-10"},
	{"priority unknown", "    timeout: 10s", "    priority: crucial", "crucial", []string{"priority"}, ""},
	{"failed logins of nobody", "    timeout: 10s", "    failed_logins: per-clint", "per-clint", []string{"failed_logins"}, "per-client"},
	{"failed logins by client", "    timeout: 10s", "    failed_logins: per-client", "failed_logins: per-client", []string{"failed_logins", "by: ip"}, ""},
	{"shedding upside down", "routes:", "shedding: { high: 50%, normal: 80% }\nroutes:", "shedding:", []string{"shedding.normal"}, ""},
	{"shedding unknown key", "routes:", "shedding: { inflight: 5 }\nroutes:", "inflight", []string{"inflight"}, "in_flight"},
}

func TestOneMistake(t *testing.T) {
	for _, rows := range [][]row{keyRows, unitRows, policyRows, limitRows} {
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
