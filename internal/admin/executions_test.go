package admin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

func TestExecutionsByKey(t *testing.T) {
	r := newRig(t, rigRoutes)
	r.wrote(0, "main", "alice", "/w/a", "k1")
	r.wrote(0, "other", "bob", "/w/a", "k1")
	r.wrote(0, "", "carol/ä b", "/open/a", "k1")
	e := r.one("?scope=up&client=alice&key=k1")
	if e.State != "completed" || e.Executed != "yes" || e.Route != "w" || e.Attempt != 1 || e.Status != 201 || e.Location != "/made/1" || e.RequestID != "test-id" || len(e.Ref) != 43 || e.ID != e.Ref {
		t.Errorf("%+v", e)
	}
	if left := time.Until(*e.AnswerUntil); left < 59*time.Minute || left > time.Hour || time.Until(e.KeyUntil) < 119*time.Minute || time.Since(e.FirstSeen) > time.Minute || e.LeaseUntil != nil {
		t.Errorf("%+v", e)
	}
	if again := r.one("?key=%22k1%22&client=alice&scope=up"); again.Ref != e.Ref { // quoted, as a request may have it
		t.Errorf("%+v", again)
	}
	if bob := r.one("?scope=up&client=bob&key=k1"); bob.Ref == e.Ref {
		t.Error("two clients have one record")
	}
	if carol := r.one("?scope=shared&client=carol%2F%C3%A4+b&key=k1"); carol.Route != "open" {
		t.Errorf("%+v", carol)
	}
	for _, none := range []string{"?scope=up&client=carol&key=k1", "?scope=shared&client=alice&key=k1", "?scope=up&client=alice&key=k2", "?scope=UP&client=alice&key=k1"} {
		if all := r.list(none); len(all) != 0 {
			t.Errorf("%s: %+v", none, all)
		}
	}
	r.wrote(0, "other", "alice", "/w/a", "k1") // another issuer's alice is another person
	if two := r.list("?scope=up&client=alice&key=k1"); len(two) != 2 || two[0].Ref != e.Ref || two[1].Ref == e.Ref {
		t.Errorf("%+v", two)
	}
}

func TestExecutionsTakeAllParametersOrNone(t *testing.T) {
	r := newRig(t, rigRoutes)
	for _, bad := range []string{"?scope=up", "?client=a", "?key=k", "?scope=up&client=a", "?scope=up&key=k", "?client=a&key=k", "?scope=&client=a&key=k", "?scope=up&client=&key=k",
		"?scope=up&client=a&key=", "?scope=up&client=a&key=a%20b", "?scope=up&client=a&key=k&state=unknown", "?scope=up&client=a&key=k&key=l", "?subject=a", "?Scope=up&client=a&key=k", "?key=" + strings.Repeat("k", 256) + "&scope=up&client=a"} {
		r.refuses(400, "bad-request", "GET", "/api/v1/executions"+bad, "")
	}
}

func TestOpenExecutions(t *testing.T) {
	r := newRig(t, rigRoutes)
	r.wrote(0, "main", "alice", "/w/a", "done")
	if all := r.list(""); len(all) != 0 {
		t.Errorf("nothing is open, but %+v", all)
	}
	ended := make(chan pipeline.Refusal, 1)
	go func() { _, kind := r.write("main", "alice", "/w/wait", "running"); ended <- kind }()
	<-r.arrived
	r.wrote(pipeline.OutcomeUnknown, "main", "alice", "/w/die", "lost")
	all := r.list("")
	if len(all) != 2 || all[0].State != "unknown" || all[0].Executed != "unknown" || all[1].State != "in_flight" || all[1].Executed != "in_progress" {
		t.Fatalf("%+v", all)
	}
	if lease := all[1].LeaseUntil; lease == nil || time.Until(*lease) < time.Second || all[0].LeaseUntil != nil || all[0].AnswerUntil != nil {
		t.Errorf("%+v", all)
	}
	close(r.release)
	if kind := <-ended; kind != 0 {
		t.Error(kind)
	}
	for i := range mostOpen + 5 {
		r.wrote(pipeline.OutcomeUnknown, "main", "alice", "/w/die", fmt.Sprintf("lost-%d", i))
	}
	if all := r.list(""); len(all) != mostOpen {
		t.Errorf("%d are listed", len(all))
	}
}

