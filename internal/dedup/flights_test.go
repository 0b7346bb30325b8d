package dedup

import (
	"fmt"
	"sync"
	"testing"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// TestEdge52NothingIsKeptOfPastKeys: maps are as large as what runs and waits now, however many keys there were.
func TestEdge52NothingIsKeptOfPastKeys(t *testing.T) {
	f := newFlights()
	var all sync.WaitGroup
	for n := range 64 {
		all.Go(func() {
			for i := range 100 {
				key, s := record.Key{byte(i)}, record.Subject{byte(n)}
				fl := f.depart(key, record.Fingerprint{}, true)
				if f.enter(key, s) {
					f.leave(key, s)
				}
				f.land(key, fl, record.Found{})
				f.land(key, fl, record.Found{Verdict: record.Replay}) // a second word changes nothing
				<-fl.landed
				if fl.found.Verdict != 0 {
					t.Error("the second word counts")
				}
			}
		})
	}
	all.Wait()
	if left := fmt.Sprint(len(f.running), len(f.perKey), len(f.perClient), f.waiting); left != "0 0 0 0" {
		t.Errorf("running, keys, clients, waiting: %s", left)
	}
	f.land(record.Key{}, f.depart(record.Key{}, record.Fingerprint{}, false), record.Found{}) // nobody waits there
}
