package dedup_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
)

func dedups(c *dedup.Config) { c.UpstreamDedup = true }

var sendAgain = want{kind: pipeline.OutcomeUnknown, executed: pipeline.ExecutedUnknown, same: pipeline.Yes, nu: pipeline.No, retry: 1}

// outgoing is what the upstream sees of the key and the attempt.
func outgoing(m *pipeline.Memory) (key, attempt string) {
	for _, f := range m.Outgoing.Fields() {
		switch f.Name {
		case "Idempotency-Key":
			key = string(f.Value)
		case dedup.AttemptField:
			attempt = string(f.Value)
		}
	}
	return key, attempt
}

// TestUnknownIsSentAgain: where the upstream deduplicates, with the same forwarded key and a number that grows (T11).
func TestUnknownIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFleet(t, 1, dedup.Deps{}, dedups)[0]
		m := r.lose(post(), sendAgain.with(502).after(1))
		key, attempt := outgoing(m)
		if attempt != "" || len(key) != 43 {
			t.Errorf("first: key %q, attempt %q", key, attempt)
		}
		for n := 2; n < 5; n++ {
			again := r.lose(post(), sendAgain.with(502).after(int32(n)))
			if k, a := outgoing(again); k != key || a != strconv.Itoa(n) {
				t.Errorf("attempt %d: key %q, attempt %q", n, k, a)
			}
		}
		r.serve(post(func(m *pipeline.Memory) { m.WithBody(nil) }), mismatch)
		r.serve(post(), executed.after(5))
		r.serve(post(), replayed.after(5))
		e, err := r.records.Execution(context.Background(), m.Problem.OperationRef)
		if err != nil || e.Attempt != 5 {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

func TestUnknownIsNotSentAgainElsewhere(t *testing.T) {
	r := newRig(t)
	r.lose(post(), undecided.with(502))
	r.serve(post(), undecided.after(1))
}

// TestSecondDispatchThatWasNotSent: the proof is about the second one only. What is known of the first stays.
func TestSecondDispatchThatWasNotSent(t *testing.T) {
	for name, c := range map[string]struct {
		upstream pipeline.HandlerFunc
		told     want
	}{
		"not sent": {fails(pipeline.UpstreamFailed, pipeline.EffectNone), want{kind: pipeline.UpstreamFailed, executed: pipeline.ExecutedUnknown, same: pipeline.Yes, nu: pipeline.No}},
		"a fixed answer": {func(ctx context.Context, x *pipeline.Exchange) error {
			err := answers(200, "fallback")(ctx, x)
			x.Effect = pipeline.EffectNone
			return err
		}, sendAgain.with(502)},
		"said not now": {answers(429, "later"), want{status: 429, said: "executed"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			t.Log(name)
			r := newFleet(t, 1, dedup.Deps{}, dedups)[0]
			first := r.lose(post(), sendAgain.with(502))
			r.upstream = c.upstream
			m := r.serve(post(), c.told.after(2))
			if c.told.executed == pipeline.ExecutedUnknown && m.Problem.OperationRef != first.Problem.OperationRef {
				t.Errorf("reference %q", m.Problem.OperationRef)
			}
			strict := r.route("orders") // a route that looks at the same record and does not send again
			r.serveOn(strict, post(), undecided.after(2))
			r.upstream = answers(201, `{"id":1}`)
			m = r.serve(post(), executed.after(3))
			if _, attempt := outgoing(m); attempt != "3" {
				t.Errorf("attempt %q", attempt)
			}
		})
	}
}

func TestSecondDispatchThatPanicsBeforeSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFleet(t, 1, dedup.Deps{}, dedups)[0]
		r.lose(post(), sendAgain.with(502))
		r.upstream = func(_ context.Context, x *pipeline.Exchange) error {
			x.Attempt.Count = 0
			panic("broken")
		}
		m := post()
		func() {
			defer func() { _ = recover() }()
			_ = r.handler.Serve(context.Background(), &m.Exchange)
		}()
		if m.Problem.Executed != pipeline.ExecutedUnknown || m.Problem.NewKey != pipeline.No {
			t.Errorf("%+v", m.Problem)
		}
		r.serveOn(r.route("orders"), post(), undecided)
	})
}

// TestOvertakenOwnerTellsTheSameAnswer: its lease ran out, another attempt was sent and answered, and then it wakes.
func TestOvertakenOwnerTellsTheSameAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := newFleet(t, 2, dedup.Deps{}, dedups)
		slow, quick := fleet[0], fleet[1]
		stopRenewals(slow.store)
		slow.upstream = takes(5*time.Minute, answers(201, `{"id":2}`, "X-Dispatch", "1"))
		first := slow.start(post(forever))
		time.Sleep(2 * time.Minute)
		quick.serve(post(), executed)
		first.ends(replayed)
		if first.m.Sent.Header("X-Dispatch") != nil {
			t.Error("parts of its own answer are left")
		}
		quick.serve(post(), replayed)
	})
}

