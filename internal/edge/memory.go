package edge

import (
	"io"
	"sync"
	"sync/atomic"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// CopyBuffer is the size of what Buffers holds.
const CopyBuffer = 32 << 10

// unknownSize is the first buffer for a body that does not say how long it is.
const unknownSize = 4 << 10

// Buffers are for copying between sockets, of both edges.
var Buffers = sync.Pool{New: func() any { b := make([]byte, CopyBuffer); return &b }}

// Memory bounds what the exchanges of an edge together hold in buffered bodies.
type Memory struct {
	Max int64

	used atomic.Int64
}

// Grow gives b room for at least n more bytes, from the budget; false when it is spent. limit bounds the size.
func (m *Memory) Grow(b []byte, n int, limit int64) ([]byte, bool) {
	if cap(b)-len(b) >= n {
		return b, true
	}
	size := max(int64(len(b)+n), min(int64(2*cap(b)), limit))
	if m.used.Add(size-int64(cap(b))) > m.Max {
		m.used.Add(int64(cap(b)) - size)
		return b, false
	}
	grown := make([]byte, len(b), size)
	copy(grown, b)
	return grown, true
}

// Collect reads src into b, which is of m, to the end, or to just above limit: then it is TooLarge, and b holds what was read.
// size is what is expected; below zero: nothing is known.
func (m *Memory) Collect(b []byte, src io.Reader, size, limit int64) ([]byte, error) {
	if size < 0 {
		size = unknownSize
	}
	for int64(len(b)) <= limit {
		room := 1
		if cap(b) == 0 {
			room = int(size)
		}
		var ok bool
		if b, ok = m.Grow(b, room, limit+1); !ok {
			return b, pipeline.Overloaded
		}
		n, err := src.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
	return b, pipeline.TooLarge
}

// Free gives b back.
func (m *Memory) Free(b []byte) { m.used.Add(-int64(cap(b))) }

// Used is what is held now, in bytes.
func (m *Memory) Used() int64 { return m.used.Load() }
