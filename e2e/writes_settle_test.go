package e2e

import (
	"net"
	"strings"
	"testing"
	"time"
)

// TestUpstreamDeduplicates: where the upstream honours the key, an unknown outcome is sent again, by any gateway, with the
// same forwarded key and the number of the attempt.
func TestUpstreamDeduplicates(t *testing.T) {
	eachFleet(t, shared, func(t *testing.T, one, other *desk) {
		one.t, other.t, one.up.t = t, t, t
		one.up.on("/again/a", resets, answers(201, "once"))
		first := one.problem(one.post("/again/a", "a", "{}", "Idempotency-Attempt: 9"), 502, "outcome-unknown unknown true false")
		if first.get("Retry-After") != "1" {
			t.Errorf("%v", first.fields)
		}
		other.stands(other.inquire(first.member("operation_ref"), other.alice), "unknown", "unknown")
		other.problem(other.post("/again/a", "a", "{ }"), 422, "key-reused no false true")
		if r := other.check(other.post("/again/a", "a", "{}", "Idempotency-Attempt: 9"), 201, "executed"); r.body != "once" {
			t.Error(r.body)
		}
		one.check(one.post("/again/a", "a", "{}"), 201, "replayed")
		if r := one.stands(one.inquire(first.member("operation_ref"), one.alice), "completed", "yes"); r.member("attempt") != "2" {
			t.Error(r.body)
		}
		one.attempts("/again/a", "", "2")

		// What is refused the second time may still have happened the first time.
		one.up.on("/again/b", resets, answers(429, "later"), closes, answers(201, "at last"))
		one.problem(one.post("/again/b", "b", "{}"), 502, "outcome-unknown unknown true false")
		other.check(other.post("/again/b", "b", "{}"), 429, "executed")
		one.problem(one.post("/again/b", "b", "{}"), 502, "outcome-unknown unknown true false")
		other.check(other.post("/again/b", "b", "{}"), 201, "executed")
		one.check(one.post("/again/b", "b", "{}"), 201, "replayed")
		one.attempts("/again/b", "", "2", "3", "4")
	})
}

// TestRetriesWhereTheUpstreamDeduplicates: the upstream's retry does it within the request, under the same rules; elsewhere it
// never sends a keyed write twice.
func TestRetriesWhereTheUpstreamDeduplicates(t *testing.T) {
	t.Parallel()
	body := strings.Replace(shared, "first_byte: 4s } }", "first_byte: 400ms }, retry: { attempts: 3, on: [connect, reset, timeout, 502, 503, 504], backoff: { base: 1ms, max: 2ms }, budget: 100%% } }", 1)
	eachFleet(t, body, func(t *testing.T, one, other *desk) {
		one.t, other.t, one.up.t = t, t, t
		for path, acts := range map[string][]act{
			"reset": {resets, answers(201, "once")}, "silent": {silence, answers(201, "once")}, "502": {answers(502, "?"), answers(201, "once")},
			"twice": {closes, answers(504, "?"), answers(201, "once")},
		} {
			path = "/again/" + path
			one.up.on(path, acts...)
			if r := one.check(one.post(path, "k"+path, "{}"), 201, "executed"); r.body != "once" {
				t.Errorf("%s: %s", path, r.body)
			}
			other.check(other.post(path, "k"+path, "{}"), 201, "replayed")
			one.attempts(path, []string{"", "2", "3"}[:len(acts)]...)
		}
		one.up.on("/again/lost", resets, resets, resets, answers(201, "at last"))
		one.problem(one.post("/again/lost", "lost", "{}"), 502, "outcome-unknown unknown true false")
		other.check(other.post("/again/lost", "lost", "{}"), 201, "executed")
		one.attempts("/again/lost", "", "2", "3", "4")
		one.up.on("/again/503", answers(503, "no"), answers(201, "never"))
		one.check(one.post("/again/503", "503", "{}"), 503, "executed")
		one.check(one.post("/again/503", "503", "{}"), 503, "replayed")
		one.up.on("/x/reset", resets, answers(201, "never"))
		one.problem(one.post("/x/reset", "reset", "{}"), 502, "outcome-unknown unknown true false")
		one.up.count("/x/reset", 1)
	})
}

