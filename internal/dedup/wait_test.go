package dedup_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/memory"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
)

var heldTooLong = want{kind: pipeline.InProgress, executed: pipeline.ExecutedInProgress, same: pipeline.Yes, nu: pipeline.No, retry: 5}

// TestHeldDuplicatesAskTheStoreOnce: in one process the answer goes from attempt to duplicate without the store.
func TestHeldDuplicatesAskTheStoreOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFleet(t, 1, dedup.Deps{}, waits(30*time.Second))[0]
		r.upstream = takes(3*time.Second, answers(201, `{"id":1}`))
		first := r.start(post())
		synctest.Wait()
		held := make([]*call, 8)
		for i := range held {
			held[i] = r.start(post())
		}
		synctest.Wait()
		if n := r.records.Waiting(); n != 8 {
			t.Errorf("%d wait", n)
		}
		first.ends(executed)
		for _, c := range held {
			c.ends(replayed).within(3*time.Second, 3*time.Second)
			if string(c.m.Sent.Header("Idempotency-Original-Request-Id")) != "request-1" || !c.m.Replayed {
				t.Error("it does not look like a replay")
			}
		}
		if begins, finishes := r.store.calls(); begins != 9 || finishes != 1 {
			t.Errorf("%d begins, %d finishes", begins, finishes)
		}
		if n := r.records.Waiting(); n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}

// TestHeldAcrossGatewaysPolls: from 100 ms to 1 s, each with its own jitter.
func TestHeldAcrossGatewaysPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flaky := &flaky{Store: memory.New(memory.Options{})}
		seen := &watched{Store: flaky}
		here := newGate(t, flaky, flaky, dedup.Deps{}, waits(30*time.Second))
		there := newGate(t, seen, flaky, dedup.Deps{}, waits(30*time.Second))
		here.upstream = takes(8*time.Second, answers(201, `{"id":1}`))
		start := time.Now()
		first := here.start(post())
		synctest.Wait()
		w := replayed
		w.calls = 0
		there.start(post()).ends(w).within(8*time.Second, 9*time.Second)
		first.ends(executed)
		if there.calls.Load() != 0 {
			t.Error("executed twice")
		}
		gaps, distinct := []time.Duration{}, map[time.Duration]bool{}
		for i, at := range seen.begins {
			if i > 0 {
				gap := at.Sub(seen.begins[i-1])
				gaps, distinct[gap] = append(gaps, gap), true
			}
		}
		if len(gaps) < 9 || len(gaps) > 20 || gaps[0] < 50*time.Millisecond || gaps[0] > 100*time.Millisecond || len(distinct) < len(gaps)-1 {
			t.Errorf("polled after %v, from %v", gaps, seen.begins[0].Sub(start))
		}
		for _, gap := range gaps {
			if gap > time.Second {
				t.Errorf("a pause of %v", gap)
			}
		}
	})
}

func TestWaitIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := newFleet(t, 2, dedup.Deps{}, waits(2*time.Second))
		fleet[0].upstream = takes(8*time.Second, answers(201, `{"id":1}`))
		first := fleet[0].start(post())
		synctest.Wait()
		for _, r := range fleet {
			c := r.start(post()).ends(heldTooLong).within(2*time.Second, 2*time.Second)
			if c.m.Problem.OperationRef == "" {
				t.Error("no reference")
			}
		}
		first.ends(executed)
		fleet[1].serve(post(), want{status: 201, said: "replayed"})
	})
}

func TestNobodyWaitsWhereTheDocumentDoesNotSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFleet(t, 1, dedup.Deps{})[0]
		r.upstream = takes(time.Second, answers(201, `{"id":1}`))
		first := r.start(post())
		synctest.Wait()
		r.start(post()).ends(heldTooLong).within(0, 0)
		first.ends(executed)
	})
}

// TestWaitersAreBounded: 8 for a key, 64 for a client, 1024 in all; the next one is told at once.
func TestWaitersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFleet(t, 1, dedup.Deps{}, waits(30*time.Second))[0]
		r.upstream = takes(10*time.Second, answers(201, `{"id":1}`))
		var all []*call
		crowd := func(client, key string, n int) {
			t.Helper()
			all = append(all, r.start(as(client, key)))
			synctest.Wait()
			for range n {
				all = append(all, r.start(as(client, key)))
			}
			synctest.Wait()
		}
		refused := func(client, key string) {
			t.Helper()
			before := r.records.Waiting()
			r.start(as(client, key)).ends(heldTooLong).within(0, 0)
			if r.records.Waiting() != before {
				t.Error("a refused one is counted")
			}
		}
		crowd("client 0", "k0", 8)
		refused("client 0", "k0")
		for i := 1; i < 8; i++ {
			crowd("client 0", fmt.Sprint("k", i), 8)
		}
		crowd("client 0", "k8", 0)
		refused("client 0", "k8")
		for i := 1; i < 16; i++ {
			for k := range 8 {
				crowd(fmt.Sprint("client ", i), fmt.Sprint("k", k), 8)
			}
		}
		if n := r.records.Waiting(); n != 1024 {
			t.Fatalf("%d wait", n)
		}
		crowd("client 16", "k", 0)
		refused("client 16", "k")
		for _, c := range all {
			<-c.done
			if c.err != nil {
				t.Error(c.err)
			}
		}
		if n := r.records.Waiting(); n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}

func TestHeldClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := newFleet(t, 2, dedup.Deps{}, waits(30*time.Second))
		fleet[0].upstream = takes(9*time.Second, answers(201, `{"id":1}`))
		first := fleet[0].start(post())
		synctest.Wait()
		gone := want{kind: pipeline.ClientGone}
		for _, r := range fleet {
			m := post()
			left := r.start(m)
			time.Sleep(time.Second)
			m.Leave()
			left.ends(gone).within(time.Second, 1500*time.Millisecond)
			ctx, cancel := context.WithCancel(context.Background())
			left = r.startWith(ctx, post())
			time.Sleep(time.Second)
			cancel()
			left.ends(gone).within(time.Second, time.Second)
			if r.records.Waiting() != 0 {
				t.Error("who left still waits")
			}
		}
		first.ends(executed)
	})
}

// TestHeldWhenTheFirstFreesItsKey: exactly one of those that wait takes its place, the others get its answer.
func TestHeldWhenTheFirstFreesItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := newFleet(t, 2, dedup.Deps{}, waits(30*time.Second))
		refuses, accepts := takes(2*time.Second, fails(pipeline.UpstreamFailed, pipeline.EffectNone)), takes(time.Second, answers(201, `{"id":1}`))
		var sent atomic.Int32
		for _, r := range fleet {
			r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
				if sent.Add(1) == 1 {
					return refuses(ctx, x)
				}
				return accepts(ctx, x)
			}
		}
		first := fleet[0].start(post())
		synctest.Wait()
		var held []*call
		for range 8 {
			held = append(held, fleet[0].start(post()), fleet[1].start(post()))
		}
		first.ends(want{kind: pipeline.UpstreamFailed, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.Yes})
		said := map[string]int{}
		for _, c := range held {
			c.within(3*time.Second, 5*time.Second)
			if c.err != nil {
				t.Error(c.err)
			}
			said[string(c.m.Sent.Header("Idempotency-Status"))]++
		}
		if said["executed"] != 1 || said["replayed"] != 15 || fleet[0].calls.Load()+fleet[1].calls.Load() != 2 {
			t.Errorf("%v", said)
		}
	})
}

// TestHeldIsToldHowTheFirstEnded: at once, whatever it is.
func TestHeldIsToldHowTheFirstEnded(t *testing.T) {
	for name, c := range map[string]struct {
		upstream    pipeline.HandlerFunc
		first, held want
	}{
		"unknown":       {fails(pipeline.UpstreamFailed, pipeline.EffectUnknown), undecided.with(502), undecided},
		"too large":     {answers(201, strings.Repeat("a", 1<<10+1)), want{status: 201, said: "executed"}, notKept},
		"cut off":       {fails(pipeline.UpstreamFailed, pipeline.EffectDone), notKept.with(502), notKept},
		"freed, or not": {answers(429, "slow"), want{status: 429, said: "executed"}, want{status: 429, said: "executed"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			t.Log(name)
			r := newFleet(t, 1, dedup.Deps{}, waits(30*time.Second))[0]
			r.upstream = takes(2*time.Second, c.upstream)
			first := r.start(post())
			synctest.Wait()
			held := r.start(post())
			first.ends(c.first)
			held.ends(c.held).within(2*time.Second, 4*time.Second)
		})
	}
}

// TestHeldWhileTheAnswerIsNotPersisted: who waits is told what the store knows, so that nobody is told two things.
func TestHeldWhileTheAnswerIsNotPersisted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFleet(t, 1, dedup.Deps{}, waits(8*time.Second))[0]
		r.store.set(func(f *flaky) { f.finish = errDown })
		r.upstream = takes(time.Second, answers(201, `{"id":1}`))
		first := r.start(post())
		synctest.Wait()
		short := r.start(post(func(m *pipeline.Memory) { m.Deadline = m.Start.Add(3 * time.Second) }))
		long := r.start(post())
		first.ends(want{status: 201, said: "not-persisted", calls: 1})
		short.ends(heldTooLong).within(3*time.Second, 3*time.Second)
		r.store.set(func(f *flaky) { f.finish = nil })
		long.ends(replayed).within(3*time.Second, 8*time.Second)
	})
}

