package ratelimit

import "math/bits"

// bucket is the whole state of one client at one limit. It is 32 bytes without a pointer, so a million of them cost the
// garbage collector nothing.
type bucket struct {
	key    uint64 // 0: an empty slot
	level  float64
	last   int64  // never moved back; of a Bucket nanoseconds since the store began, of a Window see quota.go
	policy uint32 // by whose settings level and last are to be read
	ring   uint32 // of a rolling Window: its counts, see rings
}

// table is an open-addressing hash map of buckets with linear probing. Keys are seeded hashes, spread by their high bits.
type table struct {
	slots []bucket
	used  int
	hand  int // where the sweep goes on
}

const minSlots = 16

func (t *table) home(key uint64) int {
	hi, _ := bits.Mul64(key, uint64(len(t.slots)))
	return int(hi)
}

// find gives the bucket of a key or nil. The pointer is valid until the next insert or remove.
func (t *table) find(key uint64) *bucket {
	if i := t.index(key); i >= 0 {
		return &t.slots[i]
	}
	return nil
}

// index is the slot of a key or -1.
func (t *table) index(key uint64) int {
	if len(t.slots) == 0 {
		return -1
	}
	for i := t.home(key); ; {
		switch t.slots[i].key {
		case key:
			return i
		case 0:
			return -1
		}
		if i++; i == len(t.slots) {
			i = 0
		}
	}
}

// insert adds a bucket whose key is not there yet. At most four slots in five are used: chains stay short.
func (t *table) insert(b bucket) {
	if (t.used+1)*5 > len(t.slots)*4 {
		t.resize(max(minSlots, len(t.slots)*3/2))
	}
	t.used++
	t.place(b)
}

func (t *table) place(b bucket) {
	i := t.home(b.key)
	for t.slots[i].key != 0 {
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	t.slots[i] = b
}

// remove empties slot i and moves later members of its chain up, so that no tombstones pile up.
func (t *table) remove(i int) {
	t.used--
	for j := i; ; {
		if j++; j == len(t.slots) {
			j = 0
		}
		if t.slots[j].key == 0 {
			break
		}
		if home := t.home(t.slots[j].key); between(i, home, j) {
			continue // it would be lost before its own place
		}
		t.slots[i] = t.slots[j]
		i = j
	}
	t.slots[i] = bucket{}
}

// between reports whether home lies in the half-open ring segment after i up to j.
func between(i, home, j int) bool {
	if i <= j {
		return i < home && home <= j
	}
	return i < home || home <= j
}

// shrink halves a table that is mostly empty.
func (t *table) shrink() {
	if len(t.slots) > 4*minSlots && t.used*4 < len(t.slots) {
		t.resize(len(t.slots) / 2)
	}
}

func (t *table) resize(n int) {
	old := t.slots
	t.slots = make([]bucket, n)
	t.hand = 0
	for i := range old {
		if old[i].key != 0 {
			t.place(old[i])
		}
	}
}
