package e2e

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// execution is an element of GET executions.
type execution struct {
	Ref      string `json:"operation_ref"`
	State    string
	Executed string
	Route    string
	Status   int    `json:"original_status"`
	Location string `json:"location"`
	KeyUntil string `json:"key_until"`
}

func (g *gateway) executions(query string) (all []execution) {
	g.t.Helper()
	if g.operate(200, &all, "GET", "executions"+query, ""); all == nil {
		g.t.Error("the list is null")
	}
	return all
}

// TestOwnersAskForExecutions: the client whose write it is can ask what became of it; to others there is none.
func TestOwnersAskForExecutions(t *testing.T) {
	eachFleet(t, shared, func(t *testing.T, one, other *desk) {
		one.t, other.t, one.up.t = t, t, t
		one.up.on("/orders/lost", resets)
		one.up.on("/orders/cut", then(says("HTTP/1.1 201 X\r\nLocation: /l/1\r\nContent-Length: 9\r\n\r\n"), closes))
		one.up.on("/orders/done", answers(202, "done", "Location: /l/2"))
		lost := one.problem(one.post("/orders/lost", "lost", "{}"), 502, "outcome-unknown unknown true false")
		cut := one.problem(one.post("/orders/cut", "cut", "{}"), 502, "result-unavailable yes true false")
		executed := one.check(one.post("/orders/done", "done", "{}"), 202, "executed")
		release, first := one.begins("/wait/runs", "runs", answers(201, "done"))
		runs := other.problem(other.post("/wait/runs", "runs", "{ }"), 422, "key-reused no false true")
		done := other.problem(other.post("/orders/done", "done", "{ }"), 422, "key-reused no false true")

		other.stands(other.inquire(lost.member("operation_ref"), other.alice), "unknown", "unknown")
		if r := other.stands(other.inquire(cut.member("operation_ref"), other.alice), "sealed", "yes"); r.member("original_status") != "201" || r.member("location") != "/l/1" {
			t.Error(r.body)
		}
		if r := other.stands(other.inquire(done.member("operation_ref"), other.alice), "completed", "yes"); r.member("original_status") != "202" || r.member("location") != "/l/2" ||
			r.member("original_request_id") != executed.get("X-Request-Id") || r.member("answer_until") == "" || r.member("attempt") != "1" || strings.Contains(r.body, "done\"") || r.get("Idempotency-Status") != "" {
			t.Errorf("%v %s", r.fields, r.body)
		}
		ref := runs.member("operation_ref")
		if r := other.stands(other.inquire(ref, other.alice), "in_flight", "in_progress"); r.get("Retry-After") == "" {
			t.Errorf("%v", r.fields)
		}
		one.refused(other, ref)
		close(release)
		one.check(<-first, 201, "executed")
		other.stands(other.inquire(ref, other.alice), "completed", "yes")
		one.up.count("/orders/lost", 1)
		for _, path := range []string{"/-/executions/" + ref, "/-/executions/"} {
			one.up.count(path, 0)
		}
	})
}

// refused: everybody else gets 404, and nobody by another method.
func (d *desk) refused(other *desk, ref string) {
	d.t.Helper()
	nobody := "A" + ref[1:]
	if ref[0] == 'A' {
		nobody = "B" + ref[1:]
	}
	var texts []string
	for _, r := range []reply{other.inquire(ref, other.bob), other.inquire(nobody, other.alice), other.inquire(ref[1:], other.alice), other.inquire(ref+"A", other.alice), other.inquire("", other.alice), other.inquire(ref+"/x", other.alice), other.inquire(nobody, other.bob)} {
		if r.status != 404 || !strings.Contains(r.body, "problem:not-found") || r.member("operation_ref") != "" {
			d.t.Errorf("%d %s", r.status, r.body)
		}
		before, _, _ := strings.Cut(r.body, `"instance"`)
		texts = append(texts, before)
	}
	for _, text := range texts[1:] {
		if text != texts[0] {
			d.t.Errorf("one can tell a foreign write from none: %s, %s", texts[0], text)
		}
	}
	for _, to := range []*desk{d, other} {
		if r := to.head("/-/executions/"+ref, to.alice); r != "HTTP/1.1 200 OK" {
			d.t.Errorf("HEAD: %s", r)
		}
	}
	if r := other.inquire(ref); r.status != 401 {
		d.t.Errorf("without a token: %d %s", r.status, r.body)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		if r := other.raw(post(method, "/-/executions/"+ref, "", other.alice, "Idempotency-Key: q")); r.status != 405 || r.get("Allow") != "GET, HEAD" {
			d.t.Errorf("%s: %d %v", method, r.status, r.fields)
		}
	}
}

