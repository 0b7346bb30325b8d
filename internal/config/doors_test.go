package config

import (
	"strings"
	"testing"
	"time"
)

// Lists of addresses, CORS and security headers: each mistake at its place.
var doorRows = []row{
	{"cors without origins", "    auth: none", "    auth: none\n    cors: {}", "cors: {}", []string{"origins"}, ""},
	{"cors true", "    auth: none", "    auth: none\n    cors: true", "cors: true", []string{"routes[1].cors", "false"}, ""},
	{"cors star", "    auth: none", "    auth: none\n    cors: '*'", "cors: '*'", []string{"routes[1].cors"}, ""},
	{"cors no origins", "    auth: none", "    auth: none\n    cors: { origins: [] }", "origins: []", []string{"origins"}, ""},
	{"cors star with credentials", "    auth: none", "    auth: none\n    cors: { origins: ['*'], credentials: true }", "origins:", []string{"cors.origins[0]", "credentials"}, ""},
	{"cors star and others", "    auth: none", "    auth: none\n    cors: { origins: ['*', https://a.test] }", "origins:", []string{"cors.origins[0]", "alone"}, ""},
	{"cors null", "    auth: none", "    auth: none\n    cors: { origins: ['null'] }", "origins:", []string{"cors.origins[0]", "sandboxed"}, ""},
	{"cors path", "    auth: none", "    auth: none\n    cors: { origins: [https://a.test/] }", "origins:", []string{"cors.origins[0]", "slash"}, ""},
	{"cors case", "    auth: none", "    auth: none\n    cors: { origins: [https://A.test] }", "origins:", []string{"https://a.test"}, ""},
	{"cors max age", "    auth: none", "    auth: none\n    cors: { origins: [https://a.test], max_age: 48h }", "48h", []string{"max_age", "24h"}, ""},
	{"cors misspelt", "    auth: none", "    auth: none\n    cors: { origin: [https://a.test] }", "origin:", []string{"cors.origin"}, "origins"},
	{"defaults cors", "routes:", "defaults: { cors: { origins: [https://a.test, https://a.test] } }\nroutes:", "defaults:", []string{"defaults.cors.origins[1]", "twice"}, ""},
	{"addresses of nobody", "    auth: none", "    auth: none\n    addresses: {}", "addresses: {}", []string{"routes[1].addresses", "allow or deny"}, ""},
	{"addresses empty", "    auth: none", "    auth: none\n    addresses: { allow: [] }", "allow: []", []string{"allow"}, ""},
	{"addresses word", "    auth: none", "    auth: none\n    addresses: all", "addresses: all", []string{"addresses"}, ""},
	{"addresses host bits", "    auth: none", "    auth: none\n    addresses: { allow: [10.0.0.1/8] }", "10.0.0.1/8", []string{"allow[0]", "10.0.0.0/8"}, ""},
	{"addresses mapped", "    auth: none", "    auth: none\n    addresses: { deny: ['::ffff:10.0.0.0/104'] }", "::ffff", []string{"deny[0]", "IPv4"}, ""},
	{"listen addresses", "trusted_proxies:", "addresses: { deny: [10.0.0.0/40] }\n  trusted_proxies:", "/40", []string{"listen.addresses.deny[0]"}, ""},
	{"listen misspelt", "trusted_proxies:", "adresses: { deny: [10.0.0.0/8] }\n  trusted_proxies:", "adresses", []string{"listen.adresses"}, ""},
	{"headers word", "    auth: none", "    auth: none\n    security_headers: on", "security_headers: on", []string{"security_headers"}, ""},
	{"websocket word", "    auth: none", "    auth: none\n    websocket: on", "websocket: on", []string{"websocket"}, ""},
	{"websocket idle", "    auth: none", "    auth: none\n    websocket: { idle: 10ms }", "10ms", []string{"websocket.idle"}, ""},
	{"websocket end", "    auth: none", "    auth: none\n    websocket: { on_token_end: closed }", "closed", []string{"on_token_end"}, "close"},
	{"headers frame", "    auth: none", "    auth: none\n    security_headers: { frame: denny }", "denny", []string{"frame"}, "deny"},
	{"headers hsts", "    auth: none", "    auth: none\n    security_headers: { hsts: 365d }", "365d", []string{"security_headers.hsts", "max-age"}, ""},
	{"headers preload", "    auth: none", "    auth: none\n    security_headers: { hsts: max-age=1; preload }", "preload", []string{"includeSubDomains"}, ""},
	{"headers csp", "    auth: none", "    auth: none\n    security_headers: { csp: '' }", "csp: ''", []string{"csp"}, ""},
}

func TestOneMistakeAtTheDoors(t *testing.T) {
	for _, r := range doorRows {
		t.Run(r.name, func(t *testing.T) { oneMistake(t, r) })
	}
}

// A route takes the defaults, says its own, or says false.
func TestDoorsOfDefaults(t *testing.T) {
	text := change(t, base(t), "state: {", "defaults: { cors: { origins: [https://a.test] }, addresses: { deny: [10.0.0.0/8] }, security_headers: true }\nstate: {")
	doc := parseGood(t, text).Document
	for i := range doc.Routes {
		r := &doc.Routes[i]
		if r.CORS == nil || r.CORS.Off || r.CORS.MaxAge == 0 || len(r.CORS.Expose) == 0 || r.Addresses == nil || r.SecurityHeaders == nil || r.SecurityHeaders.Off || r.SecurityHeaders.Frame != "deny" {
			t.Errorf("%s: %+v %+v %+v", r.ID, r.CORS, r.Addresses, r.SecurityHeaders)
		}
	}
	off := change(t, text, "    auth: none", "    auth: none\n    cors: false\n    addresses: false\n    security_headers: false")
	doc = parseGood(t, off).Document
	if r := doc.Routes[1]; !r.CORS.Off || !r.Addresses.Off || !r.SecurityHeaders.Off || doc.Routes[0].CORS.Off {
		t.Errorf("%+v %+v %+v", r.CORS, r.Addresses, r.SecurityHeaders)
	}
	if out := string(Print(doc)); strings.Count(out, "cors: false\n")+strings.Count(out, "addresses: false\n")+strings.Count(out, "security_headers: false\n") != 3 {
		t.Error(out)
	}
	var lines []string
	for _, c := range Diff(parseGood(t, text).Document, doc) {
		lines = append(lines, c.String())
	}
	mustContain(t, strings.Join(lines, "\n"), "routes.open.cors: { origins: [https://a.test]", "-> false", "routes.open.addresses: { deny: [10.0.0.0/8] } -> false", "routes.open.security_headers: {")
}

// A default stands for routes that say nothing, with its own defaults filled in; false takes it away.
func TestWebsocketDefault(t *testing.T) {
	text := change(t, base(t), "state: {", "defaults: { websocket: { max: 1h } }\nstate: {")
	doc := parseGood(t, change(t, text, "    auth: none", "    auth: none\n    websocket: false")).Document
	for i := range doc.Routes {
		switch w := doc.Routes[i].Websocket; {
		case w == nil:
			t.Errorf("%s: none", doc.Routes[i].ID)
		case i == 1 && !w.Off, i != 1 && (w.Off || w.Max.Std() != time.Hour || w.Idle.Std() != 5*time.Minute || w.OnTokenEnd != "close"):
			t.Errorf("%s: %+v", doc.Routes[i].ID, w)
		}
	}
}
