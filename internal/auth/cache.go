package auth

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/oncegate/oncegate/internal/auth/keyset"
	"github.com/oncegate/oncegate/internal/auth/revoke"
	"github.com/oncegate/oncegate/internal/pipeline"
)

const (
	cacheShards  = 64
	cacheEntries = 100_000
	cacheBytes   = 64 << 20
	cacheLife    = 5 * time.Minute
	entryCost    = 768 // bytes of an entry beside its claims, with its place in the map, about
	memberSize   = int(unsafe.Sizeof(member{}))
)

// cacheKey names a token without holding it: a dump of memory shows no credentials. profile is the issuer's entry with
// all its settings, so a token that was verified for one issuer is never found by another.
type cacheKey struct {
	digest  [sha256.Size]byte
	profile uint64
}

// entry is a verified token: only what depends on neither the route nor the request. It is immutable apart from its place
// in the cache, and owns its strings. What it is bound to is judged at every use.
type entry struct {
	client    pipeline.Client
	claims    *claims
	key       *keyset.Key
	until     time.Time // when it leaves the cache
	expires   float64   // Unix seconds
	notBefore float64   // Unix seconds; 0: none
	revocable revoke.Token
	bound     *binding // nil: whoever has the token may use it

	id           cacheKey
	newer, older *entry // least recently used order; guarded by the shard
}

// cost is the bytes that an entry takes, and an eighth more for what an allocator rounds up.
func (e *entry) cost() int {
	bytes := entryCost + e.bound.cost() + len(e.client.Identity) + memberCost(e.claims.members) + 16*len(e.claims.scopes)
	return bytes + bytes/8
}

// memberCost counts texts once for the member and once for the payload that they are parts of: escapes and lists are copies.
func memberCost(members []member) int {
	cost := memberSize * cap(members)
	for i := range members {
		m := &members[i]
		cost += 2*(len(m.name)+len(m.text)) + 16*cap(m.list) + memberCost(m.inside)
	}
	return cost
}

// cache holds verified tokens, bounded in number and bytes, least recently used first out.
type cache struct {
	profiles atomic.Uint64 // the last profile number that was given out
	shards   [cacheShards]shard
}

type shard struct {
	mu             sync.Mutex
	known          map[cacheKey]*entry
	newest, oldest *entry
	bytes          int
	maxEntries     int
	maxBytes       int
	_              [64]byte // keeps locks of neighbours apart
}

func newCache(entries, bytes int) *cache {
	c := &cache{}
	for i := range c.shards {
		c.shards[i].known = make(map[cacheKey]*entry)
		c.shards[i].maxEntries = max(1, entries/cacheShards)
		c.shards[i].maxBytes = bytes / cacheShards
	}
	return c
}

func (c *cache) shard(id *cacheKey) *shard { return &c.shards[id.digest[0]%cacheShards] }

// get gives an entry that is neither over its time in the cache nor verified by a key that has gone.
func (c *cache) get(id *cacheKey, now time.Time) *entry {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.known[*id]
	if e == nil {
		return nil
	}
	if e.key.Retired() || !now.Before(e.until) {
		s.drop(e)
		return nil
	}
	if e != s.newest {
		s.unlink(e)
		s.push(e)
	}
	return e
}

func (c *cache) put(e *entry) {
	s := c.shard(&e.id)
	cost := e.cost()
	if cost > s.maxBytes {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.known[e.id]; old != nil {
		s.drop(old)
	}
	for s.oldest != nil && (len(s.known) >= s.maxEntries || s.bytes+cost > s.maxBytes) {
		s.drop(s.oldest)
	}
	s.known[e.id] = e
	s.bytes += cost
	s.push(e)
}

// len is the number of entries, for tests and metrics.
func (c *cache) len() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.known)
		s.mu.Unlock()
	}
	return n
}

func (s *shard) drop(e *entry) {
	delete(s.known, e.id)
	s.bytes -= e.cost()
	s.unlink(e)
}

func (s *shard) push(e *entry) {
	e.older, e.newer = s.newest, nil
	if s.newest != nil {
		s.newest.newer = e
	} else {
		s.oldest = e
	}
	s.newest = e
}

func (s *shard) unlink(e *entry) {
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		s.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		s.oldest = e.newer
	}
	e.newer, e.older = nil, nil
}
