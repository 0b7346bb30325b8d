package redis

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/redistest"
)

// The benchmarks run one keyed write, a claim and a result of 2 KiB, from 64 goroutines, against two calls of a script that
// only stores as much. Compare the two of a pair in one run.

func BenchmarkKeyedWrite(b *testing.B) {
	for name, args := range map[string][]string{"memory": nil, "durable": durable} {
		server := redistest.Start(b, args...)
		b.Run(name+"/store", func(b *testing.B) { benchStore(b, open(b, single(server), Deps{})) })
		b.Run(name+"/bare", func(b *testing.B) { benchBare(b, open(b, single(server), Deps{}), 0) })
	}
}

func BenchmarkKeyedWriteWait(b *testing.B) {
	fleet := redistest.StartSentinel(b, 1)
	b.Run("store", func(b *testing.B) { benchStore(b, open(b, sentinel(fleet, 1), Deps{})) })
	b.Run("bare", func(b *testing.B) { benchBare(b, open(b, sentinel(fleet, 1), Deps{}), 1) })
}

const benchGoroutines = 64

func bench(b *testing.B, write func(i int)) {
	var next atomic.Int64
	b.SetParallelism(benchGoroutines / 2) // times GOMAXPROCS
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			write(int(next.Add(1)))
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

func benchStore(b *testing.B, s *Store) {
	r := result(record.Completed)
	r.Answer = make([]byte, 2048)
	bench(b, func(i int) {
		if found, err := begin(s, numbered(i), claim(token(i))); err != nil || found.Verdict != record.Acquired {
			b.Error(found.Verdict, err)
		}
		if outcome, err := finish(s, numbered(i), token(i), r); err != nil || outcome != record.Stored {
			b.Error(outcome, err)
		}
	})
}

const bareSource = `redis.call('HSET', KEYS[1], 'f', ARGV[1], 't', ARGV[2], 'a', ARGV[3]) return 1`

func benchBare(b *testing.B, s *Store, wait int) {
	n := s.fleet.place(0)
	sha, err := n.client.ScriptLoad(context.Background(), bareSource).Result()
	if err != nil {
		b.Fatal(err)
	}
	call := func(name string, t, body []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		pipe := n.client.Pipeline()
		_ = pipe.Process(ctx, goredis.NewCmd(ctx, "evalsha", sha, 1, name, fp[:], t, body))
		if wait > 0 {
			_ = pipe.Process(ctx, goredis.NewCmd(ctx, "wait", wait, 1000))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			b.Error(err)
		}
	}
	body := make([]byte, 2048)
	bench(b, func(i int) {
		key, t := numbered(i), token(i)
		name := s.names.of(key)[0]
		call(name, t[:], nil)
		call(name, t[:], body)
	})
}