// attempts wants a path to have been dispatched with one key and these numbers.
func (d *desk) attempts(path string, numbers ...string) {
	d.t.Helper()
	d.up.count(path, len(numbers))
	all := d.up.heard(path)
	for i, r := range all[:min(len(all), len(numbers))] {
		if got := strings.Join(r.all("Idempotency-Attempt"), "|"); got != numbers[i] || len(r.all("Idempotency-Key")) != 1 || r.all("Idempotency-Key")[0] != all[0].all("Idempotency-Key")[0] || r.body != all[0].body {
			d.t.Errorf("%s: dispatch %d: %v", path, i+1, r.fields)
		}
	}
}

// TestStatusCheckSettles: the upstream says what became of a write. Its yes counts at once, its no after the settle time, and
// anything else never.
func TestStatusCheckSettles(t *testing.T) {
	t.Parallel()
	eachFleet(t, shared, func(t *testing.T, one, other *desk) {
		one.t, other.t, one.up.t = t, t, t
		began := time.Now()
		made := map[string]string{}
		for name, says := range map[string]int{"yes": 200, "no": 404, "never": 503} {
			one.up.on("/asked/"+name, then(one.tells(says), resets), answers(201, "now"))
			r := one.problem(one.post("/asked/"+name, name, "{}"), 502, "outcome-unknown unknown true false")
			if r.get("Retry-After") == "" {
				t.Errorf("something can settle it, but %v", r.fields)
			}
			made[name] = "/made/" + one.up.heard("/asked/" + name)[0].all("Idempotency-Key")[0]
		}
		one.eventually("yes", func() bool { return strings.Contains(one.post("/asked/yes", "yes", "{}").body, "result-unavailable") })
		other.problem(other.post("/asked/yes", "yes", "{}"), 409, "result-unavailable yes true false")
		if r := other.problem(other.post("/asked/no", "no", "{}"), 409, "outcome-unknown unknown true false"); time.Since(began) < time.Second && r.get("Retry-After") == "" {
			t.Errorf("%v", r.fields)
		}
		var last reply
		one.eventually("no", func() bool { last = one.post("/asked/no", "no", "{}"); return last.status == 201 })
		if took := time.Since(began); took < 1500*time.Millisecond || last.get("Idempotency-Status") != "executed" || last.body != "now" {
			t.Errorf("after %v: %v %s", took, last.fields, last.body)
		}
		other.check(other.post("/asked/no", "no", "{}"), 201, "replayed")
		one.eventually("further questions", func() bool { return len(one.up.heard(made["never"])) >= 3 })
		for _, d := range []*desk{one, other} {
			if r := d.problem(d.post("/asked/never", "never", "{}"), 409, "outcome-unknown unknown true false"); r.get("Retry-After") == "" {
				t.Errorf("%v", r.fields)
			}
		}
		one.up.count("/asked/yes", 1)
		one.up.count("/asked/no", 2)
		one.up.count("/asked/never", 1)
		for name, path := range made {
			for _, r := range one.up.heard(path) {
				if r.method != "GET" || r.body != "" || r.all("Authorization") != nil {
					t.Errorf("%s was asked for by %s %v", name, r.method, r.fields)
				}
			}
		}
		if got := one.metric(`gateway_dedup_status_checks_total{route="asked",verdict="executed"}`); got != "1" {
			t.Errorf("%q checks say executed", got)
		}
		one.soundLog(strings.TrimPrefix(made["never"], "/made/"))
	})
}

// tells has the upstream answer questions about the write that it is given with a status.
func (d *desk) tells(status int) act {
	return func(_ net.Conn, r heard) bool {
		d.up.on("/made/"+r.all("Idempotency-Key")[0], answers(status, ""))
		return true
	}
}

// TestStatusCheckAfterACrash: what a killed gateway left is settled by the next one, though nobody asks again.
func TestStatusCheckAfterACrash(t *testing.T) {
	d := openShared(t, nil, shared, 1)[0]
	release, first := d.begins("/asked/crash", "crash", answers(201, "lost"))
	ref := d.problem(d.post("/asked/crash", "crash", "{ }"), 422, "key-reused no false true").member("operation_ref")
	d.up.on("/made/"+d.up.heard("/asked/crash")[0].all("Idempotency-Key")[0], answers(200, ""))
	d.kill()
	<-first
	close(release)
	d.start()
	d.eventually("the check", func() bool { return strings.Contains(d.log.String(), "an unknown outcome was settled") })
	d.stands(d.inquire(ref, d.alice), "sealed", "yes")
	d.problem(d.post("/asked/crash", "crash", "{}"), 409, "result-unavailable yes true false")
	d.up.count("/asked/crash", 1)
}
