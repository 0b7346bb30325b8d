package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// writes is a document with one route for each way of setting dedup.
const writes = `rate_limits: { few: { rate: 1/h, burst: 2, by: client } }
upstreams:
  up: { targets: [%[1]q], timeout: { connect: 300ms, first_byte: 300ms, idle_body: 300ms } }
  patient: { targets: [%[1]q] }
  narrow: { targets: [%[1]q], timeout: { connect: 60ms }, connections: { max: 1 } }
  dead: { targets: [%[2]q] }
  shaky: { targets: [%[1]q], breaker: { consecutive: 2, open: 60s } }
  none: { targets: [%[2]q], breaker: { consecutive: 1, open: 60s } }
defaults: { auth: { issuers: [main] } }
routes:
  - { id: w, match: { path: /w/** }, dedup: { key: required, max_answer: 2KiB, keep_headers: [X-Kept], release_on: [503] }, body: 4KiB, to: up }
  - { id: optional, match: { path: /optional/** }, dedup: { key: optional, methods: [POST, PUT], scope: up }, to: patient }
  - { id: narrow, match: { path: /narrow/** }, dedup: { scope: up }, to: narrow }
  - { id: quick, match: { path: /quick/** }, dedup: { scope: up }, timeout: 200ms, to: patient }
  - { id: plain, match: { path: /plain/** }, to: up }
  - { id: open, match: { path: /open/** }, auth: none, dedup: { key: required, client: "header:X-Client" }, to: up }
  - { id: sent, match: { path: /sent/** }, dedup: { forward_key: as_sent }, to: up }
  - { id: nokey, match: { path: /nokey/** }, dedup: { forward_key: none }, to: up }
  - { id: dead, match: { path: /dead/** }, dedup: {}, to: dead }
  - { id: few, match: { path: /few/** }, dedup: { key: required }, rate_limits: [few], to: up }
  - { id: shaky, match: { path: /shaky/** }, dedup: { scope: s }, to: shaky }
  - { id: none, match: { path: /none/** }, dedup: { scope: s }, to: none }
  - { id: brief, match: { path: /brief/** }, dedup: { keep: { answer: 1s, key: 2s } }, to: up }
`

// desk is a gateway with the document above, an upstream with scripts, and clients.
type desk struct {
	*gateway
	up         *scripted
	alice, bob string
}

// eachStore runs f against the memory and the embedded store.
func eachStore(t *testing.T, f func(t *testing.T, d *desk)) {
	for _, store := range []string{"memory", "embedded"} {
		t.Run(store, func(t *testing.T) { f(t, openDesk(t, store)) })
	}
}

func openDesk(t *testing.T, store string) *desk {
	t.Helper()
	d := &desk{up: script(t)}
	d.gateway = prepare(t, fmt.Sprintf(writes, d.up.url, "http://"+freePort(t)))
	d.replace("store: embedded", "store: "+store)
	d.start()
	t.Cleanup(d.kill)
	d.alice = "Authorization: " + d.token("-ttl", "1h")
	d.bob = "Authorization: " + d.token("-sub", "bob", "-ttl", "1h")
	return d
}

// post is alice's keyed write.
func (d *desk) post(path, key, body string, fields ...string) reply {
	d.t.Helper()
	return d.raw(post("POST", path, body, append([]string{d.alice, "Idempotency-Key: " + key, "Content-Type: application/json"}, fields...)...))
}

func (d *desk) check(r reply, status int, said string) reply {
	d.t.Helper()
	if r.err != nil || r.status != status || r.get("Idempotency-Status") != said {
		d.t.Errorf("%d, Idempotency-Status %q, %v; wanted %d %q: %s", r.status, r.get("Idempotency-Status"), r.err, status, said, r.body)
	}
	return r
}

// told is what a problem says, in the order kind executed safe_same_key_retry safe_new_key.
var told = regexp.MustCompile(`urn:oncegate:problem:([a-z-]+)"|"(executed|safe_same_key_retry|safe_new_key)":("?)([a-z_]+)`)

