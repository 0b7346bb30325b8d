package dedup_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/memory"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
)

var (
	errDown    = errors.New("store: connection refused")
	errRefused = fmt.Errorf("%w: disk full", dedup.ErrRefused)
	storeDown  = want{kind: pipeline.StoreUnavailable, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.No, retry: 1}
)

func allow(c *dedup.Config) { c.OnStoreFailure = "allow" }

func TestStoreDownAtBegin(t *testing.T) { // edge case 14
	for _, down := range []error{errDown, errRefused} {
		r := newRig(t)
		r.store.set(func(f *flaky) { f.begin = down })
		m := post()
		err := r.handler.Serve(context.Background(), &m.Exchange)
		r.judge(m, err, storeDown)
		if !errors.Is(err, down) || r.calls.Load() != 0 {
			t.Errorf("%v after %d calls", err, r.calls.Load())
		}
		r.store.set(func(f *flaky) { f.begin = nil })
		r.serve(post(), executed)
		r.count(dedup.ResultStoreError, 1)
	}
}

// TestGhostClaim: Begin failed, but the claim was made: it is freed in the background (edge case 17).
func TestGhostClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.store.set(func(f *flaky) { f.begin, f.ghost, f.release = context.DeadlineExceeded, true, errDown })
		r.serve(post(), storeDown)
		r.store.set(func(f *flaky) { f.begin, f.ghost = nil, false })
		r.serve(post(), inProgress)
		r.store.set(func(f *flaky) { f.release = nil })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.serve(post(), executed)
		_ = r.records.Close(context.Background())
	})
}

func TestStoreDownAtBeginWhenAllowed(t *testing.T) {
	r := newRig(t, allow)
	r.store.set(func(f *flaky) { f.begin = errDown })
	m := r.serve(post(), want{status: 201, said: "not-protected", body: `{"id":1}`, calls: 1})
	if m.Keyed || len(m.Outgoing.Fields()) != 2 {
		t.Error("without a claim nothing is keyed, and the upstream still gets the key")
	}
	limited := post(func(m *pipeline.Memory) { m.Deferred = pipeline.RateLimited })
	r.serve(limited, want{kind: pipeline.RateLimited, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.Yes, calls: 1})
	r.count(dedup.ResultNotProtected, 1)
}

// TestStoreDownAtFinish: the client gets the truth, and the store gets it later (edge case 15).
func TestStoreDownAtFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.store.set(func(f *flaky) { f.finish = errDown })
		r.serve(post(), want{status: 201, said: "not-persisted", body: `{"id":1}`, calls: 1})
		r.serve(post(), inProgress)
		time.Sleep(20 * time.Second)
		tries := 0
		r.store.set(func(f *flaky) { tries = f.finishes })
		if tries > 20 || r.records.Backlog() != 1 {
			t.Errorf("%d tries, %d waiting", tries, r.records.Backlog())
		}
		r.store.set(func(f *flaky) { f.finish = nil })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.serve(post(), replayed)
		if r.records.Backlog() != 0 {
			t.Error("the backlog is not empty")
		}
		r.count(dedup.ResultNotPersisted, 1)
		_ = r.records.Close(context.Background())
	})
}

func TestStoreDownForTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.store.set(func(f *flaky) { f.finish, f.release = errDown, errDown })
		r.upstream = fails(pipeline.UpstreamFailed, pipeline.EffectUnknown)
		r.serve(post(), undecided.with(502))
		r.upstream = fails(pipeline.UpstreamFailed, pipeline.EffectNone)
		freed := post(func(m *pipeline.Memory) { m.Client.Identity = "bob" })
		r.serve(freed, want{kind: pipeline.UpstreamFailed, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.Yes})
		r.store.set(func(f *flaky) { f.finish, f.release = nil, nil })
		if err := r.records.Close(context.Background()); err != nil {
			t.Error(err)
		}
		r.upstream = answers(201, `{"id":1}`)
		r.serve(post(), undecided)
		r.serve(post(func(m *pipeline.Memory) { m.Client.Identity = "bob" }), executed.after(3))
	})
}

