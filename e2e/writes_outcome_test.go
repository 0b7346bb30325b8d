package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

func (d *desk) statuses(t *testing.T) {
	d.t = t
	for _, status := range []int{200, 202, 206, 302, 400, 403, 404, 409, 410, 422, 500, 501, 505, 507} {
		path := fmt.Sprintf("/w/status/%d", status)
		d.up.on(path, answers(status, path), answers(299, "again"))
		d.check(d.post(path, path[3:], "{}"), status, "executed")
		if again := d.check(d.post(path, path[3:], "{}"), status, "replayed"); again.body != path {
			t.Errorf("%s: %s", path, again.body)
		}
		d.up.count(path, 1)
	}
	d.up.on("/optional/503", answers(503, "not now", "Retry-After: 3"))
	if r := d.check(d.post("/optional/503", "503", "{}"), 503, "executed"); r.get("Retry-After") != "3" {
		t.Errorf("%v", r.fields)
	}
	if r := d.check(d.post("/optional/503", "503", "{}"), 503, "replayed"); r.get("Retry-After") != "" {
		t.Errorf("%v", r.fields)
	}
	for _, status := range []int{401, 407, 408, 421, 425, 429, 503} {
		path := fmt.Sprintf("/w/freed/%d", status)
		d.up.on(path, answers(status, "later", "Retry-After: 3"), answers(201, "now"))
		if r := d.check(d.post(path, path[3:], "{}"), status, "executed"); r.body != "later" || r.get("Retry-After") != "3" {
			t.Errorf("%s: %q %v", path, r.body, r.fields)
		}
		d.check(d.post(path, path[3:], "{}"), 201, "executed")
		d.check(d.post(path, path[3:], "{}"), 201, "replayed")
		d.up.count(path, 2)
	}
	for _, status := range []int{502, 504} {
		path := fmt.Sprintf("/w/passed/%d", status)
		d.up.on(path, answers(status, "their text", "X-Theirs: 1"))
		d.unknown(t, path, status)
	}
}

// unknown wants an unknown outcome: for the first caller under its status, for every other as 409, and one dispatch.
func (d *desk) unknown(t *testing.T, path string, status int) {
	t.Helper()
	first := d.problem(d.post(path, "key"+path, "{}"), status, "outcome-unknown unknown true false")
	if first.member("status") != strconv.Itoa(status) || first.get("X-Theirs") != "" {
		t.Errorf("%s: %v %s", path, first.fields, first.body)
	}
	again := d.problem(d.post(path, "key"+path, "{}"), 409, "outcome-unknown unknown true false")
	other := d.problem(d.post(path, "key"+path, "{ }"), 422, "key-reused no false true")
	d.ref(first, again, other)
	for _, r := range []reply{first, again} {
		if r.get("Retry-After")+r.get("Idempotency-Status") != "" {
			t.Errorf("%s: %v", path, r.fields)
		}
	}
	d.up.count(path, 1)
}

// sealed wants what duplicates of a finished write get whose answer was not kept.
func (d *desk) sealed(t *testing.T, path string, status int, location string, before ...reply) {
	t.Helper()
	again := d.problem(d.post(path, "key"+path, "{}"), 409, "result-unavailable yes true false")
	if again.member("original_status") != strconv.Itoa(status) || again.member("location") != location || again.get("Location") != location || again.get("Retry-After") != "" {
		t.Errorf("%s: %v %s", path, again.fields, again.body)
	}
	d.ref(append(before, again)...)
	d.up.count(path, 1)
}

func (d *desk) sizes(t *testing.T) {
	d.t = t
	fits, large := strings.Repeat("x", 2<<10), strings.Repeat("y", 100<<10)
	d.up.on("/w/fits", answers(201, fits))
	d.up.on("/w/pieces", chunked(201, []string{fits[:1000], fits[1000:]}))
	for _, path := range []string{"/w/fits", "/w/pieces"} {
		d.check(d.post(path, "key"+path, "{}"), 201, "executed")
		if r := d.check(d.post(path, "key"+path, "{}"), 201, "replayed"); r.body != fits {
			t.Errorf("%s: %d bytes", path, len(r.body))
		}
	}
	d.up.on("/w/over", answers(201, fits+"x", "Location: /w/made/1"))
	d.up.on("/w/large", answers(201, large, "Location: /w/made/1"))
	d.up.on("/w/stream", chunked(201, []string{large[:50000], large[50000:]}, "Location: /w/made/1"))
	d.up.on("/w/toclose", then(says("HTTP/1.1 201 X\r\nLocation: /w/made/1\r\n\r\n"+large), closes))
	for path, size := range map[string]int{"/w/over": len(fits) + 1, "/w/large": len(large), "/w/stream": len(large), "/w/toclose": len(large)} {
		if first := d.check(d.post(path, "key"+path, "{}"), 201, "executed"); len(first.body) != size {
			t.Errorf("%s: %d bytes of %d", path, len(first.body), size)
		}
		d.sealed(t, path, 201, "/w/made/1")
	}
	d.events(t)
}