// head sends a HEAD and gives the first line; more than a head must not come.
func (d *desk) head(path string, fields ...string) string {
	d.t.Helper()
	c, err := net.Dial("tcp", d.address)
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, post("HEAD", path, "", fields...)); err != nil {
		d.t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	head, body, _ := strings.Cut(string(all), "\r\n\r\n")
	if err != nil || body != "" {
		d.t.Errorf("HEAD %s: %v, body %q", path, err, body)
	}
	first, _, _ := strings.Cut(head, "\r\n")
	return first
}

// TestNamedClientsAskForExecutions: where a header names the client, it names the one who asks, too.
func TestNamedClientsAskForExecutions(t *testing.T) {
	d := openShared(t, nil, shared, 1)[0]
	d.up.on("/open/a", resets)
	r := d.problem(d.raw(post("POST", "/open/a", "{}", "Idempotency-Key: k", "X-Client: a")), 502, "outcome-unknown unknown true false")
	ref := r.member("operation_ref")
	d.stands(d.inquire(ref, "X-Client: a"), "unknown", "unknown")
	d.stands(d.inquire(ref, "X-Client: a", d.bob), "unknown", "unknown") // on a route without authentication a token says nothing
	for _, fields := range [][]string{{"X-Client: b"}, {}, {"X-Client: "}, {d.alice}, {"X-Client: a", "X-Client: a"}} {
		if r := d.inquire(ref, fields...); r.status != 404 {
			t.Errorf("%v: %d %s", fields, r.status, r.body)
		}
	}
}

// TestOperatorsSettle: what the gateway can't know an operator can say, at any gateway.
func TestOperatorsSettle(t *testing.T) {
	eachFleet(t, shared, func(t *testing.T, one, other *desk) {
		one.t, other.t, one.up.t = t, t, t
		one.up.on("/orders/yes", resets)
		one.up.on("/orders/no", resets, answers(201, "now"))
		yes := one.problem(one.post("/orders/yes", "a-secret-key", "{}"), 502, "outcome-unknown unknown true false").member("operation_ref")
		no := one.problem(one.post("/orders/no", "no", "{}"), 502, "outcome-unknown unknown true false").member("operation_ref")
		if open := other.executions(""); len(open) != 2 || open[0].State != "unknown" || open[0].Route != "all" || open[0].Ref != yes && open[0].Ref != no {
			t.Errorf("%+v", open)
		}
		if found := other.executions("?scope=up&client=alice&key=a-secret-key"); len(found) != 1 || found[0].Ref != yes || found[0].Executed != "unknown" {
			t.Errorf("%+v", found)
		}
		if found := other.executions("?scope=up&client=bob&key=a-secret-key"); len(found) != 0 {
			t.Errorf("%+v", found)
		}
		other.operate(400, nil, "GET", "executions?scope=up&client=alice", "")

		var after execution
		other.operate(200, &after, "POST", "executions/"+yes+"/settle", `{"outcome":"executed","status":201,"location":"/orders/7","reason":"found in the ledger"}`)
		if after.State != "sealed" || after.Executed != "yes" || after.Status != 201 || after.Location != "/orders/7" || after.Ref != yes {
			t.Errorf("%+v", after)
		}
		for _, d := range []*desk{one, other} {
			r := d.problem(d.post("/orders/yes", "a-secret-key", "{}"), 409, "result-unavailable yes true false")
			if r.member("original_status") != "201" || r.member("location") != "/orders/7" || d.ref(r) != yes {
				t.Error(r.body)
			}
			d.stands(d.inquire(yes, d.alice), "sealed", "yes")
		}
		if text := one.operate(409, nil, "POST", "executions/"+yes+"/settle", `{"outcome":"not_executed"}`); !strings.Contains(text, `"state":"sealed"`) {
			t.Error(text)
		}
		other.operate(200, nil, "POST", "executions/"+no+"/settle", `{"outcome":"not_executed","reason":"the ledger does not have it"}`)
		if r := one.inquire(no, one.alice); r.status != 404 {
			t.Errorf("%d %s", r.status, r.body)
		}
		if r := one.check(one.post("/orders/no", "no", "{}"), 201, "executed"); r.body != "now" {
			t.Error(r.body)
		}
		other.check(other.post("/orders/no", "no", "{}"), 201, "replayed")
		one.operate(404, nil, "POST", "executions/"+strings.Repeat("A", 43)+"/settle", `{"outcome":"executed"}`)
		if open := one.executions(""); len(open) != 0 {
			t.Errorf("%+v", open)
		}
		one.up.count("/orders/yes", 1)
		one.up.count("/orders/no", 2)
		if log := other.log.String(); !strings.Contains(log, `"change":"settle","by":"127.0.0.1:`) || !strings.Contains(log, "found in the ledger") {
			t.Error("who settled what is not logged")
		}
		other.soundLog("a-secret-key")
		one.soundLog("a-secret-key")
	})
}