// problem wants a problem of section 5: its status, kind, executed and the two answers, as "kind executed same new".
func (d *desk) problem(r reply, status int, says string) reply {
	d.t.Helper()
	var words []string
	for _, m := range told.FindAllStringSubmatch(r.body, -1) {
		words = append(words, m[1]+m[4])
	}
	if got := strings.Join(words, " "); r.err != nil || r.status != status || got != says {
		d.t.Errorf("%d %q, %v; wanted %d %q: %s", r.status, got, r.err, status, says, r.body)
	}
	if r.get("Cache-Control") != "no-store" || r.get("Content-Type") != "application/problem+json" {
		d.t.Errorf("Cache-Control %q, Content-Type %q", r.get("Cache-Control"), r.get("Content-Type"))
	}
	if r.get("X-Request-Id") == "" || !strings.Contains(r.body, `"instance":"`+r.get("X-Request-Id")+`"`) {
		d.t.Errorf("instance is not the request id %q: %s", r.get("X-Request-Id"), r.body)
	}
	return r
}

// member is a member of a problem as its text, "" when it is not there.
func (r reply) member(name string) string {
	m := regexp.MustCompile(`"` + name + `":"?([^",}]*)`).FindStringSubmatch(r.body)
	if m == nil {
		return ""
	}
	return m[1]
}

// ref wants that all problems name the same record, and gives its name.
func (d *desk) ref(all ...reply) string {
	d.t.Helper()
	first := all[0].member("operation_ref")
	for _, r := range all {
		if got := r.member("operation_ref"); got == "" || got != first {
			d.t.Errorf("operation_ref %q, before %q: %s", got, first, r.body)
		}
	}
	return first
}

func TestWritesHappenOnce(t *testing.T) {
	eachStore(t, func(t *testing.T, d *desk) {
		d.up.t = t
		t.Run("replay", d.replays)
		t.Run("keys", d.keys)
		t.Run("mismatch", d.mismatches)
		t.Run("clients", d.clients)
		t.Run("running", d.running)
		t.Run("unprotected", d.unprotected)
		t.Run("forwarded", d.forwards)
		t.Run("statuses", d.statuses)
		t.Run("sizes", d.sizes)
		t.Run("lost", d.lost)
		t.Run("bodies", d.bodies)
		t.Run("slow answers", d.slowAnswers)
		t.Run("limits", d.limits)
		t.Run("breaker", d.breaker)
		t.Run("replay storm", d.replayStorm)
		t.Run("leaving", d.leaving)
		t.Run("storm", d.storm)
		t.Run("retention", d.retention)
		t.Run("metrics", d.counted)
	})
}

