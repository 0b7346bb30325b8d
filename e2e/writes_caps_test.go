package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestNewKeysOfAClientAreBounded: what a client may put into the store has a bound; what is there is told all the same.
func TestNewKeysOfAClientAreBounded(t *testing.T) {
	d := openShared(t, nil, shared, 1)[0]
	d.up.on("/few/freed", answers(429, "later"))
	d.check(d.post("/few/freed", "freed", "{}"), 429, "executed")
	for i := range 2 {
		key := fmt.Sprint("k", i)
		d.check(d.post("/few/a", key, "{}"), 201, "executed")
		for range 3 { // costs nothing
			d.check(d.post("/few/a", key, "{}"), 201, "replayed")
			d.problem(d.post("/few/a", key, "{ }"), 422, "key-reused no false true")
		}
	}
	for range 2 {
		r := d.problem(d.post("/few/a", "k9", "{}"), 429, "rate-limited no true true")
		if r.member("policy") != "new-keys" || r.get("Retry-After") != "1200" || r.member("operation_ref") != "" {
			t.Errorf("%v %s", r.fields, r.body)
		}
	}
	d.check(d.post("/few/a", "k0", "{}"), 201, "replayed")
	d.check(d.raw(post("POST", "/few/a", "{}", d.bob, "Idempotency-Key: k0")), 201, "executed")
	d.check(d.post("/orders/a", "k9", "{}"), 201, "executed") // the same scope: the refused key left nothing
	d.up.count("/few/a", 3)
}

// TestStoredAnswersOfAClientAreBounded: an answer beyond the bound goes to its caller and is not kept.
func TestStoredAnswersOfAClientAreBounded(t *testing.T) {
	d := openShared(t, nil, shared, 1)[0]
	d.up.on("/small/large", answers(201, strings.Repeat("x", 1100)))
	d.up.on("/small/half", answers(201, strings.Repeat("x", 700), "Location: /l"))
	if r := d.check(d.post("/small/large", "large", "{}"), 201, "executed"); len(r.body) != 1100 {
		t.Errorf("%d bytes", len(r.body))
	}
	d.problem(d.post("/small/large", "large", "{}"), 409, "result-unavailable yes true false")
	d.check(d.post("/small/half", "h1", "{}"), 201, "executed")
	d.check(d.post("/small/half", "h1", "{}"), 201, "replayed")
	d.check(d.post("/small/half", "h2", "{}"), 201, "executed")
	if r := d.problem(d.post("/small/half", "h2", "{}"), 409, "result-unavailable yes true false"); r.member("original_status") != "201" || r.member("location") != "/l" {
		t.Error(r.body)
	}
	d.check(d.post("/small/half", "h1", "{}"), 201, "replayed")
	bobs := post("POST", "/small/half", "{}", d.bob, "Idempotency-Key: h2")
	d.check(d.raw(bobs), 201, "executed")
	d.check(d.raw(bobs), 201, "replayed")
}
