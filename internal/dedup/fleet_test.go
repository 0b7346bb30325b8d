package dedup_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/memory"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// newFleet makes gateways over one store whose clock is the test's.
func newFleet(t *testing.T, n int, deps dedup.Deps, change ...func(*dedup.Config)) []*rig {
	t.Helper()
	store := &flaky{Store: memory.New(memory.Options{})}
	fleet := make([]*rig, n)
	for i := range fleet {
		fleet[i] = newGate(t, store, store, deps, change...)
	}
	return fleet
}

// newGate makes one gateway over any store; count is the flaky one in it.
func newGate(t *testing.T, over dedup.Store, count *flaky, deps dedup.Deps, change ...func(*dedup.Config)) *rig {
	t.Helper()
	r := &rig{t: t, admitted: true, counted: map[string]int{}, upstream: answers(201, `{"id":1}`, "Content-Type", "application/json"), store: count}
	if deps.Secrets == nil {
		deps.Secrets = dedup.FixedSecret([32]byte{1})
	}
	r.records = dedup.NewRecords(over, deps)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = r.records.Close(ctx)
	})
	r.handler = r.route("orders", change...)
	return r
}

func waits(d time.Duration) func(*dedup.Config) {
	return func(c *dedup.Config) { c.Wait = units.Duration(d) }
}

// takes has an upstream need a while.
func takes(d time.Duration, then pipeline.HandlerFunc) pipeline.HandlerFunc {
	return func(ctx context.Context, x *pipeline.Exchange) error {
		time.Sleep(d)
		return then(ctx, x)
	}
}

// call is a request on its way.
type call struct {
	r    *rig
	m    *pipeline.Memory
	err  error
	took time.Duration
	done chan struct{}
}

func (r *rig) start(m *pipeline.Memory) *call { return r.startWith(context.Background(), m) }

func (r *rig) startWith(ctx context.Context, m *pipeline.Memory) *call {
	c := &call{r: r, m: m, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		start := time.Now()
		c.err = r.handler.Serve(ctx, &m.Exchange)
		c.took = time.Since(start)
	}()
	return c
}

// ends waits for the answer and judges it.
func (c *call) ends(w want) *call {
	c.r.t.Helper()
	<-c.done
	c.r.judge(c.m, c.err, w)
	return c
}

// within judges how long it took.
func (c *call) within(least, most time.Duration) *call {
	c.r.t.Helper()
	<-c.done
	if c.took < least || c.took > most {
		c.r.t.Errorf("it took %v, want %v to %v", c.took, least, most)
	}
	return c
}

// as is a keyed write of somebody's, with a key of its own.
func as(identity, key string) *pipeline.Memory {
	m := pipeline.NewMemory("POST", "/orders").WithHeader("Idempotency-Key", key).WithBody([]byte(`{"a":1}`))
	m.Client = pipeline.Client{Identity: identity, Subject: identity}
	m.Deadline = m.Start.Add(time.Minute)
	return m
}

func forever(m *pipeline.Memory) { m.Deadline = time.Time{} }

func (f *flaky) calls() (begins, finishes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.begins, f.finishes
}

// watched notes when what was asked.
type watched struct {
	dedup.Store
	mu       sync.Mutex
	begins   []time.Time
	renewals []time.Time
	renew    error
}

func (w *watched) Begin(ctx context.Context, key record.Key, c record.Claim) (record.Found, error) {
	w.mu.Lock()
	w.begins = append(w.begins, time.Now())
	w.mu.Unlock()
	return w.Store.Begin(ctx, key, c)
}

func (w *watched) Renew(ctx context.Context, key record.Key, token record.Token, lease time.Duration) (bool, error) {
	w.mu.Lock()
	w.renewals = append(w.renewals, time.Now())
	err := w.renew
	w.mu.Unlock()
	if err != nil {
		return false, err
	}
	return w.Store.Renew(ctx, key, token, lease)
}

func (w *watched) renewed() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]time.Time(nil), w.renewals...)
}

func (w *watched) failRenewals(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.renew = err
}

// under is the store below, which a test may exchange.
func (f *flaky) under() dedup.Store {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Store
}

func (f *flaky) Renew(ctx context.Context, key record.Key, token record.Token, lease time.Duration) (bool, error) {
	return f.under().Renew(ctx, key, token, lease)
}

func (f *flaky) Look(ctx context.Context, key record.Key) (record.Record, error) {
	return f.under().Look(ctx, key)
}

func (f *flaky) Resolve(ctx context.Context, key record.Key, token record.Token, v record.Resolution) (bool, error) {
	return f.under().Resolve(ctx, key, token, v)
}

func (f *flaky) Open(ctx context.Context, each func(record.Key, record.Record) bool) error {
	return f.under().Open(ctx, each)
}

func (f *flaky) Erase(ctx context.Context, s record.Subject) (record.Erased, error) {
	return f.under().Erase(ctx, s)
}
