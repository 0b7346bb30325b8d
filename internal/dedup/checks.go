package dedup

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/failpoint"
)

// Checker asks an upstream what became of a write, by the key that it saw. It bounds its own time.
type Checker interface {
	Check(ctx context.Context, key string) (CheckVerdict, error)
}

// CheckVerdict is what an upstream says of a write. Three values on purpose: what is not known stays unknown.
type CheckVerdict uint8

// The verdicts.
const (
	Inconclusive CheckVerdict = iota
	WasExecuted
	NotExecuted
)

var checkWords = [...]string{"inconclusive", "executed", "not_executed"}

// String is the word that metrics show.
func (v CheckVerdict) String() string { return checkWords[v] }

// Check is a route's way to settle what nobody knows.
type Check struct {
	Checker Checker
	Derived bool          // the upstream sees the derived key, so that a record is enough to ask
	Settle  time.Duration // a "not executed" counts only when the write was unknown for so long: it may still be queued upstream
	KeepKey time.Duration
}

const (
	checkFirst   = 5      // seconds: what a client is told to wait
	checksAtOnce = 8      // calls to upstreams
	checksMost   = 10_000 // unknown writes that are followed; further ones wait for a duplicate or the next survey
	checkPause   = time.Second
	checkLongest = time.Minute
)

// checks settles unknown records, one worker for each: it asks, waits and asks again until the upstream's word counts. It never
// sends the write itself.
type checks struct {
	store Store
	ref   func(record.Key) string
	meter Meter
	log   *slog.Logger

	mu     sync.Mutex
	routes map[string]Check
	tasks  map[record.Key]*checkTask
	closed bool

	slots chan struct{}
	group sync.WaitGroup
	ctx   context.Context
	stop  context.CancelFunc
}

type checkTask struct {
	route, upstreamKey string
	version            record.Token
	since              time.Time // when this gateway first saw it unknown
	pause              time.Duration
}

func newChecks(store Store, ref func(record.Key) string, meter Meter, log *slog.Logger) *checks {
	c := &checks{store: store, ref: ref, meter: meter, log: log, tasks: map[record.Key]*checkTask{}, slots: make(chan struct{}, checksAtOnce)}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// use replaces the ways of all routes: a reload.
func (c *checks) use(routes map[string]Check) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.routes = routes
}

// add follows an unknown record. One that is followed already stays with its worker, unless it is another attempt by now.
func (c *checks) add(route string, key record.Key, version record.Token, upstreamKey string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, checked := c.routes[route]; !checked || upstreamKey == "" || c.closed {
		return
	}
	task := checkTask{route: route, upstreamKey: upstreamKey, version: version, since: time.Now(), pause: checkPause}
	if t := c.tasks[key]; t != nil {
		if t.version != version {
			*t = task
		}
		return
	}
	if len(c.tasks) >= checksMost {
		return
	}
	c.tasks[key] = &task
	c.group.Go(func() { c.follow(key) })
}

// follow is the worker of one record.
func (c *checks) follow(key record.Key) {
	for {
		t, check, checked := c.task(key)
		more := checked
		if checked {
			t.pause, more = c.ask(key, t, check)
		}
		if !more && c.leave(key, t.version) {
			return
		}
		if !sleep(c.ctx, t.pause/2+jitter(t.pause)) {
			c.leave(key, t.version)
			return
		}
	}
}

// task is what the worker has to do now; checked is false when the route has no status check any more.
func (c *checks) task(key record.Key) (t checkTask, check Check, checked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t = *c.tasks[key]
	check, checked = c.routes[t.route]
	return t, check, checked
}

// leave ends the worker, unless another attempt became unknown while it settled the one before.
func (c *checks) leave(key record.Key, version record.Token) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed && c.tasks[key].version != version {
		return false
	}
	delete(c.tasks, key)
	return true
}

// ask asks once; more is false when there is nothing left to settle.
func (c *checks) ask(key record.Key, t checkTask, check Check) (pause time.Duration, more bool) {
	if t.pause > checkPause && c.over(key, t.version) {
		return t.pause, false
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-c.ctx.Done():
		return t.pause, false
	}
	verdict, err := check.Checker.Check(c.ctx, t.upstreamKey)
	if err != nil {
		verdict = Inconclusive
		c.log.Warn("a status check failed", "route", t.route, "operation_ref", c.ref(key), "error", err)
	}
	left := check.Settle - time.Since(t.since)
	if verdict == NotExecuted && left > 0 { // it may still be on its way
		return min(left, c.later(key)), true
	}
	c.meter.Checked(t.route, verdict.String())
	if verdict == Inconclusive {
		return c.later(key), true
	}
	failpoint.Hit(failpoint.Reconcile)
	return c.settle(key, t, check, verdict)
}

// settle writes the upstream's word down.
func (c *checks) settle(key record.Key, t checkTask, check Check, verdict CheckVerdict) (time.Duration, bool) {
	ctx, cancel := context.WithTimeout(c.ctx, finishTimeout)
	defer cancel()
	resolved, err := c.store.Resolve(ctx, key, t.version, record.Resolution{Executed: verdict == WasExecuted, KeepKey: check.KeepKey})
	switch {
	case err != nil:
		return c.later(key), true
	case resolved:
		c.log.Info("an unknown outcome was settled", "route", t.route, "operation_ref", c.ref(key), "outcome", verdict.String(), "by", "status_check")
	}
	return t.pause, false // if not resolved: somebody else settled it
}

// over tells that the record needs no more asking: its attempt spoke after all, an operator settled it, or its time is over.
func (c *checks) over(key record.Key, version record.Token) bool {
	ctx, cancel := context.WithTimeout(c.ctx, beginTimeout)
	defer cancel()
	r, err := c.store.Look(ctx, key)
	return err == nil && (r.State != record.Unknown || r.Token != version)
}

// later doubles the pause.
func (c *checks) later(key record.Key) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tasks[key]
	pause := t.pause
	t.pause = min(2*pause, checkLongest)
	return pause
}

// close ends all workers.
func (c *checks) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.group.Wait()
}
