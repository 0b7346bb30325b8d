package redis

import (
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

func everything() map[int]bool {
	all := map[int]bool{}
	for b := range buckets {
		all[b] = true
	}
	return all
}

func TestRecentIsBounded(t *testing.T) {
	r, now := newRecent(), time.Now()
	r.now = func() time.Time { return now }
	for i := range recentCount + 100 {
		r.claimed(numbered(i), claim(token(i)), 1)
	}
	all := r.of(everything())
	if len(all) != recentCount || all[0].key != numbered(100) {
		t.Errorf("%d are kept", len(all))
	}
	big := result(record.Completed)
	big.Answer = make([]byte, 1<<20)
	for i := range 100 {
		r.finished(numbered(i), token(i), big, now)
	}
	if r.bytes > recentBytes || r.order.Len() != len(r.at) {
		t.Errorf("%d bytes, %d in order, %d by name", r.bytes, r.order.Len(), len(r.at))
	}
	now = now.Add(recentTime)
	if r.trim(); r.order.Len() != 0 || r.bytes != 0 || len(r.at) != 0 {
		t.Errorf("after its time: %d, %d bytes", r.order.Len(), r.bytes)
	}
}

func TestRecentKeepsTheLastDeed(t *testing.T) {
	r := newRecent()
	key := numbered(1)
	last := func() *deed {
		t.Helper()
		all := r.of(map[int]bool{bucketOf(key): true})
		if len(all) != 1 || !r.last(all[0]) {
			t.Fatalf("%d deeds", len(all))
		}
		return all[0]
	}
	r.claimed(key, claim(mine), 2)
	first := last()
	r.renewed(key, mine, time.Hour)
	r.renewed(key, his, time.Second) // nobody's
	if d := last(); d.claim == nil || d.claim.Lease != time.Hour || d.epoch != 2 || first.claim.Lease == time.Hour || r.last(first) {
		t.Errorf("renewed: %+v", d)
	}
	done := result(record.Completed)
	done.Subject = record.Subject{1}
	r.finished(key, mine, done, time.Now())
	clear(done.Answer) // the caller's buffer
	if d := last(); d.claim != nil || string(d.result.Answer) != "the answer" {
		t.Errorf("finished: %+v", d)
	}
	r.erase(record.Subject{2}, 1)
	if last().result.State != record.Completed {
		t.Error("somebody else was erased")
	}
	r.erase(record.Subject{1}, 1)
	if d := last(); d.result.State != record.Sealed || d.result.Answer != nil || d.result.RequestID != "" || r.bytes != 0 {
		t.Errorf("erased: %+v, %d bytes", d.result, r.bytes)
	}
	r.released(key, mine)
	if d := last(); d.claim != nil || d.result != nil {
		t.Errorf("released: %+v", d)
	}
	if others := r.of(map[int]bool{bucketOf(key) ^ 1: true}); len(others) != 0 {
		t.Errorf("another bucket has %d", len(others))
	}
}

// TestRecentSupersedes: of two attempts with a key only the later one's claim may be asserted.
func TestRecentSupersedes(t *testing.T) {
	r, key := newRecent(), numbered(1)
	r.claimed(key, claim(mine), 1)
	r.claimed(key, claim(his), 2)
	r.released(key, token(1))
	all := r.of(everything())
	if len(all) != 2 || all[0].token != his || !all[1].release() {
		t.Errorf("%d deeds, the first of %v", len(all), all[0].token)
	}
}
