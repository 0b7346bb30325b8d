package auth

import (
	"sync"

	"github.com/oncegate/oncegate/internal/auth/keyset"
)

// flights has requests that bring the same new token at the same moment share one signature check. They are the same only
// when the whole digest, the issuer with its settings, and the key are: sharing on less would hand out a stranger's identity.
// There are never more of them than requests.
type flights struct {
	shards [cacheShards]struct {
		mu  sync.Mutex
		now map[cacheKey]*flight
		_   [48]byte
	}
}

// flight is one check under way. Its outcome is read after done is closed.
type flight struct {
	done   chan struct{}
	key    *keyset.Key
	entry  *entry
	reason Reason
}

// join gives the flight of a token, and whether the caller has to do the work and land it. Nil: there is one with another
// key, and the caller works alone.
func (f *flights) join(id *cacheKey, key *keyset.Key) (one *flight, first bool) {
	s := &f.shards[id.digest[0]%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if one = s.now[*id]; one != nil {
		if one.key != key {
			return nil, true
		}
		return one, false
	}
	if s.now == nil {
		s.now = make(map[cacheKey]*flight)
	}
	one = &flight{done: make(chan struct{}), key: key, reason: Malformed} // what a leader that panics leaves behind
	s.now[*id] = one
	return one, true
}

// land ends a flight: its outcome is known, or its leader failed.
func (f *flights) land(id *cacheKey, one *flight) {
	s := &f.shards[id.digest[0]%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.now, *id)
	close(one.done)
}
