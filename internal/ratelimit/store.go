package ratelimit

import (
	"context"
	"time"
)

// Store holds counters: buckets and quotas. Take decides on all limits of one request together: it takes from all or from
// none. It returns false when a limit that enforces refuses, and an error only when nothing could be decided; callers then
// fail closed. Settle changes what an allowed Take took by each charge's Change and brings Level and Wait up to date; it may
// push a bucket below nothing, down to a burst of debt.
type Store interface {
	Take(ctx context.Context, charges []Charge) (bool, error)
	Settle(ctx context.Context, charges []Charge)
}

// Seats holds who is being served: limits of the kind Slots. Acquire takes a seat at each or at none. Whoever was allowed calls
// Release once, with the same charges, when the request has ended.
type Seats interface {
	Acquire(ctx context.Context, charges []Charge) (bool, error)
	Release(charges []Charge)
}

// Never is the Wait of what waiting does not help: a cost above the burst, a plan that is denied.
const Never = time.Duration(1<<63 - 1)

// Charge is one limit's part of a request. The caller fills in Limit, Key, Cost, Change and Floor, the store the rest. Key is
// borrowed.
type Charge struct {
	Limit  *Limit
	Key    []byte  // whose bucket, see Limit.appendKey
	Cost   float64 // tokens wanted, a whole number of at least 0; 0 looks and takes nothing
	Change float64 // for Settle: tokens to give back, or below zero to take in addition
	Floor  float64 // tokens that must stay: they are reserved for others

	Admitted bool          // there was enough; of all charges are taken only those of an allowed request
	Level    float64       // tokens left
	Wait     time.Duration // until there is enough; 0 when Admitted
	Reset    time.Duration // of a Window: until its period ends, or until the first unit of a rolling one comes back; 0 when all is there
	Seat     uint64        // of Seats: which one was taken

	policy  *policy
	hash    uint64
	epoch   int64 // of a Window: when it was taken
	crowded bool  // the hash is that of a shared overflow bucket
}
