package redis

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/ratelimit/leases"
	"github.com/oncegate/oncegate/internal/redistest"
)

const benchKeys = 256

// BenchmarkDraw draws leases with some hundred under way, as gateways with many hot keys do, and compares with pipelines of 64
// EVALSHA of the same script without anything around, in the same run: the metric of-bare is calls/s over theirs.
func BenchmarkDraw(b *testing.B) {
	srv := redistest.Start(b)
	s := open(b, single(srv), patient, Deps{})
	limit := bucket(1e6, 1e9)
	var list [benchKeys]leases.Name
	for i := range list {
		list[i] = named(b, s, fmt.Sprint(i))
	}
	bare := bareRate(b, s, limit, list[:])
	const underWay = 256
	room := make(chan struct{}, underWay)
	for range underWay {
		room <- struct{}{}
	}
	var failed atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	begin := time.Now()
	for i := range b.N {
		<-room
		s.Draw(leases.Draw{Name: list[i%benchKeys], Limit: limit, Want: 10}, func(g leases.Grant) {
			if g.Err != nil {
				failed.Add(1)
			}
			room <- struct{}{}
		})
	}
	for range underWay {
		<-room
	}
	b.StopTimer()
	rate := float64(b.N) / time.Since(begin).Seconds()
	bare = (bare + bareRate(b, s, limit, list[:])) / 2 // the machine has other work: before and after
	b.ReportMetric(rate, "calls/s")
	b.ReportMetric(bare, "bare-calls/s")
	b.ReportMetric(rate/bare, "of-bare")
	if failed.Load() > 0 {
		b.Fatalf("%d failed", failed.Load())
	}
}

// bareRate is how many scripts a second 4 goroutines get through with pipelines of 64 that are ready to be sent.
func bareRate(b *testing.B, s *Source, limit *ratelimit.Limit, list []leases.Name) float64 {
	const workers, each = 4, 200
	opts := s.cfg.Options(s.cfg.Addresses[0], s.cfg.bounds())
	opts.ReadTimeout, opts.WriteTimeout, opts.PoolTimeout = 10*time.Second, 10*time.Second, 10*time.Second
	client := goredis.NewClient(opts)
	defer client.Close()
	begin := time.Now()
	done := make(chan error, workers)
	for range workers {
		go func() {
			for n := range each {
				pipe := client.Pipeline()
				for i := range batchSize {
					c := s.order(bucketKind, leases.Draw{Name: list[(n*batchSize+i)%benchKeys], Limit: limit, Want: 10})
					args := append([]any{"evalsha", c.script.sha, 1, c.key}, c.args...)
					_ = pipe.Process(context.Background(), goredis.NewCmd(context.Background(), args...))
				}
				if _, err := pipe.Exec(context.Background()); err != nil && n > 0 {
					done <- err
					return
				} else if err != nil {
					_ = client.ScriptLoad(context.Background(), bucketScript.text).Err()
				}
			}
			done <- nil
		}()
	}
	for range workers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	return workers * each * batchSize / time.Since(begin).Seconds()
}

// BenchmarkDrawAlone is one draw at a time: a round trip.
func BenchmarkDrawAlone(b *testing.B) {
	s := open(b, single(redistest.Start(b)), patient, Deps{})
	name, limit := named(b, s, "k"), bucket(1e6, 1e9)
	got := make(chan leases.Grant, 1)
	b.ReportAllocs()
	for b.Loop() {
		s.Draw(leases.Draw{Name: name, Limit: limit, Want: 10}, func(g leases.Grant) { got <- g })
		if g := <-got; g.Err != nil {
			b.Fatal(g.Err)
		}
	}
}

// BenchmarkName is the name of a key.
func BenchmarkName(b *testing.B) {
	p := newPads("01234567890123456789012345678901")
	key := []byte("per-client 2001:db8:85a3::8a2e:370:7334")
	b.ReportAllocs()
	for b.Loop() {
		p.name(key)
	}
}
