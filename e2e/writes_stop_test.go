package e2e

import (
	"syscall"
	"testing"
	"time"
)

// TestRecordsOutliveTheProcess makes one record of each state, ends the gateway in each way, and asks again.
func TestRecordsOutliveTheProcess(t *testing.T) {
	for name, c := range map[string]struct {
		how  syscall.Signal
		code int
	}{"kill": {syscall.SIGKILL, -1}, "term": {syscall.SIGTERM, 1}} {
		t.Run(name, func(t *testing.T) {
			d := openDesk(t, "embedded")
			d.up.t = t
			d.replace("timeout: 5s", "timeout: 300ms")
			d.kill()
			d.start()
			release := make(chan struct{})
			d.up.on("/optional/running", then(until(release), answers(201, "late")))
			d.up.on("/w/unknown", resets)
			d.up.on("/w/free", answers(429, ""), answers(201, "now"))
			done := d.check(d.post("/w/done", "key/w/done", "{}"), 201, "executed")
			d.up.on("/w/sealed", then(says("HTTP/1.1 201 X\r\nLocation: /l\r\nContent-Length: 9\r\n\r\n"), closes))
			sealed := d.problem(d.post("/w/sealed", "key/w/sealed", "{}"), 502, "result-unavailable yes true false")
			unknown := d.problem(d.post("/w/unknown", "key/w/unknown", "{}"), 502, "outcome-unknown unknown true false")
			d.check(d.post("/w/free", "key/w/free", "{}"), 429, "executed")
			first := make(chan reply, 1)
			go func() { first <- d.post("/optional/running", "running", "{}") }()
			d.up.await("/optional/running", 1)
			busy := d.problem(d.post("/optional/running", "running", "{}"), 409, "in-progress in_progress true false")

			d.signal(c.how)
			if code := d.exit(); code != c.code {
				t.Errorf("exit %d, wanted %d: %s", code, c.code, d.log)
			}
			switch r := <-first; {
			case name == "term": // it is told what is known before the connection is cut
				d.problem(r, 502, "outcome-unknown unknown true false")
			case r.status == 201:
				t.Errorf("an answer came from nowhere: %s", r.body)
			}
			close(release)
			d.start()

			if r := d.check(d.post("/w/done", "key/w/done", "{}"), 201, "replayed"); r.body != done.body || r.get("Idempotency-Original-Request-Id") != done.get("X-Request-Id") {
				t.Errorf("%v %s, was %s", r.fields, r.body, done.body)
			}
			d.sealed(t, "/w/sealed", 201, "/l", sealed)
			d.ref(unknown, d.problem(d.post("/w/unknown", "key/w/unknown", "{}"), 409, "outcome-unknown unknown true false"))
			cut := d.problem(d.post("/optional/running", "running", "{}"), 409, "outcome-unknown unknown true false")
			d.ref(busy, cut, d.problem(d.post("/optional/running", "running", "{ }"), 422, "key-reused no false true"))
			if cut.get("Retry-After") != "" {
				t.Errorf("nothing can settle it, but Retry-After: %s", cut.get("Retry-After"))
			}
			d.up.count("/optional/running", 1)
			d.check(d.post("/w/free", "key/w/free", "{}"), 201, "executed")
		})
	}
}

// TestTermWaitsForKeyedWrites: the answer of a running write reaches its client and the store.
func TestTermWaitsForKeyedWrites(t *testing.T) {
	d := openDesk(t, "embedded")
	release := make(chan struct{})
	d.up.on("/optional/a", then(until(release), answers(201, "done")))
	first := make(chan reply, 1)
	go func() { first <- d.post("/optional/a", "a", "{}") }()
	d.up.await("/optional/a", 1)
	d.signal(syscall.SIGTERM)
	d.eventually("the listener to close", func() bool { r := d.raw(post("GET", "/plain/x", "", d.alice)); return r.err != nil || r.status == 503 })
	select {
	case <-d.exited:
		t.Fatalf("it did not wait: %s", d.log)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	d.check(<-first, 201, "executed")
	if code := d.exit(); code != 0 {
		t.Errorf("exit %d: %s", code, d.log)
	}
	d.start()
	if r := d.check(d.post("/optional/a", "a", "{}"), 201, "replayed"); r.body != "done" {
		t.Errorf("%s", r.body)
	}
	d.up.count("/optional/a", 1)
}

// TestReloadKeepsKeyedWrites: what runs finishes under the old document, what is kept is told under the new one.
func TestReloadKeepsKeyedWrites(t *testing.T) {
	d := openDesk(t, "embedded")
	release := make(chan struct{})
	d.up.on("/optional/a", then(until(release), answers(201, "done")))
	d.check(d.post("/w/kept", "k", "{}"), 201, "executed")
	first := make(chan reply, 1)
	go func() { first <- d.post("/optional/a", "a", "{}") }()
	d.up.await("/optional/a", 1)
	d.replace("id: optional", "id: renamed")
	d.replace("keep_headers: [X-Kept], ", "")
	d.eventually("a reload", func() bool { return d.metric(`gateway_config_reloads_total{result="success"}`) == "1" })
	d.ref(d.problem(d.post("/optional/a", "a", "{}"), 409, "in-progress in_progress true false"))
	d.check(d.post("/w/kept", "k", "{}"), 201, "replayed")
	close(release)
	d.check(<-first, 201, "executed")
	d.check(d.post("/optional/a", "a", "{}"), 201, "replayed")
	d.up.count("/optional/a", 1)
	d.up.count("/w/kept", 1)
}