func (d *desk) replays(t *testing.T) {
	d.t = t
	d.up.on("/w/replay", answers(201, "\x00body\xff", "Content-Type: application/x-thing", "Content-Language: en", "Content-Encoding: br", "Location: /w/1", `ETag: "e"`,
		"Last-Modified: Mon, 02 Jan 2006 15:04:05 GMT", "Link: <a>", "Link: <b>", "X-Kept: 1", "X-Other: 1", "Set-Cookie: a=1", "WWW-Authenticate: Basic", "Proxy-Authenticate: Basic",
		"Date: Mon, 02 Jan 2006 15:04:05 GMT", "Access-Control-Allow-Origin: *", "RateLimit: a", "RateLimit-Policy: b", "X-RateLimit-Limit: 1", "Retry-After: 9", "traceparent: x",
		"X-Request-Id: theirs", "Server-Timing: a", "Cache-Control: max-age=60", "Keep-Alive: timeout=9", "Trailer: X-T", "Vary: Accept", "Server: s"))
	first := d.check(d.post("/w/replay", "r1", "{}", "X-Request-Id: one"), 201, "executed")
	if first.get("X-Other") != "1" || first.get("Set-Cookie") != "a=1" || first.get("Date") != "Mon, 02 Jan 2006 15:04:05 GMT" || first.get("X-Request-Id") != "one" ||
		first.get("Idempotent-Replayed")+first.get("Idempotency-Original-Request-Id") != "" {
		t.Errorf("the first caller got %v", first.fields)
	}
	for _, id := range []string{"two", "three"} {
		again := d.check(d.post("/w/replay", "r1", "{}", "X-Request-Id: "+id), 201, "replayed")
		wanted := []string{"connection", "content-encoding", "content-language", "content-length", "content-type", "date", "etag", "idempotency-original-request-id",
			"idempotency-status", "idempotent-replayed", "last-modified", "link", "link", "location", "x-kept", "x-request-id"}
		if !slices.Equal(again.names(), wanted) {
			t.Errorf("a replay carries %v", again.fields)
		}
		for _, name := range []string{"Content-Type", "Content-Language", "Content-Encoding", "Location", "ETag", "Last-Modified", "Link", "X-Kept"} {
			if again.get(name) != first.get(name) {
				t.Errorf("%s: %q, was %q", name, again.get(name), first.get(name))
			}
		}
		if again.body != first.body || again.get("Idempotent-Replayed") != "true" || again.get("Idempotency-Original-Request-Id") != "one" || again.get("X-Request-Id") != id || again.get("Date") == first.get("Date") {
			t.Errorf("%q %v", again.body, again.fields)
		}
	}
	d.up.count("/w/replay", 1)
	d.up.on("/w/204", says("HTTP/1.1 204 X\r\n\r\n"))
	d.up.on("/w/empty", answers(200, ""))
	d.up.on("/w/303", answers(303, "see", "Location: /elsewhere"))
	for path, status := range map[string]int{"/w/204": 204, "/w/empty": 200, "/w/303": 303} {
		first := d.check(d.post(path, path[3:], ""), status, "executed")
		if again := d.check(d.post(path, path[3:], ""), status, "replayed"); again.body != first.body || again.get("Location") != first.get("Location") || again.get("Content-Type") != "" {
			t.Errorf("%s: %v %q, was %q", path, again.fields, again.body, first.body)
		}
	}
}

func (d *desk) keys(t *testing.T) {
	d.t = t
	long := strings.Repeat("k", 255)
	d.check(d.post("/w/keys", `"abc"`, "{}"), 201, "executed")
	d.check(d.post("/w/keys", "abc", "{}"), 201, "replayed")
	d.check(d.post("/w/keys", long, "{}"), 201, "executed")
	d.check(d.post("/w/keys", `"`+long+`"`, "{}"), 201, "replayed")
	d.up.count("/w/keys", 2)
	for _, bad := range []string{"", `""`, long + "k", "a b", "a, b", "a;q=1", `"a`, `"a";x`, "k\x80", "(a b)", "a\tb"} {
		r := d.problem(d.post("/w/bad", bad, "{}"), 400, "key-invalid no false true")
		if !strings.HasSuffix(r.get("Link"), `>; rel="describedby"`) || r.member("operation_ref") != "" {
			t.Errorf("key %q: Link %q %s", bad, r.get("Link"), r.body)
		}
	}
	r := d.problem(d.raw(post("POST", "/w/bad", "{}", d.alice)), 400, "key-missing no false true")
	if !strings.HasSuffix(r.get("Link"), `>; rel="describedby"`) {
		t.Errorf("Link %q", r.get("Link"))
	}
	d.problem(d.post("/w/bad", "a", "{}", "Idempotency-Key: a"), 400, "key-invalid no false true")
	d.up.count("/w/bad", 0)
}

func (d *desk) mismatches(t *testing.T) {
	d.t = t
	d.check(d.post("/w/same?a=1", "m1", "{}"), 201, "executed")
	var all []reply
	for _, other := range []string{
		post("POST", "/w/other?a=1", "{}", d.alice, "Idempotency-Key: m1", "Content-Type: application/json"),
		post("POST", "/w/same?a=2", "{}", d.alice, "Idempotency-Key: m1", "Content-Type: application/json"),
		post("POST", "/w/same", "{}", d.alice, "Idempotency-Key: m1", "Content-Type: application/json"),
		post("POST", "/w/same?a=1", "{ }", d.alice, "Idempotency-Key: m1", "Content-Type: application/json"),
		post("POST", "/w/same?a=1", "{}", d.alice, "Idempotency-Key: m1", "Content-Type: text/json"),
		post("POST", "/w/same?a=1", "{}", d.alice, "Idempotency-Key: m1"),
		post("PATCH", "/w/same?a=1", "{}", d.alice, "Idempotency-Key: m1", "Content-Type: application/json"),
		post("POST", "/optional/same?a=1", "{}", d.alice, "Idempotency-Key: m1", "Content-Type: application/json"), // another route, the same scope
	} {
		all = append(all, d.problem(d.raw(other), 422, "key-reused no false true"))
	}
	d.ref(all...)
	d.check(d.post("/w/same?a=1", "m1", "{}", "User-Agent: other", "X-Any: 1"), 201, "replayed")
	d.up.count("/w/same", 1)
	if r := d.post("/w/body", "m2", strings.Repeat("x", 4097)); r.status != 413 || r.member("executed") != "" || r.member("operation_ref") != "" {
		t.Errorf("%d %s", r.status, r.body)
	}
	d.up.count("/w/body", 0)
	d.check(d.post("/w/body", "m2", strings.Repeat("x", 4096)), 201, "executed")
}

