package e2e

import (
	"testing"
	"time"
)

// TestDuplicatesWait: a duplicate of a running write waits for its answer, in the same process and at another gateway.
func TestDuplicatesWait(t *testing.T) {
	t.Parallel()
	eachFleet(t, shared, func(t *testing.T, one, other *desk) {
		one.up.t = t
		t.Run("answered", func(t *testing.T) { waitForAnswer(t, one, other) })
		t.Run("freed", func(t *testing.T) { waitForFreedKey(t, one, other) })
		t.Run("lost", func(t *testing.T) { waitForNothing(t, one, other) })
		t.Run("too long", func(t *testing.T) { waitTooLong(t, one, other) })
		t.Run("left", func(t *testing.T) { waitAndLeave(t, one, other) })
	})
}

// begins starts a write at one gateway that ends when the channel is closed.
func (d *desk) begins(path, key string, ends ...act) (release chan struct{}, first chan reply) {
	d.t.Helper()
	release, first = make(chan struct{}), make(chan reply, 1)
	ends[0] = then(until(release), ends[0])
	d.up.on(path, ends...)
	go func() { first <- d.post(path, key, "{}") }()
	d.up.await(path, 1)
	return release, first
}

// duplicates sends n of them at once.
func (d *desk) duplicates(path, key string, n int) chan reply {
	all := make(chan reply, n)
	for range n {
		go func() { all <- d.post(path, key, "{}") }()
	}
	return all
}

func waitForAnswer(t *testing.T, one, other *desk) {
	one.t, other.t = t, t
	release, first := one.begins("/wait/a", "a", answers(201, "done"))
	waiting := other.duplicates("/wait/a", "a", 8)
	other.waiters(8)
	began := time.Now()
	other.problem(other.post("/wait/a", "a", "{}"), 409, "in-progress in_progress true false") // no place is left
	other.problem(other.post("/wait/a", "a", "{ }"), 422, "key-reused no false true")
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("refusals took %v", took)
	}
	close(release)
	executed := one.check(<-first, 201, "executed")
	for range 8 {
		if r := other.check(<-waiting, 201, "replayed"); r.body != "done" || r.get("Idempotency-Original-Request-Id") != executed.get("X-Request-Id") {
			t.Errorf("%v %s", r.fields, r.body)
		}
	}
	other.waiters(0)
	one.up.count("/wait/a", 1)
}

// waitForFreedKey: nothing was done, so one of those who wait does it, and the others get its answer.
func waitForFreedKey(t *testing.T, one, other *desk) {
	one.t, other.t = t, t
	release, first := one.begins("/wait/freed", "freed", answers(429, "later"), answers(201, "done"))
	waiting := other.duplicates("/wait/freed", "freed", 4)
	other.waiters(4)
	close(release)
	one.check(<-first, 429, "executed")
	said := map[string]int{}
	for range 4 {
		r := <-waiting
		if r.status != 201 || r.body != "done" {
			t.Errorf("%d %s, %v", r.status, r.body, r.err)
		}
		said[r.get("Idempotency-Status")]++
	}
	if said["executed"] != 1 || said["replayed"] != 3 {
		t.Errorf("%v", said)
	}
	one.up.count("/wait/freed", 2)
}

func waitForNothing(t *testing.T, one, other *desk) {
	one.t, other.t = t, t
	release, first := one.begins("/wait/lost", "lost", resets)
	waiting := other.duplicates("/wait/lost", "lost", 3)
	other.waiters(3)
	close(release)
	one.problem(<-first, 502, "outcome-unknown unknown true false")
	for range 3 {
		other.problem(<-waiting, 409, "outcome-unknown unknown true false")
	}
	one.up.count("/wait/lost", 1)
}

func waitTooLong(t *testing.T, one, other *desk) {
	one.t, other.t = t, t
	release, first := one.begins("/brief/a", "brief", answers(201, "done"))
	began := time.Now()
	r := other.problem(other.post("/brief/a", "brief", "{}"), 409, "in-progress in_progress true false")
	if took := time.Since(began); took < 390*time.Millisecond || took > 3*time.Second || r.get("Retry-After") == "" {
		t.Errorf("after %v: %v", took, r.fields)
	}
	close(release)
	one.check(<-first, 201, "executed")
	other.check(other.post("/brief/a", "brief", "{}"), 201, "replayed")
	one.up.count("/brief/a", 1)
}

// waitAndLeave: a client who leaves does not go on waiting.
func waitAndLeave(t *testing.T, one, other *desk) {
	one.t, other.t = t, t
	release, first := one.begins("/wait/left", "left", answers(201, "done"))
	leave := other.leaver(post("POST", "/wait/left", "{}", other.alice, "Idempotency-Key: left", "Content-Type: application/json"))
	other.waiters(1)
	leave()
	other.waiters(0)
	close(release)
	one.check(<-first, 201, "executed")
	one.up.count("/wait/left", 1)
}
