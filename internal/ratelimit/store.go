package ratelimit

import (
	"context"
	"time"
)

// Store holds the buckets. Take decides on all limits of one request together: it takes from all or from none. It returns
// false when a limit that enforces refuses, and an error only when nothing could be decided; callers then fail closed.
// Return gives back what an allowed Take took and brings Level and Wait up to date.
type Store interface {
	Take(ctx context.Context, charges []Charge) (bool, error)
	Return(ctx context.Context, charges []Charge)
}

// Charge is one limit's part of a request. The caller fills in Limit and Key, the store the rest. Key is borrowed.
type Charge struct {
	Limit *Limit
	Key   []byte // whose bucket, see Limit.appendKey

	Admitted bool          // the bucket held enough; of all charges are taken only those of an allowed request
	Level    float64       // tokens left in the bucket
	Wait     time.Duration // until the bucket holds enough; 0 when Admitted

	policy *policy
	hash   uint64
}
