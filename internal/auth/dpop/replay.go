package dpop

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// ID names a proof: half of the SHA-256 of its key's thumbprint and its jti.
type ID [16]byte

// Proof is a proof that is about to be taken.
type Proof struct {
	ID    ID
	Owner string    // whose it is
	Now   time.Time // by the gateway's clock
	Ends  time.Time // after this nobody takes it any more
}

// Replays remembers proofs. First reports that a proof was not there before, and keeps it until its end. On an error nobody
// knows, and the proof must not be taken.
type Replays interface {
	First(ctx context.Context, p Proof) (bool, error)
}

// ErrFull is Memory.First's: there is no room for one more proof, or none for one more of its owner.
var ErrFull = errors.New("dpop: no room to remember a proof")

const (
	usualRoom  = 1 << 20 // proofs
	shards     = 64
	owners     = 4096 // counters; owners that share one share its part
	part       = 8    // an owner has at most this part of the room
	sweepEvery = 5 * time.Second
)

// Memory remembers the proofs of one process, at most 2^20: about 17,000 a second with the usual window of a minute, in
// some 60 MiB. When it is full of proofs that are not over, one more is an error: dropping an old one would let it be used
// again. So that one client can't fill it, none has more than an eighth.
type Memory struct {
	seed   maphash.Seed
	room   int // of a shard
	most   int32
	shards [shards]memoryShard
	owners [owners]atomic.Int32
}

type memoryShard struct {
	mu    sync.Mutex
	known map[ID]kept
	next  time.Time // the next sweep
	_     [32]byte  // keeps locks of neighbours apart
}

type kept struct {
	ends  uint32 // Unix seconds
	owner uint16
}

// NewMemory makes one with room for that many proofs; 0: 2^20.
func NewMemory(room int) *Memory {
	if room == 0 {
		room = usualRoom
	}
	m := &Memory{seed: maphash.MakeSeed(), room: max(1, room/shards), most: int32(max(1, room/part))}
	for i := range m.shards {
		m.shards[i].known = make(map[ID]kept)
	}
	return m
}

var _ Replays = (*Memory)(nil)

// First implements Replays. The error is ErrFull.
func (m *Memory) First(_ context.Context, p Proof) (bool, error) {
	owner := uint16(maphash.String(m.seed, p.Owner) % owners)
	s := &m.shards[binary.LittleEndian.Uint16(p.ID[:])%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next.IsZero() || !p.Now.Before(s.next) {
		m.sweep(s, p.Now)
	}
	if k, there := s.known[p.ID]; there && !k.over(p.Now) {
		return false, nil
	} else if there {
		m.drop(s, p.ID, k)
	}
	if len(s.known) >= m.room {
		return false, ErrFull
	}
	if m.owners[owner].Add(1) > m.most {
		m.owners[owner].Add(-1)
		return false, ErrFull
	}
	s.known[p.ID] = kept{uint32(p.Ends.Unix() + 1), owner}
	return true, nil
}

// over is a second late at most, never early.
func (k kept) over(now time.Time) bool { return now.Unix() > int64(k.ends) }

// sweep frees what is over. The caller holds s.mu.
func (m *Memory) sweep(s *memoryShard, now time.Time) {
	s.next = now.Add(sweepEvery)
	for id, k := range s.known {
		if k.over(now) {
			m.drop(s, id, k)
		}
	}
}

func (m *Memory) drop(s *memoryShard, id ID, k kept) {
	delete(s.known, id)
	m.owners[k.owner].Add(-1)
}

// Len is the number of proofs that are kept; some may be over.
func (m *Memory) Len() (n int) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		n += len(s.known)
		s.mu.Unlock()
	}
	return n
}

// Forget is for a look at what would become of a request: it remembers nothing.
type Forget struct{}

// First implements Replays: every proof is new.
func (Forget) First(context.Context, Proof) (bool, error) { return true, nil }
