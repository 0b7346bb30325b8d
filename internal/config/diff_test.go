package config

import (
	"fmt"
	"strings"
	"testing"
)

// diffOf changes the base document and gives the differences, one a line.
func diffOf(t *testing.T, replace ...string) string {
	t.Helper()
	text := base(t)
	for i := 0; i < len(replace); i += 2 {
		text = change(t, text, replace[i], replace[i+1])
	}
	var lines []string
	for _, c := range Diff(parseGood(t, base(t)).Document, parseGood(t, text).Document) {
		lines = append(lines, fmt.Sprint(c))
	}
	return strings.Join(lines, "\n")
}

func TestDiff(t *testing.T) {
	for _, c := range []struct {
		old, new, want string
	}{
		{"rate: 100/s", "rate: 50/s", "rate_limits.per-client.rate: 100/s -> 50/s"},
		{"path: /open", "path: /opened", "routes.open.match.path: /open -> /opened"},
		{"    dedup: { key: required }\n", "", "routes.orders.dedup: removed: { key: required"},
		{"    auth: none", "    auth: { issuers: [main] }", "routes.open.auth: none -> { issuers: [main] }"},
		{"- id: open", "- id: public", "routes.open: removed: { id: open"},
		{"- id: open", "- id: public", "routes.public: added: { id: public"},
		{"[http://127.0.0.1:9001]", "[http://127.0.0.1:9001, http://127.0.0.1:9002]", "upstreams.orders.targets[1]: added: { url: http://127.0.0.1:9002, weight: 1 }"},
		{"[http://127.0.0.1:9001]", "[http://127.0.0.1:9009]", "upstreams.orders.targets[0].url: http://127.0.0.1:9001 -> http://127.0.0.1:9009"},
		{"secret: ${JWT_SECRET}", "secret: ${ADMIN_TOKEN}", "issuers.main.secret: changed"},
		{"    timeout: 10s", "    timeout: 11s", "routes.orders.timeout: 10s -> 11s"},
		{"body: 8MiB", "body: 4MiB", "routes.open.body: 8MiB -> 4MiB"},
		{"state: {", "defaults: { timeout: 9s }\nstate: {", "routes.open.timeout: 1m -> 9s"},
		{"trusted_proxies: [10.0.0.0/8]", "trusted_proxies: []", "listen.trusted_proxies: [10.0.0.0/8] -> []"},
		{"by: client }\n", "by: client }\n  more: { rate: 1/s, by: ip }\n", "rate_limits.more: added: { rate: 1/s, by: ip"},
	} {
		got := diffOf(t, c.old, c.new)
		mustContain(t, got, c.want)
		mustNotContain(t, got, secret, "admin-token")
	}
}

func TestDiffOfTheSame(t *testing.T) {
	for _, c := range [][]string{
		{},
		{"timeout: 10s\n    to", "timeout: 10000ms\n    to"},
		{"burst: 200, by: client", "by: client, burst: 200"},
		{"[http://127.0.0.1:9001]", "[{ url: http://127.0.0.1:9001, weight: 1 }]"},
		{"    timeout: 10s\n", "", "state: {", "defaults: { timeout: 10s }\nstate: {", "    auth: none\n", "    auth: none\n    timeout: 60s\n"},
		{"rate: 100/s", "rate: 100/1s"},
		{"audiences: [api]", "audiences:\n      - api"},
		{"{ key: required }", "{ key: required, wait: 0s, methods: [POST, PATCH] }"},
	} {
		if got := diffOf(t, c...); got != "" {
			t.Errorf("%q: %s", c, got)
		}
	}
}

func TestDiffOfTablesAndOrder(t *testing.T) {
	got := diffOf(t, "rate_limits:\n  per-client: { rate: 100/s, burst: 200, by: client }\n", "", "    rate_limits: [per-client]\n", "")
	mustContain(t, got, "rate_limits.per-client: removed: {", "routes.orders.rate_limits: removed: [per-client]")

	text := base(t)
	at, open := strings.Index(text, "  - id: orders"), strings.Index(text, "  - id: open")
	swapped := text[:at] + text[open:] + text[at:open]
	changes := Diff(parseGood(t, text).Document, parseGood(t, swapped).Document)
	if len(changes) != 1 || changes[0].String() != "routes: orders, open -> open, orders" {
		t.Errorf("order: %v", changes)
	}
}