func TestFencedAndRecreated(t *testing.T) { // edge cases 6, 21
	r := newRig(t)
	r.store.set(func(f *flaky) { f.outcome = record.Fenced })
	r.serve(post(), want{status: 201, said: "conflict", body: `{"id":1}`, calls: 1})
	r.count(dedup.ResultConflict, 1)
	r.store.set(func(f *flaky) { f.outcome = record.Recreated })
	r.serve(post(func(m *pipeline.Memory) { m.Client.Identity = "bob" }), executed.after(2))
}

func TestVanishedClaimIsHealed(t *testing.T) {
	r := newRig(t)
	r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
		r.store.set(func(f *flaky) { f.Store = memory.New(memory.Options{Now: r.clock}) }) // the store lost everything
		return answers(201, `{"id":1}`)(ctx, x)
	}
	r.serve(post(), executed)
	r.serve(post(), replayed)
	r.serve(post(func(m *pipeline.Memory) { m.WithBody([]byte("x")) }), mismatch)
}

// mangled gives answers that can't be read.
type mangled struct{ dedup.Store }

func (s mangled) Begin(ctx context.Context, key record.Key, c record.Claim) (record.Found, error) {
	found, err := s.Store.Begin(ctx, key, c)
	if found.Verdict == record.Replay {
		found.Answer = []byte("garbage")
	}
	return found, err
}

func TestAnswerThatCantBeRead(t *testing.T) {
	r := newRig(t)
	r.store.Store = mangled{r.store.Store}
	r.serve(post(), executed)
	m := r.serve(post(), notKept.after(1))
	if m.Problem.OriginalStatus != 201 || m.Replayed {
		t.Errorf("%+v", m.Problem)
	}
}

// fill finishes n writes of other clients while the store is down.
func (r *rig) fill(n int) {
	r.t.Helper()
	for range n {
		m := post(func(m *pipeline.Memory) { m.Client.Identity = fmt.Sprint("client", r.calls.Load()) })
		if err := r.handler.Serve(context.Background(), &m.Exchange); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestBacklogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.store.set(func(f *flaky) { f.finish = errDown })
		r.fill(1100)
		if n := r.records.Backlog(); n != 1024 {
			t.Errorf("%d results wait", n)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := r.records.Close(ctx); err == nil || !strings.Contains(err.Error(), "1024 results") {
			t.Errorf("Close: %v", err)
		}
		r.serve(post(), want{status: 201, said: "not-persisted"}) // after Close too
	})
}

func TestBacklogGivesUpAnswersBeforeRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *dedup.Config) { c.MaxAnswer = 1 << 20 })
		r.store.set(func(f *flaky) { f.finish = errDown })
		r.upstream = answers(201, strings.Repeat("a", 400<<10))
		r.fill(3)
		r.store.set(func(f *flaky) { f.finish = nil })
		if err := r.records.Close(context.Background()); err != nil || r.records.Backlog() != 0 {
			t.Errorf("%d wait, %v", r.records.Backlog(), err)
		}
		as := func(name string) *pipeline.Memory {
			return post(func(m *pipeline.Memory) { m.Client.Identity = name })
		}
		r.serve(as("client0"), want{status: 201, said: "replayed", calls: 3})
		r.serve(as("client1"), want{status: 201, said: "replayed", calls: 3})
		r.serve(as("client2"), notKept.after(3))
	})
}

// poisoned fails for one record for ever.
type poisoned struct {
	*flaky
	key *record.Key
}

func (s poisoned) Finish(ctx context.Context, key record.Key, token record.Token, r record.Result) (record.Outcome, error) {
	if *s.key == (record.Key{}) {
		*s.key = key
	}
	if *s.key == key {
		return 0, record.ErrCorrupt
	}
	return s.flaky.Finish(ctx, key, token, r)
}

func TestOneBrokenRecordDoesNotHoldUpTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		records := dedup.NewRecords(poisoned{r.store, new(record.Key)}, dedup.Deps{Secrets: dedup.FixedSecret([32]byte{1})})
		_ = r.records.Close(context.Background())
		r.records = records
		r.handler = r.route("orders")
		r.store.set(func(f *flaky) { f.finish = errDown })
		r.fill(5)
		r.store.set(func(f *flaky) { f.finish = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := records.Backlog(); n != 1 {
			t.Errorf("%d results wait", n)
		}
	})
}