func TestSettleAsExecuted(t *testing.T) {
	r := newRig(t, rigRoutes)
	r.wrote(pipeline.OutcomeUnknown, "main", "alice", "/w/die", "k")
	ref := r.one("?scope=up&client=alice&key=k").Ref
	var after seen
	r.asks(200, &after, "POST", "/api/v1/executions/"+ref+"/settle", `{"outcome":"executed","status":202,"location":"/orders/7","reason":"seen in \"the\" ledger\nby me"}`)
	if after.Ref != ref || after.State != "sealed" || after.Executed != "yes" || after.Status != 202 || after.Location != "/orders/7" || time.Until(after.KeyUntil) < 119*time.Minute || time.Until(after.KeyUntil) > 121*time.Minute {
		t.Errorf("%+v", after)
	}
	m := r.wrote(pipeline.ResultUnavailable, "main", "alice", "/w/die", "k")
	if m.Problem.OriginalStatus != 202 || m.Problem.Location != "/orders/7" || m.Problem.OperationRef != ref {
		t.Errorf("%+v", m.Problem)
	}
	got := r.refuses(409, "not-unknown", "POST", "/api/v1/executions/"+ref+"/settle", `{"outcome":"not_executed"}`)
	for _, part := range []string{`"status":409`, `"state":"sealed"`, `"executed":"yes"`, `"operation_ref":"` + ref + `"`, `"original_status":202`} {
		if !strings.Contains(got.body, part) {
			t.Errorf("%s is not in %s", part, got.body)
		}
	}
	log := r.log.String()
	for _, part := range []string{`"msg":"admin change","change":"settle","by":"0.0.0.0:0","ok":true,"operation_ref":"` + ref + `","route":"w","outcome":"executed","reason":"seen in \"the\" ledger\nby me"`,
		`"change":"settle","by":"0.0.0.0:0","ok":false`} {
		if !strings.Contains(log, part) {
			t.Errorf("%s is not in %s", part, log)
		}
	}
}

func TestSettleAsNotExecutedFreesTheKey(t *testing.T) {
	r := newRig(t, rigRoutes)
	r.wrote(pipeline.OutcomeUnknown, "main", "alice", "/w/die", "k")
	ref := r.one("?scope=up&client=alice&key=k").Ref
	var after seen
	got := r.asks(200, &after, "POST", "/api/v1/executions/"+ref+"/settle", `{"outcome":"not_executed"}`)
	if after.Ref != ref || after.State != "absent" || after.Executed != "no" || after.Route != "w" || strings.Contains(got.body, "key_until") {
		t.Error(got.body)
	}
	r.refuses(404, "not-found", "POST", "/api/v1/executions/"+ref+"/settle", `{"outcome":"not_executed"}`)
	if all := r.list("?scope=up&client=alice&key=k"); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	r.wrote(0, "main", "alice", "/w/a", "k")
	got = r.refuses(409, "not-unknown", "POST", "/api/v1/executions/"+ref+"/settle", `{"outcome":"executed"}`)
	if !strings.Contains(got.body, `"state":"completed"`) {
		t.Error(got.body)
	}
}

func TestSettleWhatRuns(t *testing.T) {
	r := newRig(t, rigRoutes)
	ended := make(chan pipeline.Refusal, 1)
	go func() { _, kind := r.write("main", "alice", "/w/wait", "k"); ended <- kind }()
	<-r.arrived
	ref := r.one("?scope=up&client=alice&key=k").Ref
	if got := r.refuses(409, "not-unknown", "POST", "/api/v1/executions/"+ref+"/settle", `{"outcome":"not_executed"}`); !strings.Contains(got.body, `"state":"in_flight"`) || !strings.Contains(got.body, `"executed":"in_progress"`) {
		t.Error(got.body)
	}
	close(r.release)
	if kind := <-ended; kind != 0 {
		t.Error(kind)
	}
}

