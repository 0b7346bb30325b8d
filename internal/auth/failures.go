package auth

import (
	"encoding/binary"
	"sync"
	"time"
)

const (
	failureSlots = 4096
	failureLife  = 30 * time.Second
)

// failures remembers tokens that will fail again, apart from the cache of good ones: whoever floods it evicts no client.
// It is a table of fixed size in which a newcomer takes the place of what was there.
type failures struct {
	locks [cacheShards]sync.Mutex
	slots [failureSlots]failure
}

type failure struct {
	id     cacheKey
	keys   uint64 // serial of the key set it failed with: other keys, another try
	until  time.Time
	reason Reason
}

func place(id *cacheKey) int {
	return int(binary.LittleEndian.Uint64(id.digest[8:])+id.profile) & (failureSlots - 1)
}

// get gives the reason for which a token failed before, or accepted.
func (f *failures) get(id *cacheKey, keys uint64, now time.Time) Reason {
	at := place(id)
	lock := &f.locks[at%cacheShards]
	lock.Lock()
	defer lock.Unlock()
	slot := &f.slots[at]
	if slot.reason == accepted || slot.keys != keys || slot.id != *id || !now.Before(slot.until) {
		return accepted
	}
	return slot.reason
}

func (f *failures) put(id *cacheKey, keys uint64, now time.Time, reason Reason) {
	f.putFor(id, keys, now, reason, failureLife)
}

func (f *failures) putFor(id *cacheKey, keys uint64, now time.Time, reason Reason, life time.Duration) {
	at := place(id)
	lock := &f.locks[at%cacheShards]
	lock.Lock()
	defer lock.Unlock()
	f.slots[at] = failure{*id, keys, now.Add(life), reason}
}
