package dedup

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// PerClient bounds what one client may put into the store, in each gateway.
type PerClient struct {
	NewKeys units.Rate `yaml:"new_keys" doc:"Keys that were never seen before, such as 600/m; none: as many as the limits let through."`
	Stored  units.Size `yaml:"stored" doc:"Answers kept within keep.answer; one beyond it goes to the first caller and is not kept. 0: as many as there are."`
}

// capPolicy is the member policy of a refusal because a client made too many new keys.
const capPolicy = "new-keys"

// capSlots bounds the clients that are counted. A client who finds all his slots taken by others is counted together with one
// of them, the one with the most room: a cap is a bound on the store, and errs on its side.
const (
	capSlots = 1 << 14
	capTries = 4
)

// caps are two leaky buckets for each client, in a table of fixed size: new keys, and stored bytes. A bucket leaks at its rate
// from the start, so in the worst case twice its capacity falls into one period.
type caps struct {
	once  sync.Once
	mu    sync.Mutex
	slots []capSlot
}

type capSlot struct {
	subject     record.Subject
	keys, bytes level
	forget      time.Time // from here on both are empty
}

// level is a leaky bucket's: what was counted and has not leaked yet.
type level struct {
	n  float64
	at time.Time
}

// add counts n if what was counted stays within the capacity; perSecond leaks.
func (l *level) add(n, capacity, perSecond float64, now time.Time) bool {
	if past := now.Sub(l.at); past > 0 { // callers took the time before they got the lock
		l.n, l.at = max(0, l.n-perSecond*past.Seconds()), now
	}
	if l.n+n > capacity {
		return false
	}
	l.n += n
	return true
}

func (c *caps) find(s record.Subject, now time.Time) *capSlot {
	c.once.Do(func() { c.slots = make([]capSlot, capSlots) })
	first := binary.BigEndian.Uint64(s[:]) % capSlots
	var best *capSlot
	for i := range uint64(capTries) {
		slot := &c.slots[(first+i)%capSlots]
		if slot.subject == s && !slot.forget.IsZero() {
			return slot
		}
		if best == nil || slot.forget.Before(best.forget) {
			best = slot
		}
	}
	if !now.Before(best.forget) {
		*best = capSlot{subject: s, forget: now}
	}
	return best
}

// charge is a key that was counted, in a slot that belonged to owner then; the zero value is none.
type charge struct {
	slot  *capSlot
	owner record.Subject
}

// newKey counts a key that may turn out to be new, or the client has made too many. oldKey takes it back.
func (c *caps) newKey(s record.Subject, p *PerClient, now time.Time) (paid charge, spent bool) {
	if p == nil || p.NewKeys.Count == 0 {
		return charge{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	slot, per := c.find(s, now), p.NewKeys.Count/p.NewKeys.Per.Seconds()
	if !slot.keys.add(1, max(1, p.NewKeys.Count), per, now) {
		return charge{}, true
	}
	slot.remember(now, slot.keys.n/per)
	return charge{slot, slot.subject}, false
}

func (c *caps) oldKey(paid charge) {
	if paid.slot == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if paid.slot.subject == paid.owner {
		paid.slot.keys.n = max(0, paid.slot.keys.n-1)
	}
}

// mayStore counts the bytes of an answer; false: the client has too many kept.
func (c *caps) mayStore(s record.Subject, p *PerClient, n int, keep time.Duration) bool {
	if p == nil || p.Stored == 0 {
		return true
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	slot, per := c.find(s, now), float64(p.Stored)/keep.Seconds()
	if !slot.bytes.add(float64(n), float64(p.Stored), per, now) {
		return false
	}
	slot.remember(now, slot.bytes.n/per)
	return true
}

// remember keeps the slot until its buckets are empty, seconds from now.
func (s *capSlot) remember(now time.Time, seconds float64) {
	if until := now.Add(time.Duration(seconds * float64(time.Second))); until.After(s.forget) {
		s.forget = until
	}
}

// capped is the refusal of a new key.
func (a *attempt) capped() error {
	a.record(ResultRefused)
	rate := a.cfg.PerClient.NewKeys
	return refuse(a.x, pipeline.RateLimited, pipeline.Problem{
		Policy: capPolicy, Executed: pipeline.ExecutedNo, SameKey: pipeline.Yes, NewKey: pipeline.Yes,
		RetryAfter: seconds(time.Duration(float64(rate.Per) / rate.Count)),
	})
}
