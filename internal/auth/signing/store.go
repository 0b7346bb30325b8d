package signing

import (
	"crypto/sha256"
	"sync"
	"time"
)

const (
	shards      = 16
	shardTokens = 512       // of one generation
	shardBytes  = 512 << 10 // of one generation: 16 MiB in all
)

// store keeps tokens to be used again, in two generations: the newer one becomes the older one when it is full, and what is
// not asked for in the meantime is gone. So it never grows with the number of clients, and costs nothing to tidy up.
type store struct{ shards [shards]shard }

type shard struct {
	mu         sync.Mutex
	newer, old map[[sha256.Size]byte]made
	bytes      int
	_          [64]byte // keeps locks of neighbours apart
}

type made struct {
	token []byte
	until time.Time
}

func (s *store) get(id [sha256.Size]byte, now time.Time) []byte {
	h := &s.shards[id[0]%shards]
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok := h.newer[id]
	if !ok {
		if m, ok = h.old[id]; ok && now.Before(m.until) {
			h.add(id, m)
		}
	}
	if !ok || !now.Before(m.until) {
		return nil
	}
	return m.token
}

func (s *store) put(id [sha256.Size]byte, token []byte, now time.Time, use time.Duration) {
	h := &s.shards[id[0]%shards]
	h.mu.Lock()
	defer h.mu.Unlock()
	h.add(id, made{token, now.Add(use)})
}

func (h *shard) add(id [sha256.Size]byte, m made) {
	if h.newer == nil || len(h.newer) >= shardTokens || h.bytes+len(m.token) > shardBytes {
		h.old, h.newer, h.bytes = h.newer, make(map[[sha256.Size]byte]made), 0
	}
	if before, ok := h.newer[id]; ok {
		h.bytes -= len(before.token)
	}
	h.newer[id] = m
	h.bytes += len(m.token)
}

// len is the number of tokens kept, for tests.
func (s *store) len() (n int) {
	for i := range s.shards {
		h := &s.shards[i]
		h.mu.Lock()
		n += len(h.newer) + len(h.old)
		h.mu.Unlock()
	}
	return n
}
