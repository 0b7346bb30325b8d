package dedup_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/memory"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
)

func newWatched(t *testing.T, change ...func(*dedup.Config)) (*rig, *watched) {
	flaky := &flaky{Store: memory.New(memory.Options{})}
	seen := &watched{Store: flaky}
	return newGate(t, seen, flaky, dedup.Deps{}, change...), seen
}

// TestOrdinaryCallsAreNeverRenewed: half the lease is longer than the time that a request has.
func TestOrdinaryCallsAreNeverRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, seen := newWatched(t)
		for _, upstream := range []pipeline.HandlerFunc{
			answers(201, `{"id":1}`), fails(pipeline.UpstreamFailed, pipeline.EffectNone), fails(pipeline.UpstreamFailed, pipeline.EffectUnknown),
		} {
			r.upstream = takes(10*time.Second, upstream)
			m := post()
			_ = r.handler.Serve(context.Background(), &m.Exchange)
		}
		time.Sleep(time.Hour)
		if n := len(seen.renewed()); n != 0 {
			t.Errorf("%d renewals", n)
		}
	})
}

// TestLongCallsAreRenewed: the record of a call without a deadline never becomes unknown while the call is open, and nothing
// renews it afterwards.
func TestLongCallsAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, seen := newWatched(t)
		start := time.Now()
		r.upstream = takes(10*time.Minute, answers(201, `{"id":1}`))
		first := r.start(post(forever))
		for range 60 {
			time.Sleep(9900 * time.Millisecond)
			r.serve(post(), inProgress)
		}
		first.ends(executed)
		times := seen.renewed()
		if len(times) < 20 || len(times) > 30 || times[0].Sub(start) != 37500*time.Millisecond || times[1].Sub(times[0]) != 25*time.Second {
			t.Errorf("renewed %d times, first after %v", len(times), times[0].Sub(start))
		}
		time.Sleep(time.Hour)
		if n := len(seen.renewed()); n != len(times) {
			t.Errorf("%d renewals after the end", n-len(times))
		}
		r.serve(post(), replayed)
	})
}

// TestPausedOwnerSaysThatItIsThere: its lease ran out, the record counts as unknown, its renewal takes it back (T12) and its
// result is the truth (T8). Edge case 7.
func TestPausedOwnerSaysThatItIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, seen := newWatched(t)
		seen.failRenewals(errDown)
		r.upstream = takes(3*time.Minute, answers(201, `{"id":1}`))
		first := r.start(post(forever))
		time.Sleep(74 * time.Second)
		w := inProgress
		w.retry = 1
		r.serve(post(), w)
		time.Sleep(2 * time.Second)
		r.serve(post(), undecided)
		if n := len(seen.renewed()); n < 4 || n > 8 {
			t.Errorf("tried %d times", n)
		}
		seen.failRenewals(nil)
		time.Sleep(10 * time.Second)
		r.serve(post(), inProgress)
		first.ends(executed)
		r.serve(post(), replayed)
	})
}

// TestNothingIsRenewedThatIsGone: a claim that the store lost or that another attempt has taken is left alone.
func TestNothingIsRenewedThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, seen := newWatched(t)
		r.upstream = takes(10*time.Minute, answers(201, `{"id":1}`))
		first := r.start(post(forever))
		synctest.Wait()
		r.store.set(func(f *flaky) { f.Store = memory.New(memory.Options{}) })
		<-first.done
		if n := len(seen.renewed()); n != 1 {
			t.Errorf("%d renewals", n)
		}
	})
}

// slowRenewal is never answered.
type slowRenewal struct {
	dedup.Store
	running *atomic.Int32
	t       *testing.T
}

func (s slowRenewal) Renew(ctx context.Context, _ record.Key, _ record.Token, _ time.Duration) (bool, error) {
	s.running.Add(1)
	defer s.running.Add(-1)
	<-ctx.Done()
	return false, ctx.Err()
}

func (s slowRenewal) Finish(ctx context.Context, key record.Key, token record.Token, res record.Result) (record.Outcome, error) {
	if s.running.Load() != 0 {
		s.t.Error("finished while a renewal runs")
	}
	return s.Store.Finish(ctx, key, token, res)
}

// TestStopEndsARenewal: an answer does not wait for a renewal that hangs.
func TestStopEndsARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flaky := &flaky{Store: memory.New(memory.Options{})}
		r := newGate(t, slowRenewal{flaky, new(atomic.Int32), t}, flaky, dedup.Deps{})
		const long = 37600 * time.Millisecond // 100 ms after the renewal began
		r.upstream = takes(long, answers(201, `{"id":1}`))
		r.start(post(forever)).ends(executed).within(long, long)
	})
}

func TestAPanicEndsRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, seen := newWatched(t)
		r.upstream = func(context.Context, *pipeline.Exchange) error { panic("broken") }
		func() {
			defer func() { _ = recover() }()
			_ = r.handler.Serve(context.Background(), &post(forever).Exchange)
		}()
		time.Sleep(time.Hour)
		if n := len(seen.renewed()); n != 0 {
			t.Errorf("%d renewals", n)
		}
	})
}
