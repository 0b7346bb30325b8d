package dedup

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
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

// pending is a step that the store did not take.
type pending struct {
	key     record.Key
	token   record.Token
	result  record.Result
	release bool
	spooled bool // the spool has it, too
}

// backlog repeats steps, in turn, until the store takes them, with one goroutine. Results are in the spool, too, if there is
// one: a crash loses nothing but releases, whose records end as unknown.
type backlog struct {
	store Store
	spool Spool
	ref   func(record.Key) string
	log   *slog.Logger

	mu     sync.Mutex
	queue  []pending
	bytes  int // in memory only
	disk   int // in the spool, too
	closed bool

	wake  chan struct{} // holds one: there is something to do, or to end
	ctx   context.Context
	stop  context.CancelFunc
	ended chan struct{}
}

func newBacklog(store Store, spool Spool, ref func(record.Key) string, log *slog.Logger) *backlog {
	b := &backlog{store: store, spool: spool, ref: ref, log: log, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.inherit()
	go b.run()
	return b
}

// inherit takes over what an earlier run left in the spool.
func (b *backlog) inherit() {
	if b.spool == nil {
		return
	}
	err := b.spool.All(func(e spool.Entry) bool {
		b.queue = append(b.queue, pending{key: e.Key, token: e.Token, result: e.Result, spooled: true})
		b.disk += len(e.Result.Answer)
		return len(b.queue) < spooledEntries
	})
	if err != nil {
		b.log.Error("results of an earlier run can't be read from the spool", "error", err)
	}
	if n := len(b.queue); n > 0 {
		b.log.Warn("results of an earlier run wait to be stored", "results", n)
	}
}

// add queues a step; a result goes to the spool first. An answer that fits neither there nor into memory is given up and its
// record sealed; false: the step itself does not fit.
func (b *backlog) add(p pending) bool {
	if !p.release && b.spool != nil {
		err := b.spool.Put(spool.Entry{Key: p.key, Token: p.token, Result: p.result, At: time.Now()})
		if p.spooled = err == nil; err != nil {
			b.log.Error("a result could not be spooled: it lives in memory only", "operation_ref", b.ref(p.key), "error", err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	room := backlogEntries
	if p.release { // results matter more: what is not released ends as unknown
		room /= 2
	} else if p.spooled {
		room = spooledEntries
	}
	if b.closed || len(b.queue) >= room {
		return p.spooled // the next start finds it
	}
	if n := len(p.result.Answer); p.spooled && b.disk+n <= spooledBytes {
		b.disk += n
	} else if p.spooled {
		return true
	} else if b.bytes+n > backlogBytes {
		p.result.State, p.result.Answer = record.Sealed, nil
	} else {
		b.bytes += n
	}
	b.queue = append(b.queue, p)
	b.poke()
	return true
}

// holds tells whether a result of that record waits that says more than "unknown".
func (b *backlog) holds(key record.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.queue, func(p pending) bool { return p.key == key && !p.release && p.result.State != record.Unknown })
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
	if n := b.lost(); n > 0 {
		return fmt.Errorf("dedup: %d results were not stored", n)
	}
	return nil
}

// lost is how many results end with the process.
func (b *backlog) lost() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.queue {
		if !p.spooled && !p.release {
			n++
		}
	}
	return n
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
	if n := len(p.result.Answer); p.spooled {
		b.disk -= n
	} else {
		b.bytes -= n
	}
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