// TestOvertakenByOneThatRuns: the real answer goes out, marked; the record is the other's.
func TestOvertakenByOneThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := newFleet(t, 2, dedup.Deps{}, dedups)
		slow, quick := fleet[0], fleet[1]
		stopRenewals(slow.store)
		slow.upstream = takes(2*time.Minute, answers(201, `{"id":1}`))
		quick.upstream = takes(50*time.Second, answers(201, `{"id":1}`))
		first := slow.start(post(forever))
		time.Sleep(100 * time.Second)
		second := quick.start(post(forever))
		first.ends(want{status: 201, said: "conflict", body: `{"id":1}`})
		second.ends(executed)
		quick.serve(post(), replayed)
	})
}

// TestSpentCapDoesNotForget: a client beyond its cap is still told what is known of an unknown write.
func TestSpentCapDoesNotForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFleet(t, 1, dedup.Deps{}, dedups, newKeys(1, time.Hour))[0]
		r.lose(ann("k0"), sendAgain.with(502))
		r.serve(ann("k0"), sendAgain.after(1))
		refused := tooManyKeys
		refused.retry = 3600
		r.serve(ann("k1"), refused.after(1))
	})
}

// TestSentAgainWithinTheRequest: who retries below asks first, and a duplicate that came in between goes first.
func TestSentAgainWithinTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := newFleet(t, 2, dedup.Deps{}, dedups)
		r, other := fleet[0], fleet[1]
		r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
			x.Effect = pipeline.EffectUnknown
			for range 2 {
				if !x.Again.Redispatch(ctx) {
					t.Error("it may not be sent again")
				}
			}
			return answers(201, `{"id":1}`)(ctx, x)
		}
		m := r.serve(post(), executed.after(1))
		if _, attempt := outgoing(m); attempt != "3" {
			t.Errorf("attempt %q", attempt)
		}
		if m.Again != nil {
			t.Error("a settled claim can still be sent")
		}
		other.serve(post(), replayed.after(0))
		if first := newRig(t); first.serve(post(), executed).Again != nil { // without upstream_dedup nobody may ask
			t.Error("it may be sent again")
		}
	})
}

// TestSentAgainOnlyByItsOwner: the claim that is settled for a moment may be taken by a duplicate, which then is the one that
// sends.
func TestSentAgainOnlyByItsOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := newFleet(t, 2, dedup.Deps{}, dedups)
		slow, quick := fleet[0], fleet[1]
		stopRenewals(slow.store)
		slow.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
			x.Effect = pipeline.EffectUnknown
			time.Sleep(2 * time.Minute) // past its lease
			quick.serve(post(), executed)
			if x.Again.Redispatch(ctx) {
				t.Error("it was sent by another, and may be sent again")
			}
			return pipeline.UpstreamFailed
		}
		slow.serve(post(forever), sendAgain.with(502))
		quick.serve(post(), replayed)
	})
}

// TestSentAgainNeedsTheStore: without it nobody knows whose the claim is.
func TestSentAgainNeedsTheStore(t *testing.T) {
	for name, f := range map[string]func(*flaky){
		"settling": func(f *flaky) { f.finish = errors.New("gone") },
		"claiming": func(f *flaky) { f.begin = errors.New("gone") },
	} {
		synctest.Test(t, func(t *testing.T) {
			t.Log(name)
			r := newFleet(t, 1, dedup.Deps{}, dedups)[0]
			r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
				x.Effect = pipeline.EffectUnknown
				r.store.set(f)
				defer r.store.set(func(f *flaky) { f.finish, f.begin = nil, nil })
				if x.Again.Redispatch(ctx) {
					t.Error("it may be sent again although the store does not answer")
				}
				return pipeline.UpstreamFailed
			}
			r.serve(post(), sendAgain.with(502).after(1))
			r.upstream = answers(201, `{"id":1}`)
			r.serve(post(), executed.after(2))
		})
	}
}

// overtakes claims a record for somebody else as soon as it was finished once.
type overtakes struct {
	dedup.Store
	done bool
}

func (o *overtakes) Finish(ctx context.Context, key record.Key, token record.Token, res record.Result) (record.Outcome, error) {
	outcome, err := o.Store.Finish(ctx, key, token, res)
	if !o.done {
		o.done = true
		claim := record.Claim{Fingerprint: res.Fingerprint, Token: record.Token{9}, Lease: time.Minute, KeepKey: time.Hour, Grant: true, Reclaim: true}
		if found, err := o.Store.Begin(ctx, key, claim); err != nil || found.Verdict != record.Acquired {
			return 0, errors.Join(err, errors.New("the other did not get it"))
		}
	}
	return outcome, err
}

// TestSentAgainByWhoeverClaimsFirst: between settling and claiming again a duplicate may come. It sends, and nobody else does.
func TestSentAgainByWhoeverClaimsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFleet(t, 1, dedup.Deps{}, dedups)[0]
		other := &overtakes{Store: r.store.Store}
		r.store.Store = other
		r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
			x.Effect = pipeline.EffectUnknown
			if x.Again.Redispatch(ctx) || !other.done {
				t.Errorf("it may be sent again although another holds the claim (%v)", other.done)
			}
			return pipeline.UpstreamFailed
		}
		r.serve(post(), sendAgain.with(502).after(1))
	})
}