// TestOperatorsErase: the answers of a person go, the keys stay, others keep theirs.
func TestOperatorsErase(t *testing.T) {
	eachFleet(t, shared, func(t *testing.T, one, other *desk) {
		one.t, other.t, one.up.t = t, t, t
		one.up.on("/orders/mine", answers(201, "personal", "Location: /people/alice"))
		one.check(one.post("/orders/mine", "a", "{}"), 201, "executed")
		bobs := post("POST", "/orders/mine", "{}", one.bob, "Idempotency-Key: a", "Content-Type: application/json")
		one.check(one.raw(bobs), 201, "executed")
		one.check(one.raw(post("POST", "/open/mine", "{}", "X-Client: alice", "Idempotency-Key: a")), 201, "executed")
		var receipt struct {
			Receipt, Subject string
			Records, Answers int
			InFlight         int `json:"in_flight"`
			At               time.Time
		}
		other.operate(200, &receipt, "DELETE", "subjects/alice", "")
		if receipt.Receipt == "" || receipt.Subject != "alice" || receipt.Records != 2 || receipt.Answers != 2 || receipt.InFlight != 0 || time.Since(receipt.At) > time.Minute {
			t.Errorf("%+v", receipt)
		}
		for _, d := range []*desk{one, other} {
			r := d.problem(d.post("/orders/mine", "a", "{}"), 409, "result-unavailable yes true false")
			if r.member("original_status") != "201" || r.member("location") != "" {
				t.Error(r.body)
			}
			d.check(d.raw(strings.Replace(bobs, one.bob, d.bob, 1)), 201, "replayed")
			if r := d.stands(d.inquire(r.member("operation_ref"), d.alice), "sealed", "yes"); r.member("location")+r.member("original_request_id") != "" {
				t.Error(r.body)
			}
		}
		one.up.count("/orders/mine", 2)
		if log := other.log.String(); !strings.Contains(log, `"change":"erase subject","by":"127.0.0.1:`) || !strings.Contains(log, receipt.Receipt) {
			t.Error("the change is not logged")
		}
		change := other.log.String()[strings.Index(other.log.String(), "erase subject"):]
		if line, _, _ := strings.Cut(change, "\n"); strings.Contains(line, "alice") {
			t.Errorf("the log names the subject: %s", line)
		}
	})
}
