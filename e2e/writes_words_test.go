package e2e

import (
	"fmt"
	"testing"

	"github.com/oncegate/oncegate/internal/redistest"
)

// TestWordsWhileRedisIsDown: every answer says how far its write is protected, while Redis is there, gone, and back.
func TestWordsWhileRedisIsDown(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	fleet := openShared(t, redis, shared, 2)
	one, other := fleet[0], fleet[1]
	one.up.t = t
	one.check(one.post("/orders/a", "a", "{}"), 201, "executed")
	other.check(other.post("/orders/a", "a", "{}"), 201, "replayed")
	other.check(other.raw(post("DELETE", "/orders/a", "", other.alice, "Idempotency-Key: a")), 201, "ignored")
	other.check(other.post("/plain", "a", "{}"), 201, "ignored")
	other.check(other.raw(post("POST", "/orders/a", "{}", other.alice)), 201, "")
	ref := other.problem(other.post("/orders/a", "a", "{ }"), 422, "key-reused no false true").member("operation_ref")

	release, first := one.begins("/orders/slow", "slow", answers(201, "done"))
	redis.Kill()
	close(release)
	one.check(<-first, 201, "not-persisted")
	if got := one.metric("gateway_dedup_backlog"); got != "1" {
		t.Errorf("%q results wait", got)
	}
	for _, d := range fleet {
		for _, key := range []string{"a", "new"} {
			if r := d.problem(d.post("/orders/a", key, "{}"), 503, "store-unavailable no true false"); r.get("Retry-After") == "" || r.get("Idempotency-Status") != "" {
				t.Errorf("%v", r.fields)
			}
		}
		if r := d.inquire(ref, d.alice); r.status != 503 || r.get("Retry-After") == "" {
			t.Errorf("%d %v %s", r.status, r.fields, r.body)
		}
		d.operate(503, nil, "GET", "executions", "")
		d.operate(503, nil, "DELETE", "subjects/alice", "")
		d.operate(503, nil, "POST", "executions/"+ref+"/settle", `{"outcome":"executed"}`)
		if status, _ := d.get(d.admin, "/readyz"); status != 200 {
			t.Errorf("readyz is %d: every gateway would be taken out at once", status)
		}
	}
	other.check(other.post("/allow/a", "allow", "{}"), 201, "not-protected")
	redis.Restart()
	one.eventually("the result to be stored", func() bool { return one.post("/orders/slow", "slow", "{}").get("Idempotency-Status") == "replayed" })
	other.eventually("Redis to be found again", func() bool { return other.post("/orders/a", "a", "{}").status == 201 })
	if r := other.check(other.post("/orders/slow", "slow", "{}"), 201, "replayed"); r.body != "done" {
		t.Error(r.body)
	}
	other.check(other.post("/orders/a", "a", "{}"), 201, "replayed")
	other.stands(other.inquire(ref, other.alice), "completed", "yes")
	one.up.count("/orders/slow", 1)
	one.up.count("/orders/a", 3) // with its DELETE and without a key
	one.eventually("new claims", func() bool { return one.post("/orders/b", "new", "{}").get("Idempotency-Status") == "executed" })
}

// TestConflictIsSaid: when Redis loses a running claim and another gateway makes it again, both callers get their answers, and
// the first one is told that it was not alone.
func TestConflictIsSaid(t *testing.T) {
	redis := startRedis(t)
	fleet := openShared(t, redis, shared, 2)
	one, other := fleet[0], fleet[1]
	one.up.t = t
	one.check(one.post("/orders/before", "before", "{}"), 201, "executed")
	before := names(t, redis)
	release, first := one.begins("/orders/a", "a", answers(201, "first"), answers(201, "second"))
	lost := 0
	for name := range names(t, redis) {
		if !before[name] {
			if _, err := redis.Do("DEL", name); err != nil {
				t.Fatal(err)
			}
			lost++
		}
	}
	if lost == 0 {
		t.Fatal("no claim was found")
	}
	if r := other.check(other.post("/orders/a", "a", "{}"), 201, "executed"); r.body != "second" {
		t.Error(r.body)
	}
	close(release)
	if r := one.check(<-first, 201, "conflict"); r.body != "first" {
		t.Error(r.body)
	}
	if r := one.check(one.post("/orders/a", "a", "{}"), 201, "replayed"); r.body != "second" {
		t.Error(r.body)
	}
	if got := one.metric(`gateway_dedup_results_total{outcome="fenced"}`); got != "1" {
		t.Errorf("%q conflicts are counted", got)
	}
	one.up.count("/orders/a", 2)
}

// names are those of all that Redis holds.
func names(t *testing.T, redis *redistest.Server) map[string]bool {
	t.Helper()
	list, err := redis.Do("KEYS", "*")
	all, ok := list.([]any)
	if err != nil || !ok {
		t.Fatalf("KEYS: %v %v", list, err)
	}
	found := map[string]bool{}
	for _, name := range all {
		found[fmt.Sprint(name)] = true
	}
	return found
}
