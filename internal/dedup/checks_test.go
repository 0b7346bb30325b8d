package dedup_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/memory"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// oracle is an upstream that is asked what became of a write.
type oracle struct {
	mu      sync.Mutex
	says    dedup.CheckVerdict
	err     error
	takes   time.Duration
	keys    []string
	asked   []time.Time
	at      map[string]int // calls that run, by key
	running int
	most    int // calls at once
	twice   bool
}

func (o *oracle) Check(ctx context.Context, key string) (dedup.CheckVerdict, error) {
	o.mu.Lock()
	o.keys, o.asked = append(o.keys, key), append(o.asked, time.Now())
	if o.at == nil {
		o.at = map[string]int{}
	}
	o.at[key]++
	o.running++
	o.most, o.twice = max(o.most, o.running), o.twice || o.at[key] > 1
	takes := o.takes
	o.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.at[key]--
	o.running--
	return o.says, errors.Join(o.err, ctx.Err())
}

func (o *oracle) say(v dedup.CheckVerdict) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.says = v
}

func (o *oracle) times() []time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]time.Time(nil), o.asked...)
}

func checked(c *dedup.Config) {
	c.StatusCheck = &dedup.StatusCheck{URL: "http://orders/{key}", Settle: units.Duration(2 * time.Minute)}
}

func (o *oracle) routes() map[string]dedup.Check {
	return map[string]dedup.Check{"r": {Checker: o, Derived: true, Settle: 2 * time.Minute, KeepKey: 72 * time.Hour}}
}

// newChecked is a gateway whose route asks an oracle.
func newChecked(t *testing.T, o *oracle, change ...func(*dedup.Config)) *rig {
	r := newFleet(t, 1, dedup.Deps{}, append([]func(*dedup.Config){checked}, change...)...)[0]
	r.records.Checks(o.routes())
	return r
}

var soonKnown = want{kind: pipeline.OutcomeUnknown, executed: pipeline.ExecutedUnknown, same: pipeline.Yes, nu: pipeline.No, retry: 5}

func (r *rig) lose(m *pipeline.Memory, w want) *pipeline.Memory {
	r.t.Helper()
	before := r.upstream
	defer func() { r.upstream = before }()
	r.upstream = fails(pipeline.UpstreamFailed, pipeline.EffectUnknown)
	return r.serve(m, w)
}

// TestExecutedSettlesAtOnce: and the upstream is asked by the key that it saw.
func TestExecutedSettlesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &oracle{says: dedup.WasExecuted}
		r := newChecked(t, o)
		m := r.lose(post(), soonKnown.with(502))
		synctest.Wait()
		again := r.serve(post(), notKept.after(1))
		if again.Problem.OperationRef != m.Problem.OperationRef || again.Problem.OriginalStatus != 0 {
			t.Errorf("%+v", again.Problem)
		}
		if sent := string(m.Outgoing.Fields()[0].Value); len(o.keys) != 1 || o.keys[0] != sent {
			t.Errorf("asked for %q, sent %q", o.keys, sent)
		}
	})
}

// TestNotExecutedCountsAfterTheSettleTime: until then the write may still be queued (edge case 54).
func TestNotExecutedCountsAfterTheSettleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &oracle{says: dedup.NotExecuted}
		r := newChecked(t, o)
		r.lose(post(), soonKnown.with(502))
		time.Sleep(2*time.Minute - time.Second)
		r.serve(post(), soonKnown.after(1))
		time.Sleep(time.Minute)
		synctest.Wait()
		r.serve(post(), executed.after(2))
		if n := len(o.times()); n < 3 || n > 12 {
			t.Errorf("asked %d times", n)
		}
	})
	synctest.Test(t, func(t *testing.T) { // it was queued
		o := &oracle{says: dedup.NotExecuted}
		r := newChecked(t, o)
		r.lose(post(), soonKnown.with(502))
		time.Sleep(time.Minute)
		o.say(dedup.WasExecuted)
		time.Sleep(time.Minute)
		r.serve(post(), notKept.after(1))
	})
}

// TestInconclusiveBacksOff: from one second to a minute, with jitter, and an error is no word either.
func TestInconclusiveBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &oracle{err: errors.New("refused"), says: dedup.NotExecuted}
		r := newChecked(t, o)
		r.lose(post(), soonKnown.with(502))
		time.Sleep(time.Hour)
		times := o.times()
		if len(times) < 40 || len(times) > 66 {
			t.Errorf("asked %d times in an hour", len(times))
		}
		for i, at := range times[1:] {
			pause := at.Sub(times[i])
			least := min(time.Minute, time.Second<<min(i, 6))
			if pause < least || pause > least*3/2 {
				t.Errorf("pause %d: %v", i, pause)
			}
		}
		r.serve(post(), soonKnown.after(1))
		synctest.Wait()
		if o.twice {
			t.Error("two at once")
		}
	})
}

// TestOneWorkerForAKey: however many duplicates, surveys and gateways' reports there are.
func TestOneWorkerForAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &oracle{takes: 3 * time.Second}
		r := newChecked(t, o)
		r.lose(post(), soonKnown.with(502))
		for range 100 {
			r.serve(post(), soonKnown.after(1))
			if _, err := r.records.Survey(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if o.twice || len(o.times()) > 10 {
			t.Errorf("asked %d times", len(o.times()))
		}
	})
}

func TestChecksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &oracle{takes: time.Second}
		r := newChecked(t, o)
		for i := range 100 {
			r.lose(as("iss|ann", fmt.Sprint("k", i)), soonKnown.with(502))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if o.most != 8 {
			t.Errorf("%d calls at once", o.most)
		}
		o.say(dedup.WasExecuted)
		time.Sleep(5 * time.Minute)
		if c, err := r.records.Survey(context.Background()); err != nil || c.Unknown != 0 {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

// TestWorkersEndWhenOthersSettle: an upstream that never says anything is not asked for ever.
func TestWorkersEndWhenOthersSettle(t *testing.T) {
	for name, settle := range map[string]func(*rig, string){
		"operator": func(r *rig, ref string) {
			if _, err := r.records.Settle(context.Background(), ref, dedup.Settlement{Executed: true, Status: 201}); err != nil {
				r.t.Error(err)
			}
		},
		"retention": func(*rig, string) { time.Sleep(72 * time.Hour) },
		"no store":  func(r *rig, _ string) { r.store.set(func(f *flaky) { f.Store = memory.New(memory.Options{}) }) },
	} {
		synctest.Test(t, func(t *testing.T) {
			t.Log(name)
			o := &oracle{}
			r := newChecked(t, o)
			m := r.lose(post(), soonKnown.with(502))
			time.Sleep(10 * time.Second)
			settle(r, m.Problem.OperationRef)
			time.Sleep(2 * time.Minute)
			before := len(o.times())
			time.Sleep(time.Hour)
			if n := len(o.times()) - before; n != 0 {
				t.Errorf("asked %d times more", n)
			}
		})
	}
}

// TestAnotherAttemptIsFollowedInTurn: the worker's word is about the attempt that it was asked for, and no other.
func TestAnotherAttemptIsFollowedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &oracle{says: dedup.NotExecuted, takes: time.Second}
		r := newChecked(t, o)
		for attempt := range 3 {
			r.lose(post(), soonKnown.with(502))
			r.serve(post(), soonKnown.after(int32(attempt+1)))
			time.Sleep(4 * time.Minute)
		}
		r.serve(post(), executed.after(4))
		r.serve(post(), replayed.after(4))
	})
}

// TestReloadChangesTheChecks: other ways, or none.
func TestReloadChangesTheChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := &oracle{}, &oracle{}
		r := newChecked(t, before)
		r.lose(post(), soonKnown.with(502))
		time.Sleep(10 * time.Second)
		r.records.Checks(after.routes())
		n := len(before.times())
		time.Sleep(time.Minute)
		if len(before.times()) != n || len(after.times()) == 0 {
			t.Errorf("%d by the old way, %d by the new one", len(before.times())-n, len(after.times()))
		}
		r.records.Checks(nil)
		n = len(after.times())
		time.Sleep(time.Hour)
		if len(after.times()) != n {
			t.Error("asked without a way")
		}
		after.say(dedup.WasExecuted)
		r.records.Checks(after.routes())
		r.serve(post(), soonKnown.after(1)) // a duplicate starts it again
		synctest.Wait()
		r.serve(post(), notKept.after(1))
	})
}

// TestCloseEndsTheChecks: those that ask, those that wait for their turn and those that pause.
func TestCloseEndsTheChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &oracle{takes: time.Hour}
		r := newChecked(t, o)
		for i := range 20 {
			r.lose(as("iss|ann", fmt.Sprint("k", i)), soonKnown.with(502))
		}
		start := time.Now()
		if err := r.records.Close(context.Background()); err != nil || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		n := len(o.times())
		r.serve(as("iss|ann", "k0"), soonKnown)
		time.Sleep(time.Hour)
		if len(o.times()) != n {
			t.Error("asked after the end")
		}
	})
}

// TestSurveyFindsWhatACrashLeft: nobody sends a duplicate, and still it is settled. What the upstream saw must follow from the record.
func TestSurveyFindsWhatACrashLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &flaky{Store: memory.New(memory.Options{})}
		dead := newGate(t, store, store, dedup.Deps{}, checked)
		dead.upstream = takes(time.Hour, answers(201, `{"id":1}`))
		m := post()
		crashed := dead.start(m) // without a renewal, so that it looks like a crash
		synctest.Wait()
		o := &oracle{says: dedup.WasExecuted}
		r := newGate(t, store, store, dedup.Deps{}, checked)
		r.records.Checks(o.routes())
		survey := func(inFlight, unknown int, age time.Duration) {
			t.Helper()
			c, err := r.records.Survey(context.Background())
			if err != nil || c.InFlight != inFlight || c.Unknown != unknown || c.OldestUnknown != age {
				t.Errorf("%+v, %v", c, err)
			}
			synctest.Wait()
		}
		survey(1, 0, 0)
		stopRenewals(store)
		time.Sleep(30 * time.Second)
		notDerived := map[string]dedup.Check{"r": {Checker: o, Settle: time.Minute, KeepKey: time.Hour}}
		r.records.Checks(notDerived)
		survey(0, 1, 30*time.Second)
		if len(o.times()) != 0 {
			t.Error("asked for a key that the upstream may not know")
		}
		r.records.Checks(o.routes())
		survey(0, 1, 30*time.Second)
		survey(0, 0, 0)
		if o.keys[0] != string(m.Outgoing.Fields()[0].Value) {
			t.Error("asked for another key")
		}
		r.serve(post(), notKept)
		<-crashed.done
	})
}

// stopRenewals has the store lose every renewal.
func stopRenewals(f *flaky) {
	f.set(func(f *flaky) { f.Store = noRenewals{f.Store} })
}

type noRenewals struct{ dedup.Store }

func (noRenewals) Renew(context.Context, record.Key, record.Token, time.Duration) (bool, error) {
	return false, nil
}