// TestNobodyWaitsBeyondHisDeadline: nor does he claim anything then, with no time left to send it.
func TestNobodyWaitsBeyondHisDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flaky := &flaky{Store: memory.New(memory.Options{})}
		seen := &watched{Store: flaky}
		here := newGate(t, seen, flaky, dedup.Deps{}, waits(30*time.Second))
		there := newGate(t, seen, flaky, dedup.Deps{}, waits(30*time.Second))
		here.upstream = takes(9*time.Second, fails(pipeline.UpstreamFailed, pipeline.EffectNone))
		first := here.start(post())
		synctest.Wait()
		for _, r := range []*rig{here, there} {
			m := post(func(m *pipeline.Memory) { m.Deadline = m.Start.Add(1500 * time.Millisecond) })
			r.start(m).ends(heldTooLong).within(1500*time.Millisecond, 1500*time.Millisecond)
			if last := seen.begins[len(seen.begins)-1]; !last.Before(m.Deadline) {
				t.Error("asked for a claim without any time left")
			}
		}
		<-first.done
	})
}

// TestHeldIsNeverSentUnprotected: a running request is known, so a store that fails then does not open the door.
func TestHeldIsNeverSentUnprotected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := newFleet(t, 2, dedup.Deps{}, waits(9*time.Second), allow)
		fleet[0].upstream = takes(5*time.Second, answers(201, `{"id":1}`))
		first := fleet[0].start(post())
		synctest.Wait()
		held := fleet[1].start(post())
		synctest.Wait()
		fleet[0].store.set(func(f *flaky) { f.begin = errDown })
		held.ends(heldTooLong).within(0, time.Second)
		fleet[0].store.set(func(f *flaky) { f.begin = nil })
		first.ends(executed)
		if fleet[1].calls.Load() != 0 {
			t.Error("a second execution, and everybody knew")
		}
	})
}

func TestHeldWhenTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := newFleet(t, 2, dedup.Deps{}, waits(9*time.Second))
		fleet[0].upstream = takes(5*time.Second, answers(201, `{"id":1}`))
		first := fleet[0].start(post())
		synctest.Wait()
		held := fleet[1].start(post())
		synctest.Wait()
		fleet[0].store.set(func(f *flaky) { f.begin = errDown })
		held.ends(storeDown).within(0, time.Second)
		fleet[0].store.set(func(f *flaky) { f.begin = nil })
		first.ends(executed)
	})
}

// breaking panics when it is told a result.
type breaking struct{ dedup.Store }

func (breaking) Finish(context.Context, record.Key, record.Token, record.Result) (record.Outcome, error) {
	panic("store")
}

func TestAPanicLeavesNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flaky := &flaky{Store: memory.New(memory.Options{})}
		r := newGate(t, breaking{flaky}, flaky, dedup.Deps{}, waits(time.Minute))
		r.upstream = takes(time.Second, answers(201, `{"id":1}`))
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() { _ = recover() }()
			_ = r.handler.Serve(context.Background(), &post().Exchange)
		}()
		synctest.Wait()
		before, _ := flaky.calls()
		held := r.start(post(func(m *pipeline.Memory) { m.Deadline = m.Start.Add(40 * time.Second) }))
		<-done
		held.ends(undecided) // the lease is over by then
		if after, _ := flaky.calls(); after < before+20 {
			t.Errorf("asked the store %d times: it waits for what is over", after-before)
		}
	})
}

// TestHeldBehindASpentLimit: who waits may not execute when the limit is spent, and still gets the answer.
func TestHeldBehindASpentLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spent := func(m *pipeline.Memory) { m.Deferred = pipeline.RateLimited }
		r := newFleet(t, 1, dedup.Deps{}, waits(9*time.Second))[0]
		for _, c := range []struct {
			upstream pipeline.HandlerFunc
			held     want
		}{
			{fails(pipeline.UpstreamFailed, pipeline.EffectNone), want{kind: pipeline.RateLimited, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.Yes, calls: 1}},
			{answers(201, `{"id":1}`), replayed.after(2)},
		} {
			r.upstream = takes(time.Second, c.upstream)
			first := r.start(post())
			synctest.Wait()
			held := r.start(post(spent))
			<-first.done
			held.ends(c.held).within(time.Second, time.Second)
		}
	})
}
