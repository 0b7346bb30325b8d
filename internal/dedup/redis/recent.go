package redis

import (
	"bytes"
	"container/list"
	"slices"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// The bounds of what is remembered for a primary that changes. Beyond them the oldest is forgotten.
const (
	recentTime  = time.Minute
	recentCount = 16 << 10
	recentBytes = 32 << 20
)

// recent remembers what this gateway did last: claims that are held, results, and keys that were freed.
type recent struct {
	now func() time.Time

	mu     sync.Mutex
	at     map[attempt]*list.Element
	order  list.List // of *deed, the oldest in front
	bytes  int
	erased map[record.Subject]erasure
}

// attempt names a deed: a later one of the same attempt takes its place.
type attempt struct {
	key   record.Key
	token record.Token
}

// deed is one of a claim, a result and a release.
type deed struct {
	attempt
	when   time.Time
	claim  *record.Claim
	epoch  uint32 // of the claim
	result *record.Result
	since  time.Time // when storing the result began
}

func (d *deed) release() bool { return d.claim == nil && d.result == nil }

func (d *deed) size() int {
	if d.result != nil {
		return len(d.result.Answer) + len(d.result.Location) + len(d.result.RequestID)
	}
	return 0
}

func newRecent() *recent {
	return &recent{now: time.Now, at: map[attempt]*list.Element{}, erased: map[record.Subject]erasure{}}
}

func (r *recent) claimed(key record.Key, c record.Claim, epoch uint32) {
	r.put(&deed{attempt: attempt{key, c.Token}, claim: &c, epoch: epoch})
}

func (r *recent) finished(key record.Key, token record.Token, res record.Result, since time.Time) {
	res.Answer = bytes.Clone(res.Answer)
	r.put(&deed{attempt: attempt{key, token}, result: &res, since: since})
}

func (r *recent) released(key record.Key, token record.Token) {
	r.put(&deed{attempt: attempt{key, token}})
}

// renewed gives a claim its new lease, if it is still remembered.
func (r *recent) renewed(key record.Key, token record.Token, lease time.Duration) {
	r.mu.Lock()
	e := r.at[attempt{key, token}]
	r.mu.Unlock()
	if e == nil {
		return
	}
	if d := e.Value.(*deed); d.claim != nil {
		c := *d.claim
		c.Lease = lease
		r.put(&deed{attempt: d.attempt, claim: &c, epoch: d.epoch})
	}
}

func (r *recent) put(d *deed) {
	d.when = r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.at[d.attempt]; old != nil {
		r.remove(old)
	}
	if r.overtaken(d) {
		d = d.bare()
	}
	r.at[d.attempt] = r.order.PushBack(d)
	r.bytes += d.size()
	for r.order.Len() > recentCount || r.bytes > recentBytes {
		r.remove(r.order.Front())
	}
	for range 2 { // so that old ones go faster than new ones come
		r.dropOld(d.when)
	}
}

func (r *recent) dropOld(now time.Time) bool {
	first := r.order.Front()
	if first == nil || now.Sub(first.Value.(*deed).when) < recentTime {
		return false
	}
	r.remove(first)
	return true
}

func (r *recent) remove(e *list.Element) {
	d := r.order.Remove(e).(*deed)
	delete(r.at, d.attempt)
	r.bytes -= d.size()
}

// trim drops what is too old.
func (r *recent) trim() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for r.dropOld(now) {
	}
	r.dropErasures(now)
}

// of gives what was done in some buckets, in order: releases, and the last claim or result of each record, which had taken the
// place of earlier ones. Releases don't count for that: one may be noted later than the claim that it made way for.
func (r *recent) of(which map[int]bool) []*deed {
	r.trim()
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*deed
	last := map[record.Key]*deed{}
	for e := r.order.Front(); e != nil; e = e.Next() {
		if d := e.Value.(*deed); which[bucketOf(d.key)] {
			all = append(all, d)
			if !d.release() {
				last[d.key] = d
			}
		}
	}
	return slices.DeleteFunc(all, func(d *deed) bool { return !d.release() && last[d.key] != d })
}

// last tells whether nothing was done in the attempt since.
func (r *recent) last(d *deed) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.at[d.attempt]
	return e != nil && e.Value == d
}
