package dedup

import (
	"context"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// Census is what a survey of the open records found.
type Census struct {
	InFlight, Unknown int
	OldestUnknown     time.Duration // since it was first seen
}

// Survey counts the open records, and has the unknown ones checked whose route has a way to do so: those of a crash that no
// duplicate asks for. The store's own clock is not asked: an age is as good as the clocks agree.
func (r *Records) Survey(ctx context.Context) (Census, error) {
	var c Census
	if _, err := r.hasher(ctx); err != nil {
		return c, err
	}
	now := time.Now()
	err := r.store.Open(ctx, func(key record.Key, rec record.Record) bool {
		if rec.State == record.InFlight {
			c.InFlight++
			return true
		}
		c.Unknown++
		c.OldestUnknown = max(c.OldestUnknown, now.Sub(time.Unix(0, rec.Begun)))
		r.checks.found(rec.Route, key, rec.Token)
		return true
	})
	return c, err
}

// found follows an unknown record of which only the store knew; the key that its upstream saw must follow from the record's.
func (c *checks) found(route string, key record.Key, version record.Token) {
	c.mu.Lock()
	check, checked := c.routes[route]
	c.mu.Unlock()
	if checked && check.Derived {
		c.add(route, key, version, derive(key, labelUp))
	}
}
