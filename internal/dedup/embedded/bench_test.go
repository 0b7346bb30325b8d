package embedded

import (
	"context"
	"crypto/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// The two benchmarks belong together: 64 writers, every put synced, the same database options.
//
//	go test -run - -bench 64 ./internal/dedup/embedded

const value = 2 << 10

func BenchmarkKeyedWrite64(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	answer := make([]byte, value)
	rand.Read(answer)
	var n atomic.Int64
	b.SetParallelism(32) // of 2 cores
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			k, tok, _ := nth(int(n.Add(1)))
			c := record.Claim{Token: tok, Lease: time.Minute, KeepKey: time.Hour, Grant: true}
			if f, err := s.Begin(context.Background(), k, c); err != nil || f.Verdict != record.Acquired {
				b.Error(f.Verdict, err)
			}
			r := record.Result{State: record.Completed, Status: 200, Answer: answer, KeepAnswer: time.Hour, KeepKey: time.Hour}
			if _, err := s.Finish(context.Background(), k, tok, r); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "puts/s")
}

func BenchmarkPebbleAlone64(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	answer := make([]byte, value)
	rand.Read(answer)
	var n atomic.Int64
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			k, _, _ := nth(int(n.Add(1)))
			if err := s.db.Set(k[:], answer, pebble.Sync); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
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
