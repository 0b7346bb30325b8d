package h2

import (
	"sync"
	"sync/atomic"
)

const copyBuffer = 32 << 10

// buffers are for copying answers.
var buffers = sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }}

// memory bounds what all exchanges together hold in buffered bodies.
type memory struct {
	used atomic.Int64
	max  int64
}

// grow gives b room for at least n more bytes, from the budget; false when it is spent. limit bounds the size.
func (m *memory) grow(b []byte, n int, limit int64) ([]byte, bool) {
	if cap(b)-len(b) >= n {
		return b, true
	}
	size := max(int64(len(b)+n), min(int64(2*cap(b)), limit))
	if m.used.Add(size-int64(cap(b))) > m.max {
		m.used.Add(int64(cap(b)) - size)
		return b, false
	}
	grown := make([]byte, len(b), size)
	copy(grown, b)
	return grown, true
}

// free gives b back.
func (m *memory) free(b []byte) { m.used.Add(-int64(cap(b))) }
