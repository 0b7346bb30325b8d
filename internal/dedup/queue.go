package dedup

import (
	"errors"
	"slices"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/dedup/spool"
)

// pending is a step that the store did not take.
type pending struct {
	key     record.Key
	token   record.Token
	result  record.Result
	release bool
	spooled bool // the spool has it, too
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
	if b.closed || !b.room(p) {
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
	if p.spooled {
		b.spooled++
	}
	b.queue = append(b.queue, p)
	b.poke()
	return true
}

// room tells whether the queue may hold one more of that kind.
func (b *backlog) room(p pending) bool {
	switch {
	case p.spooled:
		return b.spooled < spooledEntries
	case p.release: // results matter more: what is not released ends as unknown
		return len(b.queue)-b.spooled < backlogEntries/2
	}
	return len(b.queue)-b.spooled < backlogEntries
}

// erase drops what waiting results say of a client. What is being stored right now is stored before erase returns.
func (b *backlog) erase(s record.Subject) error {
	b.step.Lock()
	defer b.step.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	var err error
	for i := range b.queue {
		p := &b.queue[i]
		if p.release || p.result.Subject != s {
			continue
		}
		b.forget(*p)
		if p.result.State == record.Completed {
			p.result.State = record.Sealed
		}
		p.result.Answer, p.result.RequestID, p.result.Location = nil, "", ""
		if p.spooled {
			err = errors.Join(err, b.spool.Put(spool.Entry{Key: p.key, Token: p.token, Result: p.result, At: time.Now()}))
		}
	}
	return err
}

// forget takes an answer out of the sums.
func (b *backlog) forget(p pending) {
	if n := len(p.result.Answer); p.spooled {
		b.disk -= n
	} else {
		b.bytes -= n
	}
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
	b.forget(p)
	if p.spooled {
		b.spooled--
	}
}
