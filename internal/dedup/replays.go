package dedup

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// A replay costs no token of a route's limits, so a storm of them has a bound of its own: each record was paid for once and
// may be told so often, and so many times a second after that.
const (
	replayBurst = 1000
	replayRate  = 100 // per second
	replaySlots = 4096
)

// replays are leaky buckets in a table of fixed size, found by a record's key. Records that meet in one share it: keys are
// keyed hashes, so nobody can choose whom to meet.
type replays struct{ slots [replaySlots]replaySlot }

type replaySlot struct {
	mu    sync.Mutex
	level float64 // what was told and has not leaked yet
	at    time.Time
}

// take counts one replay, or says how long to wait for the next.
func (r *replays) take(key record.Key, now time.Time) (wait time.Duration, ok bool) {
	s := &r.slots[binary.BigEndian.Uint64(key[:])%replaySlots]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.level = max(0, s.level-replayRate*max(0, now.Sub(s.at)).Seconds())
	s.at = now
	if over := s.level + 1 - replayBurst; over > 0 {
		return time.Duration(over / replayRate * float64(time.Second)), false
	}
	s.level++
	return 0, true
}
