package dedup_test

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/memory"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// TestShortKeysAreTold: each is counted, and logged once a minute for each route, without the key.
func TestShortKeysAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		store := &flaky{Store: memory.New(memory.Options{})}
		r := newGate(t, store, store, dedup.Deps{Log: slog.New(slog.NewTextHandler(&log, nil))})
		other, err := dedup.New(config(), dedup.Facts{Route: "refunds", Upstream: "orders", MaxBody: 1 << 16}, r.records, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		refunds := other(pipeline.HandlerFunc(answers(201, `{"id":1}`)))
		lines := func(n int, route string) {
			t.Helper()
			if got := strings.Count(log.String(), "route="+route+" "); got != n {
				t.Errorf("%s: %d warnings, want %d: %s", route, got, n, log.String())
			}
		}
		serve := func(key string) { r.serve(as("iss|ann", key), want{status: 201, said: "executed"}) }
		const long = "a-key-of-16-char"
		serve(long)
		serve(`"` + long[:14] + `"`) // quotes are none of its characters
		serve("secret-7")
		r.count("short key", 2)
		lines(1, "r")
		r.serveOn(refunds, as("iss|ann", "secret-8"), want{status: 201, said: "executed"})
		lines(1, "refunds")
		r.handler = r.route("orders") // a reload
		time.Sleep(time.Minute - 1)
		serve("secret-9")
		lines(1, "r")
		time.Sleep(time.Nanosecond)
		serve("secret-10")
		lines(2, "r")
		r.count("short key", 4)
		if strings.Contains(log.String(), "secret") || strings.Contains(log.String(), long[:14]) {
			t.Errorf("a key is in the log: %s", log.String())
		}
		m := pipeline.NewMemory("GET", "/orders").WithHeader("Idempotency-Key", "k")
		r.serve(m, want{status: 201, said: "ignored"})
		r.count("short key", 4)
	})
}

// TestLateRetriesAreCounted: every kind of duplicate, in the last tenth of its key's time, and no other.
func TestLateRetriesAreCounted(t *testing.T) {
	r := newRig(t)
	r.serve(post(), executed)
	r.lose(as("iss|bob", "k"), undecided.with(502)) // his request's time and a margin are its lease
	late := 72*time.Hour*9/10 + 1
	r.advance(time.Hour)
	r.serve(post(), replayed.after(2))
	r.advance(late - time.Hour - 2)
	r.serve(post(), notKept)
	r.count("late retry", 0)
	r.advance(2)
	r.serve(post(), notKept)
	r.serve(post().WithBody([]byte("another")), mismatch)
	r.count("late retry", 1)
	r.advance(time.Minute)
	r.serve(as("iss|bob", "k"), undecided)
	r.count("late retry", 2)
	r.advance(72 * time.Hour)
	r.serve(post(), executed.after(3))
	r.count("late retry", 2)

	both := newRig(t, func(c *dedup.Config) { c.Keep.Answer = c.Keep.Key })
	both.serve(post(), executed)
	both.advance(late)
	both.serve(post(), replayed)
	both.count("late retry", 1)
}
