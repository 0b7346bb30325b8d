package redis

import (
	"testing"
	"time"
)

// Known keys go first, and what has waited for half of its time is not sent.
func TestQueue(t *testing.T) {
	now := time.Now()
	at := func(ms time.Duration) time.Time { return now.Add(ms * time.Millisecond) }
	keys := func(list []*call) (s string) {
		for _, c := range list {
			s += c.key
		}
		return s
	}
	filled := func() *queue {
		var q queue
		for _, c := range []*call{
			{key: "a", first: true, due: at(20)}, {key: "B", due: at(200)}, {key: "c", first: true, due: at(20)}, {key: "D", due: at(20)}, {key: "E", due: at(40)},
		} {
			if !q.add(c, now) {
				t.Fatal("no room")
			}
		}
		return &q
	}
	for _, c := range []struct {
		n                 int
		after             time.Duration
		batch, late, rest string
	}{
		{2, 1, "BD", "", "Eac"},
		{4, 1, "BDEa", "", "c"},
		{9, 1, "BDEac", "", ""},
		{1, 1, "B", "", "DEac"},
		{2, 15, "BE", "Dac", ""},
		{1, 15, "B", "Dac", "E"},
		{0, 15, "", "Dac", "BE"},
		{9, 150, "", "BDEac", ""},
	} {
		q := filled()
		batch, late := q.take(c.n, at(c.after))
		if rest := keys(q.known) + keys(q.strangers); keys(batch) != c.batch || keys(late) != c.late || rest != c.rest {
			t.Errorf("%d after %d ms: %s sent, %s late, %s left", c.n, c.after, keys(batch), keys(late), rest)
		}
	}
	var q queue
	for i := range queueSize + 100 {
		if ok := q.add(&call{due: at(20), first: true}, now); ok != (i < strangersSize) {
			t.Fatalf("stranger %d: %v", i, ok)
		}
	}
	for i := range queueSize + 100 {
		if ok := q.add(&call{due: at(20)}, now); ok != (i < queueSize) {
			t.Fatalf("%d: %v", i, ok)
		}
	}
}

// A slow round trip halves what may be under way, quick ones bring it back.
func TestWindow(t *testing.T) {
	w := window{room: widest}
	for range 10 {
		w.used += 64
		w.back(64, true)
	}
	if w.room != leastRoom || w.used != 0 || w.free() != leastRoom {
		t.Errorf("%+v", w)
	}
	for range 100 {
		w.back(0, false)
	}
	if w.room != widest || w.free() != batchSize {
		t.Errorf("%+v", w)
	}
}