func TestSettleIsStrict(t *testing.T) {
	r := newRig(t, rigRoutes)
	r.wrote(pipeline.OutcomeUnknown, "main", "alice", "/w/die", "k")
	ref := r.one("?scope=up&client=alice&key=k").Ref
	for _, bad := range []string{"", "{}", "[]", "null", `"executed"`, `{"outcome":"yes"}`, `{"outcome":"Executed"}`, `{"Outcome":"executed"}`, `{"outcome":null}`, `{"outcome":"executed","code":1}`,
		`{"outcome":"executed","outcome":"not_executed"}`, `{"outcome":"executed"}x`, `{"outcome":"executed"}{}`, `{"outcome":"executed","status":"201"}`, `{"outcome":"executed","status":0}`,
		`{"outcome":"executed","status":199}`, `{"outcome":"executed","status":600}`, `{"outcome":"executed","status":201.5}`, `{"outcome":"not_executed","status":201}`,
		`{"outcome":"not_executed","location":"/x"}`, `{"outcome":"executed","location":"/x\r\nA: b"}`, `{"outcome":"executed","location":"` + strings.Repeat("x", mostLocation+1) + `"}`,
		`{"outcome":"executed","location":1}`, `{"outcome":"executed","reason":["x"]}`, `{"outcome":"executed","reason":"` + strings.Repeat("x", mostReason+1) + `"}`, "{\"outcome\":\"executed\",\"reason\":\"\xff\"}"} {
		r.refuses(400, "bad-request", "POST", "/api/v1/executions/"+ref+"/settle", bad)
	}
	if e := r.one("?scope=up&client=alice&key=k"); e.State != "unknown" {
		t.Errorf("%+v", e)
	}
	const fine = `{"outcome":"executed"}`
	for _, nobody := range []string{"x", ref[1:], ref + "A", strings.Repeat("A", 43), "%00", strings.ToUpper(ref)} {
		r.refuses(404, "not-found", "POST", "/api/v1/executions/"+nobody+"/settle", fine)
	}
	r.refuses(404, "not-found", "POST", "/api/v1/executions//settle", fine)
	r.refuses(404, "not-found", "POST", "/api/v1/executions/"+ref+"/unsettle", fine)
	r.refuses(405, "method-not-allowed", "GET", "/api/v1/executions/"+ref+"/settle", "")
	r.refuses(405, "method-not-allowed", "DELETE", "/api/v1/executions", "")
	for _, foreign := range []string{"evil.test", "127.0.0.1.evil.test"} {
		r.refuses(403, "forbidden", "POST", "/api/v1/executions/"+ref+"/settle", fine, "Host", foreign)
		r.refuses(403, "forbidden", "POST", "/api/v1/executions/"+ref+"/settle", fine, "Origin", "https://"+foreign)
	}
	r.refuses(401, "unauthenticated", "POST", "/api/v1/executions/"+ref+"/settle", fine, "Authorization", "Bearer no")
	r.refuses(401, "unauthenticated", "GET", "/api/v1/executions", "", "Authorization", "")
	r.asks(200, nil, "POST", "/api/v1/executions/"+ref+"/settle", `{"outcome":"executed","status":599,"reason":"`+strings.Repeat("x", mostReason)+`"}`)
}

// When the route of a write is gone its key is kept for the default time.
func TestSettleWithoutARoute(t *testing.T) {
	r := newRig(t, rigRoutes)
	r.wrote(pipeline.OutcomeUnknown, "main", "alice", "/w/die", "k")
	e := r.one("?scope=up&client=alice&key=k")
	if err := r.gateway.Apply(r.document(strings.ReplaceAll(strings.ReplaceAll(rigRoutes, "id: w,", "id: renamed,"), "@UP@", `"http://127.0.0.1:1"`))); err != nil {
		t.Fatal(err)
	}
	var after seen
	r.asks(200, &after, "POST", "/api/v1/executions/"+e.Ref+"/settle", `{"outcome":"executed"}`)
	if left := time.Until(after.KeyUntil); left < 71*time.Hour || left > 73*time.Hour || after.Status != 0 || after.Route != "w" {
		t.Errorf("%+v", after)
	}
}

func TestExecutionsWithoutRecords(t *testing.T) {
	r := newRig(t, inMemory+`upstreams: { up: { targets: [@UP@] } }
routes: [ { id: plain, match: { path: /** }, auth: none, to: up } ]
`)
	if all := append(r.list(""), r.list("?scope=up&client=alice&key=k")...); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	r.refuses(404, "not-found", "POST", "/api/v1/executions/"+strings.Repeat("A", 43)+"/settle", `{"outcome":"executed"}`)
}
