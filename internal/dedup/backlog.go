package dedup

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// Bounds of the backlog. What does not fit is lost: its record counts as unknown when its lease ends, never as free.
const (
	backlogEntries = 1024
	backlogBytes   = 1 << 20
	retryFirst     = 100 * time.Millisecond
	retryMost      = 5 * time.Second
)

// pending is a step that the store did not take.
type pending struct {
	key     record.Key
	token   record.Token
	result  record.Result
	release bool
}

// backlog repeats steps, in turn, until the store takes them, with one goroutine. It lives in memory: a crash loses it.
type backlog struct {
	store Store
	log   *slog.Logger

	mu     sync.Mutex
	queue  []pending
	bytes  int
	closed bool

	wake  chan struct{} // holds one: there is something to do, or to end
	ctx   context.Context
	stop  context.CancelFunc
	ended chan struct{}
}

func newBacklog(store Store, log *slog.Logger) *backlog {
	b := &backlog{store: store, log: log, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	b.ctx, b.stop = context.WithCancel(context.Background())
	go b.run()
	return b
}

// add queues a step. An answer that does not fit is given up and its record sealed; false: the step itself does not fit.
func (b *backlog) add(p pending) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	room := backlogEntries
	if p.release { // results matter more: what is not released ends as unknown
		room /= 2
	}
	if b.closed || len(b.queue) >= room {
		return false
	}
	if b.bytes+len(p.result.Answer) > backlogBytes {
		p.result.State, p.result.Answer = record.Sealed, nil
	}
	b.bytes += len(p.result.Answer)
	b.queue = append(b.queue, p)
	b.poke()
	return true
}

func (b *backlog) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
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
	if n := b.len(); n > 0 {
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
		p, ok, closed := b.first()
		switch {
		case ok && b.try(p):
			b.pop(false)
			wait = retryFirst
		case ok:
			b.pop(true) // the others must not wait for one record that can't be written
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

func (b *backlog) first() (p pending, ok, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return pending{}, false, b.closed
	}
	return b.queue[0], true, b.closed
}

// pop takes the first step out, or puts it behind the others.
func (b *backlog) pop(again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.queue[0]
	b.queue = slices.Delete(b.queue, 0, 1)
	if again {
		b.queue = append(b.queue, p)
		return
	}
	b.bytes -= len(p.result.Answer)
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
	b.log.Info("the result of a keyed write was stored late", "operation_ref", derive(p.key, labelRef), "outcome", outcome.String())
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
