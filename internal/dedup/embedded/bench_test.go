package embedded

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// The two benchmarks belong together: 64 writers, everything synced, the same database options. One op is a keyed write.
//
//	go test -run - -bench 64 ./internal/dedup/embedded

const value = 2 << 10

func benchmark64(b *testing.B, write func(s *Store, n int, answer []byte) error) {
	s := open(b, b.TempDir(), Options{})
	answer := make([]byte, value)
	rand.Read(answer)
	var n atomic.Int64
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := write(s, int(n.Add(1)), answer); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "keyed/s")
}

func BenchmarkKeyedWrite64(b *testing.B) {
	benchmark64(b, func(s *Store, n int, answer []byte) error {
		k, tok, _ := nth(n)
		c := record.Claim{Token: tok, Lease: time.Minute, KeepKey: time.Hour, Grant: true}
		if f, err := s.Begin(context.Background(), k, c); err != nil || f.Verdict != record.Acquired {
			return fmt.Errorf("%s, %w", f.Verdict, err)
		}
		r := record.Result{State: record.Completed, Status: 200, Answer: answer, KeepAnswer: time.Hour, KeepKey: time.Hour}
		_, err := s.Finish(context.Background(), k, tok, r)
		return err
	})
}

// BenchmarkPebbleAlone64 puts a record's size and an answer's, one after the other, and decides nothing.
func BenchmarkPebbleAlone64(b *testing.B) {
	small := make([]byte, record.Record{}.Size())
	benchmark64(b, func(s *Store, n int, answer []byte) error {
		k, _, _ := nth(n)
		if err := s.db.Set(recordKey(k), small, pebble.Sync); err != nil {
			return err
		}
		return s.db.Set(recordKey(k), answer, pebble.Sync)
	})
}

// BenchmarkRoom is what looking at the disk adds to a claim.
func BenchmarkRoom(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	for b.Loop() {
		if err := s.room(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReplay(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	begin(b, s, 1, token(1))
	finish(b, s, 1, record.Completed)
	b.ReportAllocs()
	for b.Loop() {
		if f, err := s.Begin(context.Background(), key(1), record.Claim{Token: token(2)}); err != nil || f.Verdict != record.Replay {
			b.Fatal(f.Verdict, err)
		}
	}
}
