package leases

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// ErrDown is returned for a limit whose on_store_failure is deny while the store is down or slow. Nothing was charged.
var ErrDown = errors.New("the store of shared limits is down or slow")

// Config bounds a Store. Zero values take the defaults.
type Config struct {
	Keys int           // entries held, default 1048576; more share overflow entries, 4096 of each limit
	Wait time.Duration // a request's longest wait for tokens; default twice the p99 of the store, from 5 to 20 ms; at most 25 ms
}

// Recorder counts what leases do. Events and policies are constants, limit is a name of the configuration.
type Recorder interface {
	Lease(event string, tokens int64)
	Fallback(limit, policy string)
}

// The events of a Recorder. Tokens are 0 where none are meant.
const (
	EventDrawn    = "drawn"
	EventReturned = "returned" // not needed any more, or came too late
	EventLost     = "lost"     // the period of a quota ended
	EventShort    = "short"    // the store granted less than was wanted
	EventFailed   = "failed"   // a draw ended with an error
	EventDebt     = "debt"     // brought with a draw: admitted in an outage, or settled
	EventOverflow = "overflow" // a key had to share an entry
)

// The policies of a Recorder.
const (
	PolicyLocal = "local"
	PolicyAllow = "allow"
	PolicyDeny  = "deny"
)

type silent struct{}

func (silent) Lease(string, int64)     {}
func (silent) Fallback(string, string) {}

const (
	shards      = 256                    // power of two
	target      = 20 * time.Millisecond  // D: a lease is what is asked for in this time
	pause       = 15 * time.Millisecond  // between draws of a key that has run dry, give or take a half
	idle        = 250 * time.Millisecond // T: tokens that nobody took for so long go back
	fraction    = 0.10                   // phi: all leases together hold at most this part of a burst
	minWait     = 5 * time.Millisecond
	maxWait     = 20 * time.Millisecond
	hardWait    = 25 * time.Millisecond
	sweepEvery  = 50 * time.Millisecond
	sweepSlowly = 20          // while nothing is lively only one sweep of so many looks at what is parked
	abandon     = time.Second // a draw that is not answered by then is given up; what comes later goes back
	longestDeny = time.Second // tokens come back from other gateways, and an operator may reset a bucket
	rejoin      = 250 * time.Millisecond
)

// Store is a ratelimit.Store for shared limits. Make it by New, end it by Close.
type Store struct {
	cfg      Config
	src      Source
	local    *ratelimit.Memory
	recorder Recorder
	period   func(q ratelimit.Quota, t time.Time) (begins, ends time.Time)

	seed    maphash.Seed
	began   time.Time // its wall clock is read once; after that only elapsed time counts
	latency latency
	fleet   fleet
	shares  shares
	total   atomic.Int64 // entries
	lively  atomic.Int64 // of them in a list of the sweep
	met     atomic.Bool  // the store has answered
	heard   atomic.Int64 // when it did last
	closed  atomic.Bool
	calls   atomic.Int64 // draws without an answer
	quiet   chan struct{}
	stop    chan struct{}
	stopped chan struct{}
	shards  [shards]shard
}

type shard struct {
	sync.Mutex
	entries map[uint64]*entry
	live    []*entry // those that the sweep must look at each time
	_       [88]byte // two cache lines each: neighbours don't slow each other down
}

// New starts a Store with one goroutine. local decides while the store is down; rec may be nil.
func New(cfg Config, src Source, local *ratelimit.Memory, rec Recorder) *Store {
	if cfg.Keys <= 0 {
		cfg.Keys = 1 << 20
	}
	cfg.Wait = min(cfg.Wait, hardWait)
	if local == nil {
		local = ratelimit.NewMemory(ratelimit.MemoryConfig{})
	}
	if rec == nil {
		rec = silent{}
	}
	s := &Store{
		cfg: cfg, src: src, local: local, recorder: rec, period: periodOf,
		seed: maphash.MakeSeed(), began: time.Now(),
		quiet: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	s.count(0)
	for i := range s.shards {
		s.shards[i].entries = map[uint64]*entry{}
	}
	go s.sweepUntilStopped()
	return s
}

// Close gives every held token back and waits for the answers until ctx ends, a second at most. Later requests are decided
// as in an outage.
func (s *Store) Close(ctx context.Context) error {
	if s.closed.Swap(true) {
		return nil
	}
	close(s.stop)
	<-s.stopped
	for i := range s.shards {
		s.sweepShard(&s.shards[i], s.now(), true)
	}
	bound := time.NewTimer(time.Second)
	defer bound.Stop()
	for s.calls.Load() > 0 {
		select {
		case <-s.quiet:
		case <-bound.C:
			return ErrDown
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Len is the number of keys held.
func (s *Store) Len() int { return int(s.total.Load()) }

// count reads how many gateways there are.
func (s *Store) count(now int64) {
	n, sure := s.src.Gateways()
	s.fleet.update(n, sure, now)
}

// now is the time since the store began. It never goes back, whatever happens to the machine's clock.
func (s *Store) now() int64 { return int64(time.Since(s.began)) }

func (s *Store) shard(hash uint64) *shard { return &s.shards[hash&(shards-1)] }