func (d *desk) clients(t *testing.T) {
	d.t = t
	mine := d.check(d.post("/w/two", "c1", "{}"), 201, "executed")
	theirs := d.check(d.raw(post("POST", "/w/two", "{}", d.bob, "Idempotency-Key: c1", "Content-Type: application/json")), 201, "executed")
	if mine.body == theirs.body {
		t.Error("two clients share an answer")
	}
	other := "Authorization: " + d.token("-ttl", "2h") // a fresh token of the same subject
	again := d.check(d.raw(post("POST", "/w/two", "{}", other, "Idempotency-Key: c1", "Content-Type: application/json")), 201, "replayed")
	if again.body != mine.body {
		t.Errorf("%s, was %s", again.body, mine.body)
	}
	if two := d.up.heard("/w/two"); len(two) != 2 || two[0].all("Idempotency-Key")[0] == two[1].all("Idempotency-Key")[0] {
		t.Errorf("the upstream saw %v", two)
	}
	open := func(fields ...string) reply { return d.raw(post("POST", "/open/a", "{}", fields...)) }
	d.check(open("Idempotency-Key: c1", "X-Client: a"), 201, "executed")
	d.check(open("Idempotency-Key: c1", "X-Client: a"), 201, "replayed")
	d.check(open("Idempotency-Key: c1", "X-Client: b"), 201, "executed")
	d.problem(open("Idempotency-Key: c1"), 400, "bad-request no true false")
	d.problem(open("Idempotency-Key: c1", "X-Client: "), 400, "bad-request no true false")
	d.problem(open("Idempotency-Key: c1", "X-Client: a", "X-Client: a"), 400, "bad-request no true false")
	d.up.count("/open/a", 2)
	if r := d.raw(post("POST", "/w/two", "{}", "Idempotency-Key: c1")); r.status != 401 || r.member("executed") != "" {
		t.Errorf("without a token: %d %s", r.status, r.body)
	}
}

func (d *desk) running(t *testing.T) {
	d.t = t
	release := make(chan struct{})
	d.up.on("/optional/slow", then(until(release), answers(201, "done")))
	first := make(chan reply, 1)
	go func() { first <- d.post("/optional/slow", "s1", "{}") }()
	d.up.await("/optional/slow", 1)
	busy := d.problem(d.post("/optional/slow", "s1", "{}"), 409, "in-progress in_progress true false")
	if after := busy.get("Retry-After"); after < "1" || after > "5" || len(after) != 1 {
		t.Errorf("Retry-After %q", after)
	}
	other := d.problem(d.post("/optional/slow", "s1", "{ }"), 422, "key-reused no false true")
	d.ref(busy, other)
	close(release)
	d.check(<-first, 201, "executed")
	d.check(d.post("/optional/slow", "s1", "{}"), 201, "replayed")
	d.up.count("/optional/slow", 1)
	d.full(t)
}

