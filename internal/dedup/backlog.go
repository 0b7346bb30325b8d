package dedup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/dedup/spool"
)

// Bounds of the backlog. What does not fit is lost: its record counts as unknown when its lease ends, never as free.
const (
	backlogEntries = 1024
	spooledEntries = 4096
	backlogBytes   = 1 << 20  // of answers that only memory holds
	spooledBytes   = 64 << 20 // of answers that the spool holds, too
	retryFirst     = 100 * time.Millisecond
	retryMost      = 5 * time.Second
)

// backlog repeats steps, in turn, until the store takes them, with one goroutine. Results are in the spool, too, if there is
// one: a crash loses nothing but releases, whose records end as unknown.
type backlog struct {
	store Store
	spool Spool
	ref   func(record.Key) string
	meter Meter
	log   *slog.Logger

	step sync.Mutex // held while a step is taken: erase waits for it

	mu      sync.Mutex
	queue   []pending
	spooled int // of the queue
	bytes   int // in memory only
	disk    int // in the spool, too
	closed  bool

	wake  chan struct{} // holds one: there is something to do, or to end
	ctx   context.Context
	stop  context.CancelFunc
	ended chan struct{}
}

func newBacklog(store Store, spool Spool, ref func(record.Key) string, meter Meter, log *slog.Logger) *backlog {
	b := &backlog{store: store, spool: spool, ref: ref, meter: meter, log: log, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.inherit()
	go b.run()
	return b
}

// inherit takes over what an earlier run left in the spool. A result whose key would be forgotten by now is dropped: storing it
// would have the key answer again.
func (b *backlog) inherit() {
	if b.spool == nil {
		return
	}
	var old []spool.Entry
	err := b.spool.All(func(e spool.Entry) bool {
		if time.Since(e.At) >= max(e.Result.KeepKey, e.Result.KeepAnswer) {
			old = append(old, spool.Entry{Key: e.Key, Token: e.Token})
			return true
		}
		b.queue = append(b.queue, pending{key: e.Key, token: e.Token, result: e.Result, spooled: true})
		b.spooled++
		b.disk += len(e.Result.Answer)
		return b.spooled < spooledEntries && b.disk < spooledBytes
	})
	for _, e := range old {
		b.log.Warn("a result of an earlier run is too old to be stored", "operation_ref", b.ref(e.Key))
		err = errors.Join(err, b.spool.Delete(e))
	}
	if err != nil {
		b.log.Error("results of an earlier run can't be read from the spool", "error", err)
	}
	if n := len(b.queue); n > 0 {
		b.log.Warn("results of an earlier run wait to be stored", "results", n)
	}
}

// close gives the queue a last chance until ctx ends.
func (b *backlog) close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.poke()
	select {
	case <-b.ended:
	case <-ctx.Done():
		b.stop()
		<-b.ended
	}
	b.stop()
	if n := b.lost(); n > 0 {
		return fmt.Errorf("dedup: %d results were not stored", n)
	}
	return nil
}

func (b *backlog) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *backlog) run() {
	defer close(b.ended)
	wait := retryFirst
	for {
		ok, done, closed := b.next()
		switch {
		case done:
			wait = retryFirst
		case ok:
			if !sleep(b.ctx, wait) {
				return
			}
			wait = min(2*wait, retryMost)
		case closed:
			return
		default:
			select {
			case <-b.wake:
			case <-b.ctx.Done():
				return
			}
		}
	}
}

// next takes the first step, if there is one, and puts it behind the others if the store does not take it: they must not wait
// for one record that can't be written.
func (b *backlog) next() (ok, done, closed bool) {
	b.step.Lock()
	defer b.step.Unlock()
	p, ok, closed := b.first()
	if ok {
		done = b.try(p)
		b.pop(!done)
	}
	return ok, done, closed
}

// try takes a step once more; repeating one that had happened after all is harmless.
func (b *backlog) try(p pending) bool {
	ctx, cancel := context.WithTimeout(b.ctx, retryMost)
	defer cancel()
	if p.release {
		_, err := b.store.Release(ctx, p.key, p.token)
		return err == nil
	}
	outcome, err := b.store.Finish(ctx, p.key, p.token, p.result)
	if err != nil {
		return false
	}
	if p.spooled {
		if err := b.spool.Delete(spool.Entry{Key: p.key, Token: p.token}); err != nil {
			b.log.Error("a stored result stays in the spool: it will be stored again, which changes nothing", "error", err)
		}
	}
	b.meter.Finished(outcome.String())
	if outcome == record.Fenced {
		b.log.Error("a late result found its key taken: unless the upstream deduplicates, the write may have been executed twice", "operation_ref", b.ref(p.key))
		return true
	}
	b.log.Info("the result of a keyed write was stored late", "operation_ref", b.ref(p.key), "outcome", outcome.String())
	return true
}

// sleep is false when ctx ended it.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