// events: the first event comes while the stream goes on, and so does the word that the write is done.
func (d *desk) events(t *testing.T) {
	more := make(chan struct{})
	d.up.on("/w/events", then(says("HTTP/1.1 200 X\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"),
		until(more), says("9\r\ndata: 2\n\n\r\n0\r\n\r\n")))
	c, err := net.Dial("tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(c, post("POST", "/w/events", "{}", d.alice, "Idempotency-Key: key/w/events", "Content-Type: application/json"))
	in := bufio.NewReader(c)
	for line := ""; !strings.HasPrefix(line, "data: 1"); {
		if line, err = in.ReadString('\n'); err != nil {
			close(more)
			t.Fatalf("the first event did not come: %v", err)
		}
	}
	d.sealed(t, "/w/events", 200, "")
	close(more)
	rest, err := io.ReadAll(in)
	if err != nil || !strings.Contains(string(rest), "data: 2") || !strings.HasSuffix(string(rest), "0\r\n\r\n") {
		t.Errorf("%q, %v", rest, err)
	}
}

func (d *desk) lost(t *testing.T) {
	d.t = t
	half := "HTTP/1.1 201 X\r\nLocation: /w/made/2\r\nContent-Length: 100\r\n\r\nhalf"
	for path, do := range map[string]act{
		"reset": resets, "closed": closes, "head": then(says("HTTP/1.1 201 X\r\nContent-"), closes), "headreset": then(says("HTTP/1.1 201 X\r\nContent-"), resets),
		"garbage": then(says("what?\r\n\r\n"), closes), "interim": then(says("HTTP/1.1 103 X\r\nLink: <a>\r\n\r\n"), resets), "switched": then(says("HTTP/1.1 101 X\r\nUpgrade: w\r\n\r\n"), silence),
		"twolengths": then(says("HTTP/1.1 201 X\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), silence),
	} {
		d.up.on("/w/lost/"+path, do)
		d.unknown(t, "/w/lost/"+path, 502)
	}
	d.up.on("/w/silent", silence)
	began := time.Now()
	d.unknown(t, "/w/silent", 504)
	if took := time.Since(began); took < 290*time.Millisecond || took > 3*time.Second {
		t.Errorf("silence ended after %v", took)
	}
	for path, do := range map[string]act{
		"/w/cut/close": then(says(half), closes), "/w/cut/reset": then(says(half), pauses(5*time.Millisecond), resets),
		"/w/cut/chunk": then(says("HTTP/1.1 201 X\r\nLocation: /w/made/2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal"), closes),
		"/w/cut/last":  then(says("HTTP/1.1 201 X\r\nLocation: /w/made/2\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"), closes),
	} {
		d.up.on(path, do)
		first := d.problem(d.post(path, "key"+path, "{}"), 502, "result-unavailable yes true false")
		if first.member("original_status") != "201" || first.member("location") != "/w/made/2" || first.get("Location") != "/w/made/2" {
			t.Errorf("%s: %v %s", path, first.fields, first.body)
		}
		d.sealed(t, path, 201, "/w/made/2", first)
	}
	d.up.on("/w/stalled", then(says(half), silence))
	d.sealed(t, "/w/stalled", 201, "/w/made/2", d.problem(d.post("/w/stalled", "key/w/stalled", "{}"), 504, "result-unavailable yes true false"))
	d.up.on("/w/brokenstream", then(says("HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 50000)), closes))
	if r := d.post("/w/brokenstream", "key/w/brokenstream", "{}"); r.status != 200 || r.err == nil {
		t.Errorf("a cut stream: %d, %v", r.status, r.err)
	}
	d.sealed(t, "/w/brokenstream", 200, "")
	d.notSent(t)
	d.connections(t)
}

func (d *desk) notSent(t *testing.T) {
	for range 2 {
		r := d.problem(d.post("/dead/a", "d1", "{}"), 502, "upstream-failed no true true")
		if r.member("operation_ref") != "" {
			t.Errorf("no record, but %s", r.body)
		}
	}
	d.problem(d.post("/dead/b", "d1", "{}"), 502, "upstream-failed no true true") // the key is free: another request may have it
}

// connections: writes meet connections on which something is wrong, and are sent once.
func (d *desk) connections(t *testing.T) {
	d.up.on("/w/interim", says("HTTP/1.1 100 X\r\n\r\nHTTP/1.1 103 X\r\nLink: <a>\r\n\r\nHTTP/1.1 201 X\r\nContent-Length: 2\r\n\r\nok"))
	if r := d.check(d.post("/w/interim", "i1", "{}"), 201, "executed"); r.body != "ok" || r.get("Link") != "" {
		t.Errorf("%v %q", r.fields, r.body)
	}
	d.up.on("/w/idle", then(answers(201, "ok"), pauses(time.Millisecond), closes)) // without a word of it
	d.up.on("/w/twice", says("HTTP/1.1 201 X\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 201 X\r\nContent-Length: 4\r\n\r\nevil"))
	for _, path := range []string{"/w/idle", "/w/twice"} {
		for i := range 10 {
			if r := d.check(d.post(path, fmt.Sprintf("%s-%d", path[3:], i), "{}"), 201, "executed"); r.body != "ok" {
				t.Errorf("%s: %q", path, r.body)
			}
			time.Sleep(4 * time.Millisecond) // the upstream's own close is what is waited for, and nothing shows it
		}
		d.up.count(path, 10)
	}
}

func (d *desk) limits(t *testing.T) {
	d.t = t
	left := func(r reply, policy, n string) {
		t.Helper()
		if got := r.get("RateLimit"); !strings.HasPrefix(got, `"`+policy+`";r=`+n) || r.get("RateLimit-Policy") == "" {
			t.Errorf("RateLimit %q, wanted %s left; policy %q", got, n, r.get("RateLimit-Policy"))
		}
	}
	left(d.check(d.post("/few/a", "l1", "{}"), 201, "executed"), "few", "1;")
	for range 3 {
		left(d.check(d.post("/few/a", "l1", "{}"), 201, "replayed"), "few", "1;")
	}
	left(d.check(d.post("/few/a", "l2", "{}"), 201, "executed"), "few", "0;")
	for range 2 {
		r := d.problem(d.post("/few/b", "l3", "{}"), 429, "rate-limited no true true")
		if r.member("policy") != "few" || r.get("Retry-After") == "" || r.member("operation_ref")+r.get("Idempotency-Status") != "" {
			t.Errorf("%v %s", r.fields, r.body)
		}
		left(r, "few", "0;")
		left(d.check(d.post("/few/a", "l1", "{}"), 201, "replayed"), "few", "0;")
		d.ref(d.problem(d.post("/few/a", "l1", "{ }"), 422, "key-reused no false true"))
	}
	d.up.count("/few/a", 2)
	d.up.count("/few/b", 0)
	d.check(d.post("/w/free", "l3", "{}"), 201, "executed") // the refused key left no record in this scope
}

// replayStorm: what costs no token of a limit still has a bound.
func (d *desk) replayStorm(t *testing.T) {
	d.t = t
	c, err := net.Dial("tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	in := bufio.NewReader(c)
	text := strings.Replace(post("POST", "/few/a", "{}", d.alice, "Idempotency-Key: l1", "Content-Type: application/json"), "Connection: close\r\n", "", 1)
	for n := 0; ; n++ {
		_, _ = io.WriteString(c, text)
		r := readReply(in)
		if r.err != nil || n > 8000 {
			t.Fatalf("%d replays, %v", n, r.err)
		}
		if r.status == 429 {
			d.ref(d.problem(r, 429, "rate-limited yes true false"))
			if n < 990 || r.member("policy") != "replays" || r.get("Retry-After") != "1" {
				t.Errorf("after %d replays: %v %s", n, r.fields, r.body)
			}
			return
		}
	}
}

func (d *desk) breaker(t *testing.T) {
	d.t = t
	d.check(d.post("/shaky/fine", "b0", "{}"), 201, "executed")
	d.up.on("/shaky/bad", answers(500, "bad"))
	d.check(d.post("/shaky/bad", "b1", "{}"), 500, "executed")
	d.check(d.post("/shaky/bad", "b1", "{}"), 500, "replayed") // not a failure of the upstream's
	d.check(d.post("/shaky/fine", "b0", "{}"), 201, "replayed")
	if got := d.metric(`gateway_breaker_state{upstream="shaky"}`); got != "0" {
		t.Errorf("the breaker is %q after one failure and replays", got)
	}
	d.check(d.post("/shaky/bad", "b2", "{}"), 500, "executed")
	if got := d.metric(`gateway_breaker_state{upstream="shaky"}`); got != "2" {
		t.Errorf("the breaker is %q after two failures", got)
	}
	for range 3 {
		r := d.problem(d.post("/shaky/fine", "b3", "{}"), 503, "upstream-open no true true")
		if after, err := strconv.Atoi(r.get("Retry-After")); err != nil || after < 50 || after > 60 || r.member("operation_ref") != "" {
			t.Errorf("%v %s", r.fields, r.body)
		}
		d.check(d.post("/shaky/fine", "b0", "{}"), 201, "replayed")
		d.check(d.post("/shaky/bad", "b2", "{}"), 500, "replayed")
		d.ref(d.problem(d.post("/shaky/fine", "b0", "{ }"), 422, "key-reused no false true"))
	}
	d.up.count("/shaky/fine", 1)
	d.up.count("/shaky/bad", 2)
	d.problem(d.post("/none/a", "b3", "{}"), 502, "upstream-failed no true true") // in the same scope: the key was free
	d.problem(d.post("/none/a", "b3", "{}"), 503, "upstream-open no true true")
}

func (d *desk) leaving(t *testing.T) {
	d.t = t
	release := make(chan struct{})
	d.up.on("/optional/left", then(until(release), answers(201, "kept")))
	c, err := net.Dial("tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, post("POST", "/optional/left", "{}", d.alice, "Idempotency-Key: g1", "Content-Type: application/json"))
	d.up.await("/optional/left", 1)
	c.Close()
	d.ref(d.problem(d.post("/optional/left", "g1", "{}"), 409, "in-progress in_progress true false"))
	time.Sleep(280 * time.Millisecond) // past the slice after which a wait looks for the client
	close(release)
	d.eventually("the answer to be kept", func() bool { return d.post("/optional/left", "g1", "{}").get("Idempotency-Status") == "replayed" })
	d.up.count("/optional/left", 1)

	c, err = net.Dial("tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	whole := post("POST", "/w/half", "0123456789", d.alice, "Idempotency-Key: g2", "Content-Type: application/json")
	fmt.Fprint(c, whole[:len(whole)-5])
	c.Close()
	d.check(d.raw(whole), 201, "executed")
	d.up.count("/w/half", 1)
}

func (d *desk) retention(t *testing.T) {
	d.t = t
	first := d.check(d.post("/brief/a", "t1", "{}"), 201, "executed")
	began := time.Now()
	d.check(d.post("/brief/a", "t1", "{}"), 201, "replayed")
	var last reply
	state := func(status int) func() bool {
		return func() bool { last = d.post("/brief/a", "t1", "{}"); return last.status == status }
	}
	d.eventually("the answer to be over", state(409))
	if took := time.Since(began); took < 900*time.Millisecond || took > 1500*time.Millisecond {
		t.Errorf("the answer was kept for %v", took)
	}
	if d.problem(last, 409, "result-unavailable yes true false"); last.member("original_status") != "201" {
		t.Errorf("%s", last.body)
	}
	d.eventually("the key to be over", state(201))
	if took := time.Since(began); took < 1900*time.Millisecond || took > 2500*time.Millisecond || last.body == first.body || last.get("Idempotency-Status") != "executed" {
		t.Errorf("the key was kept for %v: %v %s", took, last.fields, last.body)
	}
	d.up.count("/brief/a", 2)
}

func (d *desk) counted(t *testing.T) {
	d.t = t
	for _, word := range []string{"executed", "replayed", "mismatch", "unknown", "sealed", "released", "missing", "invalid"} {
		if d.metric(fmt.Sprintf(`gateway_dedup_total{result=%q,route="w"}`, word)) == "" {
			t.Errorf("%s is not counted", word)
		}
	}
	for series, n := range map[string]string{
		`gateway_dedup_total{result="ignored",route="plain"}`: "3", `gateway_dedup_total{result="ignored",route="optional"}`: "2",
		`gateway_dedup_total{result="refused",route="few"}`:   "3",
		`gateway_dedup_total{result="refused",route="shaky"}`: "3", `gateway_dedup_total{result="refused",route="none"}`: "1",
	} {
		if got := d.metric(series); got != n {
			t.Errorf("%s is %q, wanted %s", series, got, n)
		}
	}
}
