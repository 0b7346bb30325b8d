package config

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var schemaOf = sync.OnceValue(func() object {
	var root object
	if err := json.Unmarshal(Schema(), &root); err != nil {
		panic(err)
	}
	return root
})

func againstSchema(t testing.TB, text string) error {
	t.Helper()
	r := newReport("f")
	tree := parseTree(strings.TrimPrefix(text, "\uFEFF"), r)
	if tree == nil {
		t.Fatal(linesOf(r.list))
	}
	root := schemaOf()
	return checker{root}.check(root, asJSON(tree), "")
}

func TestSchemaTakesGoodDocuments(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range append(files, "../../gateway.yaml") {
		text := readFile(t, file)
		result, err := Parse(file, []byte(text), testEnv)
		if err != nil {
			t.Fatal(err)
		}
		for form, text := range map[string]string{"as it is": text, "printed": printed(result.Document), "redacted": string(Print(result.Document))} {
			if err := againstSchema(t, text); err != nil {
				t.Errorf("%s, %s: %v", file, form, err)
			}
		}
	}
}

// What check takes for text, a number or a word, the schema takes too, whatever type a reader of YAML gives it.
func TestSchemaTakesWhatCheckTakes(t *testing.T) {
	for _, c := range [][]string{
		{"open: 5s", "open: 5s, consecutive: \"3\""}, {"minimum: 20", "minimum: \"20\""}, {"minimum: 20", "minimum: \"${NUMBER}\""},
		{"version: 1", "version: \"1\""}, {"burst: 200", "burst: \"200\""}, {"burst: 200", "burst: 200, cost: \"2\""}, {"burst: 200", "burst: 300, cost: \"${NUMBER}\""},
		{"    breaker:", "    retry: { attempts: 3, on: [connect, reset, 502, 503, 504] }\n    breaker:"},
		{"    breaker:", "    bulkhead: { adaptive: true }\n    breaker:"}, {"    breaker:", "    bulkhead: { adaptive: shadow }\n    breaker:"},
		{"    breaker:", "    health: { path: /h, expect: 200 }\n    breaker:"},
		{"[orders:write]", "[orders:write, 5]"}, {"[orders:write]", "[orders:write], claims: { level: 3, admin: true, tenant: [1, b], plan: { in: [7] } }"},
		{"path: /open", "path: /open, headers: { X-V: 2, X-W: 1.5 }, query: { beta: 1, on: true }"},
		{"path: /open", "path: /open, methods: [GET]"},
		{"    auth: none", "    auth: none\n    rewrite: { request_headers: { set: { X-A: 1, X-B: false }, remove: [] }, response_headers: { set: {}, remove: [] } }"},
		{"    auth: none", "    auth: none\n    fallback: [{ on: [502, 5xx], respond: { body: 5, headers: { X-A: 1 } } }]"},
		{"    auth: none", "    auth: none\n    security_headers: \"true\"\n    cors: \"false\"\n    addresses: \"false\"\n    websocket: ${NO:-false}"},
		{"    auth: none", "    auth: ${NO:-none}"},
		{"    auth: none\n    to: orders", "    auth: none\n    to: { split: [{ upstream: orders, weight: \"9\" }, { upstream: 7, when: { headers: { X-C: 1 } } }] }", "upstreams:\n", "upstreams:\n  7: { targets: [http://127.0.0.1:1] }\n"},
		{"    auth: none\n    to: orders", "    auth: none\n    to: { respond: { status: \"200\", body: 5 } }"},
		{"    auth: none\n    to: orders", "    auth: none\n    to: 7", "upstreams:\n", "upstreams:\n  7: { targets: [http://127.0.0.1:1] }\n"},
		{"listen:\n", "listen:\n  tls: { certificates: [{ cert: a, key: b }], min_version: 1.2 }\n"}, {"listen:\n", "listen:\n  http2: \"false\"\n"},
		{"- id: open", "- id: 404"},
		{"state: {", "defaults:\nbasic_users:\nstate: {"}, {"    rate_limits: [per-client]", "    rate_limits:"}, {"trusted_proxies: [10.0.0.0/8]", "trusted_proxies:"},
	} {
		text := base(t)
		for i := 0; i < len(c); i += 2 {
			text = change(t, text, c[i], c[i+1])
		}
		if _, err := Parse("f", []byte(text), testEnv); err != nil {
			t.Errorf("check refuses %q: %v", c[1], err)
		}
		if err := againstSchema(t, text); err != nil {
			t.Errorf("%q: %v", c[1], err)
		}
	}
}

