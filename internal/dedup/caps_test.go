package dedup_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

var tooManyKeys = want{kind: pipeline.RateLimited, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.Yes}

func newKeys(count float64, per time.Duration) func(*dedup.Config) {
	return func(c *dedup.Config) { c.PerClient = &dedup.PerClient{NewKeys: units.Rate{Count: count, Per: per}} }
}

func ann(key string) *pipeline.Memory { return as("iss|ann", key) }

// TestNewKeysAreCapped: three keys a minute, and the fourth leaves no trace in the store.
func TestNewKeysAreCapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFleet(t, 1, dedup.Deps{}, newKeys(3, time.Minute))[0]
		refused := tooManyKeys
		refused.retry = 20
		for i := range 3 {
			r.serve(ann(fmt.Sprint("k", i)), executed.after(int32(i+1)))
		}
		m := r.serve(ann("k3"), refused.after(3))
		if m.Problem.Policy != "new-keys" || m.Problem.OperationRef != "" {
			t.Errorf("%+v", m.Problem)
		}
		r.serve(ann("k0"), replayed.after(3)) // what is known is told all the same
		r.serve(ann("k1").WithBody([]byte("x")), mismatch)
		r.serve(as("iss|bob", "k3"), executed.after(4))
		r.serve(ann("k3"), refused.after(4))
		time.Sleep(20 * time.Second)
		r.serve(ann("k3"), executed.after(5))
		r.serve(ann("k4"), refused.after(5))
		r.count(dedup.ResultRefused, 3)
	})
}

// TestOnlyNewKeysCount: duplicates, replays, mismatches, refusals from above and a store that fails cost nothing.
func TestOnlyNewKeysCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFleet(t, 1, dedup.Deps{}, newKeys(3, time.Hour))[0]
		r.upstream = takes(time.Second, answers(201, `{"id":1}`))
		first := r.start(ann("k0"))
		synctest.Wait()
		for range 10 {
			r.serve(ann("k0"), heldTooLong)
		}
		first.ends(executed)
		spent := ann("k9")
		spent.Deferred = pipeline.RateLimited
		r.serve(spent, want{kind: pipeline.RateLimited, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.Yes})
		r.admitted = false
		open := want{kind: pipeline.UpstreamOpen, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.Yes, retry: 3}
		r.store.set(func(f *flaky) { f.begin = errDown })
		for range 10 {
			r.admitted = true
			r.serve(ann("k9"), storeDown)
		}
		r.store.set(func(f *flaky) { f.begin = nil })
		for range 10 {
			r.admitted = true
			r.serve(ann("k0"), replayed)
			r.serve(ann("k0").WithBody(nil), mismatch)
			r.admitted = false
			r.serve(ann("k9"), open)
		}
		r.admitted = true
		r.serve(ann("k1"), executed.after(2))
		r.serve(ann("k2"), executed.after(3))
		refused := tooManyKeys
		refused.retry = 1200
		r.serve(ann("k3"), refused)
	})
}

// TestStoredBytesAreCapped: an answer beyond the cap goes to its caller and is not kept; its key still protects.
func TestStoredBytesAreCapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFleet(t, 1, dedup.Deps{}, func(c *dedup.Config) { c.PerClient = &dedup.PerClient{Stored: 1 << 10} })[0]
		body := strings.Repeat("a", 400)
		r.upstream = answers(201, body)
		told, again := want{status: 201, said: "executed", body: body}, want{status: 201, said: "replayed", body: body}
		for i := range 3 {
			r.serve(ann(fmt.Sprint("k", i)), told)
		}
		r.serve(as("iss|bob", "k2"), told)
		r.serve(ann("k0"), again)
		r.serve(ann("k1"), again)
		r.serve(ann("k2"), notKept)
		r.serve(as("iss|bob", "k2"), again)
		r.upstream = answers(201, "small")
		r.serve(ann("k3"), want{status: 201, said: "executed", body: "small"})
		r.serve(ann("k3"), want{status: 201, said: "replayed", body: "small"})
		r.upstream = answers(201, body)
		time.Sleep(24 * time.Hour)
		r.serve(ann("k4"), told)
		r.serve(ann("k4"), again)
		r.serve(ann("k5"), told)
		r.serve(ann("k5"), again)
	})
}
