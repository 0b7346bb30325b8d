package dedup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/memory"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/dedup/spool"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// disk is a spool that outlives its gateway.
type disk struct {
	mu      sync.Mutex
	entries map[record.Token]spool.Entry
	put     error
	most    int // 0: any number
	deletes int
}

func newDisk() *disk { return &disk{entries: map[record.Token]spool.Entry{}} }

func (d *disk) Put(e spool.Entry) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.put != nil || d.most > 0 && len(d.entries) >= d.most {
		return errors.Join(d.put, spool.ErrFull)
	}
	e.Result.Answer = bytes.Clone(e.Result.Answer)
	d.entries[e.Token] = e
	return nil
}

func (d *disk) Delete(e spool.Entry) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deletes++
	delete(d.entries, e.Token)
	return nil
}

func (d *disk) All(f func(spool.Entry) bool) error {
	d.mu.Lock()
	defer d.mu.Unlock() // calling it from f would hang
	for _, e := range d.entries {
		if !f(e) {
			break
		}
	}
	return nil
}

func (d *disk) set(put error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.put = put
}

func (d *disk) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.entries)
}

// counts is a meter.
type counts struct {
	mu   sync.Mutex
	said map[string]int
}

func (c *counts) Finished(outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said[outcome]++
}

func (c *counts) StoreTime(string, time.Duration, bool) {}
func (c *counts) Checked(string, string)                {}

func (c *counts) of(outcome string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said[outcome]
}

var notPersisted = want{status: 201, said: "not-persisted", body: `{"id":1}`}

// TestSpooledResultOutlivesTheProcess: the next run stores it, and every duplicate gets the answer that the first caller got.
func TestSpooledResultOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, d := &flaky{Store: memory.New(memory.Options{})}, newDisk()
		meter := &counts{said: map[string]int{}}
		r := newGate(t, store, store, dedup.Deps{Spool: d, Meter: meter})
		store.set(func(f *flaky) { f.finish = errDown })
		r.serve(post(), notPersisted)
		r.upstream = fails(pipeline.UpstreamFailed, pipeline.EffectUnknown)
		r.serve(as("iss|bob", "k"), undecided.with(502))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := r.records.Close(ctx); err != nil || d.len() != 2 {
			t.Errorf("%v: nothing is lost, %d are in the spool", err, d.len())
		}
		store.set(func(f *flaky) { f.finish = nil })
		next := newGate(t, store, store, dedup.Deps{Spool: d, Meter: meter})
		synctest.Wait()
		if next.records.Backlog() != 0 || d.len() != 0 || d.deletes != 2 {
			t.Errorf("%d wait, %d are in the spool", next.records.Backlog(), d.len())
		}
		next.serve(post(), want{status: 201, said: "replayed", body: `{"id":1}`})
		next.serve(as("iss|bob", "k"), undecided)
		if meter.of("spooled") != 2 || meter.of("stored") != 2 {
			t.Errorf("%v", meter.said)
		}
	})
}

// TestSpooledResultThatIsTooOld: its key is forgotten by now, and must not come back with an old answer.
func TestSpooledResultThatIsTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, d := &flaky{Store: memory.New(memory.Options{})}, newDisk()
		r := newGate(t, store, store, dedup.Deps{Spool: d})
		store.set(func(f *flaky) { f.finish = errDown })
		r.serve(post(), notPersisted)
		_ = r.records.Close(canceled())
		store.set(func(f *flaky) { f.finish = nil })
		time.Sleep(73 * time.Hour)
		next := newGate(t, store, store, dedup.Deps{Spool: d})
		synctest.Wait()
		next.serve(post(), executed)
		if d.len() != 0 {
			t.Error("it is still in the spool")
		}
	})
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestSpoolThatFails: memory has to do, within its bounds.
func TestSpoolThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, d := &flaky{Store: memory.New(memory.Options{})}, newDisk()
		d.put = errors.New("disk full")
		r := newGate(t, store, store, dedup.Deps{Spool: d})
		store.set(func(f *flaky) { f.finish = errDown })
		r.fill(1030)
		if n := r.records.Backlog(); n != 1024 || d.len() != 0 {
			t.Errorf("%d wait", n)
		}
		store.set(func(f *flaky) { f.finish = nil })
		if err := r.records.Close(context.Background()); err != nil || d.deletes != 0 {
			t.Errorf("%v, %d deletions", err, d.deletes)
		}
	})
}

