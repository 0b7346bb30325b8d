package redis

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit/leases"
	"github.com/oncegate/oncegate/internal/redistest"
)

// flood sends draws of keys that nobody has seen, as fast as it can and whatever becomes of them, until it is stopped.
func flood(s *Source, rate, burst float64) (stop func() (sent int)) {
	end, sent := make(chan struct{}), make(chan int)
	limit := bucket(rate, burst)
	go func() {
		var answers sync.WaitGroup
		n := 0
		for {
			select {
			case <-end:
				answers.Wait()
				sent <- n
				return
			default:
			}
			for range 64 {
				var name leases.Name
				binary.LittleEndian.PutUint64(name[:], rand.Uint64())
				answers.Add(1)
				n++
				s.Draw(leases.Draw{Name: name, Limit: limit, Want: 1, First: true}, func(leases.Grant) { answers.Done() })
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return func() int { close(end); return <-sent }
}

// A flood of made-up identities costs Redis what it can bear, and no more: it is not taken for a Redis that is down for long, and those
// who are known are answered meanwhile.
func TestFloodOfUnknownKeys(t *testing.T) {
	srv := redistest.Start(t)
	rec := &counts{}
	s, name := openRealistic(t, single(srv), Deps{Recorder: rec})
	limit := bucket(1e6, 1e6)
	failedBefore := rec.failed.Load()
	stop := flood(s, 1000, 1000)
	var took []time.Duration
	failed := 0
	for begin := time.Now(); time.Since(begin) < 3*time.Second; time.Sleep(2 * time.Millisecond) {
		asked := time.Now()
		if draw(t, s, leases.Draw{Name: name, Limit: limit, Want: 1}).Err != nil {
			failed++
		}
		took = append(took, time.Since(asked))
	}
	sent := stop()
	slowest, sum := time.Duration(0), time.Duration(0)
	for _, d := range took {
		slowest, sum = max(slowest, d), sum+d
	}
	t.Logf("%d draws of strangers; of %d of a known one %d failed, they took %v, at most %v; ok %d, failed %d, refused %d, down %d times", sent, len(took), failed, sum/time.Duration(len(took)), slowest, rec.ok.Load(), rec.failed.Load()-failedBefore, rec.refused.Load(), rec.downs.Load())
	if failed > len(took)/5 { // more than half before strangers had to wait; a busy machine has slow moments of its own
		t.Errorf("%d of %d draws of a known key failed", failed, len(took))
	}
}