func TestSchemaRefusesBrokenDocuments(t *testing.T) {
	for _, r := range []struct{ old, new string }{
		{"state: {", "rate_limit: {}\nstate: {"}, {"read_timeout: 10s", "read_timeuot: 10s"}, {"read_timeout: 10s", "read_timeout: 10sec"},
		{"    timeout: 10s", "    timeout: 10"}, {"body: 8MiB", "body: 8megs"}, {"rate: 100/s", "rate: 100/fortnight"},
		{"failure_rate: 50%", "failure_rate: 50"}, {"minimum: 20", "minimum: many"}, {"minimum: 20", "minimum: \"020\""}, {"minimum: 20", "minimum: \"-20\""}, {"minimum: 20", "minimum: 2.5"},
		{"minimum: 20", "minimum: true"}, {"    auth: none", "    auth: none\n    cors: true"}, {"    auth: none", "    auth: none\n    websocket: 1"}, {"[orders:write]", "[{}]"}, {"    dedup: { key: required }", "    dedup:"}, {"methods: [GET, POST]", "methods:"}, {"path: /open", "path:"},
		{"trusted_proxies: [10.0.0.0/8]", "trusted_proxies: none"}, {"probes: 3", "probes: 0"}, {"    auth: none", "    auth: public"},
		{"store: memory", "store: memmory"}, {"{ key: required }", "{ key: requird }"}, {"    auth: none\n    to: orders", "    auth: none"},
		{"audiences: [api]", "audiences: []"}, {"version: 1\n", ""}, {"limits: { header: 16KiB, body: 8MiB, read_timeout: 10s }", "limits: 5"},
	} {
		if err := againstSchema(t, change(t, base(t), r.old, r.new)); err == nil {
			t.Errorf("%q instead of %q passes", r.new, r.old)
		}
	}
}

func TestSchemaKnowsEveryKey(t *testing.T) {
	root := schemaOf()
	text := string(Schema())
	for _, key := range []string{"version", "listen", "admin", "state", "issuers", "api_keys", "rate_limits", "upstreams", "defaults", "routes",
		"dedup", "breaker", "forward", "trusted_proxies", "wait_replicas", "status_check", "rewrite"} {
		if !strings.Contains(text, `"`+key+`"`) {
			t.Errorf("the schema lacks %s", key)
		}
	}
	if root["$schema"] != "https://json-schema.org/draft/2020-12/schema" || root["additionalProperties"] != false {
		t.Error("no dialect, or unknown keys are allowed")
	}
	if !strings.Contains(text, `"default": "10s"`) || !strings.Contains(text, `"default": 100`) || strings.Contains(text, "<nil>") {
		t.Error("defaults are missing")
	}
}

// TestReferenceIsCurrent keeps docs/configuration.md equal to the tags.
func TestReferenceIsCurrent(t *testing.T) {
	golden(t, "../../docs/configuration.md", string(Reference()))
}

// Every form of to passes, and nothing that is none of them.
func TestSchemaOfDestinations(t *testing.T) {
	const doc = "version: 1\nstate: { store: memory }\nflags: { file: f.yaml }\nupstreams: { a: { targets: [\"http://127.0.0.1:1\"] }, b: { targets: [\"http://127.0.0.1:2\"] } }\nroutes:\n  - id: r\n    match: { path: /r }\n    auth: none\n    to: "
	for to, good := range map[string]bool{
		"a":               true,
		"{ upstream: a }": true,
		"{ upstream: a, mirror: { upstream: b, share: 10% } }":                                                            true,
		"{ split: [{ upstream: a, weight: 9 }, { upstream: b, when: { headers: { X: \"1\" } } }], sticky: \"cookie:c\" }": true,
		"{ respond: { status: 200, body: ok, headers: { X: \"1\" } } }":                                                   true,
		"{ respond: {} }":                true,
		"{ redirect: { location: /a } }": true,
		"{}":                             false,
		"[a]":                            false,
		"{ upstream: a, respond: {} }":   false,
		"{ redirect: {} }":               false,
		"{ split: [] }":                  false,
		"{ split: a }":                   false,
		"{ split: [{ weight: 3 }] }":     false,
		"{ splt: [{ upstream: a }] }":    false,
		"{ upstream: a, mirror: b }":     false,
		"{ split: [{ upstream: a, weight: -1 }] }": false,
		"{ respond: { status: 99 } }":              false,
	} {
		if err := againstSchema(t, doc+to+"\n"); (err == nil) != good {
			t.Errorf("%s: %v", to, err)
		}
		if _, err := Parse("x", []byte(doc+to+"\n"), testEnv); (err == nil) != good {
			t.Errorf("%s: the schema and the checks differ: %v", to, err)
		}
	}
	for fallback, good := range map[string]bool{
		"[{ on: [open], upstream: b }]": true, "[{ on: [open, \"503\"], respond: { body: x } }]": true,
		"[{ on: [open] }]": false, "[{ upstream: b }]": false, "[{ on: [], upstream: b }]": false, "[{ on: [open], upstream: b, respond: {} }]": false, "{ on: [open], upstream: b }": false,
	} {
		if err := againstSchema(t, doc+"a\n    fallback: "+fallback+"\n"); (err == nil) != good {
			t.Errorf("%s: %v", fallback, err)
		}
	}
}
