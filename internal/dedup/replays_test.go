package dedup_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// TestReplayStormsAreBounded: on a route with limits a record is told 1000 times at once and 100 times a second.
func TestReplayStormsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		layer, err := dedup.New(config(), dedup.Facts{Route: "r", Upstream: "orders", MaxBody: 1 << 16, Limited: true}, r.records, nil, r)
		if err != nil {
			t.Fatal(err)
		}
		limited := layer(pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { t.Error("called"); return nil }))
		r.serve(post(), executed)
		bounded := want{kind: pipeline.RateLimited, executed: pipeline.ExecutedYes, same: pipeline.Yes, nu: pipeline.No, retry: 1}
		for range 1000 {
			r.serveOn(limited, post(), replayed)
		}
		for _, spent := range []error{nil, pipeline.RateLimited} {
			m := r.serveOn(limited, post(func(m *pipeline.Memory) { m.Deferred = spent }), bounded)
			if m.Problem.Policy != "replays" || m.Problem.OperationRef == "" || m.Deferred != nil || m.Replayed {
				t.Errorf("%+v, deferred %v", m.Problem, m.Deferred)
			}
		}
		r.serve(post(), replayed) // a route without limits has no such bound
		time.Sleep(20 * time.Millisecond)
		r.serveOn(limited, post(), replayed)
		r.serveOn(limited, post(), replayed)
		r.serveOn(limited, post(), bounded)
		time.Sleep(time.Hour)
		for range 1000 {
			r.serveOn(limited, post(), replayed)
		}
		r.serveOn(limited, post(), bounded)
	})
}
