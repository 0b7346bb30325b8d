// Package leases lets a fleet of gateways share its limits: each draws small leases of tokens from a common store and decides
// from memory.
//
// It promises that over any time t the fleet admits at most burst + rate*t + H, H being the tokens that were already drawn and
// not used when it began, at most one lease a gateway; that in the long run it admits no more than the rate, whatever is
// offered; and that no request waits for the store longer than 25 ms. It does not promise a fair share among gateways, nor an
// exact count while the store is down: then each limit does what on_store_failure says, never an error of its own.
package leases

import (
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// Name is a bucket's name in the store: a keyed hash that the whole fleet makes alike.
type Name [16]byte

// Draw asks for one bucket's tokens.
type Draw struct {
	Name  Name
	Limit *ratelimit.Limit // a Bucket or a Window
	Want  int64            // tokens wanted; below zero: given back
	Debt  int64            // tokens admitted without the store, taken off first; more than there is becomes debt, down to a burst
	Drawn int64            // of a Window: what this gateway has of the period Begins, net; a store that doesn't know of it any more takes it off first
	// Begins and Ends are a calendar Window's period by this gateway's guess of the store's clock; zero otherwise.
	Begins, Ends time.Time
	First        bool // this gateway knows nothing of the bucket yet: others go first
}

// Grant is the answer.
type Grant struct {
	Tokens int64         // granted; never more than was wanted
	Left   float64       // in the store after it; below zero is debt
	Next   time.Duration // until one more whole token is there; ratelimit.Never: not in this period
	Ends   time.Duration // of a Window: until tokens of this grant are void
	Begins time.Time     // of a Window: the period that they belong to
	Now    time.Time     // the store's clock
	Fresh  bool          // the store knew nothing of the bucket
	Err    error         // nothing is known of what happened: count the tokens as lost
}

// Source is the common store.
type Source interface {
	// Name gives a key's name; false while the fleet's secret was never read.
	Name(key []byte) (Name, bool)
	// Draw never blocks. done is called exactly once, with an error at once when the store is known to be down.
	Draw(d Draw, done func(Grant))
	// Gateways is how many were alive when last heard of, at least 1; not sure in the first moments of a fleet.
	Gateways() (n int, sure bool)
}