// TestWhatTheSpoolTakesIsStoredInThisRun: also when memory is full of others.
func TestWhatTheSpoolTakesIsStoredInThisRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, d := &flaky{Store: memory.New(memory.Options{})}, newDisk()
		d.most = 4096
		r := newGate(t, store, store, dedup.Deps{Spool: d})
		store.set(func(f *flaky) { f.finish = errDown })
		d.set(errors.New("disk full"))
		r.fill(1024)
		d.set(nil)
		r.fill(4200)
		if n := r.records.Backlog(); n != 4096+1024 || d.len() != 4096 {
			t.Errorf("%d wait, %d in the spool", n, d.len())
		}
		store.set(func(f *flaky) { f.finish = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := r.records.Backlog(); n != 0 || d.len() != 0 {
			t.Errorf("%d wait, %d in the spool", n, d.len())
		}
	})
}

// TestLateResultThatFindsItsKeyTaken: somebody freed the key meanwhile, and it was executed again. That is an alarm.
func TestLateResultThatFindsItsKeyTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		store := &flaky{Store: memory.New(memory.Options{})}
		meter := &counts{said: map[string]int{}}
		r := newGate(t, store, store, dedup.Deps{Meter: meter, Log: slog.New(slog.NewTextHandler(&log, nil))})
		store.set(func(f *flaky) { f.finish = errDown })
		r.serve(post(), notPersisted)
		time.Sleep(30 * time.Second)
		ref := r.serve(post(), want{kind: pipeline.OutcomeUnknown, executed: pipeline.ExecutedUnknown, same: pipeline.Yes, nu: pipeline.No, retry: 5}).Problem.OperationRef
		if _, err := r.records.Settle(context.Background(), ref, dedup.Settlement{}); err != nil {
			t.Fatal(err)
		}
		r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
			store.set(func(f *flaky) { f.finish = nil })
			time.Sleep(6 * time.Second)
			return answers(201, `{"id":2}`)(ctx, x)
		}
		r.serve(post(), want{status: 201, said: "executed", body: `{"id":2}`})
		_ = r.records.Close(context.Background())
		if meter.of("fenced") != 1 || !strings.Contains(log.String(), "executed twice") {
			t.Errorf("%v: %s", meter.said, log.String())
		}
	})
}

// TestErase: what is stored of a client goes, and what waits to be stored; keys stay, and so does everybody else's.
func TestErase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, d := &flaky{Store: memory.New(memory.Options{})}, newDisk()
		r := newGate(t, store, store, dedup.Deps{Spool: d})
		r.upstream = answers(201, `{"id":1}`, "Location", "/people/ann")
		for _, who := range []string{"iss|ann", "iss|bob"} {
			r.serve(as(who, "stored"), want{status: 201, said: "executed"})
		}
		store.set(func(f *flaky) { f.finish = errDown })
		for _, who := range []string{"iss|ann", "iss|bob"} {
			r.serve(as(who, "waiting"), notPersisted)
		}
		did, err := r.records.Erase(context.Background(), "iss|ann", nil)
		if err != nil || did.Records != 2 || did.Answers != 1 || did.InFlight != 1 {
			t.Errorf("%+v, %v", did, err)
		}
		for _, e := range d.entries {
			if mine := e.Result.State == record.Sealed; mine != (len(e.Result.Answer) == 0 && e.Result.Location == "") {
				t.Errorf("%+v", e.Result)
			}
		}
		store.set(func(f *flaky) { f.finish = nil })
		time.Sleep(time.Minute)
		for _, key := range []string{"stored", "waiting"} {
			m := r.serve(as("iss|ann", key), notKept)
			if m.Problem.Location != "" || m.Problem.OriginalStatus != 201 {
				t.Errorf("%s: %+v", key, m.Problem)
			}
			r.serve(as("iss|bob", key), want{status: 201, said: "replayed", body: `{"id":1}`})
		}
		if n := r.records.Backlog(); n != 0 || d.len() != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

// TestNothingSecretInTheLog: neither keys nor bodies nor clients.
func TestNothingSecretInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		store := &flaky{Store: memory.New(memory.Options{})}
		o := &oracle{err: errors.New("refused")}
		r := newGate(t, store, store, dedup.Deps{Spool: newDisk(), Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, checked)
		r.records.Checks(o.routes())
		r.upstream = answers(201, "body-secret", "Location", "/location-secret")
		secret := func(n int) *pipeline.Memory {
			return as("identity-secret", fmt.Sprint("key-secret", n)).WithBody([]byte("request-secret"))
		}
		store.set(func(f *flaky) { f.finish = errDown })
		r.serve(secret(1), want{status: 201, said: "not-persisted"})
		r.lose(secret(2), soonKnown.with(502))
		time.Sleep(time.Minute)
		store.set(func(f *flaky) { f.finish, f.outcome = nil, record.Fenced })
		r.serve(secret(3), want{status: 201, said: "conflict"})
		_ = r.records.Close(context.Background())
		if text := log.String(); strings.Contains(text, "secret") || strings.Count(text, "operation_ref") < 4 {
			t.Error(text)
		}
	})
}