// full: no connection to the upstream gets free, so nothing is sent and the key stays free.
func (d *desk) full(t *testing.T) {
	release := make(chan struct{})
	d.up.on("/narrow/slow", then(until(release), answers(201, "done")))
	first := make(chan reply, 1)
	go func() { first <- d.post("/narrow/slow", "n1", "{}") }()
	d.up.await("/narrow/slow", 1)
	r := d.problem(d.post("/narrow/other", "n2", "{}"), 503, "overloaded no true true")
	if r.get("Retry-After") == "" || r.member("operation_ref") != "" {
		t.Errorf("%v %s", r.fields, r.body)
	}
	d.up.count("/narrow/other", 0)
	close(release)
	d.check(<-first, 201, "executed")
	d.check(d.post("/w/free", "n2", "{}"), 201, "executed") // in the same scope: no record is left
}

func (d *desk) unprotected(t *testing.T) {
	d.t = t
	for range 2 {
		d.check(d.raw(post("POST", "/plain/a", "{}", d.alice, "Idempotency-Key: u1")), 201, "ignored")
		d.check(d.raw(post("POST", "/plain/a", "{}", d.alice)), 201, "")
		d.check(d.raw(post("POST", "/optional/a", "{}", d.alice)), 201, "")
		d.check(d.raw(post("PATCH", "/optional/a", "{}", d.alice, "Idempotency-Key: u1")), 201, "ignored")
	}
	d.up.count("/plain/a", 4)
	d.up.count("/optional/a", 4)
	d.check(d.raw(post("PUT", "/optional/b", "{}", d.alice, "Idempotency-Key: u2")), 201, "executed")
	d.check(d.raw(post("PUT", "/optional/b", "{}", d.alice, "Idempotency-Key: u2")), 201, "replayed")
	if kept := d.up.heard("/plain/a")[0].all("Idempotency-Key"); !slices.Equal(kept, []string{"u1"}) {
		t.Errorf("a route without dedup passed on %v", kept)
	}
}

var bare = regexp.MustCompile(`^[A-Za-z0-9_-]{20,}$`)

func (d *desk) forwards(t *testing.T) {
	d.t = t
	d.up.on("/w/forward", answers(429, "later"), answers(201, "now"))
	d.check(d.post("/w/forward", "secret-key", "{}", "Idempotency-Attempt: 7"), 429, "executed")
	d.check(d.post("/w/forward", `"secret-key"`, "{}", "Idempotency-Attempt: 7"), 201, "executed")
	all := d.up.heard("/w/forward")
	for _, r := range all {
		if keys := r.all("Idempotency-Key"); len(keys) != 1 || !bare.MatchString(keys[0]) || keys[0] != all[0].all("Idempotency-Key")[0] || r.all("Idempotency-Attempt") != nil {
			t.Errorf("the upstream saw %v", r.fields)
		}
	}
	d.check(d.post("/sent/a", `"as sent"`, "{}"), 400, "")
	d.check(d.post("/sent/a", `"as-sent"`, "{}", "Idempotency-Attempt: 7"), 201, "executed")
	d.check(d.post("/nokey/a", "nobody", "{}", "idempotency-attempt: 7"), 201, "executed")
	d.check(d.post("/plain/b", "plain", "{}", "Idempotency-Attempt: 7"), 201, "ignored")
	for path, key := range map[string]string{"/sent/a": `"as-sent"`, "/nokey/a": "", "/plain/b": "plain"} {
		r := d.up.heard(path)[0]
		if got := strings.Join(r.all("Idempotency-Key"), "|"); got != key || r.all("Idempotency-Attempt") != nil {
			t.Errorf("%s: the upstream saw the key %q, wanted %q: %v", path, got, key, r.fields)
		}
	}
}

func (d *desk) storm(t *testing.T) {
	d.t = t
	d.up.on("/w/storm", then(pauses(50*time.Millisecond), answers(201, "once")))
	var all sync.WaitGroup
	got := make([]reply, 64)
	for i := range got {
		all.Go(func() { got[i] = d.post("/w/storm", "storm", "{}") })
	}
	all.Wait()
	executed := 0
	for _, r := range got {
		switch said := r.get("Idempotency-Status"); {
		case r.status == 201 && r.body == "once" && said == "executed":
			executed++
		case r.status == 201 && r.body == "once" && said == "replayed":
		default:
			d.problem(r, 409, "in-progress in_progress true false")
		}
	}
	if executed != 1 {
		t.Errorf("%d callers were told that they executed", executed)
	}
	d.up.count("/w/storm", 1)
}
