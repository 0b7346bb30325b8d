package dedup

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/units"
)

func subjectOf(n uint64) (s record.Subject) {
	binary.BigEndian.PutUint64(s[:], n*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(s[8:], n)
	return s
}

// TestClientsThatMeetShareABucket: the table never grows, and whoever meets others in a full one gets less, never more.
func TestClientsThatMeetShareABucket(t *testing.T) {
	var c caps
	p := &PerClient{NewKeys: units.Rate{Count: 2, Per: time.Hour}}
	now := time.Now()
	granted := 0
	for n := range uint64(3 * capSlots) {
		before := granted
		for range 3 {
			if _, spent := c.newKey(subjectOf(n), p, now); !spent {
				granted++
			}
		}
		if granted-before > 2 {
			t.Fatalf("client %d made %d keys", n, granted-before)
		}
	}
	if most := 2 * capSlots; granted > most || len(c.slots) != capSlots {
		t.Errorf("%d keys, at most %d", granted, most)
	}
	later := now.Add(2 * time.Hour)
	for n := range uint64(100) { // all have leaked, and the slots are there for others
		if _, spent := c.newKey(subjectOf(1<<40+n), p, later); spent {
			t.Errorf("client %d is refused by those before him", n)
		}
	}
}

// TestAKeyIsTakenBackOnlyFromWhomItWasCounted: the slot may belong to another client by then.
func TestAKeyIsTakenBackOnlyFromWhomItWasCounted(t *testing.T) {
	var c caps
	p := &PerClient{NewKeys: units.Rate{Count: 2, Per: time.Second}}
	now := time.Now()
	s, other := subjectOf(1), subjectOf(1)
	other[15]++ // the same first slot
	paid, _ := c.newKey(s, p, now)
	paid.slot.subject = other
	c.oldKey(paid)
	if paid.slot.keys.n != 1 {
		t.Error("another client got a key back")
	}
	c.oldKey(charge{})
}

// TestLevel: in any period at most twice the capacity, whatever the order of the calls' clocks.
func TestLevel(t *testing.T) {
	const capacity, period = 10.0, 10 * time.Second
	var l level
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	var taken []time.Time
	for range 20_000 {
		now = now.Add(time.Duration(random.IntN(300)) * time.Millisecond)
		skewed := now.Add(-time.Duration(random.IntN(200)) * time.Millisecond)
		if l.add(1, capacity, capacity/period.Seconds(), skewed) {
			taken = append(taken, now)
		}
	}
	for i := range taken {
		n := 0
		for _, at := range taken[i:] {
			if at.Sub(taken[i]) >= period {
				break
			}
			n++
		}
		if n > 2*capacity+1 {
			t.Fatalf("%d within a period", n)
		}
	}
	if most := 10 + int(now.Sub(taken[0])/time.Second) + 1; len(taken) > most || len(taken) < most/2 {
		t.Errorf("%d taken, at most %d", len(taken), most)
	}
}
